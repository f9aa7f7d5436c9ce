"""morph.discrepancies."""

from __future__ import annotations

from catalog.system_views.view import SystemView

DISCREPANCIES = SystemView(
    "discrepancies",
    "What validations found: up to 10,000 details a report.",
    (
        ("report_id", "The report in morph.validation_reports."),
        ("seq", "Order within the report."),
        ("change_id", "The change."),
        ("table_name", "The table."),
        ("type", "What kind of difference it is."),
        ("severity", "critical, warning or info."),
        ("record_id", "Key of the row, NULL when it is about the whole table."),
        ("column_name", "The column, NULL when it is about the whole row."),
        ("message", "What differs, in words."),
        ("primary_value_hash", "Hash of the canonical value in the live layout."),
        ("shadow_value_hash", "Hash of the canonical value in the shadow."),
        ("lsn", "Position in the change log of the row's last write."),
    ),
    """
SELECT d.report_id, d.seq, r.change_id, r.relation AS table_name, d.type, d.severity,
  nullif(d.record_id, '') AS record_id, nullif(d.column_name, '') AS column_name, d.message,
  nullif(d.primary_value_hash, '') AS primary_value_hash,
  nullif(d.shadow_value_hash, '') AS shadow_value_hash, d.lsn
FROM morph_catalog.discrepancies d JOIN morph_catalog.validation_reports r USING (report_id)
ORDER BY d.report_id, d.seq""",
)
