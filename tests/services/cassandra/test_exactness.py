"""Every entry of the exactness table for Cassandra, against a real server (R0.5, R1.7, issue 4.5).

For each CQL type there are rows with boundary values, misfits included, once in a partition key,
once in a clustering column, once in a column with an index, once without (ALLOW FILTERING). What
the backend shows of them without a predicate goes into a typed table of PostgreSQL, the judge; then
each condition is asked of both.
"""

# ruff: noqa: RUF005 (lists continued by + keep several values on a line)
from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

import asyncpg
import pytest
import pytest_asyncio

from backends.base import Aggregate, Exact, ExactWithRewrite, Grouping, OrderKey, Scope
from backends.cassandra.pushdown import KIND
from backends.embedded.pushdown import render
from catalog.model import Table
from core import expr as ir
from core.expr import Expr
from engine.exactness import TABLE, TYPES, Entry
from tests.services.cassandra.stores import Store, column_id, open_store, read
from tests.services.servers.process import RunningServer

pytestmark = [pytest.mark.services, pytest.mark.timeout(900)]

INF = float("inf")
NAN = float("nan")
DAY_ZERO = 1 << 31
Place = Literal["partition", "clustering", "sai", "secondary", "filtered"]
PLACES: tuple[Place, ...] = ("partition", "clustering", "sai", "secondary", "filtered")


@dataclass(frozen=True)
class Kind:
    """A CQL type: its PostgreSQL type, values as they are stored, and literals to compare with."""

    cql: str
    short: str
    values: list[bytes]
    literals: dict[str, list[str]]


def _ints(form: str, *numbers: int) -> list[bytes]:
    return [struct.pack(form, number) for number in numbers]


