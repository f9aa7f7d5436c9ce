"""morph.table_parts."""

from __future__ import annotations

from catalog.system_views.view import SystemView

TABLE_PARTS = SystemView(
    "table_parts",
    "Tables that show some of the rows of a table that was split.",
    (
        ("version", "Version that shows it."),
        ("table_name", "Its name in this version."),
        ("table_id", "Id that it keeps through the versions that have it."),
        ("part_of", "The table that was split, by its name in the newest version that has it."),
        ("condition", "What holds for its rows, as it was said then."),
        ("seen_in", "The newest version that shows all rows, also those that are in no part."),
    ),
    """
SELECT v.version, t->>'name' AS table_name, (t->>'id')::int AS table_id, w.name AS part_of,
  t->'part'->>'told' AS condition, w.version AS seen_in
FROM morph_catalog.versions v CROSS JOIN jsonb_array_elements(v.spec) t
LEFT JOIN LATERAL (
  SELECT o.version, ot->>'name' AS name
  FROM morph_catalog.versions o CROSS JOIN jsonb_array_elements(o.spec) ot
  WHERE ot->'id' = t->'part'->'of' ORDER BY o.version DESC LIMIT 1
) w ON true
WHERE jsonb_typeof(t->'part') = 'object'
ORDER BY v.version, t->>'name'""",
)
