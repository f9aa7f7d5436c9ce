"""morph.change_steps."""

from __future__ import annotations

from catalog.system_views.view import SystemView

CHANGE_STEPS = SystemView(
    "change_steps",
    "What happened to each change that needs data work, in order: its states and flags.",
    (
        ("step_id", "Order of the steps."),
        ("change_id", "Number of the change."),
        ("at", "When it happened."),
        ("event", "What happened, such as Copied, Fence or Hold."),
        ("from_state", "State before."),
        ("to_state", "State after."),
        ("revision", "Revision of the change after the step."),
        ("epoch", "Fencing token of whoever drove it then; it only grows."),
        ("actor", "controller, or the role that asked for it."),
        ("detail", "Why, where there is something to say."),
    ),
    """
SELECT step_id, change_id, at, event, from_state, to_state, revision, epoch, actor, detail
FROM morph_catalog.change_steps ORDER BY step_id""",
)
