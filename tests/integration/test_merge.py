"""The merge tier gives tier 1's answers, byte for byte (R0.5, R1.8)."""

from __future__ import annotations

import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import errors

from tests.integration.server_process import ServerProcess, running
from tests.integration.wire import (
    SYNC,
    Message,
    WireClient,
    bind,
    close,
    describe,
    error_of,
    execute,
    kinds,
    parse,
    query,
)

MODES = ["off", "scan"]
QUERIES = [
    "SELECT * FROM customers WHERE _id <= 20 ORDER BY _id",
    "SELECT * FROM orders WHERE _id BETWEEN 100 AND 140 ORDER BY _id",
    "SELECT * FROM products WHERE price > 500 ORDER BY _id",
    "SELECT * FROM events WHERE kind = 'search' AND customer_id < 60 ORDER BY _id",
    "SELECT * FROM orders_items WHERE orders_id < 12 ORDER BY 1, 2",
    "SELECT count(*) FROM orders",
    "SELECT count(*), min(total), max(created_at), avg(total) FROM orders WHERE status <> 'paid'",
    "SELECT o.status, count(*), sum(o.total) FROM orders o JOIN customers c ON c._id = "
    "o.customer_id WHERE c.segment = 'education' GROUP BY o.status ORDER BY o.status",
    "SELECT c._id, c.name, count(o._id) FROM customers c LEFT JOIN orders o ON o.customer_id = "
    "c._id AND o.total > 900 GROUP BY c._id ORDER BY 3 DESC, 1 LIMIT 7",
    "SELECT public.orders._id, v1.customers.name FROM public.orders JOIN v1.customers "
    "ON v1.customers._id = public.orders.customer_id WHERE public.orders._id < 4 ORDER BY 1",
    "SELECT orders, row_to_json(orders) FROM orders WHERE _id = 7",
    "SELECT address.city, address FROM orders WHERE address.city = 'Wien' ORDER BY _id LIMIT 3",
    "SELECT \"address.geo.lat\", tags FROM orders WHERE 'gift' = ANY (tags) ORDER BY _id LIMIT 9",
    "WITH big AS (SELECT * FROM orders WHERE total > 900) SELECT count(*) FROM big, "
    "LATERAL (SELECT 1 FROM customers WHERE _id = big.customer_id) AS c",
    "WITH orders AS (SELECT 1 AS a) SELECT * FROM orders",
    "SELECT _id FROM customers EXCEPT SELECT customer_id FROM orders ORDER BY 1 LIMIT 5",
    "SELECT c.name, (SELECT max(total) FROM orders o WHERE o.customer_id = c._id) FROM customers "
    "c WHERE EXISTS (SELECT 1 FROM orders o WHERE o.customer_id = c._id) ORDER BY c._id LIMIT 4",
    "SELECT a, b FROM customers AS c(a, b) ORDER BY 1 LIMIT 2",
    "SELECT * FROM orders NATURAL JOIN (VALUES (5::bigint)) AS v(_id)",
    "SELECT status, rank() OVER (ORDER BY total DESC, _id) FROM orders ORDER BY 2 LIMIT 5",
    'SELECT status AS "a b", 1 + 1, count(*) FROM orders GROUP BY 1 ORDER BY 1',
    "SELECT * FROM books",
    "TABLE books",
    "SELECT * FROM ONLY books",
    "SELECT b.id FROM ONLY (public.books) AS b, books * ORDER BY 1",
    "SELECT books.*, c.relname FROM books RIGHT JOIN pg_class c ON true WHERE relname='pg_class'",
    "SELECT ctid FROM orders WHERE _id = 1",
    "SELECT _doc FROM orders WHERE _id = 1",
    "SELECT _id FROM orders WHERE _id < 3 ORDER BY _id FOR UPDATE",
    "SELECT count(*) FROM orders TABLESAMPLE system (100)",
    "SELECT 1 / (_id - 5) FROM orders",
    "SELECT nope FROM orders",
    "SELECT _id, count(*) FROM orders GROUP BY status",
]


@pytest.fixture(scope="module")
def pair(shop: ServerProcess) -> Iterator[tuple[WireClient, WireClient]]:
    with (
        WireClient(shop.host, shop.port) as plain,
        WireClient(shop.host, shop.port) as merged,
    ):
        plain.log_in()
        merged.log_in()
        yield plain, merged


