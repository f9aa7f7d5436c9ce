"""A PostgreSQL store against a real server: descriptions, types, scans, and what goes wrong
(R0.5, R1.6, R1.7; issue 4 points 3 and 9).
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import asyncpg
import pytest
import pytest_asyncio

from backends.base import Aggregate, Grouping, OrderKey, ScanAsk, Scope, judge_nothing
from backends.postgres.backend import PostgresBackend
from backends.postgres.pushdown import NativeScan
from backends.postgres.types import known
from catalog.model import Native, Table
from core import expr as ir
from core.errors import (
    CannotConnect,
    ConnectionFailure,
    MorphError,
    QueryCanceled,
    StoreLoginRefused,
    UndefinedSchema,
    UndefinedTable,
)
from engine.exactness import judge_for
from tests.services.cutting_proxy import CuttingProxy, Fault
from tests.services.postgres.stores import Store, ids, open_store, options, scan_rows
from tests.services.servers.postgres import start_postgres
from tests.services.servers.process import RunningServer

pytestmark = pytest.mark.services
BIG_ROWS = 20_000


@pytest_asyncio.fixture(scope="module")
async def store(postgres_store: RunningServer) -> AsyncIterator[Store]:
    """A database with a table of many rows, and objects of every kind."""
    async with open_store(postgres_store, "morph_store", batch_rows=1000) as opened:
        await opened.connection.execute(
            """
            CREATE TYPE mood AS ENUM ('sad', 'ok');
            CREATE TYPE pair AS (a int, b text);
            CREATE DOMAIN positive AS int CHECK (value > 0);
            CREATE COLLATION loose (provider = icu, locale = 'und-u-ks-level2',
              deterministic = false);
            CREATE TABLE kinds (
              id int GENERATED ALWAYS AS IDENTITY, part text NOT NULL, loose text COLLATE loose,
              code text COLLATE "C" DEFAULT 'x', mood mood, many mood[], amount positive,
              price numeric(10,2) DEFAULT 1.5, twice numeric GENERATED ALWAYS AS (price * 2) STORED,
              span int4range, whole pair, at timestamptz DEFAULT now(), made int DEFAULT 1 + 1,
              PRIMARY KEY (part, id));
            COMMENT ON TABLE kinds IS 'all kinds';
            COMMENT ON COLUMN kinds.mood IS 'how it is';
            CREATE TABLE big (id int PRIMARY KEY, pad text);
            CREATE TABLE parted (id int) PARTITION BY RANGE (id);
            CREATE TABLE part_1 PARTITION OF parted FOR VALUES FROM (0) TO (10);
            CREATE VIEW seen AS SELECT id FROM big;
            CREATE MATERIALIZED VIEW kept AS SELECT 1 AS one;
            CREATE TABLE keyless (a int, UNIQUE (a));
            CREATE TABLE bare ();
            CREATE SCHEMA work;
            CREATE VIEW work.slow AS SELECT i AS id, repeat('x', 1000) AS pad
              FROM generate_series(1, 100000000) i;
            CREATE VIEW work.wide AS SELECT i AS id, repeat('x', 100000) AS pad
              FROM generate_series(1, 3000) i;
            CREATE VIEW work.asleep AS SELECT 1 AS id, pg_sleep(600)::text AS pad;
            CREATE VIEW work.broken AS SELECT 1 / (i - 15000) AS id
              FROM generate_series(1, 20000) i;
            """
        )
        await opened.connection.execute(
            "INSERT INTO big SELECT i, repeat('x', 200) || i "
            f"FROM generate_series(1, {BIG_ROWS}) i; ANALYZE big"
        )
        await opened.table("big")
        yield opened


def soon(seconds: float = 20.0) -> Scope:
    """A scope with a deadline."""
    return Scope(deadline=asyncio.get_running_loop().time() + seconds)


# ------------------------------------------------------------------ what is there


async def test_who_answers(store: Store) -> None:  # R1.6
    info = await store.backend.server(soon())
    assert info.product == "PostgreSQL"
    assert info.version.startswith(store.server.version)
    assert info.features == {"utf8": True, "writable": True}


async def test_tables_of_a_schema(store: Store) -> None:  # R1.6
    found = await store.backend.list_tables("public", soon())
    assert {(table.native[1], table.kind) for table in found} == {
        ("bare", "table"),
        ("big", "table"),
        ("kept", "materialized view"),
        ("keyless", "table"),
        ("kinds", "table"),
        ("parted", "table"),
        ("seen", "view"),
    }
    with pytest.raises(UndefinedSchema) as caught:
        await store.backend.list_tables("nowhere", soon())
    assert caught.value.sqlstate == "3F000"


async def test_description(store: Store) -> None:  # R1.7
    described = await store.backend.describe(("public", "kinds"), soon())
    seen = [
        (c.name, c.type, cast("Native", c.source).store_type, c.not_null, c.default)
        for c in described.columns
    ]
    assert seen == [
        ("id", "integer", "integer filled", False, None),
        ("part", "text", "text", True, None),
        ("loose", "text", "text collate other", False, None),
        ("code", "text", "text collate C", False, "'x'::text"),
        ("mood", "text", "public.mood", False, None),
        ("many", "text", "public.mood[]", False, None),
        ("amount", "integer", "integer", False, None),
        ("price", "numeric(10,2)", "numeric(10,2)", False, "1.5"),
        ("twice", "numeric", "numeric filled", False, None),
        ("span", "text", "int4range", False, None),
        ("whole", "text", "public.pair", False, None),
        ("at", "timestamp with time zone", "timestamp with time zone", False, "now()"),
        ("made", "integer", "integer filled", False, None),
    ]
    names = {c.id: c.name for c in described.columns}
    assert [names[each] for each in described.key] == ["part", "id"]
    assert described.comment == "all kinds"
    assert next(c.comment for c in described.columns if c.name == "mood") == "how it is"
    keyless = await store.backend.describe(("public", "keyless"), soon())
    assert keyless.key == ()  # a unique column that may be NULL identifies nothing
    assert (await store.backend.describe(("public", "bare"), soon())).columns == ()
    for gone in (("public", "gone"), ("public",)):
        with pytest.raises(UndefinedTable):
            await store.backend.describe(gone, soon())


async def test_statistics_need_no_scan(store: Store) -> None:  # R1.7
    found = await store.backend.statistics(store.tables["big"], soon())
    assert 0.9 * BIG_ROWS < found.rows < 1.1 * BIG_ROWS
    assert 150 < found.row_bytes < 400


TYPES = {
    "boolean": ["t", "f"],
    "smallint": ["-32768", "32767"],
    "bigint": ["-9223372036854775808", "9223372036854775807"],
    "real": ["0.1", "NaN", "Infinity", "-0", "1e-45"],
    "double precision": ["0.1", "NaN", "-Infinity", "5e-324", "1.7976931348623157e+308"],
    "numeric": ["NaN", "Infinity", "1.50", "1" + "0" * 200, "0." + "0" * 50 + "1"],
    "numeric(6,2)": ["-9999.99", "NaN", "0.10"],
    "text": ["", " ", "é😀", 'quote " and \\', "line\nbreak", "comma,", "NULL", "\\N"],
    "character(3)": ["a  ", "ä  "],
    "character varying(5)": ["", "äöüß€"],
    "date": ["2024-02-29", "infinity", "-infinity", "0044-03-15 BC", "5874897-12-31"],
    "timestamp without time zone": ["2024-02-29 23:59:59.999999", "294276-12-31 23:59:59"],
    "timestamp with time zone": [
        "2024-02-29 23:59:59.999999+00",
        "infinity",
        "4713-01-02 00:00:00+00 BC",
    ],
    "time without time zone": ["24:00:00", "00:00:00.000001"],
    "time with time zone": ["12:00:00+02", "00:00:00-15:59"],
    "interval": ["1 mon 2 days 03:04:05.6", "-1 days +02:00:00"],
    "uuid": ["00010203-0405-0607-0809-0a0b0c0d0e0f"],
    "bytea": ["\\x", "\\x00ff5c"],
    "json": ['{"a" :  [1, "x"]}'],
    "jsonb": ['{"a": [1, "x", null]}', '"\\n"', "1.00"],
    "inet": ["::1/64", "10.0.0.1"],
    "macaddr": ["08:00:2b:01:02:03"],
    "bit(3)": ["101"],
    "bit varying": ["", "1"],
    "money": ["$1,234.50", "-$0.01"],
    "xml": ["<a>1</a>"],
    "integer[]": ["{}", "{1,NULL,-3}", "{{1,2},{3,4}}", "[0:1]={1,2}"],
    "text[]": ['{"a b",NULL,"NULL",""}'],
    "mood": ["ok"],
    "mood[]": ["{ok,NULL}"],
    "positive": ["5"],
    "int4range": ["[1,6)", "empty"],
    "pair": ['(1,"a b")'],
    "tsvector": ["'a':1 'b'"],
    "point": ["(1.5,-2)"],
}


@pytest.mark.parametrize("sql_type", list(TYPES))
async def test_values_come_out_as_the_server_prints_them(
    store: Store, sql_type: str
) -> None:  # R1.7
    await store.connection.execute("DROP TABLE IF EXISTS one")
    table = await store.table("one", f"id int PRIMARY KEY, v {sql_type}")
    values = [*TYPES[sql_type], None]
    slots = f"INSERT INTO one VALUES ($1, $2::text::{sql_type})"
    await store.connection.executemany(slots, list(enumerate(values)))
    printed = await store.connection.fetch("SELECT v::text FROM one ORDER BY id")
    if sql_type == "boolean":
        printed = [(None if p[0] is None else p[0][:1],) for p in printed]
    elif sql_type.startswith(("character(", "inet")):
        printed = [(v,) for v in values]  # a cast to text drops blanks, and shows /32
    rows = await store.rows(table, ["id", "v"], order=(OrderKey(table.columns[0].id),))
    assert [row[1] for row in rows] == [p[0] for p in printed]
    assert [row[1] for row in rows] == values
    # A point read goes another way.
    points = 0
    for number, value in enumerate(values):
        plan = store.backend.plan_scan(
            table, store.ask(table, ["id", "v"], predicate=is_id(table, number))
        )
        points += cast("NativeScan", plan.native).point is not None
        assert await scan_rows(store.backend, plan, soon()) == [(str(number), value)]
    assert points in (0, len(values))
    assert points or sql_type in NOT_AS_TEXT or not known(sql_type)


# ------------------------------------------------------------------ scans


def is_id(table: Table, number: int) -> ir.Expr:
    """id = number."""
    [column] = ids(table, ["id"])
    return ir.Compare("=", ir.ColumnRef(column, "integer"), ir.Literal("integer", str(number)))


NOT_AS_TEXT = ("boolean", "character(3)", "inet", "positive")


async def test_a_key_that_is_none_has_many_rows(store: Store) -> None:  # R0.5
    """Somebody said that `id` is the key of a view: all its rows come nevertheless."""
    await store.connection.execute(
        "CREATE OR REPLACE VIEW work.same AS SELECT 1 AS id, i FROM generate_series(1, 5000) i"
    )
    described = await store.table("same", schema="work")
    table = replace(described, key=ids(described, ["id"]))
    plan = store.backend.plan_scan(table, store.ask(table, ["i"], predicate=is_id(table, 1)))
    assert cast("NativeScan", plan.native).point is not None
    assert len(await scan_rows(store.backend, plan, soon())) == 5000
    few = replace(
        plan,
        native=store.backend.plan_scan(
            table, store.ask(table, ["i"], predicate=is_id(table, 1), limit=7)
        ).native,
    )
    assert len(await scan_rows(store.backend, few, soon())) == 7
    nothing = store.backend.plan_scan(table, store.ask(table, ["i"], predicate=is_id(table, 2)))
    assert await scan_rows(store.backend, nothing, soon()) == []


def id_below(table: Table, number: int) -> ir.Expr:
    """id < number."""
    [column] = ids(table, ["id"])
    return ir.Compare("<", ir.ColumnRef(column, "integer"), ir.Literal("integer", str(number)))


async def test_a_full_scan_has_every_row_in_bounded_batches(store: Store) -> None:  # R0.5
    table = store.tables["big"]
    sizes, seen = [], set()
    plan = store.backend.plan_scan(table, store.ask(table, ["id"]))
    async for batch in store.backend.scan(plan, soon()):
        sizes.append(batch.num_rows)
        seen.update(batch.column(0).to_pylist())
    assert max(sizes) <= 1000
    assert seen == set(range(1, BIG_ROWS + 1))


async def test_pushed_or_not_the_rows_are_the_same(store: Store) -> None:  # R0.5
    table = store.tables["big"]
    pushed = await store.rows(table, ["id", "pad"], id_below(table, 500))
    everything = ScanAsk(1, ids(table, ["id", "pad"]), id_below(table, 500), judge=judge_nothing)
    plan = store.backend.plan_scan(table, everything)
    assert plan.residual is not None
    rest = [row for row in await scan_rows(store.backend, plan, soon()) if int(row[0]) < 500]
    assert sorted(pushed) == sorted(rest)
    assert len(pushed) == 499


async def test_order_limit_and_counting(store: Store) -> None:  # R1.7
    table = store.tables["big"]
    [number] = ids(table, ["id"])
    top = await store.rows(table, ["id"], order=(OrderKey(number, descending=True),), limit=3)
    assert [row[0] for row in top] == [str(BIG_ROWS - n) for n in range(3)]
    assert len(await store.rows(table, [])) == BIG_ROWS
    assert len(await store.rows(table, [], id_below(table, 11))) == 10
    assert await store.rows(table, [], id_below(table, 1)) == []
    assert await store.rows(table, ["id"], id_below(table, 1)) == []


async def test_groups_over_nothing_and_something(store: Store) -> None:  # R1.7
    table = store.tables["big"]
    column = ir.ColumnRef(*ids(table, ["id"]), "integer")
    parts = (Aggregate("count", None, "bigint"), Aggregate("sum", column, "bigint"))
    for below, wanted in ((11, [("10", "55")]), (1, [("0", None)])):
        ask = ScanAsk(
            1, (), id_below(table, below), judge=judge_for("postgres"), grouping=Grouping((), parts)
        )
        plan = store.backend.plan_scan(table, ask)
        assert plan.grouped
        assert await scan_rows(store.backend, plan, soon()) == wanted


async def test_thousands_of_keys(store: Store) -> None:  # R1.7
    table = store.tables["big"]
    keys = ",".join(str(n) for n in range(0, BIG_ROWS, 2))
    wanted = ir.In(
        ir.ColumnRef(*ids(table, ["id"]), "integer"),
        (ir.Literal("integer[]", f"{{{keys}}}"),),
        spread=True,
    )
    assert len(await store.rows(table, ["id"], wanted)) == BIG_ROWS // 2 - 1


async def active(store: Store) -> int:
    """Queries of the backend that run in the server."""
    count: int = await store.connection.fetchval(
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'morphgres' "
        "AND state = 'active' AND datname = current_database()"
    )
    return count


async def test_leaving_a_scan_cancels_it_in_the_server(store: Store) -> None:  # R1.7
    table = await store.table("slow", schema="work")
    plan = store.backend.plan_scan(table, store.ask(table, ["id", "pad"]))
    async with aclosing(cast("Any", store.backend.scan(plan, soon(60)))) as batches:
        first = await anext(batches)
        assert first.num_rows
        assert await active(store) == 1
        began = time.monotonic()
    assert time.monotonic() - began < 5
    assert await active(store) == 0
    assert len(await store.rows(store.tables["big"], [])) == BIG_ROWS  # the connection is good


async def test_a_slow_reader_is_waited_for(store: Store) -> None:  # R1.7
    table = store.tables["big"]
    table = await store.table("wide", schema="work")
    plan = store.backend.plan_scan(table, store.ask(table, ["id", "pad"]))
    rows = 0
    async with aclosing(cast("Any", store.backend.scan(plan, soon(60)))) as batches:
        rows += (await anext(batches)).num_rows
        await asyncio.sleep(0.5)
        assert await active(store) == 1  # 300 MB do not fit ahead of the reader: it still waits
        async for batch in batches:
            rows += batch.num_rows
    assert rows == 3000


async def test_the_deadline_ends_a_scan_in_the_server(store: Store) -> None:  # R0.5
    table = await store.table("asleep", schema="work")
    plan = store.backend.plan_scan(table, store.ask(table, ["id", "pad"]))
    began = time.monotonic()
    with pytest.raises(QueryCanceled) as caught:
        await scan_rows(store.backend, plan, soon(0.5))
    assert caught.value.sqlstate == "57014"
    assert time.monotonic() - began < 5
    assert await active(store) == 0


async def test_errors_of_the_server_keep_their_fields(store: Store) -> None:  # R0.1
    table = await store.table("broken", schema="work")
    plan = store.backend.plan_scan(table, store.ask(table, ["id"]))
    with pytest.raises(MorphError, match="division by zero") as caught:
        await scan_rows(store.backend, plan, soon())
    assert caught.value.sqlstate == "22012"
    assert caught.value.fields["W"] == 'server "shop"'


async def test_a_table_that_vanishes(store: Store) -> None:  # R0.5
    table = await store.table("shortly", "id int")
    await store.connection.execute("DROP TABLE shortly")
    plan = store.backend.plan_scan(table, store.ask(table, ["id"]))
    with pytest.raises(UndefinedTable, match="shortly"):
        await scan_rows(store.backend, plan, soon())


# ------------------------------------------------------------------ the way to the server


def behind(proxy: CuttingProxy, store: Store, **changes: Any) -> PostgresBackend:
    """A backend that reaches the store through a proxy."""
    parts = {"host": proxy.host, "port": str(proxy.port)}
    return PostgresBackend(
        "shop", options(store.server, store.database, parts=parts, connect_timeout=2.0, **changes)
    )


@pytest.mark.parametrize("action", ["cut", "reset"])
async def test_an_answer_that_is_cut_is_an_error_never_short(store: Store, action: Any) -> None:
    """Issue 4.9, PEERS.md section 3: at every place of the answer. R0.5."""
    table = store.tables["big"]
    with CuttingProxy(store.server.host, store.server.port) as proxy:
        backend = behind(proxy, store)
        plan = backend.plan_scan(table, store.ask(table, ["id", "pad"]))
        proxy.arm(Fault(after=None, trigger=b"COPY"))
        assert len(await scan_rows(backend, plan, soon())) == BIG_ROWS
        whole = proxy.counted
        assert whole > BIG_ROWS * 200
        for after in (
            0,
            1,
            50,
            300,
            5000,
            whole // 2,
            whole - 200,
            whole - 30,
            whole - 7,
            whole - 1,
        ):
            # Twice: the first try may have had no row yet, and is repeated.
            proxy.arm(Fault(action, after=after, trigger=b"COPY", times=2))
            with pytest.raises(ConnectionFailure, match='"shop"') as caught:
                await scan_rows(backend, plan, soon())
            assert caught.value.sqlstate == "08006", after
            proxy.disarm()
        assert len(await scan_rows(backend, plan, soon())) == BIG_ROWS
        await backend.close()


async def test_before_the_first_row_it_is_tried_again(store: Store) -> None:  # R0.5
    table = store.tables["big"]
    with CuttingProxy(store.server.host, store.server.port) as proxy:
        backend = behind(proxy, store)
        plan = backend.plan_scan(table, store.ask(table, ["id"]))
        await backend.server(soon())
        proxy.arm(Fault(after=0, trigger=b"COPY", times=1))
        assert len(await scan_rows(backend, plan, soon())) == BIG_ROWS
        assert proxy.fired == 1
        await backend.close()


async def test_a_stalled_answer_ends_at_the_deadline(store: Store) -> None:  # R0.5
    table = store.tables["big"]
    with CuttingProxy(store.server.host, store.server.port) as proxy:
        backend = behind(proxy, store)
        plan = backend.plan_scan(table, store.ask(table, ["id", "pad"]))
        await backend.server(soon())
        proxy.arm(Fault("stall", after=10_000, trigger=b"COPY"))
        began = time.monotonic()
        with pytest.raises(QueryCanceled):
            await scan_rows(backend, plan, soon(0.5))
        assert time.monotonic() - began < 6
        proxy.disarm()
        await backend.close()


async def test_a_server_that_goes_and_comes_back(store: Store) -> None:  # R1.9
    table = store.tables["big"]
    with CuttingProxy(store.server.host, store.server.port) as proxy:
        backend = behind(proxy, store)
        plan = backend.plan_scan(table, store.ask(table, ["id"]))
        assert len(await scan_rows(backend, plan, soon())) == BIG_ROWS
        proxy.go_down()
        with pytest.raises(ConnectionFailure) as caught:
            await scan_rows(backend, plan, soon())
        assert caught.value.sqlstate in ("08001", "08006")
        proxy.come_back()
        assert len(await scan_rows(backend, plan, soon())) == BIG_ROWS
        await backend.close()


async def test_nobody_listens_and_nobody_answers(store: Store) -> None:  # R0.5
    with socket.create_server(("127.0.0.1", 0)) as silent:
        for port in (1, silent.getsockname()[1]):
            parts = {"port": str(port)}
            backend = PostgresBackend(
                "away", options(store.server, "x", parts=parts, connect_timeout=0.3)
            )
            began = time.monotonic()
            with pytest.raises(CannotConnect, match='"away"') as caught:
                await backend.server(soon())
            assert caught.value.sqlstate == "08001"
            assert time.monotonic() - began < 3
            await backend.close()


async def test_a_login_that_is_refused(open_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also: no password of this process's environment is ever sent. R6.3."""
    server = start_postgres(
        open_home / "pg",
        access="host all postgres 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 scram-sha-256",
    )
    try:
        admin = await asyncpg.connect(server.uri)
        await admin.execute("CREATE ROLE app LOGIN PASSWORD 'right'")
        await admin.close()
        monkeypatch.setenv("PGPASSWORD", "right")
        for given, works in (
            ({}, False),
            ({"password": "wrong"}, False),
            ({"password": "right"}, True),
        ):
            parts = {"user": "app", "database": "postgres", **given}
            backend = PostgresBackend("shop", options(server, "postgres", parts=parts))
            if works:
                assert (await backend.server(soon())).product == "PostgreSQL"
            else:
                with pytest.raises(StoreLoginRefused, match='"shop"') as caught:
                    await backend.server(soon())
                assert (caught.value.sqlstate, caught.value.severity) == ("28000", "ERROR")
                assert "right" not in str(caught.value) + caught.value.detail
            await backend.close()
        dsn = f"postgresql://app:right@{server.host}:{server.port}/postgres"
        backend = PostgresBackend("shop", options(server, "postgres", parts={}, dsn=dsn))
        assert (await backend.server(soon())).features["writable"]
        await backend.close()
    finally:
        server.stop()


