"""Every type of CQL, out as PostgreSQL prints it and back in (R1.8, issue 4 point 2)."""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterator
from dataclasses import replace
from decimal import Decimal
from uuid import UUID

import asyncpg
import pyarrow as pa
import pytest
import pytest_asyncio

from backends.base import Misfit, RowChanges, SampleSpec, Scope
from backends.cassandra.scalars import SCALARS
from backends.cassandra.types import TYPES
from catalog.model import Table
from core import expr as ir
from core.encoding import from_text_carrier
from core.errors import (
    DatatypeMismatch,
    DatetimeFieldOverflow,
    InvalidParameterValue,
    MorphError,
    NumericValueOutOfRange,
)
from core.types import type_by_name
from tests.services.cassandra.stores import Store, batch_of, column_id, open_store, read
from tests.services.servers.process import RunningServer

pytestmark = pytest.mark.services

UUID_1 = "3f2504e0-4f89-11d3-9a0c-0305e82c3301"
UUID_4 = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"

# column, CQL type, CQL literal, PostgreSQL's type, PostgreSQL's text
CASES: tuple[tuple[str, str, str, str, str], ...] = (
    ("c_ascii", "ascii", "'abc'", "text", "abc"),
    ("c_text", "text", "'tëxt \"日'", "text", 'tëxt "日'),
    ("c_varchar", "varchar", "''", "text", ""),
    ("c_boolean", "boolean", "true", "boolean", "t"),
    ("c_tinyint", "tinyint", "-128", "smallint", "-128"),
    ("c_smallint", "smallint", "32767", "smallint", "32767"),
    ("c_int", "int", "-2147483648", "integer", "-2147483648"),
    ("c_bigint", "bigint", "9223372036854775807", "bigint", "9223372036854775807"),
    ("c_varint", "varint", "-" + "9" * 40, "numeric", "-" + "9" * 40),
    ("c_decimal", "decimal", "-1.500", "numeric", "-1.500"),
    ("c_decimal_big", "decimal", "1E+3", "numeric", "1000"),
    ("c_decimal_small", "decimal", "1E-20", "numeric", "0.00000000000000000001"),
    ("c_float", "float", "1.1", "real", "1.1"),
    ("c_double", "double", "-1.5e300", "double precision", "-1.5e+300"),
    ("c_nan", "double", "NaN", "double precision", "NaN"),
    ("c_infinity", "float", "-Infinity", "real", "-Infinity"),
    ("c_timestamp", "timestamp", "'2024-02-29 10:00:00.123+0000'", "timestamp(3) with time zone",
     "2024-02-29 10:00:00.123+00"),
    ("c_date", "date", "'2024-02-29'", "date", "2024-02-29"),
    ("c_date_bc", "date", "2146483648", "date", "0769-02-04 BC"),
    ("c_time", "time", "'10:11:12.123456'", "time without time zone", "10:11:12.123456"),
    ("c_timeuuid", "timeuuid", UUID_1, "uuid", UUID_1),
    ("c_uuid", "uuid", UUID_4, "uuid", UUID_4),
    ("c_inet4", "inet", "'10.1.2.3'", "inet", "10.1.2.3"),
    ("c_inet6", "inet", "'2001:db8::1'", "inet", "2001:db8::1"),
    ("c_inet_mapped", "inet", "'::'", "inet", "::"),
    ("c_blob", "blob", "0x00ff", "bytea", "\\x00ff"),
    ("c_blob_empty", "blob", "0x", "bytea", "\\x"),
    ("c_duration", "duration", "1y2mo3d4h5m6s7us", "interval",
     "1 year 2 mons 3 days 04:05:06.000007"),
    ("c_duration_minus", "duration", "-14mo30h", "interval", "-1 years -2 mons -30:00:00"),
    ("c_list", "list<int>", "[3, 1, 2]", "integer[]", "{3,1,2}"),
    ("c_list_frozen", "frozen<list<text>>", "['a,b', '']", "text[]", '{"a,b",""}'),
    ("c_list_empty", "frozen<list<int>>", "[]", "integer[]", "{}"),
    ("c_set", "set<text>", "{'b', 'a'}", "text[]", "{a,b}"),
    ("c_set_uuid", "set<uuid>", f"{{{UUID_4}}}", "uuid[]", f"{{{UUID_4}}}"),
    ("c_list_decimal", "list<decimal>", "[1.50, 2]", "numeric[]", "{1.50,2}"),
    ("c_list_timestamp", "list<timestamp>", "['2024-01-01 00:00:00+0000']",
     "timestamp(3) with time zone[]", '{"2024-01-01 00:00:00+00"}'),
    ("c_list_inet", "list<inet>", "['10.0.0.1']", "inet[]", "{10.0.0.1}"),
    ("c_list_blob", "list<blob>", "[0x01]", "bytea[]", '{"\\\\x01"}'),
    ("c_list_nested", "list<frozen<list<int>>>", "[[1], []]", "jsonb", "[[1], []]"),
    ("c_map", "map<text, int>", "{'k': 5, 'j': 6}", "jsonb", '{"j": 6, "k": 5}'),
    ("c_map_int", "map<int, frozen<set<double>>>", "{7: {1.5, NaN}}", "jsonb",
     '{"7": [1.5, "NaN"]}'),
    ("c_map_uuid", "map<uuid, blob>", f"{{{UUID_4}: 0xdead}}", "jsonb",
     f'{{"{UUID_4}": "\\\\xdead"}}'),
    ("c_map_list", "map<frozen<list<int>>, text>", "{[1, 2]: 'x'}", "jsonb",
     '{"[1, 2]": "x"}'),
    ("c_tuple", "tuple<int, text, timestamp>", "(1, null, '2024-01-01 00:00:00+0000')", "jsonb",
     '[1, null, "2024-01-01T00:00:00+00:00"]'),
    ("c_udt", "address", "{street: 'S \"1\"', zip: 5, at: '10:00:00'}", "jsonb",
     '{"at": "10:00:00", "zip": 5, "tags": null, "street": "S \\"1\\""}'),
    ("c_udt_frozen", "frozen<address>", "{tags: ['p', 'q']}", "jsonb",
     '{"at": null, "zip": null, "tags": ["p", "q"], "street": null}'),
    ("c_vector", "vector<float, 3>", "[1.5, -2, 3.25]", "real[]", "{1.5,-2,3.25}"),
    ("c_vector_text", "vector<text, 2>", "['a', 'bb']", "text[]", "{a,bb}"),
    ("c_vector_uuid", "vector<uuid, 1>", f"[{UUID_4}]", "uuid[]", f"{{{UUID_4}}}"),
)  # fmt: skip
NAMES = [case[0] for case in CASES]


