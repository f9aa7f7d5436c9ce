"""jsonb of MongoDB's values is the text that PostgreSQL prints, byte by byte (R1.3)."""

from __future__ import annotations

import datetime as dt
from typing import Any

import asyncpg
import bson
from bson.binary import Binary
from bson.code import Code
from bson.dbref import DBRef
from bson.decimal128 import Decimal128
from bson.max_key import MaxKey
from bson.min_key import MinKey
from bson.regex import Regex
from bson.timestamp import Timestamp
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from backends.mongodb.client import CODEC
from backends.mongodb.documents import NotJson
from backends.mongodb.printed_json import printed_json
from tests.unit.backends.mongodb.bson_values import VALUES

EDGES: list[Any] = [
    *(1e16, 1.5e300, 5e-324, -1e-7, 0.1, 5.0, -0.0, float("nan"), float("-inf"), 2**63 - 1, None),
    *(Decimal128("1E+6144"), Decimal128("1E-6176"), Decimal128("0E-3"), Decimal128("1.50")),
    *(True, "", '\x01\b\f\n\r\t"\\/\x7f\u2028ä', {}, [], [[]], {"": {"": []}}),
    {"bb": 1, "a": 2, "é": 3, "aaa": 4, "b": 5, "zz": 6, '"': 7, "ab": 8},
    *(Timestamp(3, 4), MinKey(), MaxKey(), Binary(b"\x00\xff", 128), b"abc"),
    *(Regex('a":b', "im"), Code("f('\":')"), Code("x", {"$long": 1.5, "b": Timestamp(1, 2)})),
    DBRef("c", 5, "db", z=1, a=2),
    *(dt.datetime(2024, 1, 2, 3, 4, 5, 678000), dt.datetime(1969, 1, 1)),  # noqa: DTZ001
]


def printed(values: list[Any]) -> list[str]:
    """What is written of the values that JSON can hold."""
    texts = []
    for value in values:
        try:
            texts.append(printed_json(bson.decode(bson.encode({"v": value}), CODEC)["v"]))
        except NotJson:
            continue
    return texts


async def test_jsonb_is_written_as_it_is_printed(pg18_dsn: str) -> None:
    values = list(EDGES)

    @settings(
        max_examples=250,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.lists(VALUES, min_size=1, max_size=3))
    def collect(found: list[Any]) -> None:
        values.extend(found)

    collect()
    texts = printed(values)
    assert len(texts) > len(EDGES)
    connection = await asyncpg.connect(pg18_dsn)
    try:
        rows = await connection.fetch(
            "SELECT v AS written, v::jsonb::text AS printed FROM unnest($1::text[]) v", texts
        )
    finally:
        await connection.close()
    assert [r["written"] for r in rows if r["written"] != r["printed"]] == []