def _varints(*numbers: int) -> list[bytes]:
    sizes = [(number + (number < 0)).bit_length() // 8 + 1 for number in numbers]
    return [n.to_bytes(size, "big", signed=True) for n, size in zip(numbers, sizes, strict=True)]


INTEGERS = ["0", "1", "-1", "7", "127", "-128", "128", "32767", "-32768", "32768"]
WIDE = INTEGERS + ["2147483647", "-2147483648"]
WIDER = WIDE + ["2147483648", "9223372036854775807", "-9223372036854775808"]
_SMALL = {"int2": INTEGERS[:9], "int4": WIDE, "int8": WIDER}
_TEXTS = [
    "",
    " ",
    "a",
    "A",
    "abc",
    "abd",
    "ab",
    "äöü ß",
    "日本語",
    "a%",
    "zz",
    "\U0010ffff",
    "\ud7ff",
]
_FLOATS = [0.0, -0.0, 1.0, -1.5, 2.5, 0.1, INF, -INF, NAN]
_REALS = ["0", "-0", "1", "-1.5", "0.1", "Infinity", "-Infinity", "NaN", "3.4028235e38", "2.5"]
_MILLIS = (
    0,
    1,
    -1,
    1_709_200_799_999,
    1_709_200_800_000,
    2**53,
    -(2**62),
    2**62,
    -210_866_803_200_000,
)
_INSTANTS = ["2024-02-29 10:00:00+00", "2024-02-29 09:59:59.999+00", "1970-01-01 00:00:00+00"]
_INSTANTS += ["2024-02-29 10:00:00.0005+00", "2024-02-29 11:00:00+01", "infinity", "-infinity"]
_INSTANTS += ["1969-12-31 23:59:59.9985+00", "2024-02-29 15:30:00.000001+05:30"]
_UUIDS = ["00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff"]
_UUIDS += ["a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "3f2504e0-4f89-11d3-9a0c-0305e82c3301"]
_TIMEUUIDS = ["3f2504e0-4f89-11d3-9a0c-0305e82c3301", "3f2504e0-4f89-11d3-1a0c-0305e82c3301"]
_NUMBERS = ["0", "1", "-1", "1.5", "-1.5", "0.5", "1e30", "123456789012345678901234567890", "7.00"]
_DAYS = ["2024-02-29", "1970-01-01", "0001-01-01", "9999-12-31", "infinity", "1969-12-31"]
_CLOCKS = ["00:00:00", "24:00:00", "12:34:56.789012", "23:59:59.999999", "12:34:56.789"]
_BYTES = ["\\x", "\\x00", "\\xff", "\\x6100", "\\xdeadbeef", "\\x61"]

KINDS = (
    Kind("tinyint", "int2", _ints(">b", 0, 1, -1, 7, 127, -128), _SMALL),
    Kind("smallint", "int2", _ints(">h", 0, 1, -1, 7, 32767, -32768), _SMALL),
    Kind("int", "int4", _ints(">i", 0, 1, -1, 7, 2**31 - 1, -(2**31)), _SMALL),
    Kind("bigint", "int8", _ints(">q", 0, 1, -1, 7, 2**31, 2**63 - 1, -(2**63)), _SMALL),
    Kind(
        "varint",
        "numeric",
        _varints(0, 1, -1, 7, 10**30, -(10**30), 123456789012345678901234567890)
        + [b"\x7f" + bytes(60_000)],
        {"numeric": _NUMBERS, **_SMALL},
    ),
    Kind("float", "float4", [struct.pack(">f", each) for each in _FLOATS], {"float4": _REALS}),
    Kind(
        "double",
        "float8",
        [struct.pack(">d", each) for each in _FLOATS],
        {"float8": _REALS, "numeric": ["0", "1.5", "-1.5", "0.1", "2.5"], **_SMALL},
    ),
    Kind(
        "text",
        "text",
        [each.encode("utf-8") for each in _TEXTS] + [b"a\0b", b"zz\0"],
        {"text": _TEXTS + ["a_c"], "varchar": ["", "a", "abc"]},
    ),
    Kind(
        "ascii",
        "text",
        [b" ", b"a", b"A", b"abc", b"~", b"a\0"],
        {"text": ["", " ", "a", "abc", "é", "b"], "varchar": ["a"]},
    ),
    Kind("boolean", "bool", [b"\0", b"\1"], {"bool": ["true", "false"]}),
    Kind(
        "date",
        "date",
        _ints(">I", DAY_ZERO, DAY_ZERO + 19_782, DAY_ZERO - 1, 0, 2**32 - 1, DAY_ZERO - 719_162),
        {"date": _DAYS},
    ),
    Kind("timestamp", "timestamptz", _ints(">q", *_MILLIS), {"timestamptz": _INSTANTS}),
    Kind(
        "time",
        "time",
        _ints(
            ">q",
            0,
            45_296_789_012_000,
            45_296_789_012_345,
            86_399_999_999_000,
            86_399_999_999_999,
            45_296_789_000_000,
        ),
        {"time": _CLOCKS},
    ),
    Kind("uuid", "uuid", [UUID(each).bytes for each in _UUIDS], {"uuid": _UUIDS}),
    Kind("timeuuid", "uuid", [UUID(each).bytes for each in _TIMEUUIDS], {"uuid": _UUIDS}),
    Kind("blob", "bytea", [bytes.fromhex(each[2:]) for each in _BYTES], {"bytea": _BYTES}),
)
BY_CQL = {kind.cql: kind for kind in KINDS}
PATTERNS = ["a%", "ab%", "abc", "%", "", "a\\%", "A%", "a_", "%a", "\U0010ffff%", "\ud7ff%", "日%%"]
SHORT = {name: short for short, name in TYPES.items()}
SAI_TYPES = {kind.cql for kind in KINDS} - {"blob"}

_DEFINITIONS: dict[Place, str] = {
    "partition": "v {cql} PRIMARY KEY, id int",
    "clustering": "p int, v {cql}, id int, PRIMARY KEY (p, v)",
    "sai": "id int PRIMARY KEY, v {cql}",
    "secondary": "id int PRIMARY KEY, v {cql}",
    "filtered": "id int PRIMARY KEY, v {cql}",
}


@dataclass
class Judged:
    """The store with its tables, and PostgreSQL with what the backend shows of them."""

    store: Store
    judge: asyncpg.Connection
    pushed: dict[str, int]

    def table(self, kind: Kind, place: Place) -> Table | None:
        """The foreign table of a type in a place, or None where Cassandra has no such thing."""
        return self.store.tables.get(f"t_{kind.cql}_{place}")


@pytest_asyncio.fixture(scope="module")
async def judged(cassandra: RunningServer, pg18_dsn: str) -> AsyncIterator[Judged]:
    async with open_store(cassandra, "morph_exact") as store:
        connection = await asyncpg.connect(pg18_dsn, statement_cache_size=0)
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute("SET LOCAL timezone = 'Europe/Berlin'")
        for kind in KINDS:
            for place in PLACES:
                await _make(store, kind, place)
        await _wait_for_indexes(store)
        for kind in KINDS:
            for place in PLACES:
                if f"t_{kind.cql}_{place}" in store.tables:
                    await _judge(store, connection, kind, place)
        yield Judged(store, connection, {})
        await transaction.rollback()
        await connection.close()


async def _make(store: Store, kind: Kind, place: Place) -> None:
    if place == "sai" and kind.cql not in SAI_TYPES:
        return
    name = f"t_{kind.cql}_{place}"
    await store.cql(f"CREATE TABLE {name} ({_DEFINITIONS[place].format(cql=kind.cql)})")
    if place == "sai":
        await store.cql(f"CREATE INDEX ON {name} (v) USING 'sai'")
    if place == "secondary":
        await store.cql(f"CREATE INDEX ON {name} (v)")
    prefix = "p, " if place == "clustering" else ""
    for number, value in enumerate(kind.values):
        if place in ("partition", "sai", "secondary") and len(value) > 8_000:
            continue  # an index takes no such value
        if place == "partition" and not value:
            continue  # a partition key is never empty
        blob = f"0x{value.hex()}"
        shown = blob if kind.cql == "blob" else f"blob_as_{kind.cql}({blob})"
        values = f"{'1, ' if prefix else ''}{shown}, {number}"
        await store.cql(f"INSERT INTO {name} ({prefix}v, id) VALUES ({values})")
    if place not in ("partition", "clustering"):
        await store.cql(f"INSERT INTO {name} (id) VALUES ({len(kind.values)})")
    options = {"allow_filtering": "true"} if place == "filtered" else {}
    await store.table(name, **options)


async def _wait_for_indexes(store: Store) -> None:
    """Until every index says that it can answer; then the backend looks again."""
    wanted = sum(name.endswith(("_sai", "_secondary")) for name in store.tables)
    ready: set[str] = set()
    for _ in range(300):
        for name, table in store.tables.items():
            if name not in ready and name.endswith(("_sai", "_secondary")):
                await store.backend.describe(table.native, Scope())
                ready |= {name} if store.backend._facts[table.native][0].indexes else set()  # type: ignore[index]
        if len(ready) == wanted:
            return
        await asyncio.sleep(0.1)
    raise AssertionError(f"indexes are not ready: {set(store.tables) - ready}")


async def _judge(store: Store, connection: asyncpg.Connection, kind: Kind, place: Place) -> None:
    name = f"t_{kind.cql}_{place}"
    table = store.tables[name]
    shown = table.column("v")
    assert shown is not None
    plan = store.plan(table, ("id", "v"), None)
    rows = await read(store.backend, plan, text=["integer", shown.type])
    await connection.execute(f"CREATE TEMPORARY TABLE {name} (id integer, v {shown.type})")
    insert = f"INSERT INTO {name} VALUES ($1::text::integer, $2::text::{shown.type})"
    await connection.executemany(insert, rows)


def _listed() -> list[Entry]:
    return [
        entry
        for entry in TABLE.entries
        if isinstance(entry.verdicts.get(KIND), Exact | ExactWithRewrite)
        and entry.kind in ("operator", "predicate")
    ]


def _conditions(entry: Entry, kind: Kind, table: Table) -> Iterator[Expr]:
    """Conditions on the column of the table that stand on the entry."""
    column = ir.ColumnRef(column_id(table, "v"), TYPES[kind.short])
    arguments = [SHORT[each] for each in entry.arguments]
    if entry.name == "not":
        yield from (column, ir.Not(column)) if kind.short == "bool" else ()
        return
    left, right = arguments
    # A text column of a foreign table may be declared varchar: the same column, another word.
    if left not in (kind.short, "varchar" if kind.short == "text" else kind.short):
        if right == kind.short and entry.name in ir.COMPARISONS:
            for text in kind.literals.get(left, []):
                yield ir.Compare(entry.name, ir.Literal(TYPES[left], text), column)
        return
    column = ir.ColumnRef(column.column_id, TYPES[left])
    literals = kind.literals.get(right, [])
    if entry.name in ir.COMPARISONS:
        for text in (*literals, None) if literals else ():
            yield ir.Compare(entry.name, column, ir.Literal(TYPES[right], text))
    elif entry.name == "like":
        for pattern in (*PATTERNS, None):
            yield ir.Like(column, ir.Literal("text", pattern))
        yield ir.Like(column, ir.Literal("text", "a!%"), "!")
        yield ir.Like(column, ir.Literal("text", "a\\%"), "")
    elif literals:
        yield from _memberships(entry.name, column, TYPES[right], literals)


def _memberships(name: str, column: ir.ColumnRef, kind: str, literals: list[str]) -> Iterator[Expr]:
    for texts in (literals[:1], literals[1:3], literals, [literals[0], None], [None]):
        if not texts:
            continue
        if name == "in":
            yield ir.In(column, tuple(ir.Literal(kind, text) for text in texts))
            continue
        quoted = ",".join(
            "NULL" if each is None else '"' + each.replace("\\", "\\\\").replace('"', '\\"') + '"'
            for each in texts
        )
        yield ir.In(column, (ir.Literal(f"{kind}[]", f"{{{quoted}}}"),), spread=True)


async def _disagreements(judged: Judged, entry: Entry, kind: Kind, place: Place) -> list[str]:
    table = judged.table(kind, place)
    if table is None:
        return []
    found = []
    names = {column_id(table, "v"): "v"}
    first = ir.Literal("integer", "1")
    for condition in _conditions(entry, kind, table):
        where: Expr = condition
        if place == "clustering":
            partition = ir.Compare("=", ir.ColumnRef(column_id(table, "p"), "integer"), first)
            where = ir.And((partition, condition))
        plan = judged.store.plan(table, ("id",), where)
        if plan.residual is not None:
            continue
        label = f"{entry.kind} {entry.name}{entry.arguments}"
        judged.pushed[label] = judged.pushed.get(label, 0) + 1
        seen = sorted(row[0] for row in await read(judged.store.backend, plan))
        sql = render(condition, names)
        wanted = [
            row[0]
            for row in await judged.judge.fetch(
                f"SELECT id FROM {table.name} WHERE {sql} ORDER BY id"
            )
        ]
        if seen != wanted:
            found.append(f"{kind.cql} {place}: {sql}\n  {plan.native}\n  {seen} not {wanted}")
    return found


# R0.5, R1.7: a part of a statement is pushed only where the store's answer is PostgreSQL's
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.cql)
async def test_every_operator_and_predicate(judged: Judged, kind: Kind, place: Place) -> None:
    found = []
    for entry in _listed():
        found += await _disagreements(judged, entry, kind, place)
    assert "\n".join(found) == ""


# R1.7: no entry stands in the table without a condition that was pushed and compared
async def test_no_entry_is_idle(judged: Judged) -> None:
    places = [(kind, place) for kind in KINDS for place in PLACES]
    idle = []
    for entry in _listed():
        label = f"{entry.kind} {entry.name}{entry.arguments}"
        for kind, place in places:
            if label in judged.pushed:
                break
            assert await _disagreements(judged, entry, kind, place) == []
        if label not in judged.pushed:
            idle.append(label)
    assert idle == []


# R0.5: the order of a clustering column is PostgreSQL's order, both ways, with LIMIT
@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.cql)
async def test_order(judged: Judged, kind: Kind, descending: bool) -> None:
    table = judged.table(kind, "clustering")
    assert table is not None
    partition = ir.Compare(
        "=", ir.ColumnRef(column_id(table, "p"), "integer"), ir.Literal("integer", "1")
    )
    word = TYPES[kind.short]
    column = ir.ColumnRef(column_id(table, "v"), word)
    # Bounds keep values away that PostgreSQL cannot hold: in an order these are an error.
    bounds = {
        "date": ("0001-01-01", "9999-12-31"),
        "timestamp": ("1960-01-01 00:00:00+00", "9999-01-01 00:00:00+00"),
        "varint": ("-1e40", "1e40"),
        "text": ("abc", "zz"),
        "ascii": ("abc", "z"),
        "time": ("12:34:56.7891", "23:59:59.9999"),
    }.get(kind.cql, ())
    parts: list[Expr] = [partition]
    for op, text in zip((">=", "<="), bounds, strict=False):
        parts.append(ir.Compare(op, column, ir.Literal(word, text)))
    where = ir.And(tuple(parts)) if len(parts) > 1 else partition
    order = (OrderKey(column.column_id, descending, descending),)
    plan = judged.store.plan(table, ("id", "v"), where, order=order, limit=4)
    assert plan.order_exact == plan.limit_exact
    if kind.cql in ("uuid", "timeuuid", "float", "double"):
        assert not plan.order_exact
        return
    assert plan.order_exact
    seen = [row[0] for row in await read(judged.store.backend, plan)]
    condition = " AND ".join(render(each, {column.column_id: "v"}) for each in parts[1:]) or "true"
    direction = "DESC" if descending else "ASC"
    wanted = await judged.judge.fetch(
        f"SELECT id FROM {table.name} WHERE {condition} ORDER BY v {direction} LIMIT 4"
    )
    assert seen == [row[0] for row in wanted]


