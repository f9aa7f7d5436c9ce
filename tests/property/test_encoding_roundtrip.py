"""Encode, let PostgreSQL store it, read it back: nothing changes, for generated values.

One example is a whole batch of a wide row, so few queries judge many values. The judge is
PostgreSQL: what it stored from COPY BINARY must print (text), send (binary) and dump (csv) exactly
as the encoders say, and the csv must decode to the columns that went in.
"""

from __future__ import annotations

import decimal
import random
import struct
from collections.abc import Iterator

import psycopg
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from core.encoding import (
    COPY_HEADER,
    COPY_TRAILER,
    decode_copy_csv,
    encode_copy_rows,
    encode_data_rows,
    from_text_carrier,
    to_text_carrier,
)
from core.types import type_by_name
from tests.unit.core.encoding.oracle import SESSION, Values, data_rows, raw

Connection = psycopg.Connection[tuple[object, ...]]

_DAY = 86_400_000_000
_TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)
_SPECIAL_TEXT = st.text(st.sampled_from('",\\{}\n\r\t NULLnul.a'), max_size=6)
# One NaN: its sign bit is not a value, and no text carries it.
_FLOATS = st.floats(allow_nan=False) | st.just(float("nan"))
_SINGLES = st.floats(allow_nan=False, width=32) | st.just(float("nan"))
_DAYS = st.integers(-2_440_588, 2_145_042_905) | st.integers(-800_000, 3_000_000)
_STAMPS = st.integers(-210_866_803_200_000_000, 2**63 - 1) | st.integers(0, 2 * 10**15)


def decimals(precision: int, scale: int) -> st.SearchStrategy[decimal.Decimal]:
    """All values of numeric(precision, scale), small and round ones often."""
    top = 10**precision - 1
    digits = st.integers(-top, top) | st.integers(-99999, 99999)
    rounded = st.builds(lambda d, e: d * 10**e, st.integers(-99, 99), st.integers(0, precision - 2))
    return (digits | rounded).map(lambda n: decimal.Decimal(n).scaleb(-scale, _WIDE))


_WIDE = decimal.Context(prec=100)
_COLUMNS: dict[str, st.SearchStrategy[object]] = {
    "boolean": st.booleans(),
    "smallint": st.integers(-(2**15), 2**15 - 1),
    "integer": st.integers(-(2**31), 2**31 - 1),
    "bigint": st.integers(-(2**63), 2**63 - 1),
    "oid": st.integers(0, 2**32 - 1),
    "real": _SINGLES,
    "double precision": _FLOATS,
    "numeric(12,2)": decimals(12, 2),
    "numeric(18,6)": decimals(18, 6),
    "numeric(9,9)": decimals(9, 9),
    "numeric(38,10)": decimals(38, 10),
    "numeric(76,38)": decimals(76, 38),
    "text": _TEXT | _SPECIAL_TEXT,
    "bytea": st.binary(max_size=20),
    "uuid": st.binary(min_size=16, max_size=16),
    "date": _DAYS,
    "time": st.integers(0, _DAY - 1),
    "timestamp": _STAMPS,
    "timestamptz": _STAMPS,
    "integer[]": st.lists(st.none() | st.integers(-(2**31), 2**31 - 1), max_size=4),
    "text[]": st.lists(st.none() | _TEXT | _SPECIAL_TEXT, max_size=4),
    "double precision[]": st.lists(st.none() | _FLOATS, max_size=3),
    "timestamptz[]": st.lists(st.none() | _STAMPS, max_size=3),
}
_NUMBERS = st.from_regex(r"\A-?(0|[1-9][0-9]{0,45})(\.[0-9]{1,45})?\Z") | st.sampled_from(
    ["NaN", "Infinity", "-Infinity"]
)
_ROWS = st.lists(
    st.tuples(*(st.none() | values for values in _COLUMNS.values()), st.none() | _NUMBERS),
    min_size=1,
    max_size=12,
)
_NAMES = (*_COLUMNS, "numeric")
_FIELDS = [type_by_name(name) for name in _NAMES]


@pytest.fixture(scope="module")
def connection(pg18_dsn: str) -> Iterator[Connection]:
    """A session with one table of all the types."""
    with psycopg.connect(pg18_dsn, options=SESSION, autocommit=True) as opened:
        columns = ", ".join(f"c{k} {name}" for k, name in enumerate(_NAMES))
        opened.execute(f"CREATE TEMP TABLE wide (n serial, {columns})")
        yield opened


def canonical(name: str, value: object) -> object:
    """-0 in numeric is 0 for PostgreSQL; everything else stays."""
    if name == "numeric" and isinstance(value, str) and value.startswith("-"):
        return value if value.strip("-0.") else value[1:]
    return value


