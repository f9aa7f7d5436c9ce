"""What a client cannot reach (DESIGN 4; decision 0007), and what is never silently empty."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.integration.server_process import ServerProcess, running
from tests.integration.wire import SYNC, WireClient, bind, error_of, execute, kinds, parse

Connection = psycopg.Connection[Any]
DENIED = "42501"
RESERVED = "42939"

TWO_ROLES = """
[[auth.rule]]
address = "loopback"
method = "trust"
[[auth.user]]
name = "other"
password = "env:OTHER_PASSWORD"
"""
PASSWORDS = {"OTHER_PASSWORD": "other"}


@pytest.fixture(scope="module")
def walled(open_directory: Path) -> Iterator[ServerProcess]:
    with running(open_directory / "walled", TWO_ROLES, environment=PASSWORDS) as server:
        with server.connect() as client:
            client.execute("CREATE TABLE orders (id int PRIMARY KEY, qty int, note text)")
            client.execute("INSERT INTO orders VALUES (1, 10, 'a'), (2, 20, 'b')")
            client.execute(SPY)
        yield server


SPY = """
CREATE FUNCTION public.spy(text) RETURNS text IMMUTABLE LANGUAGE plpgsql AS $$
DECLARE secret bytea;
BEGIN
  EXECUTE 'SELECT secret FROM morph_catalog.ddl_key' INTO secret;
  RAISE EXCEPTION 'leaked % as %', secret, current_user;