@pytest.fixture(params=MODES)
def clients(
    request: pytest.FixtureRequest, pair: tuple[WireClient, WireClient]
) -> tuple[WireClient, WireClient]:
    """(tier 1, merge tier)."""
    pair[1].simple(f"SET morph.pushdown = {request.param}")
    return pair


def shown(answers: list[Message]) -> list[object]:
    """Everything the client sees, an error's place in the server's source aside."""
    hidden = ("F", "L", "R")
    return [
        {k: v for k, v in a.fields.items() if k not in hidden} if a.kind == "E" else a
        for a in answers
    ]


@pytest.mark.parametrize("sql", QUERIES)
def test_simple_protocol(clients: tuple[WireClient, WireClient], sql: str) -> None:
    plain, merged = clients
    assert shown(merged.simple(sql)) == shown(plain.simple(sql))


@pytest.mark.parametrize("sql", QUERIES)
def test_extended_protocol_binary(clients: tuple[WireClient, WireClient], sql: str) -> None:
    plain, merged = clients
    asked = (parse(sql), describe("S"), bind(results=(1,)), describe("P"), execute(), SYNC)
    assert shown(merged.ask(*asked)) == shown(plain.ask(*asked))


def test_parameters(clients: tuple[WireClient, WireClient]) -> None:
    plain, merged = clients
    sql = "SELECT _id, total, status FROM orders WHERE _id < $1 AND status <> $2 AND total > $3"
    for values, formats in [
        ((b"30", b"paid", b"10.5"), ()),
        ((struct.pack(">q", 30), b"paid", b"10.5"), (1, 0, 0)),
        ((struct.pack(">q", 30), b"paid", struct.pack(">hhhhh", 1, 0, 0, 0, 7)), (1, 1, 1)),
        ((None, b"x", b"1"), (0,)),
    ]:
        asked = (parse(sql + " ORDER BY 1", "", (20,)), bind(values, formats=formats), execute())
        first = plain.ask(*asked, SYNC)
        assert shown(merged.ask(*asked, SYNC)) == shown(first)


def test_a_limited_execute_goes_on(clients: tuple[WireClient, WireClient]) -> None:
    _, merged = clients
    asked = [parse("SELECT _id FROM orders WHERE _id < 6 ORDER BY 1"), bind(portal="p")]
    asked += [execute("p", 2), execute("p", 2), execute("p", 2), close("P", "p"), SYNC]
    answers = merged.ask(*asked)
    assert kinds(answers) == "12DDsDDsDC3Z"
    assert [a.values for a in answers if a.kind == "D"] == [[b"%d" % n] for n in range(1, 6)]
    assert merged.values("SELECT 7") == [[b"7"]]


def test_statements_of_one_text(clients: tuple[WireClient, WireClient]) -> None:
    plain, merged = clients
    text = (
        "BEGIN; UPDATE orders SET total = -1 WHERE _id < 4; SELECT sum(total) FROM orders WHERE "
        "_id < 9; SELECT count(*) FROM orders; ROLLBACK; SELECT min(total) FROM orders"
    )
    assert shown(merged.simple(text)) == shown(plain.simple(text))


@pytest.mark.parametrize("mode", MODES)
def test_settings_of_the_session_do_not_matter(shop: ServerProcess, mode: str) -> None:
    settings = [
        ("DateStyle", "German, DMY"), ("IntervalStyle", "iso_8601"), ("bytea_output", "escape"),
        ("extra_float_digits", "-3"), ("TimeZone", "Asia/Kolkata"),
    ]  # fmt: skip
    query_text = 'SELECT created_at, "address.geo.lat" FROM orders ORDER BY _id LIMIT 5'
    answers = []
    for pushdown in ("on", mode):
        with WireClient(shop.host, shop.port) as client:
            client.log_in()
            for name, value in settings:
                client.simple(f"SET {name} = '{value}'")
            client.simple(f"SET morph.pushdown = '{pushdown}'")
            answers.append(client.simple(query_text))
            shown_now = [client.values(f"SHOW {name}")[0][0] for name, _ in settings]
            assert shown_now == [value.encode() for _, value in settings]
    assert answers[0] == answers[1]


