-- The fixed objects of the database `morph`, made once and brought up to date at every start.
-- Run by the superuser. Everything that clients or their DDL can influence is owned by
-- morph_owner, an ordinary role: code that a client wrote can never run as the superuser.

DO $$
BEGIN
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'morph_owner') THEN
    CREATE ROLE morph_owner NOLOGIN;
  END IF;
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'morph_client') THEN
    CREATE ROLE morph_client NOLOGIN;
  END IF;
END $$;

REVOKE ALL ON DATABASE morph FROM PUBLIC;
-- The role morph has a schema of its own name; "$user" on the path would find it.
ALTER DATABASE morph SET search_path = public;
GRANT CONNECT, TEMPORARY ON DATABASE morph TO morph_client;
GRANT CREATE ON DATABASE morph TO morph_owner;
ALTER SCHEMA public OWNER TO morph_owner;
REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE, CREATE ON SCHEMA public TO morph_client;

CREATE SCHEMA IF NOT EXISTS morph_catalog AUTHORIZATION morph_owner;
CREATE SCHEMA IF NOT EXISTS morph_store AUTHORIZATION morph_owner;
CREATE SCHEMA IF NOT EXISTS morph AUTHORIZATION morph_owner;
GRANT USAGE ON SCHEMA morph TO morph_client;
GRANT USAGE ON SCHEMA morph_catalog TO morph_client;

-- Untrusted ground: large objects and file functions are superuser-only already; these are not.
REVOKE ALL ON FUNCTION pg_catalog.lo_creat(integer), pg_catalog.lo_create(oid),
  pg_catalog.lo_from_bytea(oid, bytea) FROM PUBLIC;

SET ROLE morph_owner;

CREATE TABLE IF NOT EXISTS morph_catalog.state (
  singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
  epoch bigint NOT NULL,
  current_version int NOT NULL,
  head_version int NOT NULL,
  next_id int NOT NULL
);
INSERT INTO morph_catalog.state VALUES (true, 0, 0, 0, 1) ON CONFLICT DO NOTHING;

CREATE TABLE IF NOT EXISTS morph_catalog.versions (
  version int PRIMARY KEY,
  parent int NOT NULL,
  spec jsonb NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  source_state jsonb
);
-- What the version's change did to the rows of all versions; see catalog/shared.py.
ALTER TABLE morph_catalog.versions ADD COLUMN IF NOT EXISTS shared jsonb NOT NULL DEFAULT '[]';

CREATE TABLE IF NOT EXISTS morph_catalog.changes (
  change_id int NOT NULL,
  seq int NOT NULL,
  kind text NOT NULL,
  relation text NOT NULL,
  ddl text NOT NULL,
  origin text NOT NULL,
  actor text NOT NULL,
  state text NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  state_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (change_id, seq)
);

CREATE TABLE IF NOT EXISTS morph_catalog.events (
  event_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  at timestamptz NOT NULL DEFAULT now(),
  table_id int NOT NULL,
  relation text NOT NULL,
  path text NOT NULL,
  kind text NOT NULL,
  detail text NOT NULL,
  documents bigint NOT NULL
);

CREATE TABLE IF NOT EXISTS morph_catalog.instances (
  instance_id text PRIMARY KEY,
  kind text NOT NULL,
  dsn_ref text NOT NULL,
  role text NOT NULL,
  model_version int NOT NULL,
  freshness_at timestamptz NOT NULL DEFAULT now(),
  health text NOT NULL
);
ALTER TABLE morph_catalog.instances
  ADD COLUMN IF NOT EXISTS origin text NOT NULL DEFAULT 'sql',
  ADD COLUMN IF NOT EXISTS options jsonb NOT NULL DEFAULT '{}',
  ADD COLUMN IF NOT EXISTS login jsonb;
INSERT INTO morph_catalog.instances VALUES ('embedded', 'embedded', '', 'primary', 0, now(), 'ok')
  ON CONFLICT DO NOTHING;
UPDATE morph_catalog.instances SET origin = 'built in'
  WHERE instance_id = 'embedded' AND origin <> 'built in';

-- What each worker found when it looked last; apart from the instances, which open transactions of
-- clients may have locked.
CREATE UNLOGGED TABLE IF NOT EXISTS morph_catalog.instance_health (
  worker int NOT NULL,
  instance_id text NOT NULL,
  health text NOT NULL,
  server text NOT NULL,
  checked_at timestamptz NOT NULL,
  PRIMARY KEY (worker, instance_id)
);