@pytest_asyncio.fixture(scope="module")
async def store(cassandra: RunningServer) -> AsyncIterator[Store]:
    async with open_store(cassandra, "morph_types") as opened:
        await opened.cql(
            "CREATE TYPE address (street text, zip int, tags frozen<list<text>>, at time)"
        )
        columns = ", ".join(f"{name} {cql}" for name, cql, *_ in CASES)
        await opened.table("every", f"id int PRIMARY KEY, {columns}")
        values = ", ".join(literal for _, _, literal, *_ in CASES)
        await opened.cql(
            f"INSERT INTO every (id, {', '.join(NAMES)}) VALUES (1, {values})",
            "INSERT INTO every (id) VALUES (2)",
        )
        yield opened


async def _shown(store: Store, table: Table, name: str, number: int) -> str | None:
    column = table.column(name)
    assert column is not None
    plan = store.plan(table, ("id", name), None)
    rows = await read(store.backend, plan, text=["integer", column.type])
    return {int(row[0]): row[1] for row in rows}[number]


async def _printed(judge: asyncpg.Connection, text: str | None, kind: str) -> str | None:
    """The value as PostgreSQL itself prints it."""
    await judge.execute("SET timezone = 'UTC'")
    printed: str | None = await judge.fetchval(
        f"SELECT CASE WHEN $1::text IS NOT NULL THEN format('%s', $1::text::{kind}) END", text
    )
    return printed