def batch_of(rows: list[tuple[object, ...]]) -> pa.RecordBatch:
    """The rows in the Arrow carriers."""
    columns = zip(*rows, strict=True)
    arrays = []
    for name, pg, values in zip(_NAMES, _FIELDS, columns, strict=True):
        arrays.append(pa.array([canonical(name, v) for v in values], pg.arrow))
    return pa.RecordBatch.from_arrays(arrays, names=[f"c{k}" for k in range(len(_NAMES))])


def stored(connection: Connection, batch: pa.RecordBatch) -> Iterator[list[Values]]:
    """The batch through COPY BINARY; then its columns as PostgreSQL sends them, text and binary."""
    connection.execute("TRUNCATE wide RESTART IDENTITY")
    names = ", ".join(batch.schema.names)
    with connection.cursor().copy(f"COPY wide ({names}) FROM STDIN (FORMAT binary)") as copy:
        copy.write(COPY_HEADER + encode_copy_rows(batch, _FIELDS) + COPY_TRAILER)
    for binary in (False, True):
        with connection.cursor(binary=binary) as cursor:
            cursor.execute(f"SELECT {names} FROM wide ORDER BY n")
            columns = [raw(cursor, k) for k in range(len(_NAMES))]
            assert len(columns[0]) == batch.num_rows
            yield columns


