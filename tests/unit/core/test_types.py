"""The type table says what pg_type, format_type() and the parser of PostgreSQL say."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pyarrow as pa
import pytest

from core.encoding.family import registered
from core.errors import InvalidParameterValue, UndefinedObject
from core.types import (
    TYPES,
    find_type,
    numeric_precision_scale,
    opaque_type,
    type_by_name,
    type_by_oid,
)

SPELLINGS = (
    *("bool", "boolean", "int2", "smallint", "int4", "int", "integer", "int8", "bigint", "oid"),
    *("float4", "real", "float8", "float", "float(1)", "float(24)", "float(25)", "float(53)"),
    *("double precision", "DOUBLE  PRECISION", "numeric", "decimal", "dec", "numeric(10,2)"),
    *("numeric(10)", "decimal(5, 5)", "numeric(3,-2)", "numeric(2,4)", "numeric(1000,1000)"),
    *("numeric(38,10)", "numeric(39,0)", "numeric(76,0)", "numeric(77,0)", "text", "name", "bytea"),
    *("varchar", "varchar(20)", "character varying", "character varying(5)", "char varying(3)"),
    *(
        "char",
        "char(7)",
        "character",
        "character(7)",
        "nchar(3)",
        "national character(3)",
        "bpchar",
    ),
    *("national char varying(3)", "national character varying(3)", "bpchar(3)", '"char"', "date"),
    *("time", "time(3)", "time without time zone", "time(2) without time zone", "timetz"),
    *("timetz(2)", "time with time zone", "time(2) with time zone", "timestamp", "timestamp(3)"),
    *("timestamp without time zone", "timestamp(0) without time zone", "timestamptz"),
    *("timestamptz(3)", "timestamp with time zone", "timestamp (6)  with  time  zone"),
    *("interval", "interval(3)", "interval year", "interval month", "interval day"),
    *("interval hour", "interval minute", "interval second", "interval second(3)"),
    *("interval year to month", "interval day to hour", "interval day to minute"),
    *("interval day to second", "interval day to second(2)", "interval hour to minute"),
    *("interval hour to second(0)", "interval minute to second", "uuid", "json", "jsonb", "inet"),
    *("cidr", "macaddr", "macaddr8", "money", "xml", "bit", "bit(5)", "bit varying"),
    *("bit varying(5)", "varbit", "varbit(9)", "pg_catalog.int4", "int4[]", "int[3]", "int[][]"),
    *("integer array", "integer array[4]", "numeric(10,2)[]", "varchar(20)[]", "timestamp(3)[]"),
    *("timestamp(3) with time zone[]", "_int4", "_text", 'pg_catalog."char"', '"char"[]'),
    *("bit varying(5)[]", "char(3)[]", "interval(3)[]", "double precision[]", " text ", "TEXT"),
    *('pg_catalog."bit"', '"int4"', '"bpchar"'),
)


@pytest.fixture(scope="module")
def connection(pg18_dsn: str) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    """One session for the module."""
    with psycopg.connect(pg18_dsn, autocommit=True) as opened:
        yield opened


def test_rows_are_those_of_pg_type(connection: psycopg.Connection[tuple[object, ...]]) -> None:
    expected = {
        row[0]: row[1:]
        for row in connection.execute(
            "SELECT oid::int8, format_type(oid, -1), typname, typarray::int8, typlen::int,"
            " typcategory::text, typelem::int8 FROM pg_type WHERE typnamespace = 11"
        ).fetchall()
    }
    assert len(TYPES) >= 31
    for pg in TYPES:
        row = (pg.name, pg.typname, pg.array_oid, pg.typlen, pg.category)
        assert row == expected[pg.oid][:5], pg.name
        if pg.array_oid:
            array = type_by_oid(pg.array_oid)
            name, typname, _, typlen, category, element = expected[array.oid]
            assert (array.name, array.typname, array.typlen) == (name, typname, typlen)
            assert (array.category, pg.oid) == (category, element)
            assert array.element is pg
            assert array.array() is array


@pytest.mark.parametrize("sql", SPELLINGS)
def test_spellings(connection: psycopg.Connection[tuple[object, ...]], sql: str) -> None:
    pg = type_by_name(sql)
    row = connection.execute(
        "SELECT to_regtype(%(s)s)::oid::int8, to_regtypemod(%(s)s),"
        " format_type(to_regtype(%(s)s), to_regtypemod(%(s)s))",
        {"s": sql},
    ).fetchone()
    assert row == (pg.oid, pg.typmod, pg.sql)
    assert type_by_oid(pg.oid, pg.typmod) == pg
    assert type_by_name(pg.sql) == pg


@pytest.mark.parametrize("sql", ["no_such", "int4x", "", "text(", "interval day to year", '"Int4"'])
def test_unknown_names(sql: str) -> None:
    with pytest.raises(UndefinedObject, match="does not exist"):
        type_by_name(sql)


@pytest.mark.parametrize("sql", ["numeric(0)", "numeric(1001)", "numeric(5,1001)", "text(3)"])
def test_bad_modifiers(sql: str) -> None:
    with pytest.raises(InvalidParameterValue):
        type_by_name(sql)


def test_lookups_by_oid() -> None:
    assert type_by_oid(20).name == "bigint"
    assert find_type(99999999) is None
    with pytest.raises(UndefinedObject):
        type_by_oid(99999999)
    mood = opaque_type(16384, "mood")
    assert (mood.sql, mood.text_only, mood.oid) == ("mood", True, 16384)
    with pytest.raises(UndefinedObject):
        mood.array()


@pytest.mark.parametrize(
    ("sql", "carrier"),
    [
        ("numeric", pa.string()),
        ("numeric(38,2)", pa.decimal128(38, 2)),
        ("numeric(39,2)", pa.decimal256(39, 2)),
        ("numeric(76,76)", pa.decimal256(76, 76)),
        ("numeric(77,0)", pa.string()),
        ("numeric(3,-2)", pa.decimal128(5, 0)),
        ("numeric(2,4)", pa.decimal128(4, 4)),
        ("numeric(10,2)[]", pa.list_(pa.decimal128(10, 2))),
        ("timestamptz", pa.timestamp("us", tz="UTC")),
        ("interval", pa.string()),
        ("text[]", pa.list_(pa.string())),
    ],
)
def test_carriers(sql: str, carrier: pa.DataType) -> None:
    assert type_by_name(sql).arrow.equals(carrier)


def test_numeric_modifier() -> None:
    assert numeric_precision_scale(type_by_name("numeric(3,-2)").typmod) == (3, -2)
    assert numeric_precision_scale(-1) is None


def test_every_type_has_a_family() -> None:
    # The registry is filled when the package is imported; 0 stands for all arrays.
    assert registered() == {pg.oid for pg in TYPES} | {0}