@pytest.mark.parametrize("encoding", ["LATIN1", "WIN1252", "UTF8"])
@pytest.mark.parametrize("mode", MODES)
def test_encodings(shop: ServerProcess, mode: str, encoding: str) -> None:
    texts = [
        "SELECT name FROM customers WHERE _id <= 9 ORDER BY _id",
        "SELECT name, tags FROM customers, orders WHERE customers._id = 6 AND orders._id < 3",
        "EXPLAIN (COSTS off) SELECT name FROM customers",
    ]
    with WireClient(shop.host, shop.port) as client:
        client.log_in()
        client.simple(f"SET client_encoding = '{encoding}'")
        first = [shown(client.simple(text)) for text in texts[:2]]
        client.simple(f"SET morph.pushdown = '{mode}'")
        assert [shown(client.simple(text)) for text in texts[:2]] == first
        tier = b"tier 2" if encoding == "UTF8" else b"tier 1"
        assert any(tier in (a.body or b"") for a in client.simple(texts[2]) if a.kind == "D")


# Few rows go as arrays in parameters, many by COPY BINARY; columns of arrays are decoded.
@pytest.mark.parametrize("decoded", [True, False])
@pytest.mark.parametrize("rows", [3, 5_000])
@pytest.mark.parametrize("mode", MODES)
def test_every_type(shop: ServerProcess, mode: str, rows: int, decoded: bool) -> None:
    columns = {
        "b": ("boolean", "true"), "s": ("smallint", "-32768"), "i": ("integer", "2147483647"),
        "l": ("bigint", "'-9223372036854775808'"), "n": ("numeric", "'-0.00100'"),
        "m": ("numeric(10,2)", "'NaN'"), "r": ("real", "'-0'"),
        "d": ("double precision", "'Infinity'"), "t": ("text", "E'a\\n\"b'',\\\\N'"),
        "e": ("text", "''"), "v": ("varchar(5)", "'é€'"), "c": ("character(4)", "'x'"),
        "y": ("bytea", "'\\x00ff'"), "da": ("date", "'infinity'"),
        "db": ("date", "'0044-03-15 BC'"),
        "ts": ("timestamp", "'2024-02-29 23:59:59.999999'"),
        "tz": ("timestamptz", "'294276-12-31 23:59:59+00'"), "ti": ("time", "'24:00'"),
        "tt": ("timetz", "'12:00+05:30'"), "iv": ("interval", "'1 mon -2 days 00:00:01.5'"),
        "u": ("uuid", "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'"),
        "j": ("jsonb", "'{\"a\": [1, null]}'"),
        "jn": ("jsonb", "'null'"), "js": ("json", "'{ }'"),
        "ar": ("integer[]", "'{{1,2},{3,NULL}}'"),
        "at": ("text[]", "'{\"a,b\",NULL,\"NULL\",\"\"}'"), "ip": ("inet", "'10.0.0.0/8'"),
        "bt": ("bit(3)", "'101'"), "mo": ("money", "'-12.34'"),
    }  # fmt: skip
    if not decoded:
        columns = {n: each for n, each in columns.items() if not each[0].endswith("[]")}
    texts = [
        "SELECT * FROM kinds WHERE id < 9 ORDER BY id",
        "SELECT count(DISTINCT kinds.*::text) FROM kinds",
        "SELECT kinds FROM kinds WHERE id < 2 ORDER BY id",
    ]
    with WireClient(shop.host, shop.port) as client:
        client.log_in()
        listed = ", ".join(f"{name} {kind}" for name, (kind, _) in columns.items())
        values = ", ".join(value for _, value in columns.values())
        nulls = ", ".join(["NULL"] * len(columns))
        client.values(f"BEGIN; CREATE TABLE kinds (id integer PRIMARY KEY, {listed})")
        client.values(f"INSERT INTO kinds SELECT g, {values} FROM generate_series(1, {rows}) g")
        client.values(f"INSERT INTO kinds VALUES (0, {nulls})")
        first = [client.simple(text) for text in texts]
        binary = client.ask(parse(texts[0]), bind(results=(1,)), execute(), SYNC)
        assert "E" not in kinds(binary)
        client.values(f"SET LOCAL morph.pushdown = '{mode}'")
        assert [client.simple(text) for text in texts] == first
        assert client.ask(parse(texts[0]), bind(results=(1,)), execute(), SYNC) == binary
        client.simple("ROLLBACK")