# R0.5, invariant 7: pushed aggregates over one partition are PostgreSQL's
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.cql)
async def test_aggregates(judged: Judged, kind: Kind) -> None:
    table = judged.table(kind, "clustering")
    assert table is not None
    word = TYPES[kind.short]
    column: Any = ir.ColumnRef(column_id(table, "v"), word)
    pushed = 0
    for number, wanted in (("1", "true"), ("2", "false")):
        partition = ir.Compare(
            "=", ir.ColumnRef(column_id(table, "p"), "integer"), ir.Literal("integer", number)
        )
        for name, argument, result in (
            ("count", None, "bigint"),
            ("count", column, "bigint"),
            ("min", column, word),
            ("max", column, word),
        ):
            grouping = Grouping((), (Aggregate(name, argument, result),))
            plan = judged.store.plan(table, (), partition, grouping=grouping)
            if not plan.grouped:
                continue
            pushed += 1
            seen = await read(judged.store.backend, plan)
            shown = "v" if argument is not None else "*"
            row = await judged.judge.fetchrow(
                f"SELECT {name}({shown}) FROM {table.name} WHERE {wanted}"
            )
            assert seen == [tuple(row)], name
    assert pushed == {"int2": 8, "int4": 8, "int8": 8}.get(
        kind.short, 2 if kind.cql in ("text", "ascii", "varint", "date", "timestamp", "time") else 4
    )
