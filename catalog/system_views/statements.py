"""morph.statements."""

from __future__ import annotations

from catalog.system_views.view import SystemView

STATEMENTS = SystemView(
    "statements",
    "Statements by fingerprint since the worker started, like pg_stat_statements.",
    (
        ("worker", "Worker process."),
        ("fingerprint", "Same for texts that differ in literals only."),
        ("query", "One such text."),
        ("kind", "Kind of statement, such as Select or Insert."),
        ("tier", "1: the store answered; 2: merged in the private PostgreSQL."),
        ("calls", "Times run."),
        ("errors", "Times failed."),
        ("total_ms", "Time from the request to its end."),
        ("mean_ms", "total_ms / calls."),
        ("max_ms", "Longest."),
    ),
    """
SELECT worker, fingerprint, query, kind, tier, calls, errors, round(total_ms::numeric, 3) AS
  total_ms, round((total_ms / greatest(calls, 1))::numeric, 3) AS mean_ms,
  round(max_ms::numeric, 3) AS max_ms
FROM morph_catalog.statements ORDER BY total_ms DESC""",
)
