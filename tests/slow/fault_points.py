"""Named points inside the transactions of a change at which a real server is stopped and killed.

Triggers in the private PostgreSQL call `fault.here(name)`: it sleeps there while somebody holds the
name's advisory lock. What stands still is a transaction of the product right before it would go on:
nothing of the product is replaced, and nothing waits when no point is armed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import psycopg

ARMED = 0x6661756C
"""The first key of the locks that arm a point."""
HERE = ARMED + 1
"""The first key of the locks that say who stands at one."""

SETUP = f"""
CREATE SCHEMA fault;
CREATE FUNCTION fault.here(point text) RETURNS void LANGUAGE plpgsql SECURITY DEFINER
  SET search_path = pg_catalog AS $$
BEGIN
  IF pg_try_advisory_xact_lock_shared({ARMED}, hashtext(point)) THEN RETURN; END IF;
  PERFORM pg_advisory_xact_lock_shared({HERE}, hashtext(point));
  WHILE NOT pg_try_advisory_xact_lock_shared({ARMED}, hashtext(point)) LOOP
    PERFORM pg_sleep(0.002);
  END LOOP;
END $$;

CREATE FUNCTION fault.at_step() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
  PERFORM fault.here('step ' || NEW.event);
  RETURN NULL;
END $$;
CREATE TRIGGER fault AFTER INSERT ON morph_catalog.change_steps
  FOR EACH ROW EXECUTE FUNCTION fault.at_step();

CREATE FUNCTION fault.at_feed() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE now text;
BEGIN
  IF TG_OP = 'INSERT' THEN
    PERFORM fault.here('feed made');
  ELSIF TG_OP = 'DELETE' THEN
    PERFORM fault.here('feed removed');
  ELSIF OLD.direction <> NEW.direction THEN
    PERFORM fault.here('layouts turned ' || NEW.direction);
  ELSIF OLD.checkpoint IS NULL AND NEW.checkpoint IS NOT NULL THEN
    PERFORM fault.here('bound frozen');
  ELSIF OLD.cursor IS DISTINCT FROM NEW.cursor THEN
    PERFORM fault.here('chunk copied');
  ELSIF NEW.finished AND NOT OLD.finished THEN
    PERFORM fault.here('finished');
  ELSIF NEW.applied > OLD.applied THEN
    SELECT state INTO now FROM morph_catalog.shadows s WHERE s.change_id = NEW.change_id;
    PERFORM fault.here('log applied ' || lower(now));
  END IF;
  RETURN NULL;
END $$;
CREATE TRIGGER fault AFTER INSERT OR UPDATE OR DELETE ON morph_log.shadows
  FOR EACH ROW EXECUTE FUNCTION fault.at_feed();

CREATE FUNCTION fault.at_report() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
  PERFORM fault.here('report ' || NEW.state);
  RETURN NULL;
END $$;
CREATE TRIGGER fault AFTER INSERT OR UPDATE ON morph_catalog.validation_reports
  FOR EACH ROW EXECUTE FUNCTION fault.at_report();

CREATE FUNCTION fault.at_ddl() RETURNS event_trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE now text;
BEGIN
  IF current_setting('application_name') = 'morphgres layouts' THEN
    SELECT state INTO now FROM morph_catalog.shadows ORDER BY change_id DESC LIMIT 1;
    PERFORM fault.here(tg_tag || ' ' || lower(now));
  END IF;
END $$;
CREATE EVENT TRIGGER fault ON ddl_command_end EXECUTE FUNCTION fault.at_ddl();
"""

_HERE_QUERY = (
    f"SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted "
    f"AND classid = {HERE} AND objid = (hashtext(%s)::bigint & 4294967295)"
)
_EVENTS_QUERY = "SELECT count(*) FROM morph_catalog.change_steps WHERE event = %s"
AFTER = "after "


@dataclass
class Point:
    """One armed point. `root` holds its lock until it is closed."""

    root: psycopg.Connection[Any]
    name: str
    before: int = 0

    @classmethod
    def arm(cls, root: psycopg.Connection[Any], name: str) -> Point:
        """`after <event>` is when the step has been committed; all others are in a transaction."""
        point = cls(root, name)
        if name.startswith(AFTER):
            point.before = point._events()
        else:
            root.execute(f"SELECT pg_advisory_lock({ARMED}, hashtext(%s))", (name,))
        return point

    def _events(self) -> int:
        row = self.root.execute(_EVENTS_QUERY, (self.name.removeprefix(AFTER),)).fetchone()
        assert row is not None
        return int(row[0])

    def who(self) -> int:
        """The backend that stands there, 0 for none; of `after`, any number when it has come."""
        if self.name.startswith(AFTER):
            return int(self._events() > self.before)
        row = self.root.execute(_HERE_QUERY, (self.name,)).fetchone()
        return int(row[0]) if row else 0
