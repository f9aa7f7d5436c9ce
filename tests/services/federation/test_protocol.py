"""Drivers' ways of asking over foreign tables (R0.1, R0.4): parameters in both formats, portals
that are read in parts, pipelines, COPY out, statements that are prepared once and run often.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from tests.integration.server_process import ServerProcess
from tests.integration.wire import (
    SYNC,
    WireClient,
    bind,
    close,
    describe,
    error_of,
    execute,
    kinds,
    parse,
)
from tests.services.federation.conftest import MODES
from tests.services.federation.judging import Judge, Parameters, outcome, outcome_with
from tests.services.federation.loading import run

pytestmark = [pytest.mark.services, pytest.mark.timeout(600)]
Connection = psycopg.Connection[Any]
INT2, INT4, INT8, TEXT, NUMERIC, BOOL, FLOAT8 = 21, 23, 20, 25, 1700, 16, 701
STAMP, UUID, INT8S = 1184, 2950, 1016
BY_ID = "SELECT id, status, total FROM orders WHERE id = $1"


def int8s(*values: int | None) -> bytes:
    """bigint[] in binary."""
    parts = [b"\xff" * 4 if v is None else struct.pack(">iq", 8, v) for v in values]
    return struct.pack(">iiIii", 1, None in values, INT8, len(values), 1) + b"".join(parts)


EXTENDED: dict[str, tuple[str, Parameters]] = {
    "text": (BY_ID, Parameters([b"7"])),
    "text-spaces": (BY_ID, Parameters([b" 7 "])),
    "text-wrong": (BY_ID, Parameters([b"seven"])),
    "null": (BY_ID, Parameters([None])),
    "binary": (BY_ID, Parameters([struct.pack(">q", 7)], [INT8], [1])),
    "binary-short": (BY_ID, Parameters([struct.pack(">h", 7)], [INT2], [1])),
    "binary-int4": (BY_ID, Parameters([struct.pack(">i", -7)], [INT4], [1])),
    "binary-cut": (BY_ID, Parameters([b"\0\0"], [INT8], [1])),
    "binary-result": (BY_ID, Parameters([b"7"], [], [], 1)),
    "numeric-parameter": (BY_ID, Parameters([b"7.0"], [NUMERIC])),
    "all-binary": (
        "SELECT * FROM orders WHERE id < $1 ORDER BY id",
        Parameters([b"20"], [], [], 1),
    ),
    "customers-binary": ("SELECT * FROM customers ORDER BY id", Parameters([], [], [], 1)),
    "products-binary": ("TABLE products", Parameters([], [], [], 1)),
    "any-text": (
        "SELECT id FROM orders WHERE id = ANY ($1) ORDER BY id",
        Parameters([b"{ 3, NULL ,5}"]),
    ),
    "any-binary": (
        "SELECT id FROM orders WHERE id = ANY ($1) ORDER BY id",
        Parameters([int8s(3, None, 299, 1000)], [INT8S], [1]),
    ),
    "any-empty": ("SELECT id FROM orders WHERE id = ANY ($1)", Parameters([b"{}"])),
    "several": (
        "SELECT o.id, c.name FROM orders o JOIN customers c ON c.id = o.customer "
        "WHERE o.status = $1 AND o.total > $2 AND o.placed > $3 ORDER BY o.id",
        Parameters([b"paid", b"100.5", b"2024-03-05 00:00+01"]),
    ),
    "twice": (
        "SELECT id FROM orders WHERE id = $1 OR product = $1 ORDER BY id",
        Parameters([b"5"]),
    ),
    "in-the-list": ("SELECT id, $1::text || note FROM orders WHERE id < 9", Parameters([b"<"])),
    "limit": (
        "SELECT id FROM orders ORDER BY id LIMIT $1 OFFSET $2",
        Parameters([b"4", b"2"]),
    ),
    "like": ("SELECT id FROM orders WHERE note LIKE $1 ORDER BY id", Parameters([b"50\\%%"])),
    "uuid": (
        "SELECT id FROM orders WHERE ref > $1 ORDER BY id",
        Parameters([b"\x70" + bytes(15)], [UUID], [1]),
    ),
    "bool": (
        "SELECT id FROM customers WHERE vip = $1 ORDER BY id",
        Parameters([b"\1"], [BOOL], [1]),
    ),
    "float": (
        "SELECT id FROM customers WHERE score > $1 ORDER BY id",
        Parameters([struct.pack(">d", -3.5)], [FLOAT8], [1]),
    ),
    "time": (
        "SELECT id FROM orders WHERE placed < $1 ORDER BY id",
        Parameters([struct.pack(">q", 762_500_000_123_456)], [STAMP], [1]),
    ),
    "group": (
        "SELECT status, count(*) FROM orders WHERE total > $1 GROUP BY status ORDER BY 1",
        Parameters([b"100"], [], [], 1),
    ),
    "untyped": ("SELECT $1 AS a, id FROM products ORDER BY id", Parameters([b"x"])),
    "no-such-parameter": ("SELECT id FROM orders WHERE id = $1", Parameters([])),
    "unknown-column": ("SELECT nope FROM orders WHERE id = $1", Parameters([b"1"])),
}


@pytest.mark.parametrize("name", list(EXTENDED))
def test_parameters_as_postgresql(client: Connection, judge: Judge, name: str) -> None:
    text, parameters = EXTENDED[name]
    expected = outcome_with(judge.connection, text, parameters)
    for mode in MODES:
        run(client, f"SET morph.pushdown = {mode}")
        for _ in range(2):  # from the cache, too
            found = outcome_with(client, text, parameters)
            if "ORDER BY" not in text:
                found, expected = found.sorted(), expected.sorted()
            assert found == expected, mode


@pytest.fixture
def wire(morphgres: ServerProcess, client: Connection) -> Iterator[WireClient]:
    """A raw session over the placed tables."""
    del client
    with WireClient(morphgres.host, morphgres.port) as raw:
        raw.log_in()
        yield raw


@pytest.mark.parametrize("mode", MODES)
def test_a_portal_in_parts(wire: WireClient, judge: Judge, mode: str) -> None:
    text = "SELECT id, note FROM orders WHERE id > $1 ORDER BY id"
    expected = outcome_with(judge.connection, text, Parameters([b"10"])).rows
    wire.simple(f"SET morph.pushdown = {mode}")
    wire.simple("BEGIN")
    first = wire.ask(parse(text), bind((b"10",)), describe("P"), execute(limit=100), SYNC)
    assert kinds(first) == "12T" + "D" * 100 + "sZ"
    rows = [tuple(m.values) for m in first if m.kind == "D"]
    second = wire.ask(execute(limit=100), SYNC)
    assert kinds(second) == "D" * 100 + "sZ"
    rows += [tuple(m.values) for m in second if m.kind == "D"]
    last = wire.ask(execute(limit=100), SYNC)
    assert kinds(last) == "D" * 90 + "CZ"
    rows += [tuple(m.values) for m in last if m.kind == "D"]
    assert rows == list(expected)
    assert kinds(wire.ask(close("P"), SYNC)) == "3Z"
    wire.simple("COMMIT")


def test_two_portals_at_a_time(wire: WireClient) -> None:
    wire.simple("BEGIN")
    text = "SELECT id FROM orders WHERE id > $1 ORDER BY id"
    opened = wire.ask(
        parse(text, name="s"),
        bind((b"0",), portal="a", statement="s"),
        bind((b"100",), portal="b", statement="s"),
        execute("a", 2),
        execute("b", 2),
        execute("a", 2),
        execute("b", 2),
        SYNC,
    )
    assert kinds(opened) == "122DDsDDsDDsDDsZ"
    found = [m.values[0] for m in opened if m.kind == "D"]
    assert found == [b"1", b"2", b"101", b"102", b"3", b"4", b"103", b"104"]
    wire.simple("ROLLBACK")


def test_prepared_once_run_often(wire: WireClient, judge: Judge) -> None:
    assert kinds(wire.ask(parse(BY_ID, name="s"), describe("S", "s"), SYNC)) == "1tTZ"
    for n in (1, 300, 301, -5, 42):
        value = str(n).encode()
        answer = wire.ask(bind((value,), statement="s"), execute(), SYNC)
        expected = outcome_with(judge.connection, BY_ID, Parameters([value])).rows
        assert [tuple(m.values) for m in answer if m.kind == "D"] == list(expected)
        assert kinds(answer) == "2" + "D" * len(expected) + "CZ"


def test_an_error_in_a_pipeline_skips_to_sync(wire: WireClient) -> None:
    answer = wire.ask(
        *(parse(BY_ID, name="s"), bind((b"1",), statement="s"), execute()),
        *(bind((b"x",), statement="s"), execute()),
        *(bind((b"2",), statement="s"), execute()),
        SYNC,
    )
    assert kinds(answer) == "12DCEZ"
    assert error_of(answer)["C"] == "22P02"
    answer = wire.ask(bind((b"2",), statement="s"), execute(), SYNC)
    assert kinds(answer) in ("2DCZ", "2CZ")


def test_a_long_pipeline(client: Connection, judge: Judge) -> None:
    keys = [n * 7 % 310 for n in range(100)]
    with client.pipeline():
        cursors = [
            client.execute("SELECT id, note FROM orders WHERE id = %s", [key]) for key in keys
        ]
        other = client.execute("SELECT count(*) FROM products")
        mixed = client.execute("SELECT 1")
        found = [cursor.fetchall() for cursor in cursors]
        assert other.fetchall() == [(12,)]
        assert mixed.fetchall() == [(1,)]
    query = "SELECT id, note FROM orders WHERE id = %s"
    assert found == [judge.connection.execute(query, [key]).fetchall() for key in keys]


def test_a_cursor_of_the_driver(client: Connection, judge: Judge) -> None:
    query = (
        "SELECT o.id, c.name FROM orders o LEFT JOIN customers c ON c.id = o.customer ORDER BY 1"
    )
    with client.transaction(), client.cursor("named") as cursor:
        cursor.itersize = 37
        found = cursor.execute(query).fetchall()
    assert found == judge.connection.execute(query).fetchall()


BINARY_HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
COPIES = [
    "COPY orders TO STDOUT",
    "COPY orders (id, note) TO STDOUT (FORMAT csv, HEADER, FORCE_QUOTE (note))",
    "COPY customers TO STDOUT (FORMAT binary)",
    "COPY products TO STDOUT (FORMAT csv, NULL 'none')",
    "COPY (SELECT * FROM orders WHERE id < 50 ORDER BY id) TO STDOUT",
    "COPY (SELECT o.id, c.tags FROM orders o JOIN customers c ON c.id = o.customer ORDER BY 1) "
    "TO STDOUT (FORMAT binary)",
    "COPY (SELECT count(*) FROM orders) TO STDOUT CSV",
]


@pytest.mark.parametrize("text", COPIES)
def test_copy_out_as_postgresql(client: Connection, judge: Judge, text: str) -> None:
    def copied(connection: Connection) -> list[bytes]:
        with connection.cursor().copy(text.encode()) as copy:
            whole = [bytes(piece) for piece in copy]
        binary = BINARY_HEADER if "binary" in text else b""
        assert whole[0].startswith(binary)
        return sorted([whole[0][len(binary) :], *whole[1:]])

    expected = copied(judge.connection)
    for mode in MODES:
        run(client, f"SET morph.pushdown = {mode}")
        assert copied(client) == expected, mode


def test_a_statement_after_another_kind(client: Connection) -> None:
    """What one statement leaves behind is no matter to the next."""
    for text in (
        "SELECT count(*) FROM orders",
        "SELECT 1/0 FROM orders",
        "SELECT id FROM orders WHERE id = 4",
        "CREATE TEMP TABLE IF NOT EXISTS t AS SELECT * FROM orders",
        "SELECT count(*) FROM t",
        "SELECT relname FROM pg_class WHERE relname LIKE '\\_morph\\_f%'",
    ):
        found = outcome(client, text)
        assert found.state in ("", "22012"), (text, found)
    assert found.rows == ()  # nothing staged stays