@pytest_asyncio.fixture(scope="module")
async def judge(pg18_dsn: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(pg18_dsn, statement_cache_size=0)
    yield connection
    await connection.close()


# R1.8: every type of the table has a value here, so none is only claimed
def test_every_scalar_has_a_case() -> None:
    assert {cql for _, cql, *_ in CASES} >= {each.name for each in TYPES} - {"counter"}
    assert set(SCALARS) == {each.name for each in TYPES}


# R1.8: a column is described with PostgreSQL's type and the store's own word
@pytest.mark.parametrize("case", CASES, ids=lambda case: case[0])
async def test_description(store: Store, case: tuple[str, str, str, str, str]) -> None:
    name, cql, _, postgres, _ = case
    column = store.tables["every"].column(name)
    assert column is not None
    assert column.type == postgres
    said = {"varchar": "text"}.get(cql, cql)
    if cql.startswith("tuple<"):
        said = f"frozen<{cql}>"
    assert column.source.store_type == said  # type: ignore[union-attr]
    assert type_by_name(column.type) is not None


# R1.8: values come out as PostgreSQL prints them, NULL as NULL
@pytest.mark.parametrize("case", CASES, ids=lambda case: case[0])
async def test_out(
    store: Store, judge: asyncpg.Connection, case: tuple[str, str, str, str, str]
) -> None:
    name, _, _, postgres, text = case
    shown = await _shown(store, store.tables["every"], name, 1)
    assert await _printed(judge, shown, postgres) == await _printed(judge, text, postgres)
    if postgres != "jsonb":
        assert shown == await _printed(judge, text, postgres)
    assert await _shown(store, store.tables["every"], name, 2) is None


# R1.8: values written are the values stored: what comes out goes in and comes out again
@pytest.mark.parametrize("case", CASES, ids=lambda case: case[0])
async def test_in(store: Store, case: tuple[str, str, str, str, str]) -> None:
    name = case[0]
    table = store.tables["every"]
    number = 100 + NAMES.index(name)
    text = await _shown(store, table, name, 1)
    assert text is not None
    await store.write(table, inserted={"id": [number], name: [text]})
    assert await _shown(store, table, name, number) == text
    # the same by Cassandra's own word, which PostgreSQL's text cannot hide
    stored = await store.rows(f"SELECT {name} FROM every WHERE id IN (1, {number})")
    if name not in ("c_nan", "c_map_int"):
        assert stored[0] == stored[1]
    # the Arrow carrier goes in like the text carrier
    column_type = type_by_name(str(table.columns[column_id(table, name) - 1].type))
    values = from_text_carrier(pa.array([text], pa.string()), column_type)
    batch = batch_of(table, {"id": [number + 1_000]})
    batch = pa.RecordBatch.from_arrays(
        [batch.column(0), values], names=[*batch.schema.names, f"c{column_id(table, name)}"]
    )
    await store.backend.apply(table, RowChanges(inserted=batch), Scope())
    assert await _shown(store, table, name, number + 1_000) == text


# R1.8: what PostgreSQL's type cannot hold is NULL and reported, never another value
MISFITS = (
    ("text", "blob_as_text(0x610062)", "text", "a"),
    ("ascii", "blob_as_ascii(0x00)", "ascii", "x"),
    ("time", "'10:00:00.123456789'", "time", "10:00:00.123456789"),
    ("duration", "1ns", "duration", "00:00:00.000000001"),
    ("timestamp", "9223372036854775807", "timestamp", "292278994-08-17"),
    ("timestamp", "-9223372036854775808", "timestamp", "292275056-05-16"),
    ("date", "4294967295", "date", "5881580-07-11"),
    ("date", "0", "date", "5877642-06-23 BC"),
    ("decimal", "1E-20000", "decimal", "scale 20000"),
    ("decimal", "blob_as_decimal(0xfffcf2c001)", "decimal", "scale -200000"),
    ("varint", "blob_as_varint(0x7f" + "00" * 60_000 + ")", "varint", "144497 digits"),
    ("list<time>", "['10:00:00', '10:00:00.1234567']", "list", "10:00:00.1234567"),
    ("map<text, text>", "{'a': blob_as_text(0x00)}", "map", "x00"),
)


@pytest.mark.parametrize(("cql", "literal", "word", "example"), MISFITS)
async def test_misfit(
    store: Store, own_name: str, cql: str, literal: str, word: str, example: str
) -> None:
    table = await store.table(own_name, f"id int PRIMARY KEY, v {cql}")
    await store.cql(f"INSERT INTO {own_name} (id, v) VALUES (1, {literal})")
    seen: list[Misfit] = []
    rows = await read(
        store.backend, store.plan(table, ("id", "v"), None), Scope(misfits=seen.append)
    )
    assert rows == [(1, None)]
    [misfit] = seen
    assert (misfit.column_id, misfit.store_type, misfit.count) == (2, word, 1)
    assert example in misfit.example


# R1.8: the empty values that old clients could store are NULL, in few rows and in many
@pytest.mark.parametrize(
    "cql",
    [
        "int",
        "bigint",
        "timestamp",
        "double",
        "uuid",
        "boolean",
        "varint",
        "decimal",
        "inet",
    ],
)
async def test_empty_values(store: Store, own_name: str, cql: str) -> None:
    table = await store.table(own_name, f"id int PRIMARY KEY, v {cql}")
    for number in range(20):
        empty = f"blob_as_{cql}(0x)" if number % 2 else "null"
        await store.cql(f"INSERT INTO {own_name} (id, v) VALUES ({number}, {empty})")
    assert [row[1] for row in await store.scan(table, ("id", "v"))] == [None] * 20
    one = ir.Compare("=", ir.ColumnRef(1, "integer"), ir.Literal("integer", "1"))
    assert await store.scan(table, ("id", "v"), one) == [(1, None)]


# R1.8: the years that PostgreSQL has and Arrow has not go as text
async def test_instants_beyond_arrow(store: Store, own_name: str) -> None:
    table = await store.table(own_name, "id int PRIMARY KEY, v timestamp")
    last = 9_224_318_016_000_000 - 1
    for number, value in enumerate((last, -210_866_803_200_000, 0)):
        await store.cql(f"INSERT INTO {own_name} (id, v) VALUES ({number}, {value})")
    column = table.column("v")
    assert column is not None
    rows = await read(
        store.backend, store.plan(table, ("id", "v"), None), text=["integer", column.type]
    )
    assert dict(rows) == {
        "0": "294276-12-31 23:59:59.999+00",
        "1": "4714-11-24 00:00:00+00 BC",
        "2": "1970-01-01 00:00:00+00",
    }


# R1.8: what Cassandra cannot hold of PostgreSQL's values is an error with PostgreSQL's SQLSTATE
REFUSED = (
    ("timestamp", "2024-01-01 00:00:00.0005+00", DatetimeFieldOverflow),
    ("timestamp", "infinity", DatetimeFieldOverflow),
    ("date", "-infinity", DatetimeFieldOverflow),
    ("time", "24:00:00", DatetimeFieldOverflow),
    ("duration", "1 mon -1 days", DatetimeFieldOverflow),
    ("decimal", "NaN", NumericValueOutOfRange),
    ("varint", "1.5", NumericValueOutOfRange),
    ("tinyint", "300", NumericValueOutOfRange),
    ("ascii", "é", InvalidParameterValue),
    ("inet", "10.0.0.0/8", InvalidParameterValue),
    ("timeuuid", UUID_4, InvalidParameterValue),
    ("list<int>", "{{1},{2}}", InvalidParameterValue),
    ("list<int>", "{1,NULL}", InvalidParameterValue),
    ("vector<float, 2>", "{1}", InvalidParameterValue),
    ("map<text, int>", "[1]", InvalidParameterValue),
    ("map<text, int>", '{"a": "x"}', InvalidParameterValue),
    ("map<text, tinyint>", '{"a": 1000}', NumericValueOutOfRange),
    ("tuple<int, int>", "[1, 2, 3]", InvalidParameterValue),
    ("frozen<address>", '{"nosuch": 1}', InvalidParameterValue),
)


@pytest.mark.parametrize(("cql", "text", "error"), REFUSED)
async def test_refused(
    store: Store, own_name: str, cql: str, text: str, error: type[MorphError]
) -> None:
    table = await store.table(own_name, f"id int PRIMARY KEY, v {cql}")
    with pytest.raises(error):
        await store.write(table, inserted={"id": [1], "v": [text]})
    assert await store.rows(f"SELECT * FROM {own_name}") == []


# R1.8: another declared type is served where it holds every value, and refused where it cannot
async def test_declared_types(store: Store, own_name: str) -> None:
    table = await store.table(
        own_name, "id int PRIMARY KEY, n bigint, t text, d decimal, j map<text, int>"
    )
    await store.cql(
        f"INSERT INTO {own_name} (id, n, t, d, j) VALUES (1, 5, 'abc', 1.5, {{'a': 1}})",
        f"INSERT INTO {own_name} (id, n, t, d) VALUES (2, 5000000000, 'abcdef', 1.555)",
    )

    async def shown(name: str, kind: str) -> tuple[list[object], int]:
        column = table.column(name)
        assert column is not None
        other = table.with_column(replace(column, type=kind))
        lost: list[Misfit] = []
        plan = store.plan(other, ("id", name), None)
        rows = await read(store.backend, plan, Scope(misfits=lost.append))
        return [row[1] for row in sorted(rows)], sum(each.count for each in lost)

    assert await shown("n", "integer") == ([5, None], 1)
    assert await shown("n", "text") == (["5", "5000000000"], 0)
    assert await shown("n", "numeric") == (["5", "5000000000"], 0)
    assert await shown("t", "character varying(3)") == (["abc", None], 1)
    assert await shown("t", "character varying") == (["abc", "abcdef"], 0)
    assert await shown("d", "numeric(4,2)") == ([Decimal("1.50"), None], 1)
    assert await shown("j", "text") == (['{"a": 1}', None], 0)
    with pytest.raises(DatatypeMismatch):
        await shown("t", "integer")


# R1.8: observing counts the values of each column
async def test_observe(store: Store) -> None:
    table = store.tables["every"]
    seen = await store.backend.observe(table, SampleSpec(1_000))
    assert seen.rows >= 2
    fields = {each.path: each for each in seen.fields}
    assert fields["id",].present == seen.rows
    assert fields["c_map",].types == {"map<text, int>": fields["c_map",].present}


# R1.8: dates, times and uuids are what Cassandra itself shows of them
async def test_against_the_drivers_own_values(store: Store) -> None:
    [(stamp, day, unique, number)] = await store.rows(
        "SELECT c_timestamp, c_date, c_uuid, c_decimal FROM every WHERE id = 1"
    )
    table = store.tables["every"]
    names = ("c_timestamp", "c_date", "c_uuid", "c_decimal", "id")
    rows = [r for r in await store.scan(table, names) if r[4] == 1]
    [(shown_stamp, shown_day, shown_uuid, shown_number, _)] = rows
    assert shown_stamp == stamp.replace(tzinfo=dt.UTC)
    assert shown_day == day.date()
    assert UUID(bytes=shown_uuid) == unique
    assert Decimal(shown_number) == number


# R1.8: changes are one object: nothing given is nothing written
async def test_no_changes(store: Store) -> None:
    result = await store.backend.apply(store.tables["every"], RowChanges(), Scope())
    assert result.rows == 0