@settings(
    max_examples=60,
    deadline=None,
    # Shrinking takes minutes; `differing` names the value.
    phases=[Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(rows=_ROWS)
def test_round_trip_through_postgresql(
    connection: Connection, rows: list[tuple[object, ...]]
) -> None:
    batch = batch_of(rows)
    texts = pa.RecordBatch.from_arrays(
        [to_text_carrier(column, pg) for column, pg in zip(batch.columns, _FIELDS, strict=True)],
        names=batch.schema.names,
    )
    for code, columns in enumerate(stored(connection, batch)):
        formats = [code] * len(_FIELDS)
        for carried in (batch, texts):
            encoded = bytes(encode_data_rows(carried, _FIELDS, formats))
            assert encoded == data_rows(columns), differing(carried, code, columns)
    names = ", ".join(batch.schema.names)
    decoder = decode_copy_csv(_FIELDS, "arrow")
    query = f"COPY (SELECT {names} FROM wide ORDER BY n) TO STDOUT (FORMAT csv)"
    with connection.cursor().copy(query) as copy:
        decoded = [b for data in copy for b in decoder.feed(data)] + decoder.finish()
    [again] = decoded
    assert bytes(encode_data_rows(again, _FIELDS, [1] * len(_FIELDS))) == data_rows(columns)
    for name, before, after in zip(_NAMES, batch.columns, again.columns, strict=True):
        assert before.type.equals(after.type)
        # Arrow's NaN does not equal itself; the bytes above have compared the floats.
        assert before.equals(after) or name.startswith(("real", "double")), name


def differing(batch: pa.RecordBatch, code: int, columns: list[Values]) -> list[object]:
    """Type, value, encoded and expected bytes of the values that differ."""
    return [
        (name, batch.column(k)[row].as_py(), encoded, value)
        for k, name in enumerate(_NAMES)
        for row, value in enumerate(columns[k])
        for cell in [batch.select([k]).slice(row, 1)]
        for encoded in [bytes(encode_data_rows(cell, [_FIELDS[k]], [code]))]
        if encoded != data_rows([[value]])
    ]


def doubles(source: random.Random) -> list[float]:
    """Doubles where shortest texts are hard: any bits, large integers, powers, short decimals."""
    values = [struct.unpack(">d", source.randbytes(8))[0] for _ in range(6000)]
    values += [float(source.randrange(2**53, 2**63)) for _ in range(6000)]
    values += [
        float(source.randrange(10 ** source.randrange(1, 18))) * 10.0 ** source.randrange(24)
        for _ in range(9000)
    ]
    values += [2.0**k for k in range(-1074, 1024)]
    values += [float(f"{d}e{k}") for k in range(-20, 25) for d in (1, 1.5, 9.99, 123456789)]
    return values


def singles(source: random.Random) -> list[float]:
    """The same for float4."""
    values = [struct.unpack(">f", source.randbytes(4))[0] for _ in range(9000)]
    values += [
        float(source.randrange(10 ** source.randrange(1, 9))) * 10.0 ** source.randrange(20)
        for _ in range(9000)
    ]
    values += [2.0**k for k in range(-149, 128)]
    values += [float(f"{d}e{k}") for k in range(-20, 25) for d in (1, 1.5, 9.99, 1234567)]
    return [struct.unpack(">f", struct.pack(">f", v))[0] for v in values]


@pytest.mark.parametrize("sql_type", ["real", "double precision"])
def test_float_texts(connection: Connection, sql_type: str) -> None:
    pg = type_by_name(sql_type)
    values = (singles if sql_type == "real" else doubles)(random.Random(20))
    column = pa.array([v for v in values if v == v], pg.arrow)
    batch = pa.record_batch([column], names=["x"])
    connection.execute(f"CREATE TEMP TABLE floats (n serial, x {sql_type})")
    with connection.cursor().copy("COPY floats (x) FROM STDIN (FORMAT binary)") as copy:
        copy.write(COPY_HEADER + encode_copy_rows(batch, [pg]) + COPY_TRAILER)
    texts = raw(connection.execute("SELECT x::text FROM floats ORDER BY n"))
    connection.execute("DROP TABLE floats")
    shown = [v.encode() for v in to_text_carrier(column, pg).to_pylist()]
    assert len(texts) == len(shown) > 15_000
    assert [(a, b) for a, b in zip(shown, texts, strict=True) if a != b] == []
    # The data must reach the repair of half-way texts, or this test says nothing about it.
    arrow = column.cast(pa.string()).to_pylist()
    digits = [
        (a.partition("e")[0], b.decode().partition("e")[0])
        for a, b in zip(arrow, shown, strict=True)
    ]
    longer = sum(len(b.strip("-0.")) > len(a.strip("-0.")) for a, b in digits if "." in a)
    assert longer > 50


# Expressions over the random numbers r (0..1), s (0..1) and the row number n.
_SERVER_MADE = {
    "interval": "make_interval(months => ((r - .5) * 5000)::int, days => ((s - .5) * 900)::int)"
    " + ((r * s - .3) * 1e13)::bigint * interval '1 microsecond'",
    "timetz": "(time '00:00' + r * interval '1 day') AT TIME ZONE make_interval(secs =>"
    " ((s - .5) * 57599)::int)",
    "timestamptz": "timestamptz '1950-01-01' + ((r - .5) * 1e16)::bigint"
    " * interval '1 microsecond'",
    "inet": "CASE WHEN s < .5 THEN set_masklen('0.0.0.0'::inet + (r * 4294967295)::bigint,"
    " (s * 64)::int) ELSE set_masklen('::'::inet + (r * 1e18)::bigint, (s * 128)::int) END",
    "bit varying": "((r * 1e18)::bigint::bit(64) || (s * 1e18)::bigint::bit(64))::bit varying(128)",
    "money": "((r - .5) * 1e12 * s)::numeric::money",
    "numeric": "round(((r - .5) * 10 ^ (n % 60))::numeric * s::numeric, (n % 37)::int)",
    "macaddr": "('08:00:2b:' || to_char((r * 99)::int, 'FM00') || ':01:02')::macaddr",
    '"char"': 'chr((1 + r * 126)::int)::"char"',
    "integer[]": "CASE WHEN s < .3 THEN ARRAY[[n::int, (r * 9)::int], [NULL, 1]]"
    " WHEN s < .6 THEN array_fill((r * 99)::int, ARRAY[2, 1, 3], ARRAY[n::int, -4, 1])"
    " ELSE ARRAY(SELECT (r * k)::int FROM generate_series(1, (s * 9)::int) k) END",
    "jsonb": "jsonb_build_object('a', r, 'b', ARRAY[s::text, NULL], 'c', n)",
    "date": "date '2000-01-01' + ((r - .5) * 4e6)::int",
    "timestamp": "timestamp '2000-01-01' + ((r - .5) * 1e17)::bigint * interval '1 microsecond'",
}


@pytest.mark.parametrize("sql_type", _SERVER_MADE)
@pytest.mark.parametrize("zone", ["UTC", "America/New_York"])
def test_values_made_by_the_server(pg18_dsn: str, sql_type: str, zone: str) -> None:
    pg = type_by_name(sql_type)
    query = "SELECT CASE WHEN n % 10 > 0 THEN x END FROM made ORDER BY n"
    with psycopg.connect(pg18_dsn, options=SESSION.replace("UTC", zone)) as connection:
        connection.execute("SELECT setseed(0.25)")
        connection.execute(
            f"CREATE TEMP TABLE made AS SELECT n, ({_SERVER_MADE[sql_type]})::{sql_type} AS x FROM"
            " (SELECT n, random() AS r, random() AS s FROM generate_series(1, 1500) n) AS u"
        )
        columns = []
        for binary in (False, True):
            with connection.cursor(binary=binary) as cursor:
                columns.append(raw(cursor.execute(query)))
    texts = pa.array([None if v is None else v.decode() for v in columns[0]], pa.string())
    assert texts.null_count == 150
    assert pc.count_distinct(texts).as_py() > (90 if pg.typlen == 1 or "mac" in sql_type else 900)
    for carrier in (texts, from_text_carrier(texts, pg)):
        batch = pa.record_batch([carrier], names=["x"])
        assert bytes(encode_data_rows(batch, [pg], [1])) == data_rows([columns[1]])
        if zone == "UTC" or sql_type != "timestamptz":
            assert bytes(encode_data_rows(batch, [pg], [0])) == data_rows([columns[0]])
