"""morph.progress."""

from __future__ import annotations

from catalog.system_views.view import SystemView

PROGRESS = SystemView(
    "progress",
    "How far the shadows of changes are that are not over.",
    (
        ("change_id", "Number of the change."),
        ("state", "As in morph.changes."),
        ("tables", "The tables that get another layout."),
        ("rows", "Rows copied."),
        ("total", "About how many there are to copy."),
        ("percent", "Of them, NULL before the first one."),
        ("rows_per_s", "Rows copied in a second, as of late."),
        ("left_seconds", "About how long the copying will go on."),
        ("bytes", "Bytes read for it."),
        ("applied", "Writes brought in from the log."),
        ("pending", "Writes in the log that are not brought in."),
        ("lag_s", "Age of the oldest of them, in seconds."),
        ("left_out", "Rows that the shadow cannot hold: see morph.discrepancies."),
        (
            "tailed",
            "True when writes past Morphgres are read from the store's change stream, false when "
            "they are not seen, NULL for embedded tables.",
        ),
        ("compared", "Rows that the running validation has compared, NULL when none runs."),
        ("compared_per_s", "Rows that it compares in a second."),
        ("start_lsn", "Position of the log at which the shadow began."),
        ("applied_lsn", "Position up to which the log is brought in."),
        ("held", "True when the copying is stopped."),
        ("reason", "Why it waits or was held."),
        ("heartbeat_at", "When its controller wrote these numbers."),
    ),
    """
SELECT s.change_id,
  CASE s.state WHEN 'RB_FENCED' THEN 'fenced for rollback'
    ELSE lower(replace(s.state, '_', ' ')) END AS state,
  ARRAY(SELECT t->>'name' FROM jsonb_array_elements(s.tables) t) AS tables,
  coalesce(p.rows, 0) AS rows, p.total,
  CASE WHEN s.state IN ('ANALYZED', 'SHADOWING') THEN 0
    WHEN s.state = 'BACKFILLING'
      THEN round(least(100.0 * p.rows / nullif(p.total, 0), 99.9)::numeric, 1)
    ELSE 100 END AS percent,
  p.rows_per_s, CASE WHEN s.state = 'BACKFILLING' AND p.rows_per_s > 0
    THEN round((greatest(p.total - p.rows, 0) / p.rows_per_s)::numeric, 1) END AS left_seconds,
  p.bytes, p.applied, p.pending, p.lag_s, p.left_out,
  (SELECT bool_and(f.tail IS NOT NULL) FROM morph_log.foreign_feeds f
    WHERE f.change_id = s.change_id) AS tailed, v.rows_compared AS compared,
  round((v.rows_compared / nullif(v.seconds, 0))::numeric) AS compared_per_s,
  p.start_lsn, p.applied_lsn, s.held, nullif(s.reason, '') AS reason, p.heartbeat_at
FROM morph_catalog.shadows s LEFT JOIN morph_catalog.shadow_progress p USING (change_id)
LEFT JOIN LATERAL (SELECT r.rows_compared, r.seconds FROM morph_catalog.validation_reports r
  WHERE r.change_id = s.change_id AND r.state = 'running' AND r.method <> 'inline'
  ORDER BY r.report_id DESC LIMIT 1) v ON true
WHERE NOT s.settled ORDER BY s.change_id""",
)
