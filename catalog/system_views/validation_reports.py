"""morph.validation_reports."""

from __future__ import annotations

from catalog.system_views.view import SystemView

VALIDATION_REPORTS = SystemView(
    "validation_reports",
    "Whether the layouts of a table show the same rows: one report a table and run.",
    (
        ("report_id", "Order of the reports."),
        ("change_id", "The change whose shadow was compared."),
        ("table_id", "Id that the table keeps through all versions."),
        ("table_name", "Its name when it was compared."),
        ("method", "full, checksum, sample, query or inline."),
        ("state", "running, done or failed."),
        ("verdict", "equal: nothing critical was found; different; unknown: the run failed."),
        ("message", "Why it failed, or what else is to say, in words."),
        ("started_at", "When it began."),
        ("updated_at", "When it got as far as it is, or ended."),
        ("from_key", "First key compared."),
        ("to_key", "Last key compared."),
        ("rows_compared", "Rows of the live layout, or of its answers, that were compared."),
        ("rows_per_s", "Mean rate, pauses included."),
        ("bytes", "Bytes read of both layouts."),
        ("discrepancies", "How many there are, exactly."),
        ("critical", "How many of them are critical."),
        ("counts", "How many of each type."),
        ("bound", "Upper bound, at 95 %, of the share of rows that differ, for a sample."),
        ("report", "All of it with the details, as one JSON document."),
    ),
    """
SELECT r.report_id, r.change_id, r.table_id, r.relation AS table_name, r.method, r.state,
  nullif(r.verdict, '') AS verdict, nullif(r.message, '') AS message, r.started_at, r.updated_at,
  nullif(r.from_key, '') AS from_key, nullif(r.to_key, '') AS to_key, r.rows_compared,
  round((r.rows_compared / nullif(r.seconds, 0))::numeric) AS rows_per_s, r.bytes,
  coalesce((SELECT sum(v::bigint)::bigint FROM jsonb_each_text(r.counts) c(k, v)), 0)
    AS discrepancies,
  coalesce((r.severities->>'critical')::bigint, 0) AS critical, r.counts, r.bound,
  jsonb_build_object('reportId', r.report_id, 'tableId', r.table_id, 'changeId', r.change_id,
    'relation', r.relation, 'timestamp', to_jsonb(r.updated_at AT TIME ZONE 'UTC') #>> '{}' || 'Z',
    'method', r.method, 'state', r.state, 'verdict', r.verdict, 'fromKey', r.from_key,
    'toKey', r.to_key, 'rowsCompared', r.rows_compared, 'bytes', r.bytes,
    'seconds', round(r.seconds::numeric, 3)::float8, 'bound', r.bound, 'counts', r.counts,
    'discrepancies', coalesce((SELECT jsonb_agg(jsonb_build_object('type', d.type,
      'message', d.message, 'recordId', d.record_id, 'column', d.column_name,
      'primaryValueHash', d.primary_value_hash, 'shadowValueHash', d.shadow_value_hash,
      'lsn', d.lsn, 'severity', d.severity) ORDER BY d.seq)
      FROM morph_catalog.discrepancies d WHERE d.report_id = r.report_id), '[]')) AS report
FROM morph_catalog.validation_reports r ORDER BY r.report_id""",
)