-- What the workers' memory holds, written out when somebody asks (morph.sessions, morph.statements).
CREATE UNLOGGED TABLE IF NOT EXISTS morph_catalog.sessions (
  worker int NOT NULL,
  session_id int NOT NULL,
  usename text NOT NULL,
  application_name text NOT NULL,
  client_addr text NOT NULL,
  state text NOT NULL,
  namespace text NOT NULL,
  version int NOT NULL,
  attached_pid int,
  connected_at timestamptz NOT NULL,
  statements bigint NOT NULL,
  query text NOT NULL,
  PRIMARY KEY (worker, session_id)
);
CREATE UNLOGGED TABLE IF NOT EXISTS morph_catalog.statements (
  worker int NOT NULL,
  fingerprint text NOT NULL,
  query text NOT NULL,
  kind text NOT NULL,
  tier int NOT NULL,
  calls bigint NOT NULL,
  errors bigint NOT NULL,
  total_ms double precision NOT NULL,
  max_ms double precision NOT NULL,
  PRIMARY KEY (worker, fingerprint)
);

CREATE TABLE IF NOT EXISTS morph_catalog.ddl_key (secret bytea NOT NULL);
INSERT INTO morph_catalog.ddl_key
  SELECT sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()))
  WHERE NOT EXISTS (SELECT FROM morph_catalog.ddl_key);
CREATE UNLOGGED TABLE IF NOT EXISTS morph_catalog.nonces (nonce text PRIMARY KEY);

-- DDL of the control plane inside a client's own transaction. Only Morphgres knows the secret, so a
-- client cannot call it: the code authenticates the statements and the backend, once.
CREATE OR REPLACE FUNCTION morph_catalog.apply(statements text[], nonce text, code text)
  RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  statement text;
BEGIN
  IF code IS DISTINCT FROM (
    SELECT encode(sha256(secret || convert_to(
      nonce || ':' || pg_backend_pid() || ':' || array_to_string(statements, E'\x01'), 'UTF8')), 'hex')
    FROM morph_catalog.ddl_key
  ) THEN
    RAISE insufficient_privilege USING MESSAGE = 'permission denied for function apply';
  END IF;
  INSERT INTO morph_catalog.nonces VALUES (nonce);
  FOREACH statement IN ARRAY statements LOOP
    EXECUTE statement;
  END LOOP;
END $$;

-- The catalog as the caller's transaction sees it; see catalog/store.py, SNAPSHOT_QUERY.
CREATE OR REPLACE FUNCTION morph_catalog.snapshot()
  RETURNS TABLE (epoch text, current_version text, head_version text, next_id text,
    version text, parent text, created_at text, spec text)
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT s.epoch::text, s.current_version::text, s.head_version::text, s.next_id::text,
    v.version::text, v.parent::text, v.created_at::text, v.spec::text
  FROM morph_catalog.state s LEFT JOIN morph_catalog.versions v ON true ORDER BY v.version
$$;

-- The instances as the caller's transaction sees them; see catalog/instances.py.
CREATE OR REPLACE FUNCTION morph_catalog.instance_rows()
  RETURNS TABLE (name text, kind text, origin text, options text, login text)
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT instance_id, kind, origin, options::text, login::text
  FROM morph_catalog.instances ORDER BY instance_id
$$;