@pytest.mark.parametrize("encoding", ["UTF8", "LATIN1"])
@pytest.mark.parametrize("mode", MODES)
def test_a_read_only_transaction(shop: ServerProcess, mode: str, encoding: str) -> None:
    with shop.connect() as client:
        client.execute(f"SET client_encoding = '{encoding}'")
        client.execute(f"SET morph.pushdown = '{mode}'")
        client.execute("BEGIN READ ONLY")
        rows = client.execute("SELECT count(*), sum(total) FROM orders").fetchall()
        client.execute("ROLLBACK")
        client.execute("SET morph.pushdown = 'on'")
        assert rows == client.execute("SELECT count(*), sum(total) FROM orders").fetchall()


JOINS = [
    "SELECT o, c FROM orders o JOIN customers c ON c._id = o.customer_id ORDER BY o._id LIMIT 50",
    "SELECT count(*) FROM orders a JOIN orders b USING (_id) LEFT JOIN books ON false",
    "SELECT o.status, max(p.price), (SELECT count(*) FROM events) FROM orders o, products p "
    "WHERE p._id < '3' AND o._id < 40 GROUP BY 1 ORDER BY 1",
    "SELECT (SELECT count(*) FROM orders), (SELECT count(*) FROM books WHERE false)",
]


@pytest.mark.parametrize("batches", ["4kB", "1MB"])
def test_large_and_small_scans_of_one_statement(open_directory: Path, batches: str) -> None:
    config = f"[merge]\nsmall_rows_max = 20\nbatch_bytes = '{batches}'\n"
    where = open_directory / f"relayed-{batches}"
    with running(where, config) as server, server.connect() as client:
        client.execute("CREATE TABLE a (id integer PRIMARY KEY, t text, v varchar(9))")
        client.execute("CREATE TABLE b (id bigint, t text, n numeric(9,2))")
        client.execute("INSERT INTO a SELECT g, repeat('é', g % 300), g FROM "
                       "generate_series(1, 5000) g")  # fmt: skip
        client.execute("INSERT INTO b SELECT g, NULL, g / 3.0 FROM generate_series(1, 20) g")
        sql = (
            "SELECT a.v, b.n, length(a.t), b FROM a LEFT JOIN b ON a.id = b.id "
            "WHERE a.id IN (1, 7, 20, 21, 299, 5000) ORDER BY a.id"
        )
        counts = "SELECT (SELECT count(*) FROM b), (SELECT sum(length(t)) FROM a), (SELECT "
        counts += "count(*) FROM a WHERE id < 0), (SELECT sum(n) FROM b WHERE id > 99)"
        first = [client.execute(text).fetchall() for text in (sql, counts)]
        for mode in MODES:
            client.execute(f"SET morph.pushdown = '{mode}'")
            assert [client.execute(text).fetchall() for text in (sql, counts)] == first


PAIR = "FROM whole a JOIN whole b USING (id) JOIN (VALUES (1), (7)) AS v(id) USING (id)"


@pytest.fixture(scope="module")
def arrays(open_directory: Path) -> Iterator[psycopg.Connection[Any]]:
    """Tables that go as arrays, above the limit where they would go by COPY."""
    with (
        running(open_directory / "arrays", "[merge]\nsmall_rows_max = 20\n") as server,
        server.connect() as client,
    ):
        client.execute("CREATE TABLE whole (id integer PRIMARY KEY, t text, n integer)")
        client.execute("INSERT INTO whole SELECT g, 'é' || g, nullif(g % 3, 0) FROM "
                       "generate_series(1, 3000) g")  # fmt: skip
        client.execute("CREATE TABLE packed (id integer PRIMARY KEY, t text)")
        client.execute("INSERT INTO packed SELECT g, (SELECT string_agg(md5(g::text || h), '') "
                       "FROM generate_series(1, 300) h) FROM generate_series(1, 30) g")  # fmt: skip
        client.execute("SET morph.pushdown = 'scan'")
        yield client


def plan_of(client: psycopg.Connection[Any], sql: str) -> str:
    rows = client.execute(f"EXPLAIN (ANALYZE, VERBOSE) {sql}").fetchall()
    return "\n".join(row[0] for row in rows)


