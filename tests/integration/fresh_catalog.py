"""An empty catalog on a server that runs: versions are global, and a new server takes seconds."""

from __future__ import annotations

from tests.integration.server_process import ServerProcess

_RESET = r"""
DO $$
DECLARE item record;
BEGIN
  FOR item IN SELECT nspname FROM pg_namespace WHERE nspname ~ '^(v|morph_[vw])[0-9]+$' LOOP
    EXECUTE format('DROP SCHEMA %I CASCADE', item.nspname);
  END LOOP;
  FOR item IN SELECT c.oid::regclass AS name, c.relkind FROM pg_class c
    WHERE c.relnamespace IN ('public'::regnamespace, 'morph_store'::regnamespace)
      AND c.relkind IN ('r', 'v', 'S') ORDER BY c.relkind = 'S' LOOP
    IF to_regclass(item.name::text) IS NOT NULL THEN
      EXECUTE format('DROP %s %s CASCADE', CASE item.relkind WHEN 'r' THEN 'TABLE'
        WHEN 'v' THEN 'VIEW' ELSE 'SEQUENCE' END, item.name);
    END IF;
  END LOOP;
  TRUNCATE morph_catalog.versions, morph_catalog.changes;
  UPDATE morph_catalog.state SET epoch = epoch + 1, current_version = 0, head_version = 0;
  PERFORM pg_notify('morph_epoch', epoch::text) FROM morph_catalog.state;
END $$
"""


def empty_catalog(server: ServerProcess) -> None:
    """Remove all versions, tables and rows."""
    with server.root() as root:
        root.execute(_RESET)
