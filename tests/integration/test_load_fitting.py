"""What `backends.embedded.fitting` calls readable is readable, for every value and every type.

R7 (type inference): what does not fit is an event, never an error of a later query.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import asyncpg
import pytest
import pytest_asyncio

from backends.embedded.fitting import EXTENDED, Value, cast, fits, reader_raises, reads
from catalog.readers import extract

VALUES = [
    "true", "false", "0", "1", "-5", "2.0", "2.5", "0.1", "1e3", "1E400", "-1e-400", "123456789012",
    "9223372036854775807", "9223372036854775808", "32768", "3.14159265358979323846", "1.50",
    '""', '"x"', '"5"', '"1.5"', '"true"', '"NaN"', '"2024-02-29"', '"2024-02-30"', '"now"',
    '"2024-02-29T12:00:00Z"', '"12:30"', '"infinity"', '"1 day"', '"\\\\x00ff"', '"\\\\xzz"',
    '"6b2f0a6e-1111-4222-8333-444455556666"', '{}', '{"a":1}', '[]', '[1]', '[1,null,2]', '[1.5]',
    '["a","b"]', '[1,"a"]', '[[1]]', '[{"a":1}]', '[true]', '[9223372036854775808]',
    '{"$date":"2024-02-29T12:00:00Z"}', '{"$date":"soon"}', '{"$date":5}', '{"$date":null}',
    '{"$uuid":"6b2f0a6e-1111-4222-8333-444455556666"}', '{"$uuid":"no"}',
    '{"$binary":{"base64":"AAE=","subType":"00"}}', '{"$binary":{"base64":"A*","subType":"00"}}',
    '{"$binary":"AAE="}', '{"$binary":{"base64":"AAE","subType":"00"}}',
]  # fmt: skip
DOCUMENT_TYPES = [
    "boolean", "smallint", "integer", "bigint", "real", "double precision", "numeric", "text",
    "jsonb", "timestamp with time zone", "uuid", "bytea", "bigint[]", "double precision[]",
    "numeric[]", "text[]", "boolean[]",
]  # fmt: skip
STORED_TYPES = [
    *DOCUMENT_TYPES, "numeric(6,2)", "character varying(3)", "character(2)", "date", "inet",
    "timestamp without time zone", "time without time zone", "interval", "uuid[]", "integer[]",
]  # fmt: skip


@pytest_asyncio.fixture
async def connection(pg18_dsn: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(pg18_dsn)
    for json_type in ("json", "jsonb"):
        await connection.set_type_codec(
            json_type, schema="pg_catalog", encoder=str, decoder=lambda text: text
        )
    yield connection
    await connection.close()


def _row(value: str) -> str:
    text = value.replace("'", "''")
    return f"(SELECT '{{\"k\": {text}}}'::jsonb AS _doc OFFSET 0) t"  # OFFSET: no folding


@pytest.mark.parametrize("pg_type", DOCUMENT_TYPES)
async def test_readers_bear_all_that_is_not_refused(  # R7.1
    connection: asyncpg.Connection, pg_type: str
) -> None:
    field = Value("(t._doc->'k')")
    for value in VALUES:
        row = _row(value)
        for clean in (True, False):
            readable, raises = await connection.fetchrow(
                f"SELECT {reads(field, pg_type, clean=clean)}, {reader_raises(field, pg_type)} "
                f"FROM {row}"
            )
            assert isinstance(readable, bool), (value, pg_type)
            assert isinstance(raises, bool), (value, pg_type)
            assert not (readable and raises), (value, pg_type)
            if raises or (clean and not readable):
                continue
            sql = extract("t._doc", ("k",), pg_type, clean=clean)
            shown = await connection.fetchval(f"SELECT {sql} FROM {row}")
            assert not readable or shown is not None, (value, pg_type, clean)


@pytest.mark.parametrize("pg_type", STORED_TYPES)
async def test_a_value_that_fits_is_stored_exactly(  # R7.1
    connection: asyncpg.Connection, pg_type: str
) -> None:
    field = Value("(t._doc->'k')", "(NULL::jsonb)" if pg_type.endswith("[]") else "(NULL::text)")
    for value in VALUES:
        row = _row(value)
        fitting = await connection.fetchval(f"SELECT {fits(field, pg_type)} FROM {row}")
        assert isinstance(fitting, bool), (value, pg_type)
        if not fitting:
            continue
        back = await connection.fetchval(f"SELECT to_jsonb({cast(field, pg_type)}) FROM {row}")
        same = await connection.fetchval(f"SELECT '{back}'::jsonb = t._doc->'k' FROM {row}")
        exact = pg_type not in (*EXTENDED, "time without time zone", "inet", "uuid[]")
        written_otherwise = pg_type in ("timestamp without time zone", "interval", "character(2)")
        assert same or not exact or written_otherwise, (value, pg_type, back)


async def test_integers_that_are_numbers_with_fractions_do_not_break_plain_readers(  # R7.1
    connection: asyncpg.Connection,
) -> None:
    field = Value("(t._doc->'k')")
    row = _row("2.0")
    clean = await connection.fetchval(f"SELECT {reads(field, 'bigint', clean=True)} FROM {row}")
    guarded = await connection.fetchval(f"SELECT {reads(field, 'bigint', clean=False)} FROM {row}")
    assert (clean, guarded) == (False, True)
    assert json.loads("2.0") == 2