END $$"""


@pytest.fixture
def client(walled: ServerProcess) -> Iterator[Connection]:
    with walled.connect() as connection:
        yield connection


def code_of(client: Connection, sql: str) -> str:
    """The SQLSTATE of the last statement of a text, "" when nothing failed."""
    try:
        client.execute(sql.encode())
    except psycopg.Error as error:
        return error.sqlstate or type(error).__name__
    return ""


@pytest.mark.parametrize(
    "sql",
    [
        # files, programs, libraries
        "COPY (SELECT 1) TO PROGRAM 'cat > /tmp/leak'",
        "CREATE TEMP TABLE t (a text); COPY t FROM PROGRAM 'id'",
        "COPY (SELECT 1) TO '/tmp/leak'",
        "CREATE TEMP TABLE t (a text); COPY t FROM '/etc/passwd'",
        "SELECT pg_read_file('/etc/passwd')",
        "SELECT pg_read_file('postgresql.conf')",
        "SELECT pg_read_binary_file('PG_VERSION')",
        "SELECT pg_ls_dir('.')",
        "SELECT pg_ls_waldir()",
        "SELECT pg_stat_file('.')",
        "SELECT lo_import('/etc/passwd')",
        "SELECT lo_export(1, '/tmp/leak')",
        "SELECT lo_creat(-1)",
        "SELECT lo_create(0)",
        "SELECT lo_from_bytea(0, 'x')",
        "LOAD 'auto_explain'",
        "CREATE FUNCTION f() RETURNS int LANGUAGE c AS 'libc.so.6', 'abort'",
        "CREATE FUNCTION f() RETURNS int LANGUAGE internal AS 'pg_backend_pid'",
        "CREATE EXTENSION dblink",
        "CREATE EXTENSION postgres_fdw",
        "CREATE EXTENSION file_fdw",
        "CREATE EXTENSION hstore",
        "CREATE FOREIGN DATA WRAPPER w",
        "CREATE TABLESPACE t LOCATION '/tmp'",
        # the network and other databases
        "CREATE SUBSCRIPTION s CONNECTION 'host=192.0.2.1' PUBLICATION p",
        "CREATE PUBLICATION p",
        "CREATE DATABASE other",
        "DROP DATABASE postgres",
        # settings of the server, and of more than the session
        "ALTER SYSTEM SET work_mem = '1GB'",
        "ALTER DATABASE morph SET work_mem = '1GB'",
        "ALTER ROLE ALL SET work_mem = '1GB'",
        "SET temp_file_limit = -1",
        "SELECT set_config('temp_file_limit', '-1', false)",
        "ALTER ROLE morph SET temp_file_limit = -1",
        "SET dynamic_library_path = '/tmp'",
        "SET session_replication_role = replica",
        "SET allow_system_table_mods = on",
        "SET log_min_messages = debug5",
        "SHOW data_directory",
        "SHOW unix_socket_directories",
        "SELECT * FROM pg_hba_file_rules",
        # roles
        "SET ROLE morph_root",
        "SET ROLE morph_owner",
        "SET SESSION AUTHORIZATION morph_root",
        "CREATE ROLE hacker",
        "ALTER ROLE morph SUPERUSER",
        "ALTER ROLE morph_root NOSUPERUSER",
        "GRANT morph_owner TO morph",
        "GRANT pg_read_server_files TO morph",
        "SELECT rolpassword FROM pg_authid",
        "UPDATE pg_class SET relname = 'x'",
        # the control plane
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'morph_root'",
        "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE usename = 'morph_root'",
        "SELECT pg_reload_conf()",
        "SELECT pg_rotate_logfile()",
        "SELECT pg_stat_reset()",
        "SELECT pg_create_physical_replication_slot('x')",
        "CHECKPOINT",
        "CREATE EVENT TRIGGER e ON ddl_command_start EXECUTE FUNCTION spy()",
        "DROP EVENT TRIGGER morph_guard_routines",
        "ALTER EVENT TRIGGER morph_guard_routines DISABLE",
        "SELECT morph_catalog.apply(ARRAY['CREATE ROLE x'], 'n', 'c')",
        "SELECT morph_catalog.mark_virtual('public.orders')",
        "SELECT morph_catalog.query('SELECT * FROM morph_catalog.ddl_key')",
        "DO $$BEGIN EXECUTE 'SELECT * FROM morph_catalog.ddl_key'; END$$",
        "DO $$BEGIN EXECUTE 'DELETE FROM morph_store.t1'; END$$",
        "CREATE SCHEMA morph_v99",
        "CREATE SCHEMA v99",
        "CREATE FUNCTION morph.f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE FUNCTION morph_catalog.f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE FUNCTION v1.f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE FUNCTION pg_catalog.f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "DROP FUNCTION morph_catalog.snapshot()",
        "DROP SCHEMA morph CASCADE",
        "DROP SCHEMA v1 CASCADE",
        "ALTER SCHEMA public OWNER TO morph",
        "DROP OWNED BY morph_owner",
        "REASSIGN OWNED BY morph_owner TO morph",
    ],
)
def test_denied(client: Connection, sql: str) -> None:  # R6.3
    assert code_of(client, sql) == DENIED


@pytest.mark.parametrize(
    ("sql", "code"),
    [
        ("CREATE LANGUAGE plpython3u", "0A000"),  # its files are not even there
        ("DO LANGUAGE plpython3u 'pass'", "42704"),
        ("CREATE SERVER s FOREIGN DATA WRAPPER postgres_fdw", "42704"),
        ("CREATE FOREIGN TABLE f (a int) SERVER s", "42704"),
        ("SELECT lo_put(1, 0, 'x')", "42704"),
        ("PREPARE TRANSACTION 'x'", "55000"),
    ],
)
def test_not_there(client: Connection, sql: str, code: str) -> None:  # R6.3
    client.execute("BEGIN")
    assert code_of(client, sql) == code
    client.execute("ROLLBACK")


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM morph_store.t1",
        'SELECT * FROM "morph_store".t1',
        'TABLE "morph_store"."t1"',
        "SELECT * FROM morph_v1.orders",
        'SELECT * FROM "morph_v1".orders',
        "SELECT * FROM morph_w1.orders",
        "SELECT secret FROM morph_catalog.ddl_key",
        "SELECT 1 WHERE EXISTS (SELECT FROM morph_catalog.state)",
        "WITH x AS (SELECT * FROM morph_store.t1) SELECT * FROM x",
        "INSERT INTO morph_store.t1 VALUES (1)",
        "UPDATE morph_v1.orders SET qty = 1",
        "DELETE FROM morph_v1.orders",
        "MERGE INTO orders o USING morph_store.t1 t ON false WHEN MATCHED THEN DELETE",
        "TRUNCATE morph_store.t1",
        "COPY morph_store.t1 TO STDOUT",
        "LOCK TABLE morph_store.t1",
        "CREATE TABLE morph_store.x (a int)",
        "CREATE TABLE morph_catalog.x (a int)",
        "CREATE VIEW leak AS SELECT * FROM morph_catalog.ddl_key",
        "CREATE TEMP TABLE leak AS SELECT * FROM morph_catalog.ddl_key",
        "CREATE TEMP VIEW leak AS SELECT * FROM morph_catalog.ddl_key",
        "CREATE SEQUENCE morph_store.s",
        "DROP TABLE morph_store.t1",
        "ALTER TABLE morph_store.t1 ADD x int",
        "CREATE INDEX ON morph_store.t1 (c1)",
        "EXPLAIN SELECT * FROM morph_store.t1",
        "PREPARE leak AS SELECT * FROM morph_store.t1",
        "DECLARE leak CURSOR WITH HOLD FOR SELECT * FROM morph_store.t1",
        "DO $$BEGIN PERFORM * FROM morph_store.t1; END$$",
        "CREATE FUNCTION leak() RETURNS bytea LANGUAGE sql AS "
        "'SELECT secret FROM morph_catalog.ddl_key'",
        "GRANT SELECT ON morph_catalog.ddl_key TO morph",
        "COMMENT ON TABLE morph_store.t1 IS 'x'",
    ],
)
def test_reserved_schemas(walled: ServerProcess, client: Connection, sql: str) -> None:  # R6.3
    assert code_of(client, sql) == RESERVED
    with WireClient(walled.host, walled.port) as raw:
        raw.log_in()
        assert error_of(raw.ask(parse(sql), bind(), execute(), SYNC))["C"] == RESERVED


@pytest.mark.parametrize(
    ("parameters", "code"),
    [
        ({"dbname": "postgres"}, "3D000"),
        ({"dbname": "template1"}, "3D000"),
        ({"user": "morph_root"}, "28P01"),
        ({"user": "morph_owner"}, "28P01"),
        ({"user": "morph_client"}, "28P01"),
        ({"options": "-c role=morph_owner"}, DENIED),
        ({"options": "-c session_authorization=morph_root"}, DENIED),
        ({"options": "-c temp_file_limit=-1"}, DENIED),
        ({"options": "-c session_preload_libraries=x"}, DENIED),
    ],
)
def test_no_way_in(walled: ServerProcess, parameters: dict[str, str], code: str) -> None:
    settings = {k: v for k, v in parameters.items() if k != "dbname"}
    with WireClient(walled.host, walled.port) as raw:
        answers = raw.log_in(**settings, database=parameters.get("dbname", "morph"))
        assert error_of(answers)["C"] == code


def test_a_user_cannot_have_a_reserved_name(fresh_directory: Path) -> None:
    config = TWO_ROLES.replace('"other"', '"morph_root"')
    with pytest.raises(AssertionError, match='the name of user "morph_root" is reserved'):
        ServerProcess(fresh_directory, config, environment=PASSWORDS).start()


def test_other_roles_sessions_are_out_of_reach(walled: ServerProcess) -> None:  # R6.3
    with walled.connect(user="other") as other, walled.connect() as client:
        pid = other.execute("SELECT pg_backend_pid() AS secretive").fetchone()
        assert pid is not None
        assert code_of(client, f"SELECT pg_terminate_backend({pid[0]})") == DENIED
        shown = "SELECT query FROM pg_stat_activity WHERE usename = ANY('{other,morph_root}')"
        queries = {row[0] for row in client.execute(shown)}
        assert queries == {"<insufficient privilege>"}


def test_statements_of_the_control_plane_are_not_shown(walled: ServerProcess) -> None:  # R6.3
    """The code for morph_catalog.apply must not be seen by other sessions of the role."""
    with walled.connect() as worker, walled.connect() as watcher:
        worker.execute("BEGIN")
        worker.execute("CREATE TABLE seen (a int)")
        shown = "SELECT string_agg(query, ' ') FROM pg_stat_activity WHERE query ~ 'apply'"
        (text,) = watcher.execute(shown).fetchone() or ("",)
        worker.execute("ROLLBACK")
        assert "ARRAY" not in (text or "").replace("string_agg", "")


# ---------------------------------------------------------------------- code of clients


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE INDEX spied ON orders (public.spy(note))",
        "CREATE INDEX spied ON orders ((public.spy('constant')))",
        "CREATE INDEX spied ON orders (id) WHERE public.spy(note) IS NOT NULL",
        "ALTER TABLE orders ADD CONSTRAINT spied CHECK (public.spy(note) IS NOT NULL)",
        "ALTER TABLE orders ADD COLUMN spied text DEFAULT public.spy('x')",
        "ALTER TABLE orders ADD COLUMN spied public.spying DEFAULT 'x'",
        "CREATE TABLE spied (a text CHECK (public.spy(a) IS NOT NULL))",
        "CREATE TABLE spied (a text GENERATED ALWAYS AS (public.spy('x')) STORED)",
        "CREATE INDEX spied ON orders ((note OPERATOR(public.~~~~) note))",
    ],
)
def test_code_of_a_client_never_runs_as_the_owner(client: Connection, sql: str) -> None:  # R6.3
    client.execute("BEGIN")
    client.execute("CREATE DOMAIN public.spying AS text CHECK (public.spy(VALUE) IS NOT NULL)")
    client.execute(
        "CREATE FUNCTION public.spy2(text, text) RETURNS text IMMUTABLE LANGUAGE sql "
        "AS 'SELECT public.spy($1)'"
    )
    client.execute(
        "CREATE OPERATOR public.~~~~ (LEFTARG = text, RIGHTARG = text, FUNCTION = public.spy2)"
    )
    with pytest.raises(psycopg.Error) as caught:
        client.execute(sql.encode())
    client.execute("ROLLBACK")
    assert "leaked" not in str(caught.value)
    assert caught.value.sqlstate in (DENIED, "0A000")


@pytest.mark.parametrize(
    "grant",
    [
        "GRANT EXECUTE ON FUNCTION public.spy(text) TO PUBLIC",
        "GRANT EXECUTE ON FUNCTION public.spy(text) TO morph_owner",
        "GRANT ALL ON ALL FUNCTIONS IN SCHEMA public TO morph_owner",
        "DO $$BEGIN EXECUTE 'GRANT EXECUTE ON FUNCTION public.spy(text) TO PUBLIC'; END$$",
        "ALTER DEFAULT PRIVILEGES GRANT EXECUTE ON FUNCTIONS TO PUBLIC; "
        "CREATE FUNCTION public.later() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "GRANT EXECUTE ON FUNCTION public.spy(text) TO morph_client WITH GRANT OPTION; "
        "SET ROLE morph_client; GRANT EXECUTE ON FUNCTION public.spy(text) TO morph_owner",
    ],
)
def test_no_grant_opens_a_clients_code_to_the_owner(client: Connection, grant: str) -> None:
    client.execute("BEGIN")
    for statement in grant.split("; ") if "DO" not in grant else [grant]:
        if code_of(client, statement):
            break
    else:
        assert client.execute(
            "SELECT count(*) FROM pg_proc WHERE proowner = 'morph'::regrole "
            "AND has_function_privilege('morph_owner', oid, 'EXECUTE')"
        ).fetchone() == (0,)
    client.execute("ROLLBACK")


def test_functions_of_clients_still_work_for_clients(walled: ServerProcess) -> None:
    with walled.connect() as client, walled.connect(user="other") as other:
        client.execute(
            "CREATE FUNCTION public.twice(int) RETURNS int LANGUAGE sql AS 'SELECT $1 * 2'"
        )
        client.execute("CREATE TABLE doubled (a int DEFAULT public.twice(4))")
        other.execute("INSERT INTO doubled DEFAULT VALUES")
        assert other.execute("SELECT twice(a) FROM doubled").fetchone() == (16,)


@pytest.mark.parametrize(
    "trap",
    [
        "CREATE TEMP VIEW pg_class AS SELECT public.spy('x') AS oid, public.spy('y') AS relowner",
        "CREATE TEMP TABLE pg_attribute (attname text)",
        "CREATE DOMAIN pg_temp.text AS pg_catalog.text CHECK (public.spy(VALUE) IS NOT NULL)",
        "SET search_path = public, pg_catalog",
    ],
)
def test_names_of_the_catalog_cannot_be_hijacked(client: Connection, trap: str) -> None:  # R6.3
    client.execute("BEGIN")
    client.execute(trap.encode())
    client.execute(
        "CREATE FUNCTION public.format_type(oid, int) RETURNS text LANGUAGE sql "
        "AS 'SELECT public.spy(''x'')'"
    )
    client.execute("ALTER TABLE orders ADD COLUMN risk int GENERATED ALWAYS AS (qty + 1) VIRTUAL")
    client.execute("CREATE TABLE made (id int PRIMARY KEY, b int[] DEFAULT '{1}')")
    client.execute("INSERT INTO made VALUES (1)")
    assert client.execute("SELECT b[1] FROM made").fetchone() == (1,)
    client.execute("ROLLBACK")


def test_range_types_cannot_smuggle_code(client: Connection) -> None:
    client.execute(
        "CREATE FUNCTION public.diff(float8, float8) RETURNS float8 IMMUTABLE LANGUAGE sql "
        "AS 'SELECT 1.0::float8'"
    )
    sql = "CREATE TYPE public.r AS RANGE (SUBTYPE = float8, SUBTYPE_DIFF = public.diff)"
    assert code_of(client, sql) == DENIED


def test_security_definer_gives_no_more_than_its_owner(client: Connection) -> None:
    client.execute(
        "CREATE FUNCTION public.definer() RETURNS text SECURITY DEFINER LANGUAGE plpgsql AS "
        "$$BEGIN EXECUTE 'SET ROLE morph_owner'; RETURN current_user; END$$"
    )
    assert code_of(client, "SELECT public.definer()") == DENIED


# ---------------------------------------------------------------------- never silently empty


def test_statements_on_store_tables_find_their_rows(client: Connection) -> None:
    assert client.execute("SELECT count(*) FROM orders").fetchone() == (2,)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM orders",
        "SELECT count(*) FROM v1.orders",
        "SELECT 1 FROM generate_series(1, 3) g JOIN orders o ON o.id = g",
        "SELECT EXISTS (SELECT FROM orders)",
        "SELECT (SELECT max(id) FROM orders)",
        "SELECT * FROM orders WHERE false",
        "SELECT * FROM orders LIMIT 0",
        "SELECT 1 WHERE 1 IN (SELECT id FROM orders)",
        "SELECT * FROM (SELECT * FROM orders) x WHERE x.id = 0",
        "WITH w AS (SELECT * FROM orders) SELECT count(*) FROM w",
        "WITH w AS (DELETE FROM orders RETURNING 1) SELECT count(*) FROM w",
        "SELECT 1 UNION ALL SELECT id FROM orders",
        "SELECT * FROM orders FOR UPDATE",
        "TABLE orders",
        "INSERT INTO orders SELECT * FROM orders WHERE false",
        "INSERT INTO orders VALUES (3)",
        "UPDATE orders SET qty = 1 WHERE false",
        "DELETE FROM orders WHERE false",
        "MERGE INTO orders o USING (SELECT 9 AS id) s ON o.id = s.id WHEN MATCHED THEN DELETE",
        "CREATE TEMP TABLE copied AS SELECT * FROM orders",
        "EXPLAIN ANALYZE SELECT * FROM orders",
        "TRUNCATE orders",
        "COPY (SELECT * FROM orders) TO STDOUT",
        "LOCK TABLE orders",
        "SELECT query_to_xml('SELECT * FROM orders', true, false, '')",
        "SELECT * FROM ts_stat('SELECT to_tsvector(note) FROM orders')",
    ],
)
def test_dynamic_sql_on_a_shape_is_an_error(client: Connection, sql: str) -> None:
    """The rewriter cannot see it: PostgreSQL must refuse, never answer from the empty shape."""
    client.execute("CREATE TEMP TABLE dynamic (sql text)")
    client.execute("INSERT INTO dynamic VALUES (%s)", (sql,))
    block = "DO $$DECLARE t text; BEGIN SELECT sql INTO t FROM dynamic; EXECUTE t; END$$"
    assert code_of(client, block) in (DENIED, "0A000")


def test_the_guards_error_says_what_happened(client: Connection) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege) as caught:
        client.execute("DO $$BEGIN EXECUTE 'SELECT * FROM orders'; END$$")
    assert "past the rewriter" in (caught.value.diag.message_detail or "")
    assert "static SQL" in (caught.value.diag.message_hint or "")


@pytest.mark.parametrize(
    ("make", "use"),
    [
        ("CREATE TEMP VIEW tv AS SELECT * FROM orders", "SELECT count(*) FROM tv"),
        ("PREPARE ps AS SELECT count(*) FROM orders", "EXECUTE ps"),
        (
            "CREATE FUNCTION pg_temp.f() RETURNS bigint LANGUAGE sql AS "
            "'SELECT count(*) FROM orders'",
            "SELECT pg_temp.f()",
        ),
        (
            "CREATE FUNCTION pg_temp.g() RETURNS bigint LANGUAGE plpgsql AS "
            "$$BEGIN RETURN (SELECT count(*) FROM orders); END$$",
            "SELECT pg_temp.g()",
        ),
        (
            "CREATE FUNCTION pg_temp.h() RETURNS bigint LANGUAGE sql "
            "RETURN (SELECT count(*) FROM orders)",
            "SELECT pg_temp.h()",
        ),
        (
            "CREATE FUNCTION pg_temp.k() RETURNS bigint LANGUAGE sql "
            "BEGIN ATOMIC SELECT count(*) FROM orders; END",
            "SELECT pg_temp.k()",
        ),
        (
            "DO $$BEGIN CREATE TEMP TABLE dt AS SELECT count(*) AS n FROM orders; END$$",
            "SELECT n FROM dt",
        ),
        ("CREATE TEMP TABLE ct AS SELECT count(*) AS n FROM orders", "SELECT n FROM ct"),
        ("SELECT count(*) AS n INTO TEMP it FROM orders", "SELECT n FROM it"),
    ],
)
def test_static_sql_is_rewritten_wherever_it_stands(
    client: Connection, make: str, use: str
) -> None:
    client.execute(make.encode())
    try:
        answer = client.execute(use.encode()).fetchone()
    except psycopg.errors.InsufficientPrivilege:
        pytest.fail("not rewritten")
    assert answer == (2,)


def test_a_function_of_dynamic_text_is_an_error(client: Connection) -> None:
    client.execute(
        "DO $$BEGIN EXECUTE 'CREATE FUNCTION pg_temp.late() RETURNS bigint LANGUAGE sql AS "
        "''SELECT count(*) FROM orders'''; END$$"
    )
    assert code_of(client, "SELECT pg_temp.late()") == DENIED


def test_a_temporary_table_hides_a_store_table(walled: ServerProcess, client: Connection) -> None:
    client.execute("CREATE TEMP TABLE orders (only_mine int)")
    client.execute("INSERT INTO orders VALUES (42)")
    assert client.execute("SELECT * FROM orders").fetchone() == (42,)
    assert client.execute("SELECT count(*) FROM public.orders").fetchone() == (2,)
    with walled.connect() as other:
        assert other.execute("SELECT count(*) FROM orders").fetchone() == (2,)
    client.execute("DROP TABLE pg_temp.orders")
    assert client.execute("SELECT count(*) FROM orders").fetchone() == (2,)


@pytest.mark.parametrize(
    ("make", "answer"),
    [
        (["BEGIN", "CREATE TEMP TABLE orders AS SELECT 9 AS id", "ROLLBACK"], 2),
        (["DO $$BEGIN CREATE TEMP TABLE orders AS SELECT 9 AS id; END$$"], 1),
        (["CREATE TEMP TABLE orders AS SELECT 9 AS id; SELECT 1"], 1),
        (["CREATE TEMP VIEW orders AS SELECT 9 AS id"], 1),
        (["SELECT 9 AS id INTO TEMP orders"], 1),
        (["CREATE TEMP TABLE x AS SELECT 9 AS id", "ALTER TABLE x RENAME TO orders"], 1),
        (["CREATE TABLE pg_temp.orders AS SELECT 9 AS id"], 1),
        (["CREATE TEMP TABLE orders AS SELECT 9 AS id", "DISCARD TEMP"], 2),
        (["CREATE TEMP TABLE orders AS SELECT 9 AS id", "DISCARD ALL"], 2),
        (["BEGIN", "CREATE TEMP TABLE orders (id int) ON COMMIT DROP", "COMMIT"], 2),
        (["CREATE TEMP TABLE orders AS SELECT 9 AS id FROM public.orders LIMIT 1"], 1),
    ],
)
def test_what_a_name_means_follows_temporary_tables(
    client: Connection, make: list[str], answer: int
) -> None:
    for statement in make:
        client.execute(statement.encode())
    assert client.execute("SELECT count(*) FROM orders").fetchone() == (answer,)
    matching = client.execute("SELECT count(*) FROM orders WHERE id = %s", (9,)).fetchone()
    assert matching == (answer % 2,)


def test_a_text_that_makes_and_reads_a_temporary_table(client: Connection) -> None:
    cursor = client.execute("CREATE TEMP TABLE orders (a int); SELECT count(*) FROM orders")
    assert cursor.nextset()
    assert cursor.fetchone() == (0,)


def test_relayed_statements_keep_the_protocol_in_step(walled: ServerProcess) -> None:
    with WireClient(walled.host, walled.port) as raw:
        raw.log_in()
        answers = raw.ask(
            parse("SELECT * FROM morph_store.t1"), bind(), execute(), SYNC, parse("SELECT 1"), SYNC
        )
        assert kinds(answers) == "EZ"
        assert kinds(raw.read_until()) == "1Z"
