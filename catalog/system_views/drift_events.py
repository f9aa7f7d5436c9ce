"""morph.drift_events."""

from __future__ import annotations

from catalog.system_views.view import SystemView

DRIFT_EVENTS = SystemView(
    "drift_events",
    "What was found in documents that the model did not say: types that do not fit, new fields.",
    (
        ("event_id", "Order of the events."),
        ("at", "When it was found."),
        ("relation", "The table."),
        ("path", "The field."),
        ("kind", "What was found."),
        ("detail", "In words, with counts by type."),
        ("documents", "Documents concerned."),
    ),
    """
SELECT event_id, at, relation, path, kind, detail, documents
FROM morph_catalog.events ORDER BY event_id""",
)
