"""An empty catalog on a server that runs: versions are global, and a new server takes seconds."""

from __future__ import annotations

import psycopg

from tests.integration.server_process import ServerProcess

_RESET = r"""
DO $$
DECLARE item record;
BEGIN
  FOR item IN SELECT nspname FROM pg_namespace WHERE nspname ~ '^(v|morph_[vw])[0-9]+$' LOOP
    EXECUTE format('DROP SCHEMA %I CASCADE', item.nspname);
  END LOOP;
  FOR item IN SELECT relnamespace::regnamespace AS schema, relname, relkind FROM pg_class
    WHERE relnamespace IN ('public'::regnamespace, 'morph_store'::regnamespace)
      AND relkind IN ('r', 'v', 'S', 'f') ORDER BY relkind = 'S' LOOP
    EXECUTE format('DROP %s IF EXISTS %s.%I CASCADE', CASE item.relkind WHEN 'r' THEN 'TABLE'
      WHEN 'f' THEN 'FOREIGN TABLE'
      WHEN 'v' THEN 'VIEW' ELSE 'SEQUENCE' END, item.schema, item.relname);
  END LOOP;
  FOR item IN SELECT srvname FROM pg_foreign_server LOOP
    EXECUTE format('DROP SERVER %I CASCADE', item.srvname);
  END LOOP;
  DELETE FROM morph_catalog.instances WHERE origin <> 'built in';
  TRUNCATE morph_catalog.shadows, morph_catalog.change_steps, morph_catalog.fences,
    morph_catalog.shadow_progress, morph_log.shadows, morph_log.refused,
    morph_log.foreign_feeds;
  UPDATE morph_log.revision SET revision = revision + 1;
  PERFORM pg_notify('morph_layouts', '');
  TRUNCATE morph_catalog.versions, morph_catalog.changes, morph_catalog.validation_reports,
    morph_catalog.discrepancies;
  UPDATE morph_catalog.state SET epoch = epoch + 1, current_version = 0, head_version = 0;
  PERFORM pg_notify('morph_epoch', epoch::text) FROM morph_catalog.state;
END $$
"""


_TRIES = 20


def empty_catalog(server: ServerProcess) -> None:
    """Remove all versions, tables and rows; changes in flight are forgotten."""
    with server.root() as root:
        root.execute("UPDATE morph_catalog.shadows SET settled = true, state = 'DISCARDED'")
        for left in reversed(range(_TRIES)):
            try:
                root.execute(_RESET)
                return
            except psycopg.errors.DeadlockDetected:  # with a step of a change that was begun
                if not left:
                    raise