def test_columns_of_tables_that_are_not_large_go_as_arrays(
    arrays: psycopg.Connection[Any],
) -> None:
    sql = f"SELECT count(*), sum(a.n), min(b.t) {PAIR}"
    plan = plan_of(arrays, sql)
    assert "_morph_m" not in plan
    assert "'{…}'::integer[]" in plan
    assert "Merge Join" not in plan
    merged = arrays.execute(sql).fetchall()
    arrays.execute("SET morph.pushdown = on")
    assert arrays.execute(sql).fetchall() == merged == [(2, 2, "é1")]
    arrays.execute("SET morph.pushdown = 'scan'")


def test_a_table_with_values_kept_apart_does_not_go_as_arrays(
    arrays: psycopg.Connection[Any],
) -> None:
    sql = "SELECT count(*), sum(length(t)) FROM packed"
    assert "_morph_m" in plan_of(arrays, sql)
    assert arrays.execute(sql).fetchall() == [(30, 30 * 300 * 32)]


@pytest.mark.parametrize("value", ["on", "off"])
def test_the_join_setting_is_the_sessions_own(arrays: psycopg.Connection[Any], value: str) -> None:
    shown = "SHOW enable_mergejoin"
    arrays.execute(f"SET enable_mergejoin = {value}")
    with arrays.transaction():
        arrays.execute("CREATE TEMPORARY TABLE own (id integer) ON COMMIT DROP")
        with arrays.cursor("c") as cursor:
            cursor.execute(f"SELECT a.id {PAIR}")
            assert len(cursor.fetchall()) == 2
        assert arrays.execute(f"SELECT count(*) {PAIR}").fetchall() == [(2,)]
        assert arrays.execute(shown).fetchall() == [(value,)]
        with pytest.raises(errors.DivisionByZero), arrays.transaction():
            arrays.execute(f"SELECT 1 / (a.id - 7) {PAIR}")
        assert arrays.execute(shown).fetchall() == [(value,)]
    assert arrays.execute(shown).fetchall() == [(value,)]
    arrays.execute("RESET enable_mergejoin")


@pytest.mark.parametrize("sql", JOINS)
def test_joins(clients: tuple[WireClient, WireClient], sql: str) -> None:
    plain, merged = clients
    assert shown(merged.simple(sql)) == shown(plain.simple(sql))


@pytest.mark.parametrize("mode", MODES)
def test_all_scans_see_one_snapshot(shop: ServerProcess, mode: str) -> None:
    stop = threading.Event()

    def write() -> None:
        with shop.connect() as writer:
            number = 0
            while not stop.is_set():
                number += 1
                writer.execute(
                    f"BEGIN; UPDATE books SET price = {number % 1000} WHERE id = -1; "
                    f"UPDATE products SET price = {number % 1000} WHERE _id = 'merge'; COMMIT"
                )

    with shop.connect() as client:
        client.execute("INSERT INTO books (id, title, price) VALUES (-1, 'x', 0)")
        client.execute("INSERT INTO products (_id, price) VALUES ('merge', 0)")
        thread = threading.Thread(target=write)
        thread.start()
        try:
            client.execute(f"SET morph.pushdown = '{mode}'")
            seen = [
                client.execute(
                    "SELECT b.price, p.price, (SELECT sum(price) FROM books WHERE id = -1) "
                    "FROM products p JOIN books b ON b.id = -1 WHERE p._id = 'merge'"
                ).fetchall()[0]
                for _ in range(25)
            ]
        finally:
            stop.set()
            thread.join()
            client.execute("DELETE FROM books WHERE id = -1")
            client.execute("DELETE FROM products WHERE _id = 'merge'")
    assert all(a == b == c for a, b, c in seen), seen
    assert len(set(seen)) > 1


def test_cancel(shop: ServerProcess) -> None:
    with WireClient(shop.host, shop.port) as client:
        client.log_in()
        client.simple("SET morph.pushdown = off")
        client.send(query("SELECT count(*) FROM orders a, orders b, orders c"))
        assert client.read().kind == "T"
        with WireClient(shop.host, shop.port) as other:
            other.cancel(client.process_id, client.key)
        assert error_of(client.read_until())["C"] == "57014"
        assert client.values("SELECT 1") == [[b"1"]]


