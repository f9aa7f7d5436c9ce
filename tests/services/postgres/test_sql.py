"""Servers, imports and foreign tables by SQL, with a real PostgreSQL behind them (R1.6, R1.7, R1.8;
issue 4 point 4): docs/instances.md.
"""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.integration.fresh_catalog import empty_catalog
from tests.integration.server_process import ServerProcess, eventually, running
from tests.services.cutting_proxy import CuttingProxy, Fault
from tests.services.servers.process import RunningServer

pytestmark = pytest.mark.services
Connection = psycopg.Connection[Any]
DATABASE = "morph_sql"
SETUP = """
CREATE SCHEMA sales;
CREATE TYPE sales.mood AS ENUM ('sad', 'ok');
CREATE TABLE sales.customers (id int PRIMARY KEY, name text NOT NULL, mood sales.mood,
  made timestamptz DEFAULT now());
CREATE TABLE sales.orders (customer int, number int, total numeric(10,2), doc jsonb,
  PRIMARY KEY (customer, number));
CREATE VIEW sales.totals AS SELECT customer, sum(total) AS total FROM sales.orders GROUP BY 1;
INSERT INTO sales.customers SELECT i, 'customer ' || i, 'ok', '2024-01-01' FROM
  generate_series(1, 100) i;
INSERT INTO sales.orders SELECT i % 100 + 1, i, i * 1.5, jsonb_build_object('n', i) FROM
  generate_series(1, 1000) i;
"""


