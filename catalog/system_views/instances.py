"""morph.instances."""

from __future__ import annotations

from catalog.system_views.view import SystemView

INSTANCES = SystemView(
    "instances",
    "The stores behind this endpoint.",
    (
        ("instance_id", "Its name: the server of its foreign tables."),
        ("kind", "embedded, mongodb, cassandra or postgres."),
        ("dsn_ref", "Where its connection comes from: options, and references to secrets."),
        ("role", "primary, replica or partition."),
        ("model_version", "Version of the model it serves as current."),
        ("freshness_at", "When the model was last brought up to date."),
        ("health", "ok, or what is wrong; unknown until it was looked at."),
        ("origin", "built in, config or sql: who registered it."),
        ("server", "Product and version that answered."),
        ("checked_at", "When it was looked at last."),
        ("tables", "Foreign tables of the current version that lie in it."),
        ("locality", "Conditions of the rows that it holds of partitioned tables."),
    ),
    """
SELECT i.instance_id, i.kind, i.dsn_ref, i.role, i.model_version, i.freshness_at,
  CASE WHEN i.kind = 'embedded' THEN i.health ELSE coalesce(h.health, 'unknown') END AS health,
  i.origin, nullif(h.server, '') AS server, h.checked_at,
  (SELECT count(*) FROM morph_catalog.state s JOIN morph_catalog.versions v
    ON v.version = s.current_version CROSS JOIN jsonb_array_elements(v.spec) t
    WHERE t->>'instance' = i.instance_id) AS tables,
  (SELECT string_agg(format('%s: %s', t->>'name', coalesce(nullif(p->>'condition', ''),
      p->>'bound')), '; ' ORDER BY t->>'name', p->>'condition')
    FROM morph_catalog.state s JOIN morph_catalog.versions v ON v.version = s.current_version
    CROSS JOIN jsonb_array_elements(v.spec) t CROSS JOIN jsonb_array_elements(t->'partitions') p
    CROSS JOIN jsonb_array_elements(v.spec) c
    WHERE c->>'id' = p->>'table_id' AND c->>'instance' = i.instance_id) AS locality
FROM morph_catalog.instances i LEFT JOIN LATERAL (
  SELECT n.health, n.server, n.checked_at FROM morph_catalog.instance_health n
  WHERE n.instance_id = i.instance_id ORDER BY n.checked_at DESC LIMIT 1
) h ON true
ORDER BY i.instance_id""",
)
