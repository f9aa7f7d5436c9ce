"""morph.versions."""

from __future__ import annotations

from catalog.system_views.view import SystemView

VERSIONS = SystemView(
    "versions",
    "The versions of the model; each is a namespace v<version>.",
    (
        ("version", "Number of the version and of the change that made it."),
        ("parent", "The version it was made from, NULL for the first."),
        ("current", "True for the version that public shows."),
        ("head", "True for the version that the next DDL builds on."),
        ("state", "current, promoted, virtual or rolled back."),
        ("tables", "Tables, child tables and views in it."),
        ("created_at", "When it was made."),
    ),
    """
SELECT v.version, nullif(v.parent, 0) AS parent, v.version = s.current_version AS current,
  v.version = s.head_version AS head,
  CASE WHEN v.version = s.current_version THEN 'current'
    ELSE coalesce((SELECT c.state FROM morph_catalog.changes c
      WHERE c.change_id = v.version AND c.state <> 'published' ORDER BY c.seq LIMIT 1),
      'promoted') END AS state,
  jsonb_array_length(v.spec) AS tables, v.created_at
FROM morph_catalog.versions v CROSS JOIN morph_catalog.state s ORDER BY v.version""",
)
