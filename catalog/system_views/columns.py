"""morph.columns."""

from __future__ import annotations

from catalog.system_views.view import SystemView

COLUMNS = SystemView(
    "columns",
    "Columns of every version: where each value lies, and whether it is deprecated.",
    (
        ("version", "Version that shows it."),
        ("table_name", "Its table in this version."),
        ("column_id", "Id that the column keeps through renames and moves."),
        ("name", "Its name in this version."),
        ("type", "Its type in this version."),
        ("origin", "stored, doc, seed (virtual), parent_key, ordinality, element or native."),
        ("path", "Path inside the document, the array element or the row of a foreign table."),
        ("clean", "False when values were recorded that do not fit the type."),
        ("expression", "Generator of a virtual column."),
        ("not_null", "True when NULL is refused."),
        ("column_default", "Default for writes through this version."),
        ("deprecated", "True when the current version has dropped or renamed it."),
        ("successor", "Its name in the current version."),
    ),
    """
SELECT v.version, t->>'name' AS table_name, (c->>'id')::int AS column_id, c->>'name' AS name,
  c->>'type' AS type, c->'source'->>'kind' AS origin,
  (SELECT string_agg(p, '.' ORDER BY n) FROM jsonb_array_elements_text(c->'source'->'path')
    WITH ORDINALITY AS x(p, n)) AS path,
  (c->'source'->>'clean')::boolean AS clean, c->'source'->>'expression' AS expression,
  (c->>'not_null')::boolean AS not_null, c->>'default' AS column_default,
  v.version < s.current_version AND now_c.name IS DISTINCT FROM c->>'name' AS deprecated,
  CASE WHEN v.version < s.current_version AND now_c.name IS DISTINCT FROM c->>'name'
    THEN now_c.name END AS successor
FROM morph_catalog.state s CROSS JOIN morph_catalog.versions v
CROSS JOIN jsonb_array_elements(v.spec) t CROSS JOIN jsonb_array_elements(t->'columns') c
LEFT JOIN LATERAL (
  SELECT cc->>'name' AS name FROM morph_catalog.versions cv
  CROSS JOIN jsonb_array_elements(cv.spec) ct CROSS JOIN jsonb_array_elements(ct->'columns') cc
  WHERE cv.version = s.current_version AND ct->>'id' = t->>'id' AND cc->>'id' = c->>'id'
) now_c ON true
ORDER BY v.version, t->>'name', (c->>'id')::int""",
)