-- Changes that need data work (evolution/changes): where each is, what happened to it, who holds a
-- fence. `state` and the flags beside it are evolution.changes.states.State; `tables` are the
-- layouts as they were when it began; `wanted` is what a client waits for.
CREATE TABLE IF NOT EXISTS morph_catalog.shadows (
  change_id int PRIMARY KEY,
  parent int NOT NULL,
  state text NOT NULL,
  revision bigint NOT NULL DEFAULT 1,
  epoch bigint NOT NULL DEFAULT 0,
  held boolean NOT NULL DEFAULT false,
  lazy boolean NOT NULL DEFAULT false,
  percent int NOT NULL DEFAULT 0,
  settled boolean NOT NULL DEFAULT false,
  tables jsonb NOT NULL,
  wanted text NOT NULL DEFAULT '',
  attempts int NOT NULL DEFAULT 0,
  retry_at timestamptz,
  reason text NOT NULL DEFAULT '',
  report_id bigint NOT NULL DEFAULT 0,
  window_until timestamptz,
  owner text NOT NULL DEFAULT '',
  created_at timestamptz NOT NULL DEFAULT now(),
  state_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE IF NOT EXISTS morph_catalog.change_steps (
  step_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  change_id int NOT NULL,
  at timestamptz NOT NULL DEFAULT clock_timestamp(),
  event text NOT NULL,
  from_state text NOT NULL,
  to_state text NOT NULL,
  revision bigint NOT NULL,
  epoch bigint NOT NULL,
  actor text NOT NULL,
  detail text NOT NULL
);
CREATE INDEX IF NOT EXISTS change_steps_change ON morph_catalog.change_steps (change_id, step_id);

CREATE TABLE IF NOT EXISTS morph_catalog.fences (
  table_id int PRIMARY KEY,
  change_id int NOT NULL,
  epoch bigint NOT NULL,
  expires_at timestamptz NOT NULL
);

-- What validations found (evolution/validation): a report for each table and run, with where it got
-- (`run_cursor`, `in_flight`), and the details of up to 10,000 discrepancies; counts are of all.
CREATE TABLE IF NOT EXISTS morph_catalog.validation_reports (
  report_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  change_id int NOT NULL,
  table_id int NOT NULL,
  relation text NOT NULL,
  method text NOT NULL,
  state text NOT NULL DEFAULT 'running',
  verdict text NOT NULL DEFAULT '',
  message text NOT NULL DEFAULT '',
  started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  from_key text NOT NULL DEFAULT '',
  to_key text NOT NULL DEFAULT '',
  run_cursor bytea,
  in_flight bytea[] NOT NULL DEFAULT '{}',
  rows_compared bigint NOT NULL DEFAULT 0,
  bytes bigint NOT NULL DEFAULT 0,
  seconds double precision NOT NULL DEFAULT 0,
  bound double precision,
  counts jsonb NOT NULL DEFAULT '{}',
  severities jsonb NOT NULL DEFAULT '{}'
);
CREATE INDEX IF NOT EXISTS validation_reports_table
  ON morph_catalog.validation_reports (change_id, table_id, report_id);

CREATE TABLE IF NOT EXISTS morph_catalog.discrepancies (
  report_id bigint NOT NULL REFERENCES morph_catalog.validation_reports ON DELETE CASCADE,
  seq int NOT NULL,
  type text NOT NULL,
  severity text NOT NULL,
  message text NOT NULL,
  record_id text NOT NULL,
  row_key bytea,
  column_name text NOT NULL DEFAULT '',
  primary_value_hash text NOT NULL DEFAULT '',
  shadow_value_hash text NOT NULL DEFAULT '',
  lsn bigint NOT NULL DEFAULT 0,
  PRIMARY KEY (report_id, seq)
);

-- Written many times a second and told again by the layouts after a crash: no durability needed.
CREATE UNLOGGED TABLE IF NOT EXISTS morph_catalog.shadow_progress (
  change_id int PRIMARY KEY,
  rows bigint NOT NULL,
  total bigint NOT NULL,
  bytes bigint NOT NULL,
  applied bigint NOT NULL,
  pending bigint NOT NULL,
  lag_s double precision NOT NULL,
  left_out bigint NOT NULL,
  start_lsn bigint NOT NULL,
  applied_lsn bigint NOT NULL,
  rows_per_s double precision NOT NULL,
  heartbeat_at timestamptz NOT NULL
);

-- Which versions the sessions of each worker chose themselves, when it was asked last.
CREATE UNLOGGED TABLE IF NOT EXISTS morph_catalog.pins (
  worker int PRIMARY KEY,
  at timestamptz NOT NULL,
  versions int[] NOT NULL
);

-- What each worker says of its clients' reads, to who asked for it (proxy/inline_asking.py).
CREATE UNLOGGED TABLE IF NOT EXISTS morph_catalog.inline_answers (
  ask bigint NOT NULL,
  worker int NOT NULL,
  at timestamptz NOT NULL,
  state text NOT NULL,
  report_id bigint NOT NULL,
  critical int NOT NULL,
  found text NOT NULL,
  PRIMARY KEY (ask, worker)
);

-- One transition, as evolution/changes/records.py writes it: compare-and-set on (change, state,
-- revision), a step, the fences, and the announcement at commit. Only for morph_owner: with the
-- rights of its caller.
CREATE OR REPLACE FUNCTION morph_catalog.move_change(move jsonb)
  RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  number int := (move ->> 'change_id')::int;
  fresh morph_catalog.shadows;
BEGIN
  UPDATE morph_catalog.shadows s SET
    state = move -> 'to' ->> 'phase', revision = s.revision + 1,
    epoch = (move -> 'to' ->> 'epoch')::bigint, held = (move -> 'to' ->> 'held')::boolean,
    lazy = (move -> 'to' ->> 'lazy')::boolean, percent = (move -> 'to' ->> 'percent')::int,
    settled = (move -> 'to' ->> 'settled')::boolean,
    wanted = coalesce(move ->> 'wanted', s.wanted), reason = move ->> 'reason',
    attempts = (move ->> 'attempts')::int,
    retry_at = clock_timestamp() + (move ->> 'retry_s')::float8 * interval '1 s',
    report_id = coalesce((move ->> 'report_id')::bigint, s.report_id),
    owner = coalesce(move ->> 'owner', s.owner),
    tables = coalesce(move -> 'tables', s.tables),
    window_until = CASE WHEN move ? 'window_s'
      THEN clock_timestamp() + (move ->> 'window_s')::float8 * interval '1 s'
      ELSE s.window_until END,
    state_at = CASE WHEN s.state = move -> 'to' ->> 'phase' THEN s.state_at
      ELSE clock_timestamp() END
  WHERE s.change_id = number AND s.state = move ->> 'from'
    AND s.revision = (move ->> 'revision')::bigint
  RETURNING s.* INTO fresh;
  IF NOT FOUND THEN
    RAISE serialization_failure USING MESSAGE = format('change %s has moved on', number);
  END IF;
  INSERT INTO morph_catalog.change_steps
    (change_id, event, from_state, to_state, revision, epoch, actor, detail)
    VALUES (number, move ->> 'event', move ->> 'from', fresh.state, fresh.revision, fresh.epoch,
      move ->> 'actor', fresh.reason);
  DELETE FROM morph_catalog.fences WHERE change_id = number;
  IF move ? 'fence_s' THEN
    INSERT INTO morph_catalog.fences
      SELECT (t ->> 'table_id')::int, number, fresh.epoch,
        clock_timestamp() + (move ->> 'fence_s')::float8 * interval '1 s'
      FROM jsonb_array_elements(fresh.tables) t;
  END IF;
  PERFORM pg_notify('morph_change', json_build_object('changeId', number, 'from', move ->> 'from',
    'state', fresh.state, 'revision', fresh.revision, 'event', move ->> 'event',
    'reason', left(fresh.reason, 500))::text);
END $$;

-- What DDL in a client's own transaction must know of changes in flight; see records.py.
CREATE OR REPLACE FUNCTION morph_catalog.shadow_rows()
  RETURNS SETOF text
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT row_to_json(q)::text FROM (
    SELECT s.*, extract(epoch FROM s.retry_at - clock_timestamp()) AS retry_in_s,
      extract(epoch FROM s.window_until - clock_timestamp()) AS window_s,
      extract(epoch FROM clock_timestamp() - s.state_at) AS age_s,
      extract(epoch FROM f.expires_at - clock_timestamp()) AS fence_s
    FROM morph_catalog.shadows s
    LEFT JOIN LATERAL (
      SELECT max(expires_at) AS expires_at FROM morph_catalog.fences WHERE change_id = s.change_id
    ) f ON true
    ORDER BY s.change_id
  ) q
$$;

-- Sequences. The identity of a shape's column has a sequence of its own that never moves: the one
-- that counts is the store's. What clients say of sequences by name is led there; see
-- rewrite/rules/sequences.py.
GRANT USAGE, SELECT, UPDATE ON ALL SEQUENCES IN SCHEMA morph_store TO morph_client;
ALTER DEFAULT PRIVILEGES IN SCHEMA morph_store
  GRANT USAGE, SELECT, UPDATE ON SEQUENCES TO morph_client;

CREATE OR REPLACE FUNCTION morph_catalog.store_sequence(sequence regclass)
  RETURNS regclass LANGUAGE plpgsql STABLE STRICT SECURITY DEFINER
  SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  shape record;
  owned text;
BEGIN
  SELECT n.nspname, c.relname, a.attname INTO shape
  FROM pg_depend d JOIN pg_class c ON c.oid = d.refobjid
    JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
  WHERE d.classid = 'pg_class'::regclass AND d.objid = sequence AND d.deptype = 'i'
    AND c.relowner = 'morph_owner'::regrole AND n.nspname ~ '^(public|v[0-9]+)$';
  IF NOT FOUND THEN
    RETURN sequence;
  END IF;
  SELECT pg_get_serial_sequence(format('morph_store.%I', t ->> 'store'), c -> 'source' ->> 'column')
  INTO owned
  FROM morph_catalog.versions v, jsonb_array_elements(v.spec) t,
    jsonb_array_elements(t -> 'columns') c
  WHERE t ->> 'name' = shape.relname AND c ->> 'name' = shape.attname
    AND c -> 'source' ->> 'kind' = 'stored'
    AND v.version = CASE shape.nspname WHEN 'public'
      THEN (SELECT current_version FROM morph_catalog.state) ELSE substr(shape.nspname, 2)::int END;
  RETURN coalesce(owned::regclass, sequence);
END $$;

CREATE OR REPLACE FUNCTION morph_catalog.nextval(regclass) RETURNS bigint LANGUAGE sql VOLATILE
  RETURN pg_catalog.nextval(morph_catalog.store_sequence($1));
CREATE OR REPLACE FUNCTION morph_catalog.setval(regclass, bigint) RETURNS bigint
  LANGUAGE sql VOLATILE RETURN pg_catalog.setval(morph_catalog.store_sequence($1), $2);
CREATE OR REPLACE FUNCTION morph_catalog.setval(regclass, bigint, boolean) RETURNS bigint
  LANGUAGE sql VOLATILE RETURN pg_catalog.setval(morph_catalog.store_sequence($1), $2, $3);
CREATE OR REPLACE FUNCTION morph_catalog.currval(sequence regclass) RETURNS bigint
  LANGUAGE plpgsql VOLATILE AS $$
BEGIN
  RETURN pg_catalog.currval(morph_catalog.store_sequence(sequence));
EXCEPTION WHEN object_not_in_prerequisite_state THEN
  RAISE object_not_in_prerequisite_state USING MESSAGE = pg_catalog.format(
    'currval of sequence "%s" is not yet defined in this session',
    (SELECT relname FROM pg_catalog.pg_class WHERE oid = sequence));
END $$;
-- A serial column's sequence is no possession of one shape, so PostgreSQL's own finds none.
CREATE OR REPLACE FUNCTION morph_catalog.pg_get_serial_sequence(relation text, attribute text)
  RETURNS text LANGUAGE plpgsql STABLE STRICT AS $$
DECLARE
  found text := pg_catalog.pg_get_serial_sequence(relation, attribute);
BEGIN
  RETURN coalesce(found, (
    SELECT pg_catalog.format('%I.%I', n.nspname, s.relname)
    FROM pg_catalog.pg_attrdef f
      JOIN pg_catalog.pg_attribute a ON a.attrelid = f.adrelid AND a.attnum = f.adnum
      JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass
        AND d.objid = f.oid AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
      JOIN pg_catalog.pg_class s ON s.oid = d.refobjid AND s.relkind = 'S'
      JOIN pg_catalog.pg_namespace n ON n.oid = s.relnamespace
    WHERE f.adrelid = relation::pg_catalog.regclass AND a.attname = attribute
      AND s.relowner = 'morph_owner'::pg_catalog.regrole
      AND pg_catalog.pg_get_expr(f.adbin, f.adrelid) LIKE 'nextval(%::regclass)'
    LIMIT 1));
END $$;

RESET ROLE;

-- Instances and foreign tables stand in PostgreSQL's own catalogs too, for \des, \det and
-- information_schema: servers of wrappers that have no handler, so nothing there can be executed.
DO $$
DECLARE
  kind text;
BEGIN
  FOREACH kind IN ARRAY ARRAY['mongodb', 'cassandra', 'postgres'] LOOP
    IF NOT EXISTS (SELECT FROM pg_foreign_data_wrapper WHERE fdwname = kind) THEN
      EXECUTE format('CREATE FOREIGN DATA WRAPPER %I NO HANDLER NO VALIDATOR', kind);
    END IF;
    EXECUTE format('GRANT USAGE ON FOREIGN DATA WRAPPER %I TO morph_owner', kind);
  END LOOP;
END $$;

-- The one thing that needs the superuser: a shape may show a virtual generated column whose
-- expression calls generators (see catalog/shapes.py). It touches nothing but such a flag, of a
-- table in a shape schema that morph_owner owns.
DROP FUNCTION IF EXISTS morph_catalog.mark_virtual(regclass);
CREATE OR REPLACE FUNCTION morph_catalog.mark_virtual(shape regclass, stored text[] DEFAULT '{}')
  RETURNS void LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  UPDATE pg_catalog.pg_attribute a SET attgenerated = 'v'
  FROM pg_catalog.pg_class c
  WHERE a.attrelid = shape AND a.attgenerated = 's' AND c.oid = shape
    AND c.relowner = 'morph_owner'::regrole AND c.relkind IN ('r', 'f')
    AND a.attname <> ALL (stored)
$$;
REVOKE ALL ON FUNCTION morph_catalog.mark_virtual(regclass, text[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION morph_catalog.mark_virtual(regclass, text[]) TO morph_owner;

SET ROLE morph_owner;

-- The rows of a foreign table are never here: a statement reads a staged copy of them. Whatever
-- runs past that would find an empty table, and must fail instead (DESIGN 4, never silently empty).
-- STABLE, so that PostgreSQL asks it once before the table, and not for each of its no rows.
CREATE OR REPLACE FUNCTION morph_catalog.not_staged(relation text)
  RETURNS boolean LANGUAGE plpgsql STABLE AS $$
BEGIN
  RAISE EXCEPTION 'foreign table "%" cannot be used here', relation USING
    ERRCODE = 'feature_not_supported',
    DETAIL = 'Rows of other stores reach statements of the client, not those in functions and DO.',
    HINT = 'Copy what is needed into a temporary table first, and write by a statement of its own.';
END $$;

-- Writes to fields of a document. NULL removes the field: missing and NULL are the same in SQL.
CREATE OR REPLACE FUNCTION morph_catalog.put(doc jsonb, key text, value jsonb)
  RETURNS jsonb LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT CASE WHEN value IS NULL THEN doc OPERATOR(pg_catalog.-) key
    ELSE doc OPERATOR(pg_catalog.||) pg_catalog.jsonb_build_object(key, value) END
$$;

CREATE OR REPLACE FUNCTION morph_catalog.put_path(doc jsonb, path text[], value jsonb)
  RETURNS jsonb LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  child jsonb;
BEGIN
  IF array_length(path, 1) = 1 THEN
    RETURN morph_catalog.put(doc, path[1], value);
  END IF;
  child := nullif(doc -> path[1], 'null'::jsonb);
  IF child IS NULL THEN
    IF value IS NULL THEN
      RETURN doc;
    END IF;
    child := '{}'::jsonb;
  ELSIF jsonb_typeof(child) <> 'object' THEN
    RAISE EXCEPTION USING ERRCODE = '22023',
      MESSAGE = format('cannot set a field inside "%s": it holds %s in this document',
        path[1], jsonb_typeof(child));
  END IF;
  RETURN doc || jsonb_build_object(path[1], morph_catalog.put_path(child, path[2:], value));
END $$;

-- A write through a lens (catalog/lenses.py) that the store's layout cannot hold: the value is
-- kept, other versions show another one. Said once a transaction and column.
CREATE OR REPLACE FUNCTION morph_catalog.inexact(column_id int, column_name text)
  RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  setting text := 'morph.inexact_' || column_id;
BEGIN
  IF current_setting(setting, true) IS DISTINCT FROM 'said' THEN
    PERFORM set_config(setting, 'said', true);
    RAISE WARNING 'column "%" holds a value here that other versions cannot show', column_name
      USING DETAIL = 'It is kept for the versions that can; others show what it is in their type.';
  END IF;
END $$;

GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA morph_catalog TO morph_client;
REVOKE ALL ON FUNCTION morph_catalog.mark_virtual(regclass, text[]) FROM morph_client;

RESET ROLE;
REVOKE ALL ON FUNCTION morph_catalog.mark_virtual(regclass, text[]) FROM PUBLIC;

SET ROLE morph_owner;
-- Extended JSON (relaxed, version 2) for types that JSON has no form for.
CREATE OR REPLACE FUNCTION morph_catalog.extended_json(value timestamptz)
  RETURNS jsonb LANGUAGE sql STABLE STRICT PARALLEL SAFE AS $$
  SELECT pg_catalog.jsonb_build_object('$date', pg_catalog.to_jsonb(value AT TIME ZONE 'UTC')
    OPERATOR(pg_catalog.#>>) '{}' || 'Z') $$;
CREATE OR REPLACE FUNCTION morph_catalog.extended_json(value uuid)
  RETURNS jsonb LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
  SELECT pg_catalog.jsonb_build_object('$uuid', value::text) $$;
CREATE OR REPLACE FUNCTION morph_catalog.extended_json(value bytea)
  RETURNS jsonb LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
  SELECT pg_catalog.jsonb_build_object('$binary', pg_catalog.jsonb_build_object(
    'base64', pg_catalog.encode(value, 'base64'), 'subType', '00')) $$;

-- The arrays that a document can hold: one dimension that starts at 1.
CREATE OR REPLACE FUNCTION morph_catalog.array_json(value anyarray)
  RETURNS jsonb LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE SET search_path = pg_catalog AS $$
BEGIN
  IF array_ndims(value) > 1 OR array_lower(value, 1) <> 1 THEN
    RAISE EXCEPTION USING ERRCODE = '0A000',
      MESSAGE = 'a document holds only arrays of one dimension that starts at 1',
      HINT = 'Keep other arrays in a jsonb column.';
  END IF;
  RETURN to_jsonb(value);
END $$;

-- Assignment to elements, in PostgreSQL's own way: SET meta['a'][0] = …, tags[2] = …
CREATE OR REPLACE FUNCTION morph_catalog.is_index(subscript integer) RETURNS boolean
  LANGUAGE sql IMMUTABLE PARALLEL SAFE AS 'SELECT true';
CREATE OR REPLACE FUNCTION morph_catalog.is_index(subscript text) RETURNS boolean
  LANGUAGE sql IMMUTABLE PARALLEL SAFE AS 'SELECT false';

CREATE OR REPLACE FUNCTION morph_catalog.assign_key(
  base jsonb, value jsonb, is_index boolean, path text[])
  RETURNS jsonb LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog AS $$
BEGIN
  value := coalesce(value, 'null'::jsonb);
  base := coalesce(base, CASE WHEN is_index THEN '[]'::jsonb ELSE '{}'::jsonb END);
  CASE cardinality(path)
    WHEN 1 THEN base[path[1]] := value;
    WHEN 2 THEN base[path[1]][path[2]] := value;
    WHEN 3 THEN base[path[1]][path[2]][path[3]] := value;
    WHEN 4 THEN base[path[1]][path[2]][path[3]][path[4]] := value;
    WHEN 5 THEN base[path[1]][path[2]][path[3]][path[4]][path[5]] := value;
    WHEN 6 THEN base[path[1]][path[2]][path[3]][path[4]][path[5]][path[6]] := value;
    ELSE RAISE EXCEPTION USING ERRCODE = '54000', MESSAGE = 'more than 6 subscripts in a document';
  END CASE;
  RETURN base;
END $$;

CREATE OR REPLACE FUNCTION morph_catalog.assign_element(
  base anyarray, value anyelement, at integer)
  RETURNS anyarray LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog AS $$
BEGIN
  base[at] := value;
  RETURN base;
END $$;

CREATE OR REPLACE FUNCTION morph_catalog.assign_slice(
  base anyarray, value anyarray, low integer, high integer)
  RETURNS anyarray LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog AS $$
BEGIN
  base[low:high] := value;
  RETURN base;
END $$;

-- Whether a JSON value is one that the readers (catalog/readers.py) give back as that type.
CREATE OR REPLACE FUNCTION morph_catalog.value_fits(value jsonb, type text)
  RETURNS boolean LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog AS $$
DECLARE
  found text := jsonb_typeof(value);
BEGIN
  IF value IS NULL OR found = 'null' OR type = 'jsonb' THEN
    RETURN true;
  ELSIF type LIKE '%[]' THEN
    RETURN found = 'array' AND coalesce((SELECT bool_and(morph_catalog.value_fits(e, left(type, -2)))
      FROM jsonb_array_elements(CASE WHEN found = 'array' THEN value END) e), true);
  ELSIF type = 'boolean' THEN
    RETURN found = 'boolean';
  ELSIF type IN ('smallint', 'integer', 'bigint') THEN
    RETURN found = 'number' AND pg_input_is_valid(trim_scale((value #>> '{}')::numeric)::text, type)
      AND pg_input_is_valid(value #>> '{}', type);
  ELSIF type IN ('real', 'double precision') OR type LIKE 'numeric%' THEN
    RETURN (found = 'number' AND pg_input_is_valid(value #>> '{}', type))
      OR (found = 'string' AND value #>> '{}' IN ('NaN', 'Infinity', '-Infinity'));
  ELSIF type IN ('timestamp with time zone', 'uuid') THEN
    RETURN found = 'object' AND coalesce(pg_input_is_valid(
      value ->> CASE type WHEN 'uuid' THEN '$uuid' ELSE '$date' END, type), false);
  ELSIF type = 'bytea' THEN
    RETURN found = 'object' AND value #>> '{$binary,base64}' IS NOT NULL;
  END IF;
  RETURN found = 'string' AND pg_input_is_valid(value #>> '{}', type);
END $$;

CREATE OR REPLACE FUNCTION morph_catalog.check_fields(doc jsonb, columns jsonb)
  RETURNS void LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog AS $$
DECLARE
  rule jsonb;
  value jsonb;
  key text;
BEGIN
  FOR rule IN SELECT jsonb_array_elements(columns) LOOP
    value := doc;
    FOR key IN SELECT jsonb_array_elements_text(rule -> 'path') LOOP
      EXIT WHEN value IS NULL OR jsonb_typeof(value) = 'null';
      IF jsonb_typeof(value) <> 'object' THEN
        RAISE EXCEPTION USING ERRCODE = '22P02',
          MESSAGE = format('value for column "%s" of type %s does not fit: %s stands around it',
            rule ->> 'name', rule ->> 'type', jsonb_typeof(value)),
          DETAIL = format('The path is %s.', rule ->> 'path'),
          HINT = 'Load the document instead (morphgres load): loading makes room for other types.';
      END IF;
      value := value -> key;
    END LOOP;
    IF NOT morph_catalog.value_fits(value, rule ->> 'type') THEN
      RAISE EXCEPTION USING ERRCODE = '22P02',
        MESSAGE = format('value for column "%s" does not fit type %s: %s',
          rule ->> 'name', rule ->> 'type', left(value::text, 100)),
        DETAIL = format('The path is %s.', rule ->> 'path'),
        HINT = 'Load the document instead (morphgres load): loading makes room for other types.';
    END IF;
  END LOOP;
END $$;

-- The document itself, or 22P02 when a column or child table could not read it (DESIGN 7.8).
CREATE OR REPLACE FUNCTION morph_catalog.fits(doc jsonb, rules jsonb)
  RETURNS jsonb LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog AS $$
DECLARE
  child jsonb;
  element jsonb;
  path text[];
BEGIN
  IF doc IS NULL OR jsonb_typeof(doc) <> 'object' THEN
    RAISE EXCEPTION USING ERRCODE = '22P02',
      MESSAGE = format('a document is a JSON object, not %s', coalesce(jsonb_typeof(doc), 'NULL'));
  END IF;
  PERFORM morph_catalog.check_fields(doc, rules -> 'columns');
  FOR child IN SELECT jsonb_array_elements(rules -> 'children') LOOP
    path := ARRAY(SELECT jsonb_array_elements_text(child -> 'path'));
    IF jsonb_typeof(doc #> path) = 'array' THEN
      FOR element IN SELECT jsonb_array_elements(doc #> path) LOOP
        PERFORM morph_catalog.check_fields(element, child -> 'columns');
      END LOOP;
    ELSIF jsonb_typeof(doc #> path) <> 'null' THEN
      RAISE EXCEPTION USING ERRCODE = '22P02',
        MESSAGE = format('value at %s does not fit: a child table reads an array there, not %s',
          child ->> 'path', jsonb_typeof(doc #> path)),
        HINT = 'Load the document instead (morphgres load): loading makes room for other types.';
    END IF;
  END LOOP;
  RETURN doc;
END $$;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA morph_catalog TO morph_client;
RESET ROLE;

SET ROLE morph_owner;
-- The change log and the shadows of the embedded store (evolution/layouts/embedded). One row of
-- morph_log.shadows is one layout that is fed: where its backfill and its log are, written in the
-- same transaction as the rows. `columns` has the expression over a row of the live layout for
-- each column of the shadow that is not the same; keys are texts, as output functions print them.
-- What is in the snapshot `looked` was compared, by a validation or after it; the log since is kept.
CREATE SCHEMA IF NOT EXISTS morph_log AUTHORIZATION morph_owner;
CREATE TABLE IF NOT EXISTS morph_log.shadows (
  change_id int NOT NULL,
  table_id int NOT NULL,
  direction text NOT NULL,
  live text NOT NULL,
  shadow text NOT NULL,
  columns jsonb NOT NULL,
  epoch bigint NOT NULL,
  start_lsn bigint NOT NULL DEFAULT 0,
  applied_lsn bigint NOT NULL DEFAULT 0,
  checkpoint pg_snapshot,
  bound text[],
  cursor text[],
  copied boolean NOT NULL DEFAULT false,
  finished boolean NOT NULL DEFAULT false,
  chunk_rows int NOT NULL DEFAULT 500,
  total bigint NOT NULL DEFAULT 0,
  rows bigint NOT NULL DEFAULT 0,
  bytes bigint NOT NULL DEFAULT 0,
  applied bigint NOT NULL DEFAULT 0,
  looked pg_snapshot,
  PRIMARY KEY (change_id, table_id)
);
ALTER TABLE morph_log.shadows ADD COLUMN IF NOT EXISTS looked pg_snapshot;
-- Rows that a shadow cannot hold, because `up` fails on them or a constraint of the new layout.
CREATE TABLE IF NOT EXISTS morph_log.refused (
  change_id int NOT NULL,
  table_id int NOT NULL,
  key text[] NOT NULL,
  sqlstate text NOT NULL,
  message text NOT NULL,
  at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (change_id, table_id, key)
);
-- Layouts of tables in other stores (evolution/layouts/foreign), the same for those. `lsn` is the
-- last position that was drawn, under the owner's `epoch` since `claimed_at`; `recent` are the keys
-- written last; up to `tail` what others wrote past Morphgres is known, NULL where nobody tells.
CREATE TABLE IF NOT EXISTS morph_log.foreign_feeds (
  change_id int NOT NULL,
  table_id int NOT NULL UNIQUE,
  direction text NOT NULL,
  instance text NOT NULL,
  live jsonb NOT NULL,
  shadow jsonb NOT NULL,
  epoch bigint NOT NULL,
  claimed_at timestamptz NOT NULL DEFAULT to_timestamp(0),
  lsn bigint NOT NULL,
  start_lsn bigint NOT NULL DEFAULT 0,
  applied_lsn bigint NOT NULL DEFAULT 0,
  frozen boolean NOT NULL DEFAULT false,
  bound text,
  cursor text,
  copied boolean NOT NULL DEFAULT false,
  chunk_rows int NOT NULL DEFAULT 500,
  total bigint NOT NULL DEFAULT 0,
  rows bigint NOT NULL DEFAULT 0,
  bytes bigint NOT NULL DEFAULT 0,
  applied bigint NOT NULL DEFAULT 0,
  recent jsonb NOT NULL DEFAULT '[]',
  tail text,
  PRIMARY KEY (change_id, table_id)
);
ALTER TABLE morph_log.foreign_feeds ADD COLUMN IF NOT EXISTS tail text;
-- The keys that were brought into a layout at a position: for who reads both layouts meanwhile.
CREATE UNLOGGED TABLE IF NOT EXISTS morph_log.brought (
  table_id int NOT NULL,
  lsn bigint NOT NULL,
  keys jsonb NOT NULL,
  PRIMARY KEY (table_id, lsn)
);
-- Which tables have a log, as a number that grows; and up to which one each worker knows it.
CREATE TABLE IF NOT EXISTS morph_log.revision (
  single boolean PRIMARY KEY DEFAULT true CHECK (single),
  revision bigint NOT NULL DEFAULT 1,
  at timestamptz NOT NULL DEFAULT clock_timestamp()
);
INSERT INTO morph_log.revision DEFAULT VALUES ON CONFLICT DO NOTHING;
CREATE TABLE IF NOT EXISTS morph_log.workers (
  worker int PRIMARY KEY,
  incarnation bigint NOT NULL,
  started_at timestamptz NOT NULL,
  revision bigint NOT NULL
);
-- The last position of logs that are gone: a position is never used again.
CREATE TABLE IF NOT EXISTS morph_log.positions (
  table_id int PRIMARY KEY,
  last_lsn bigint NOT NULL
);
CREATE OR REPLACE FUNCTION morph_log.only_applied()
  RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF current_setting('morph.applying', true) IS DISTINCT FROM 'on'
    OR NOT pg_has_role(session_user, 'morph_owner', 'MEMBER') THEN
    RAISE serialization_failure USING
      MESSAGE = 'could not serialize access due to a cut-over of the table to another layout',
      HINT = 'The transaction might succeed if retried.';
  END IF;
  RETURN NULL;
END $$;
RESET ROLE;