async def test_closing_ends_what_runs(store: Store) -> None:  # R0.5
    backend = PostgresBackend("shop", options(store.server, store.database))
    table = await store.table("slow", schema="work")
    plan = backend.plan_scan(table, store.ask(table, ["id", "pad"]))
    scan = cast("Any", backend.scan(plan, soon(60)))
    await anext(scan)
    await backend.close()
    with pytest.raises(MorphError):
        async for _ in scan:
            pass
    with pytest.raises(MorphError):
        await backend.server(soon())


async def test_a_server_of_another_encoding(postgres_store: RunningServer) -> None:  # R0.5
    latin = "CREATE DATABASE {} TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'"
    async with open_store(postgres_store, "morph_latin", latin) as store:
        table = await store.table("t", "id int PRIMARY KEY, name text")
        await store.connection.execute("INSERT INTO t VALUES (1, 'é'), (2, 'e'), (3, 'ü')")
        column = ir.ColumnRef(*ids(table, ["name"]), "text")
        for literal, pushed in (("é", False), ("日本", False), ("e", True)):
            condition = ir.Compare("=", column, ir.Literal("text", literal))
            plan = store.backend.plan_scan(table, store.ask(table, ["name"], predicate=condition))
            assert (plan.residual is None) == pushed
            rows = await scan_rows(store.backend, plan, soon())
            assert [row[0] for row in rows if row[0] == literal] == (
                [literal] if literal != "日本" else []
            )
