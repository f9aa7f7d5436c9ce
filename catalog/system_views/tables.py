"""morph.tables."""

from __future__ import annotations

from catalog.system_views.view import SystemView

TABLES = SystemView(
    "tables",
    "Tables, child tables, foreign tables and views of every version.",
    (
        ("version", "Version that shows it."),
        ("table_id", "Id that the table keeps through all versions."),
        ("name", "Its name in this version."),
        ("kind", "table, child (array of documents of another table), view or foreign."),
        ("instance", "Instance that holds the rows, NULL for a view."),
        ("parent", "For a child table, the table whose documents hold the array."),
        ("columns", "Columns that this version shows."),
        ("has_document", "True when rows are documents with a _doc column."),
        ("role", "live: this layout takes the writes."),
        ("native", "For a foreign table, its name in the store, outermost part first."),
    ),
    """
SELECT v.version, (t->>'id')::int AS table_id, t->>'name' AS name, t->>'kind' AS kind,
  CASE t->>'kind' WHEN 'foreign' THEN t->>'instance' WHEN 'view' THEN NULL ELSE 'embedded' END
    AS instance,
  (SELECT p->>'name' FROM jsonb_array_elements(v.spec) p
    WHERE (p->>'id')::int = (t->>'parent_id')::int) AS parent,
  jsonb_array_length(t->'columns') AS columns, (t->>'has_doc')::boolean AS has_document,
  'live'::text AS role,
  CASE WHEN t->>'kind' = 'foreign' THEN ARRAY(SELECT jsonb_array_elements_text(t->'native')) END
    AS native
FROM morph_catalog.versions v CROSS JOIN jsonb_array_elements(v.spec) t
ORDER BY v.version, t->>'name'""",
)
