"""Instances and foreign tables by SQL: what the catalog, the system views and PostgreSQL's own
catalogs say of them (docs/instances.md). No store is asked here but one that is not there.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.integration.fresh_catalog import empty_catalog
from tests.integration.server_process import ServerProcess, eventually, running

Connection = psycopg.Connection[Any]


@pytest.fixture(scope="module")
def shared(open_directory: Path) -> Iterator[ServerProcess]:
    directory = open_directory / "secrets"
    directory.mkdir()
    (directory / "password").write_text("from-file\n")
    config = (
        f'[stores]\nconnect_timeout = "300ms"\nsecret_directory = "{directory}"\n'
        '[[instance]]\nname = "local"\nkind = "embedded"\n'
        '[[instance]]\nname = "configured"\nkind = "postgres"\nhost = "127.0.0.1"\nport = 1\n'
        'user = "app"\npassword = "env:CONFIGURED_PASSWORD"\n'
    )
    environment = {"CONFIGURED_PASSWORD": "hunter2", "MORPHGRES_SECRET_PW": "hunter3"}
    with running(open_directory / "instances", config, environment=environment) as process:
        yield process


@pytest.fixture
def client(shared: ServerProcess) -> Iterator[Connection]:
    """A session on an empty catalog with the server s, where nothing listens."""
    empty_catalog(shared)
    with shared.connect() as connection:
        connection.execute(
            "CREATE SERVER s FOREIGN DATA WRAPPER postgres OPTIONS (host '127.0.0.1', port '1')"
        )
        yield connection


def rows(client: Connection, text: str) -> list[Any]:
    return client.execute(text).fetchall()


def notices(client: Connection, text: str) -> list[tuple[str | None, str | None]]:
    """(SQLSTATE, message) of the notices of a statement."""
    found: list[tuple[str | None, str | None]] = []

    def note(diagnostic: psycopg.errors.Diagnostic) -> None:
        found.append((diagnostic.sqlstate, diagnostic.message_primary))

    client.add_notice_handler(note)
    try:
        client.execute(text)
    finally:
        client.remove_notice_handler(note)
    return found


ORDERS = (
    "CREATE FOREIGN TABLE orders (id int OPTIONS (column_name 'ID') NOT NULL, total numeric(10,2) "
    "DEFAULT 0, note text) SERVER s OPTIONS (schema_name 'sales', table_name 'Orders', key 'id')"
)


def test_a_server_is_in_every_catalog(client: Connection) -> None:  # R1.6
    client.execute(
        "CREATE USER MAPPING FOR PUBLIC SERVER s OPTIONS (user 'u', "
        "password_ref 'env:MORPHGRES_SECRET_PW')"
    )
    shown = "SELECT kind, dsn_ref, role, origin, tables FROM morph.instances"
    assert rows(client, f"{shown} WHERE instance_id = 's'") == [
        (
            "postgres",
            "host=127.0.0.1 password_ref=env:MORPHGRES_SECRET_PW port=1 user=u",
            "primary",
            "sql",
            0,
        )
    ]
    own = "SELECT foreign_data_wrapper_name FROM information_schema.foreign_servers"
    assert rows(client, "SELECT srvname, srvoptions FROM pg_foreign_server") == [
        ("s", ["host=127.0.0.1", "port=1"])
    ]
    assert rows(client, own) == []  # PostgreSQL shows there what one may use directly: nothing
    names = {row[0] for row in rows(client, "SELECT fdwname FROM pg_foreign_data_wrapper")}
    assert names == {"mongodb", "cassandra", "postgres"}
    change = (
        "SELECT kind, relation FROM morph.changes WHERE kind LIKE '%server' OR kind LIKE '%map%'"
    )
    assert rows(client, change) == [("create server", "s"), ("create user mapping", "s")]


def test_configured_instances_are_there_and_stay(shared: ServerProcess) -> None:  # R1.6 R6.3
    with shared.connect() as client:
        shown = "SELECT kind, origin, dsn_ref FROM morph.instances WHERE instance_id = 'embedded'"
        assert rows(client, shown) == [("embedded", "built in", "")]
    with shared.root() as root:
        # Other tests empty the catalog; a restart brings it back.
        root.execute("DELETE FROM morph_catalog.instances WHERE instance_id = 'configured'")
        root.execute("DROP SERVER IF EXISTS configured CASCADE")
    shared.stop()
    shared.start()
    with shared.connect() as client:
        assert rows(
            client, "SELECT origin, dsn_ref FROM morph.instances WHERE instance_id = 'configured'"
        ) == [
            (
                "config",
                "host=127.0.0.1 password_ref=env:CONFIGURED_PASSWORD port=1 user=app",
            )
        ]
        for text in (
            "DROP SERVER configured",
            "ALTER SERVER configured OPTIONS (SET port '2')",
            "DROP USER MAPPING FOR PUBLIC SERVER configured",
            "CALL morph.drop_instance('configured')",
        ):
            with pytest.raises(psycopg.Error, match="in the configuration") as caught:
                client.execute(text)
            assert caught.value.sqlstate == "55000", text
        everything = json.dumps(rows(client, "SELECT i::text FROM morph.instances i"))
        assert "hunter" not in everything
    assert "hunter" not in shared.output


def test_health_tells_what_is_wrong(client: Connection) -> None:  # R1.6 R0.5
    def health() -> str:
        text: str = rows(client, "SELECT health FROM morph.instances WHERE instance_id = 's'")[0][0]
        return "" if text == "unknown" else text

    assert eventually(health, what="a look at s") != "ok"
    assert rows(client, "SELECT 1") == [(1,)]


REFUSED = [
    ("CREATE SERVER s FOREIGN DATA WRAPPER mongodb", "42710", 'server "s" already exists'),
    ("CREATE SERVER embedded FOREIGN DATA WRAPPER mongodb", "42710", "already exists"),
    ("CREATE SERVER x FOREIGN DATA WRAPPER oracle", "42704", '"oracle" does not exist'),
    ("CREATE SERVER x TYPE 'a' FOREIGN DATA WRAPPER mongodb", "0A000", "TYPE"),
    (
        "CREATE SERVER x FOREIGN DATA WRAPPER mongodb OPTIONS (password 'hunter2')",
        "22023",
        "must not hold a secret",
    ),
    (
        "CREATE SERVER x FOREIGN DATA WRAPPER mongodb OPTIONS (dsn 'mongodb://u:hunter2@h/')",
        "22023",
        "must not hold a password",
    ),
    (
        "CREATE SERVER x FOREIGN DATA WRAPPER postgres OPTIONS (dsn 'host=h password=hunter2')",
        "22023",
        "must not hold a password",
    ),
    (
        "CREATE SERVER x FOREIGN DATA WRAPPER mongodb OPTIONS (host 'a', host 'b')",
        "42710",
        "twice|more than once",
    ),
    (
        "CREATE SERVER x FOREIGN DATA WRAPPER postgres OPTIONS (host '/tmp', user 'morph_root')",
        "22023",
        "file that SQL may not use",
    ),
    ("ALTER SERVER s OPTIONS (SET host '/tmp')", "22023", "file that SQL may not use"),
    ("ALTER SERVER s OPTIONS (SET user 'x')", "42704", '"user" not found'),
    ("ALTER SERVER s OPTIONS (ADD port '3')", "42710", "more than once"),
    ("ALTER SERVER x OPTIONS (ADD port '3')", "42704", 'server "x" does not exist'),
    ("ALTER SERVER s RENAME TO t", "0A000", "foreign server"),
    ("DROP SERVER x", "42704", 'server "x" does not exist'),
    ("DROP SERVER embedded CASCADE", "42704", "does not exist"),
    (
        "CREATE USER MAPPING FOR PUBLIC SERVER s OPTIONS (user 'a', password 'hunter2')",
        "22023",
        "must not hold a secret",
    ),
    (
        "CREATE USER MAPPING FOR PUBLIC SERVER s OPTIONS (user 'a', password_ref 'hunter2')",
        "22023",
        "reference of a secret is not valid",
    ),
    (
        "CREATE USER MAPPING FOR PUBLIC SERVER s OPTIONS (password_ref 'env:PATH')",
        "22023",
        "variable that SQL may not use",
    ),
    (
        "CREATE USER MAPPING FOR PUBLIC SERVER s OPTIONS (password_ref 'file:/etc/passwd')",
        "22023",
        "file that SQL may not use",
    ),
    ("CREATE USER MAPPING FOR CURRENT_USER SERVER s", "0A000", "single roles"),
    ("CREATE USER MAPPING FOR PUBLIC SERVER x", "42704", 'server "x" does not exist'),
    ("DROP USER MAPPING FOR PUBLIC SERVER s", "42704", "user mapping"),
    ("ALTER USER MAPPING FOR PUBLIC SERVER s OPTIONS (user 'a')", "42704", "user mapping"),
    ("CREATE FOREIGN TABLE t (a int) SERVER x", "42704", 'server "x" does not exist'),
    ("CREATE FOREIGN TABLE t (a nosuch) SERVER s", "42704", "nosuch"),
    ("CREATE FOREIGN TABLE t (a int, a int) SERVER s", "42701", "more than once"),
    ("CREATE FOREIGN TABLE t (a int) SERVER s OPTIONS (wrong 'x')", "HV00D", '"wrong"'),
    ("CREATE FOREIGN TABLE t (a int) SERVER s OPTIONS (key 'b')", "42703", '"b"'),
    ("CREATE FOREIGN TABLE t (a int OPTIONS (wrong 'x')) SERVER s", "HV00D", '"wrong"'),
    ("CREATE FOREIGN TABLE t (a int CHECK (a > 0)) SERVER s", "0A000", "constraints"),
    ("CREATE FOREIGN TABLE nowhere.t (a int) SERVER s", "0A000", "nowhere"),
    ("CREATE FOREIGN TABLE pg_t (a int) SERVER s", "42939", "reserved"),
    ("DROP FOREIGN TABLE gone", "42704", 'foreign table "gone" does not exist'),
    ("IMPORT FOREIGN SCHEMA a FROM SERVER x INTO public", "42704", 'server "x" does not exist'),
    ("CALL morph.add_instance('x', 'mongodb', '[]')", "22023", "JSON object"),
    ("CALL morph.add_instance('s', 'mongodb')", "42710", "already exists"),
    ("CALL morph.add_instance('x')", "42883", "arguments"),
    ("CALL morph.add_instance('x', 'mongodb', '{\"password\": \"hunter2\"}')", "22023", "secret"),
    ("CALL morph.drop_instance('x')", "42704", "does not exist"),
]


@pytest.mark.parametrize(("text", "state", "words"), REFUSED)
def test_refused_forms_change_nothing(  # R1.6 R6.3
    client: Connection, text: str, state: str, words: str
) -> None:
    state_of = "SELECT (SELECT count(*) FROM morph.changes), (SELECT count(*) FROM morph.instances)"
    before = rows(client, state_of)
    with pytest.raises(psycopg.Error, match=words) as caught:
        client.execute(text)
    assert caught.value.sqlstate == state
    assert "hunter" not in str(caught.value)
    assert "morph_" not in str(caught.value)
    assert rows(client, state_of) == before


def test_if_exists_and_if_not_exists(client: Connection) -> None:  # R1.6
    skipped = notices(client, "CREATE SERVER IF NOT EXISTS s FOREIGN DATA WRAPPER mongodb")
    assert skipped == [("42710", 'server "s" already exists, skipping')]
    skipped = notices(client, "DROP SERVER IF EXISTS x")
    assert skipped == [("00000", 'server "x" does not exist, skipping')]
    skipped = notices(client, "DROP USER MAPPING IF EXISTS FOR PUBLIC SERVER s")
    assert skipped[0][0] == "00000"
    client.execute(ORDERS)
    skipped = notices(client, ORDERS.replace("TABLE orders", "TABLE IF NOT EXISTS orders"))
    assert skipped == [("42P07", 'relation "orders" already exists, skipping')]


def test_secrets_of_a_permitted_file(client: Connection, shared: ServerProcess) -> None:  # R6.3
    path = shared.data.with_name("secrets") / "password"
    client.execute(
        f"CREATE USER MAPPING FOR PUBLIC SERVER s OPTIONS (user 'a', password_ref 'file:{path}')"
    )
    assert "from-file" not in str(rows(client, "SELECT i::text FROM morph.instances i"))


def test_ddl_is_part_of_the_transaction(client: Connection, shared: ServerProcess) -> None:  # R1.2
    with shared.connect() as other:
        client.execute("BEGIN")
        client.execute("CREATE SERVER t FOREIGN DATA WRAPPER mongodb OPTIONS (database 'd')")
        client.execute("CREATE FOREIGN TABLE f (_id text) SERVER t")
        assert rows(client, "SELECT native FROM morph.tables WHERE name = 'f'") == [(["d", "f"],)]
        assert rows(other, "SELECT count(*) FROM morph.instances WHERE instance_id = 't'") == [(0,)]
        client.execute("ROLLBACK")
    assert rows(client, "SELECT count(*) FROM morph.tables") == [(0,)]
    assert rows(client, "SELECT srvname FROM pg_foreign_server") == [("s",)]


def test_a_foreign_table_is_described(client: Connection) -> None:  # R1.7 R0.1
    warned = notices(client, ORDERS)
    assert [state for state, _ in warned] == ["01000"]  # nothing listens there
    assert rows(
        client, "SELECT kind, instance, native FROM morph.tables WHERE name = 'orders'"
    ) == [("foreign", "s", ["sales", "Orders"])]
    assert rows(
        client,
        "SELECT column_name, data_type, is_nullable FROM information_schema.columns "
        "WHERE table_schema = 'public' AND table_name = 'orders' ORDER BY ordinal_position",
    ) == [("id", "integer", "NO"), ("total", "numeric", "YES"), ("note", "text", "YES")]
    assert rows(
        client,
        "SELECT foreign_server_name FROM information_schema.foreign_tables "
        "WHERE foreign_table_schema = 'public'",
    ) == [("s",)]
    assert rows(
        client,
        "SELECT ftoptions FROM pg_foreign_table f JOIN pg_class c ON c.oid = f.ftrelid "
        "WHERE c.relnamespace = 'public'::regnamespace",
    ) == [(["schema_name=sales", "table_name=Orders", "key=id"],)]
    assert rows(
        client,
        "SELECT attfdwoptions FROM pg_attribute WHERE attrelid = 'v1.orders'::regclass "
        "AND attname = 'id'",
    ) == [(["path=ID"],)]


def test_a_statement_over_it_names_the_store_that_is_away(client: Connection) -> None:  # R0.5
    client.execute(ORDERS)
    with pytest.raises(psycopg.Error) as caught:
        client.execute("SELECT * FROM orders")
    assert (caught.value.sqlstate or "")[:2] in ("08", "0A"), str(caught.value)


def test_renames_make_a_version_and_options_do_not(client: Connection) -> None:  # R1.2 R1.7
    client.execute(ORDERS)
    client.execute("ALTER FOREIGN TABLE orders OPTIONS (SET schema_name 'archive')")
    client.execute("ALTER FOREIGN TABLE orders ALTER COLUMN note OPTIONS (ADD column_name 'n')")
    assert rows(client, "SELECT version, native FROM morph.tables") == [(1, ["archive", "Orders"])]
    client.execute("ALTER FOREIGN TABLE orders RENAME COLUMN id TO order_id")
    client.execute("ALTER FOREIGN TABLE orders RENAME TO sales")
    client.execute("ALTER FOREIGN TABLE orders DROP COLUMN total")
    client.execute("ALTER FOREIGN TABLE orders ADD COLUMN extra jsonb")
    assert rows(
        client,
        "SELECT version, table_name, name, path FROM morph.columns WHERE version IN (1, 5) "
        "ORDER BY version, column_id",
    ) == [
        (1, "orders", "id", "ID"),
        (1, "orders", "total", "total"),
        (1, "orders", "note", "n"),
        (5, "sales", "order_id", "ID"),
        (5, "sales", "note", "n"),
        (5, "sales", "extra", "extra"),
    ]
    client.execute("CALL morph.promote(5)")
    options = "SELECT ftoptions FROM pg_foreign_table WHERE ftrelid = 'public.sales'::regclass"
    assert rows(client, options) == [
        (["schema_name=archive", "table_name=Orders", "key=order_id"],)
    ]
    client.execute("COMMENT ON FOREIGN TABLE sales IS 'sold'")
    client.execute("COMMENT ON COLUMN sales.note IS 'said'")
    assert rows(client, "SELECT obj_description('sales'::regclass)") == [("sold",)]


def test_dropping_a_foreign_table(client: Connection) -> None:  # R1.2
    client.execute(ORDERS)
    with pytest.raises(psycopg.Error, match="is not a table") as caught:
        client.execute("DROP TABLE orders")
    assert caught.value.sqlstate == "42809"
    assert caught.value.diag.message_hint == "Use DROP FOREIGN TABLE to remove a foreign table."
    client.execute("DROP FOREIGN TABLE orders")
    assert rows(client, "SELECT version, name FROM morph.tables") == [(1, "orders")]
    client.execute("CALL morph.promote(2)")
    assert rows(client, "SELECT to_regclass('public.orders')") == [(None,)]


def test_dropping_a_server_with_tables(client: Connection) -> None:  # R1.6
    client.execute(ORDERS)
    with pytest.raises(psycopg.Error, match="because other objects depend on it") as caught:
        client.execute("DROP SERVER s")
    assert caught.value.sqlstate == "2BP01"
    assert caught.value.diag.message_detail == "foreign table orders depends on server s"
    with pytest.raises(psycopg.Error) as caught:
        client.execute("CALL morph.drop_instance('s')")
    assert caught.value.sqlstate == "2BP01"
    told = notices(client, "DROP SERVER s CASCADE")
    assert told == [("00000", "drop cascades to foreign table orders")]
    assert rows(client, "SELECT count(*) FROM morph.tables") == [(0,)]
    assert rows(client, "SELECT instance_id FROM morph.instances WHERE origin = 'sql'") == []
    assert rows(client, "SELECT count(*) FROM pg_class WHERE relkind = 'f'") == [(0,)]


def test_procedures_do_the_same(client: Connection) -> None:  # R1.6
    client.execute(
        'CALL morph.add_instance(\'m\', \'mongodb\', \'{"host": "h", "port": 27017, '
        '"username": "u", "password_ref": "env:MORPHGRES_SECRET_PW"}\'::jsonb)'
    )
    shown = "SELECT kind, dsn_ref FROM morph.instances WHERE instance_id = 'm'"
    assert rows(client, shown) == [
        ("mongodb", "host=h password_ref=env:MORPHGRES_SECRET_PW port=27017 user=u")
    ]
    client.execute("CALL morph.drop_instance('m')")
    assert rows(client, shown) == []


def test_an_import_from_a_store_that_is_away_ends_in_time(client: Connection) -> None:  # R0.5
    began = time.monotonic()
    with pytest.raises(psycopg.Error) as caught:
        client.execute("IMPORT FOREIGN SCHEMA public FROM SERVER s INTO public")
    assert (caught.value.sqlstate or "")[:2] in ("08", "0A"), str(caught.value)
    assert time.monotonic() - began < 10
    assert rows(client, "SELECT 1") == [(1,)]


def test_a_store_that_says_nothing_does_not_hang_the_import(client: Connection) -> None:  # R0.5
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        client.execute(f"ALTER SERVER s OPTIONS (SET port '{port}')")
        began = time.monotonic()
        with pytest.raises(psycopg.Error) as caught:
            client.execute("IMPORT FOREIGN SCHEMA public FROM SERVER s INTO public")
        assert (caught.value.sqlstate or "")[:2] in ("08", "0A"), str(caught.value)
        assert time.monotonic() - began < 10


def test_check_names_the_lines_of_what_does_not_answer(tmp_path: Path) -> None:  # R1.6 R0.5
    with socket.create_server(("127.0.0.1", 0)) as silent:
        path = tmp_path / "morphgres.toml"
        path.write_text(
            '[stores]\nconnect_timeout = "300ms"\n\n'
            f'[[instance]]\nname = "a"\nkind = "postgres"\nhost = "127.0.0.1"\n'
            f"port = {silent.getsockname()[1]}\n\n"
            '[[instance]]\nname = "b"\nkind = "mongodb"\nhost = "127.0.0.1"\nport = 1\n'
        )
        done = subprocess.run(
            [sys.executable, "-m", "proxy.main", "check", str(path)],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
    assert done.returncode == 1
    lines = [line.removeprefix(f"{path}:") for line in done.stdout.splitlines()]
    assert [line.split(": cannot be used: ")[0] for line in lines] == [
        "4:1: instance[1]",
        "10:1: instance[2]",
    ], done.stdout
    assert done.stderr == ""


PARTED = "CREATE TABLE parted (id int NOT NULL, total numeric) PARTITION BY LIST (id)"
FAR_TEXTS = {
    "PERFORM * FROM orders": "functions and DO",
    "INSERT INTO orders VALUES (1)": "functions and DO",
    "UPDATE orders SET total = 1": "functions and DO",
    "DELETE FROM parted": "functions and DO",
    "EXECUTE $x$SELECT * FROM orders$x$": "at run time",
    "EXECUTE $x$DELETE FROM orders$x$": "at run time",
}


@pytest.mark.parametrize("text", list(FAR_TEXTS))
def test_functions_and_do_blocks_over_foreign_tables_say_why(  # Issue 4.10
    client: Connection, text: str
) -> None:
    client.execute(ORDERS.encode())
    client.execute(PARTED.encode())
    body = f"$$ BEGIN {text}; END $$"
    client.execute(
        f"CREATE OR REPLACE FUNCTION f() RETURNS void LANGUAGE plpgsql AS {body}".encode()
    )
    for statement in ("SELECT f()", f"DO {body}"):
        with pytest.raises(psycopg.errors.FeatureNotSupported) as caught:
            client.execute(statement.encode())
        assert FAR_TEXTS[text] in (caught.value.diag.message_detail or "")
        assert "temporary table" in (caught.value.diag.message_hint or "")


def test_what_transactions_do_with_stores_can_be_set(open_directory: Path) -> None:
    config = '[stores]\nstore_writes = "at_commit"\nmulti_store_commit = "sequential"\n'
    with running(open_directory / "store-settings", config) as process, process.connect() as client:
        assert rows(client, "SHOW morph.store_writes") == [("at_commit",)]
        assert rows(client, "SHOW morph.multi_store_commit") == [("sequential",)]
        client.execute("SET morph.store_writes = refuse")
        client.execute("RESET morph.store_writes")
        assert rows(client, "SHOW morph.store_writes") == [("at_commit",)]
