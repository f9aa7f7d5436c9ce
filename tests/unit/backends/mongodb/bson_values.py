# ruff: noqa: DTZ001 (BSON's instants are decoded without zone)
"""Strategies of hypothesis: BSON values and documents."""

from __future__ import annotations

import datetime as dt

from bson.binary import Binary
from bson.datetime_ms import DatetimeMS
from bson.decimal128 import Decimal128
from bson.int64 import Int64
from bson.objectid import ObjectId
from bson.timestamp import Timestamp
from hypothesis import strategies as st

INT32 = st.integers(-(2**31), 2**31 - 1)
INT64 = st.integers(-(2**63), 2**63 - 1).map(Int64)
DOUBLES = st.floats()
TEXTS = st.text(st.characters(exclude_categories=("Cs",)), max_size=12)
OBJECT_IDS = st.binary(min_size=12, max_size=12).map(ObjectId)
DECIMALS = st.one_of(
    st.builds(
        lambda digits, exponent: Decimal128(f"{digits}E{exponent}"),
        st.integers(-(10**33), 10**33),
        st.integers(-40, 40),
    ),
    st.sampled_from([Decimal128("NaN"), Decimal128("Infinity"), Decimal128("-0.00")]),
)
INSTANTS = st.one_of(
    st.datetimes(dt.datetime(1, 1, 1), dt.datetime(9999, 12, 31)).map(
        lambda at: at.replace(microsecond=at.microsecond // 1000 * 1000)
    ),
    st.integers(-(2**63), 2**63 - 1).map(DatetimeMS),
    st.integers(-210_866_803_200_000, 9_224_318_015_999_999).map(DatetimeMS),
)
UUIDS = st.builds(
    lambda value, subtype: Binary(value.bytes, subtype), st.uuids(), st.sampled_from([3, 4])
)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    INT32,
    INT64,
    DOUBLES,
    TEXTS,
    OBJECT_IDS,
    DECIMALS,
    INSTANTS,
    UUIDS,
    st.binary(max_size=9),
    st.builds(Timestamp, st.integers(0, 9), st.integers(0, 9)),
)
KEYS = st.sampled_from(["a", "b", "c", "a.b", "$x", "é", ""])
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=3)),
    max_leaves=6,
)


def rows_alike(kinds: list[st.SearchStrategy[object]]) -> st.SearchStrategy[dict[str, object]]:
    """Documents with the same fields in the same order, some of them missing or null."""
    missing = object()
    fields = {
        f"f{n}": st.one_of(kind, kind, st.none(), st.just(missing)) for n, kind in enumerate(kinds)
    }
    return st.fixed_dictionaries(fields).map(
        lambda row: {key: value for key, value in row.items() if value is not missing}
    )


TYPED = {
    "text": st.one_of(TEXTS, OBJECT_IDS),
    "bigint": st.one_of(INT32, INT64),
    "integer": INT32,
    "double precision": st.one_of(DOUBLES, INT32),
    "numeric": st.one_of(DECIMALS, INT32, INT64),
    "boolean": st.booleans(),
    "timestamp(3) with time zone": INSTANTS,
    "uuid": UUIDS,
}
"""For types of columns the values that they mostly show."""
