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
        (
            "role",
            "live: this layout takes the writes; shadow: a layout that a change builds beside it; "
            "reverse: the layout from before a promotion, kept for a rollback.",
        ),
        ("native", "For a foreign table, its name in the store, outermost part first."),
        ("schema_definition", "Its columns as CREATE TABLE has them, without virtual ones."),
        ("associated_ddl", "The statements of the change that made the layout, for shadows."),
        ("validation_status", "pending, valid or invalid, for shadows."),
        ("start_lsn", "Position of the log at which the shadow began."),
        ("applied_lsn", "Position up to which it has the writes of the log."),
    ),
    """
SELECT v.version, (t->>'id')::int AS table_id, t->>'name' AS name, t->>'kind' AS kind,
  CASE t->>'kind' WHEN 'foreign' THEN t->>'instance' WHEN 'view' THEN NULL ELSE 'embedded' END
    AS instance,
  (SELECT p->>'name' FROM jsonb_array_elements(v.spec) p
    WHERE (p->>'id')::int = (t->>'parent_id')::int) AS parent,
  jsonb_array_length(t->'columns') AS columns, (t->>'has_doc')::boolean AS has_document,
  coalesce(s.role, 'live') AS role,
  CASE WHEN t->>'kind' = 'foreign' THEN ARRAY(SELECT jsonb_array_elements_text(t->'native')) END
    AS native,
  (SELECT string_agg(quote_ident(c->>'name') || ' ' || (c->>'type')
      || CASE WHEN (c->>'not_null')::boolean THEN ' NOT NULL' ELSE '' END, ', ' ORDER BY n)
    FROM jsonb_array_elements(t->'columns') WITH ORDINALITY AS listed(c, n)
    WHERE c->'source'->>'kind' <> 'seed') AS schema_definition,
  s.ddl AS associated_ddl, s.validation_status, s.start_lsn, s.applied_lsn
FROM morph_catalog.versions v CROSS JOIN jsonb_array_elements(v.spec) t
LEFT JOIN LATERAL (
  SELECT CASE WHEN s.state IN ('PROMOTED', 'RB_FENCED', 'CONTRACTING') THEN 'reverse'
      WHEN s.settled THEN 'live' ELSE 'shadow' END AS role,
    (SELECT string_agg(c.ddl, '; ' ORDER BY c.seq) FROM morph_catalog.changes c
      WHERE c.change_id = s.change_id) AS ddl,
    CASE WHEN s.state = 'FAILED_REVIEW' THEN 'invalid'
      WHEN s.state IN ('ANALYZED', 'SHADOWING', 'BACKFILLING', 'CATCHING_UP', 'VALIDATING')
      THEN 'pending' ELSE 'valid' END AS validation_status,
    p.start_lsn, p.applied_lsn
  FROM morph_catalog.shadows s
  CROSS JOIN jsonb_array_elements(s.tables) kept
  LEFT JOIN morph_catalog.shadow_progress p USING (change_id)
  WHERE s.state <> 'ANALYZED' AND (NOT s.settled OR s.state = 'FAILED_REVIEW')
    AND kept->'table_id' = t->'id'
    AND v.version = CASE WHEN s.state IN ('PROMOTED', 'RB_FENCED', 'CONTRACTING') THEN s.parent
      ELSE s.change_id END
  LIMIT 1
) s ON true
ORDER BY v.version, t->>'name'""",
)
