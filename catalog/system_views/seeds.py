"""morph.seeds."""

from __future__ import annotations

from catalog.system_views.view import SystemView

SEEDS = SystemView(
    "seeds",
    "Virtual columns and their generators.",
    (
        ("version", "Version that shows the column."),
        ("table_name", "Its table."),
        ("column_name", "Its name."),
        ("type", "Its type."),
        ("generator", "The expression."),
        ("depends_on", "Columns of the same row that it reads."),
        ("state", "virtual: computed on reading."),
    ),
    """
SELECT v.version, t->>'name' AS table_name, c->>'name' AS column_name, c->>'type' AS type,
  c->'source'->>'expression' AS generator,
  ARRAY(SELECT d->>'name' FROM jsonb_array_elements(t->'columns') d
    WHERE d->'id' IN (SELECT jsonb_array_elements(c->'source'->'depends'))) AS depends_on,
  'virtual'::text AS state
FROM morph_catalog.versions v CROSS JOIN jsonb_array_elements(v.spec) t
CROSS JOIN jsonb_array_elements(t->'columns') c
WHERE c->'source'->>'kind' = 'seed' ORDER BY 1, 2, 3""",
)