def test_nothing_is_left_in_the_session(shop: ServerProcess) -> None:
    with shop.connect() as client:
        client.execute("SET morph.pushdown = off")
        client.execute("SELECT count(*) FROM orders")
        found = client.execute(
            "SELECT count(*) FROM pg_class WHERE relnamespace = pg_my_temp_schema()"
        ).fetchall()
        assert found == [(0,)]


@pytest.mark.parametrize("mode", MODES)
def test_explain(shop: ServerProcess, mode: str) -> None:
    sql = "SELECT status FROM orders o WHERE o._id < 5 AND o.note ~ 'x'"
    with shop.connect() as client:
        client.execute(f"SET morph.pushdown = '{mode}'")
        for options in ("VERBOSE, COSTS off", "ANALYZE, VERBOSE"):
            lines = [r[0] for r in client.execute(f"EXPLAIN ({options}) {sql}").fetchall()]
            at = lines.index("Morphgres: tier 2 (merged from scans)")
            rest = "\n".join(lines[at:])
            assert "Native: SELECT status FROM scan1 o WHERE" in rest
            pushed = 'WHERE ("_id" < 5)' in rest
            assert pushed == (mode == "scan" and "Pushed: (" in rest)
        brief = client.execute(f"EXPLAIN {sql}").fetchall()
        assert brief[-1] == ("Morphgres: tier 2 (merged from scans)",)
        update = client.execute("EXPLAIN UPDATE orders SET total = 1 WHERE _id = -1").fetchall()
        assert update[-1] == ("Morphgres: tier 1 (answered by the store)",)
        [(document,)] = client.execute(
            f"EXPLAIN (FORMAT json, VERBOSE) {sql} AND o.total > %s", (5,)
        ).fetchall()
        scan = document[0]["Morphgres"]["Scans"][0]
        assert scan["Table"] == "o"
        assert ('"total" >' in scan["Native"]) == (mode == "scan")


LIMITED = "[merge]\nmemory_max = '1MB'\nspill_max = '{spill}'\nbatch_bytes = '64kB'\n"
WIDE = """
CREATE TABLE wide (id integer PRIMARY KEY, text text);
INSERT INTO wide SELECT g, repeat('x', 1000) FROM generate_series(1, 20000) g
"""


@pytest.fixture(scope="module", params=["0", "8MB", "64MB"])
def limited(
    request: pytest.FixtureRequest, open_directory: Path
) -> Iterator[tuple[str, ServerProcess]]:
    spill = str(request.param)
    config = LIMITED.format(spill=spill)
    with running(open_directory / f"limited-{spill}", config) as server:
        with server.connect() as client:
            client.execute(WIDE)
        yield spill, server


def test_limits(limited: tuple[str, ServerProcess]) -> None:
    spill, server = limited
    with server.connect() as client:
        client.execute("SET morph.pushdown = off")
        sql = "SELECT count(*), sum(length(text)) FROM wide"
        client.execute("BEGIN")
        if spill == "64MB":
            assert client.execute(sql).fetchall() == [(20_000, 20_000_000)]
            client.execute("ROLLBACK")
            return
        for prepare in (False, True):
            with pytest.raises(psycopg.Error) as caught:
                client.execute(sql, prepare=prepare)
            assert caught.value.sqlstate == ("53200" if spill == "0" else "53400")
            with pytest.raises(errors.InFailedSqlTransaction):
                client.execute("SELECT 1")
            client.execute("ROLLBACK; BEGIN")
        assert client.execute("SELECT count(*) FROM wide").fetchall() == [(20_000,)]
        client.execute("ROLLBACK")


@pytest.mark.parametrize("mode", MODES)
def test_psycopg_pipelines(shop: ServerProcess, mode: str) -> None:
    with shop.connect() as client:
        client.execute(f"SET morph.pushdown = '{mode}'")
        cursors: list[psycopg.Cursor[Any]] = []
        with client.pipeline():
            cursors += [
                client.execute("SELECT _id, total FROM orders WHERE _id = %s", (number,))
                for number in range(1, 12)
            ]
        assert [c.fetchall()[0][0] for c in cursors] == list(range(1, 12))