@pytest.fixture(scope="module")
def remote(postgres_store: RunningServer) -> Iterator[Connection]:
    """A database of its own, by the driver itself."""
    with psycopg.connect(postgres_store.uri, autocommit=True) as admin:
        admin.execute(f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")
        admin.execute(f"CREATE DATABASE {DATABASE}")
        with psycopg.connect(postgres_store.uri, dbname=DATABASE, autocommit=True) as connection:
            connection.execute(SETUP)
            yield connection
        admin.execute(f"DROP DATABASE {DATABASE} WITH (FORCE)")


@pytest.fixture(scope="module")
def morphgres(postgres_store: RunningServer) -> Iterator[ServerProcess]:
    """A Morphgres with two workers and the store in its configuration."""
    with tempfile.TemporaryDirectory(prefix="morph-pgsql-", dir="/tmp") as name:
        Path(name).chmod(0o755)
        config = (
            '[stores]\nconnect_timeout = "1s"\nhealth_interval = "1s"\n'
            '[[instance]]\nname = "configured"\nkind = "postgres"\ndsn = "env:STORE_DSN"\n'
        )
        uri = postgres_store.uri.rpartition("/")[0] + f"/{DATABASE}"
        environment = {"STORE_DSN": uri, "MORPHGRES_SECRET_DSN": uri}
        with running(Path(name) / "data", config, environment=environment) as process:
            yield process


@pytest.fixture
def client(
    morphgres: ServerProcess, remote: Connection, postgres_store: RunningServer
) -> Iterator[Connection]:
    """A session on an empty catalog with the server pg."""
    empty_catalog(morphgres)
    with morphgres.connect() as connection:
        connection.execute(
            "CREATE SERVER pg FOREIGN DATA WRAPPER postgres OPTIONS "
            f"(host '{postgres_store.host}', port '{postgres_store.port}', dbname '{DATABASE}')"
        )
        connection.execute("CREATE USER MAPPING FOR PUBLIC SERVER pg OPTIONS (user 'postgres')")
        yield connection


def rows(client: Connection, text: str) -> list[Any]:
    return client.execute(text).fetchall()


def tables(client: Connection) -> list[str]:
    return [row[0] for row in rows(client, "SELECT name FROM morph.tables ORDER BY 1")]


def test_import_of_a_schema(client: Connection) -> None:  # R1.6 R1.7
    client.execute("IMPORT FOREIGN SCHEMA sales FROM SERVER pg INTO public")
    assert tables(client) == ["customers", "orders", "totals"]
    assert rows(client, "SELECT count(*), sum(total) FROM orders") == rows(
        client, "SELECT 1000::bigint, 750750.00"
    )
    assert rows(client, "SELECT name, mood FROM customers WHERE id = 7") == [("customer 7", "ok")]
    keys = "SELECT name, ftoptions[3] FROM morph.tables JOIN pg_foreign_table ON ftrelid = "
    keys += "('v1.' || name)::regclass ORDER BY 1"
    assert rows(client, keys) == [
        ("customers", "key=id"),
        ("orders", "key=customer,number"),
        ("totals", None),
    ]
    shown = "SELECT tables, health FROM morph.instances WHERE instance_id = 'pg'"
    assert eventually(lambda: rows(client, shown) == [(3, "ok")], what="a look at pg")


@pytest.mark.parametrize(
    ("which", "made"),
    [
        ("LIMIT TO (orders, totals)", ["l_orders", "l_totals"]),
        ("EXCEPT (orders, totals)", ["l_customers"]),
    ],
)
def test_import_of_some(client: Connection, which: str, made: list[str]) -> None:  # R1.6
    client.execute(
        f"IMPORT FOREIGN SCHEMA sales {which} FROM SERVER pg INTO public OPTIONS (prefix 'l_')"
    )
    assert tables(client) == made


def test_what_an_import_refuses(client: Connection) -> None:  # R1.6
    client.execute("CREATE TABLE customers (id int)")
    for text, state in (
        ("IMPORT FOREIGN SCHEMA sales FROM SERVER pg INTO public", "42P07"),
        ("IMPORT FOREIGN SCHEMA nowhere FROM SERVER pg INTO public", "3F000"),
        ("IMPORT FOREIGN SCHEMA sales FROM SERVER pg INTO nowhere", "0A000"),
        ("IMPORT FOREIGN SCHEMA sales FROM SERVER pg INTO public OPTIONS (x 'y')", "HV00D"),
    ):
        with pytest.raises(psycopg.Error) as caught:
            client.execute(text)
        assert caught.value.sqlstate == state, text
        assert tables(client) == ["customers"]
    told: list[str | None] = []
    client.add_notice_handler(lambda diagnostic: told.append(diagnostic.message_primary))
    client.execute("IMPORT FOREIGN SCHEMA sales LIMIT TO (gone) FROM SERVER pg INTO public")
    assert told == ['table "gone" is not in foreign schema "sales", skipping']


def test_all_in_one_transaction(client: Connection, morphgres: ServerProcess) -> None:  # R1.2 R1.6
    with client.transaction():
        client.execute(
            "CREATE SERVER other FOREIGN DATA WRAPPER postgres OPTIONS (dsn_ref "
            "'env:MORPHGRES_SECRET_DSN')"
        )
        client.execute(
            "IMPORT FOREIGN SCHEMA sales LIMIT TO (orders) FROM SERVER other INTO public"
        )
        with morphgres.connect() as outside:
            assert tables(outside) == []
    assert rows(client, "SELECT count(*) FROM orders") == [(1000,)]
    with morphgres.connect() as outside:
        assert rows(outside, "SELECT count(*) FROM orders WHERE customer = 1") == [(10,)]


def test_the_configured_instance(morphgres: ServerProcess, remote: Connection) -> None:  # R1.6
    empty_catalog(morphgres)
    morphgres.stop()
    morphgres.start()
    with morphgres.connect() as client:
        client.execute("IMPORT FOREIGN SCHEMA sales FROM SERVER configured INTO public")
        assert rows(client, "SELECT count(*) FROM customers") == [(100,)]
        client.execute("DROP FOREIGN TABLE customers, orders, totals CASCADE")


def test_a_declared_table_takes_types_and_key_from_the_store(client: Connection) -> None:  # R1.7
    client.execute(
        "CREATE FOREIGN TABLE people (nr int OPTIONS (column_name 'id'), name text, mood text) "
        "SERVER pg OPTIONS (schema_name 'sales', table_name 'customers')"
    )
    plan = "\n".join(
        r[0] for r in rows(client, "EXPLAIN VERBOSE SELECT name FROM people WHERE nr=3")
    )
    assert 'FROM "sales"."customers" WHERE ("id" = 3)' in plan
    client.execute("UPDATE people SET name = 'x' WHERE nr = 3")
    assert rows(client, "SELECT name FROM people WHERE nr = 3") == [("x",)]
    client.execute("UPDATE people SET name = 'customer 3' WHERE nr = 3")
    with pytest.raises(psycopg.Error) as caught:
        client.execute("INSERT INTO people VALUES (3, 'again', 'ok')")
    assert caught.value.sqlstate == "23505"
    assert caught.value.diag.message_detail == "Key (id)=(3) already exists."
    assert 'server "pg"' in (caught.value.diag.context or "")


def test_another_place_of_the_table(client: Connection, remote: Connection) -> None:
    """What the store says of the types is that of the new place: comparisons rest on it. R1.7."""
    remote.execute("CREATE TABLE IF NOT EXISTS sales.moved (id numeric, label text, extra int)")
    remote.execute("TRUNCATE sales.moved; INSERT INTO sales.moved VALUES (3, 'moved', 7)")
    client.execute(
        "CREATE FOREIGN TABLE place (id int, name text) SERVER pg "
        "OPTIONS (schema_name 'sales', table_name 'customers')"
    )
    explain = "EXPLAIN VERBOSE SELECT name FROM place WHERE id = 3 AND name > ''"
    pushed = "\n".join(row[0] for row in rows(client, explain))
    assert '("id" = 3)' in pushed
    client.execute("ALTER FOREIGN TABLE place OPTIONS (SET table_name 'moved')")
    client.execute("ALTER FOREIGN TABLE place ALTER COLUMN name OPTIONS (ADD column_name 'label')")
    moved = "\n".join(row[0] for row in rows(client, explain))
    assert 'column "id" is numeric in the store' in moved
    assert "\"label\" > ''" in moved
    assert rows(client, "SELECT id, name FROM place WHERE id = 3 AND name > ''") == [(3, "moved")]
    client.execute("ALTER FOREIGN TABLE place ADD COLUMN extra int")
    client.execute("CALL morph.promote(2)")
    assert '("extra" = 7)' in str(rows(client, "EXPLAIN VERBOSE SELECT FROM place WHERE extra = 7"))
    assert rows(client, "SELECT extra FROM place WHERE extra = 7") == [(7,)]


def test_columns_of_other_types_and_of_no_column(client: Connection) -> None:  # R1.7
    client.execute(
        "CREATE FOREIGN TABLE odd (id text, number bigint, gone int) SERVER pg "
        "OPTIONS (schema_name 'sales', table_name 'orders')"
    )
    with pytest.raises(psycopg.Error) as caught:
        client.execute("SELECT gone FROM odd")
    assert caught.value.sqlstate == "42703"
    assert rows(client, "SELECT max(number) FROM odd WHERE number < 5") == [(4,)]


def test_tables_of_two_kinds_join(client: Connection) -> None:  # R0.4
    client.execute("IMPORT FOREIGN SCHEMA sales FROM SERVER pg INTO public")
    client.execute("CREATE TABLE notes (id int PRIMARY KEY, note text)")
    client.execute("INSERT INTO notes VALUES (1, 'one'), (100, 'hundred')")
    assert rows(
        client,
        "SELECT note, name, count(*) FROM notes JOIN customers USING (id) "
        "JOIN orders ON customer = id GROUP BY 1, 2 ORDER BY 1",
    ) == [("hundred", "customer 100", 10), ("one", "customer 1", 10)]


def test_another_place_of_the_server(client: Connection, postgres_store: RunningServer) -> None:
    """ALTER SERVER is followed at once, by every session. R1.6."""
    client.execute("IMPORT FOREIGN SCHEMA sales LIMIT TO (customers) FROM SERVER pg INTO public")
    assert rows(client, "SELECT count(*) FROM customers") == [(100,)]
    client.execute("ALTER SERVER pg OPTIONS (SET port '1')")
    with pytest.raises(psycopg.Error) as caught:
        client.execute("SELECT count(*) FROM customers")
    assert caught.value.sqlstate == "08001"
    assert '"pg"' in str(caught.value)
    assert rows(client, "SELECT 1") == [(1,)]
    wrong = "SELECT health FROM morph.instances WHERE instance_id = 'pg'"
    eventually(lambda: "could not connect" in rows(client, wrong)[0][0], what="health of pg")
    client.execute(f"ALTER SERVER pg OPTIONS (SET port '{postgres_store.port}')")
    assert rows(client, "SELECT count(*) FROM customers") == [(100,)]
    eventually(lambda: rows(client, wrong) == [("ok",)], what="health of pg")


def test_a_login_that_does_not_exist(client: Connection) -> None:  # R6.3
    client.execute("ALTER USER MAPPING FOR PUBLIC SERVER pg OPTIONS (SET user 'nobody_here')")
    with pytest.raises(psycopg.Error) as caught:
        client.execute("IMPORT FOREIGN SCHEMA sales FROM SERVER pg INTO public")
    assert caught.value.sqlstate == "28000"
    assert rows(client, "SELECT 1") == [(1,)]  # an ERROR, not the end of the session


def cancelled(client: Connection, work: Callable[[], object]) -> psycopg.Error:
    """Run it and cancel it from another thread."""
    timer = threading.Timer(0.7, client.cancel)
    timer.start()
    try:
        with pytest.raises(psycopg.Error) as caught:
            work()
        return caught.value
    finally:
        timer.join()


def test_an_import_can_be_cancelled(client: Connection, postgres_store: RunningServer) -> None:
    """R0.5."""
    with CuttingProxy(postgres_store.host, postgres_store.port) as proxy:
        client.execute(f"ALTER SERVER pg OPTIONS (SET port '{proxy.port}')")
        client.execute("IMPORT FOREIGN SCHEMA sales LIMIT TO (totals) FROM SERVER pg INTO public")
        proxy.arm(Fault("stall", after=0, trigger=b"pg_class"))
        began = time.monotonic()
        error = cancelled(
            client,
            lambda: client.execute("IMPORT FOREIGN SCHEMA sales FROM SERVER pg INTO public"),
        )
        assert error.sqlstate == "57014"
        assert time.monotonic() - began < 10
        assert rows(client, "SELECT 1") == [(1,)]
        proxy.disarm()
    assert tables(client) == ["totals"]


def test_views_over_foreign_tables_go_with_their_server(client: Connection) -> None:  # R1.6
    client.execute("IMPORT FOREIGN SCHEMA sales FROM SERVER pg INTO public")
    client.execute("CREATE VIEW rich AS SELECT customer FROM totals WHERE total > 10")
    assert rows(client, "SELECT count(*) FROM rich") == [(100,)]
    client.execute("DROP SERVER pg CASCADE")
    assert tables(client) == []
    with pytest.raises(psycopg.Error) as caught:
        client.execute("SELECT count(*) FROM rich")
    assert caught.value.sqlstate == "42P01"


def test_partitions_over_several_servers(
    client: Connection, remote: Connection, postgres_store: RunningServer
) -> None:
    """Issue 4 point 4: a bound for each instance, pruned by the conditions. R1.6 R0.4."""
    remote.execute("DROP SCHEMA IF EXISTS eu, us CASCADE; CREATE SCHEMA eu; CREATE SCHEMA us")
    for schema, region in (("eu", "de"), ("us", "us")):
        remote.execute(f"CREATE TABLE {schema}.events (id int PRIMARY KEY, region text)")
        remote.execute(
            f"INSERT INTO {schema}.events SELECT i, '{region}' FROM generate_series(1, 9) i"
        )
    client.execute(
        "CREATE SERVER west FOREIGN DATA WRAPPER postgres OPTIONS "
        f"(host '{postgres_store.host}', port '1', dbname '{DATABASE}', user 'postgres')"
    )
    client.execute("CREATE TABLE events (id int, region text) PARTITION BY LIST (region)")
    for name, values, server, schema in (
        ("events_eu", "('de', 'fr')", "pg", "eu"),
        ("events_us", "('us')", "west", "us"),
    ):
        client.execute(
            f"CREATE FOREIGN TABLE {name} PARTITION OF events FOR VALUES IN {values} "
            f"SERVER {server} OPTIONS (schema_name '{schema}', table_name 'events')"
        )
    # The west is away: who does not need it does not notice.
    assert rows(client, "SELECT count(*) FROM events WHERE region = 'de'") == [(9,)]
    with pytest.raises(psycopg.Error, match="west") as caught:
        client.execute("SELECT count(*) FROM events")
    assert caught.value.sqlstate == "08001"
    client.execute(f"ALTER SERVER west OPTIONS (SET port '{postgres_store.port}')")
    assert rows(client, "SELECT region, count(*) FROM events GROUP BY 1 ORDER BY 1") == [
        ("de", 9),
        ("us", 9),
    ]
    shown = "SELECT instance_id, locality FROM morph.instances WHERE locality <> '' ORDER BY 1"
    assert rows(client, shown) == [
        ("pg", "events: \"region\" IN ('de', 'fr')"),
        ("west", "events: \"region\" IN ('us')"),
    ]
    for text in (
        "ALTER TABLE events ADD COLUMN x int",
        "ALTER TABLE events RENAME COLUMN region TO area",
        "ALTER FOREIGN TABLE events_eu DROP COLUMN region",
    ):
        with pytest.raises(psycopg.Error, match="cannot be changed") as caught:
            client.execute(text)
        assert caught.value.sqlstate == "0A000"
    client.execute("DROP SERVER west CASCADE")
    assert rows(client, "SELECT count(*) FROM events") == [(9,)]
    assert tables(client) == ["events", "events_eu"]
