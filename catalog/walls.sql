-- Code that a client wrote never runs as morph_owner or as the superuser. Run by the superuser at
-- every start, after bootstrap.sql.
--
-- What a client can make (functions, aggregates, operators over them, domains, range types) may get
-- into index expressions, constraints and defaults of store tables, and the control plane, or
-- autovacuum for it, evaluates those as morph_owner. PostgreSQL checks EXECUTE wherever it evaluates
-- an expression, so it is enough that morph_owner may not execute what clients own: each new routine
-- is for morph_client only, however it was made, and stays so. Event triggers see dynamic SQL too.

-- pg_temp last: by default it comes first for tables and types, and a client fills it.
CREATE OR REPLACE FUNCTION morph_catalog.guard_routines()
  RETURNS event_trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  routine regprocedure;
BEGIN
  -- What somebody else granted on, its owner's REVOKE would not take back.
  IF EXISTS (
    SELECT FROM pg_catalog.pg_proc p, aclexplode(p.proacl) a
    WHERE p.proowner NOT IN (10, 'morph_owner'::regrole)
      AND a.grantor <> p.proowner AND a.grantee IN (0, 'morph_owner'::regrole)
  ) THEN
    RAISE insufficient_privilege USING MESSAGE = 'permission denied to grant function';
  END IF;
  FOR routine IN
    SELECT oid FROM pg_catalog.pg_proc
    WHERE proowner NOT IN (10, 'morph_owner'::regrole)
      AND has_function_privilege('morph_owner', oid, 'EXECUTE')
  LOOP
    EXECUTE format('REVOKE ALL ON ROUTINE %s FROM PUBLIC, morph_owner CASCADE', routine);
    EXECUTE format('GRANT EXECUTE ON ROUTINE %s TO morph_client', routine);
  END LOOP;
  -- These two are called without a check of EXECUTE.
  IF EXISTS (
    SELECT FROM pg_catalog.pg_range r JOIN pg_catalog.pg_proc p
      ON p.oid::oid IN (r.rngsubdiff::oid, r.rngcanonical::oid)
    WHERE p.proowner NOT IN (10, 'morph_owner'::regrole)
  ) THEN
    RAISE insufficient_privilege USING
      MESSAGE = 'permission denied to use the function in a range type',
      HINT = 'subtype_diff and canonical must be built-in functions.';
  END IF;
END $$;
REVOKE ALL ON FUNCTION morph_catalog.guard_routines() FROM PUBLIC, morph_client;
GRANT EXECUTE ON FUNCTION morph_catalog.guard_routines() TO morph_owner; -- for GRANT … ALL FUNCTIONS

DROP EVENT TRIGGER IF EXISTS morph_guard_routines;
CREATE EVENT TRIGGER morph_guard_routines ON ddl_command_end
  WHEN TAG IN ('CREATE FUNCTION', 'CREATE PROCEDURE', 'CREATE AGGREGATE', 'CREATE TYPE', 'GRANT',
    'REVOKE', 'ALTER FUNCTION', 'ALTER PROCEDURE', 'ALTER ROUTINE', 'ALTER AGGREGATE',
    'ALTER DEFAULT PRIVILEGES', 'ALTER EXTENSION', 'CREATE EXTENSION')
  EXECUTE FUNCTION morph_catalog.guard_routines();

-- Built-in functions that run a query given as text or by name: as morph_owner they would read the
-- control plane's tables out of a client's DEFAULT.
DO $$
DECLARE
  routine regprocedure;
BEGIN
  FOR routine IN
    SELECT oid FROM pg_catalog.pg_proc WHERE pronamespace = 'pg_catalog'::regnamespace
      AND (proname ~ '^(query|table|schema|database|cursor)_to_xml' OR proname IN ('ts_stat')
        OR (proname = 'ts_rewrite' AND proargtypes[1] = 'text'::regtype))
  LOOP
    EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', routine);
    EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO morph_client', routine);
  END LOOP;
END $$;

-- The control plane's own questions inside a client's session: as the client, but whatever its
-- search_path is and whatever it put into pg_temp, with the names of pg_catalog. Rows as JSON.
SET ROLE morph_owner;
CREATE OR REPLACE FUNCTION morph_catalog.query(sql pg_catalog.text)
  RETURNS SETOF pg_catalog.text LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  RETURN QUERY EXECUTE 'SELECT row_to_json(q)::text FROM (' || sql || ') q';
END $$;
GRANT EXECUTE ON FUNCTION morph_catalog.query(text) TO morph_client;
RESET ROLE;
