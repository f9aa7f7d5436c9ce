"""morph.changes."""

from __future__ import annotations

from catalog.system_views.view import SystemView

CHANGES = SystemView(
    "changes",
    "What made each version, one row an operation; change 7 made version 7.",
    (
        ("change_id", "Number of the change."),
        ("seq", "Order of the operation within the change."),
        ("version", "The version that the change made, or was published in."),
        ("state", "published, virtual, promoted or rolled back."),
        ("kind", "What was done, such as rename column."),
        ("relation", "The table, view or index."),
        ("ddl", "The statement."),
        ("origin", "ddl, load, drift, predicted or operator."),
        ("actor", "The role that asked for it."),
        ("created_at", "When it was asked for."),
        ("state_at", "When it took its state."),
    ),
    """
SELECT change_id, seq, change_id AS version, state, kind, relation, ddl, origin, actor,
  created_at, state_at
FROM morph_catalog.changes ORDER BY change_id, seq""",
)
