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
        (
            "state",
            "published, virtual, promoted or rolled back; of a change that needs data work also "
            "what is done: analyzed, shadowing, backfilling, catching up, validating, canary, "
            "ready, fenced, promoted, fenced for rollback, rolled back, contracting, completed, "
            "discarded or failed review.",
        ),
        ("kind", "What was done, such as rename column."),
        ("relation", "The table, view or index."),
        ("ddl", "The statement."),
        ("origin", "ddl, load, drift, predicted or operator."),
        ("actor", "The role that asked for it."),
        ("created_at", "When it was asked for."),
        ("state_at", "When it took its state."),
        ("revision", "Counts the steps of a change that needs data work, NULL for others."),
        ("held", "True when CALL morph.hold, or a fault, stopped the copying."),
        ("wanted", "What a client waits for: promote, rollback or validate."),
        ("reason", "Why it waits, was held, failed or was given up, as far as it is known."),
        ("window_until", "Until when a rollback brings back the old layout too."),
    ),
    """
SELECT c.change_id, c.seq, c.change_id AS version,
  CASE WHEN s.state IS NULL OR c.state = 'published' THEN c.state
    WHEN s.state = 'RB_FENCED' THEN 'fenced for rollback'
    ELSE lower(replace(s.state, '_', ' ')) END AS state,
  c.kind, c.relation, c.ddl, c.origin, c.actor, c.created_at,
  greatest(c.state_at, s.state_at) AS state_at, s.revision, s.held,
  nullif(s.wanted, '') AS wanted, nullif(s.reason, '') AS reason, s.window_until
FROM morph_catalog.changes c LEFT JOIN morph_catalog.shadows s USING (change_id)
ORDER BY c.change_id, c.seq""",
)
