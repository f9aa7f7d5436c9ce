"""Values that documents may have in a field, whatever type its column was given."""

from __future__ import annotations

import datetime as dt
import re
from typing import Any

from bson.binary import Binary
from bson.code import Code
from bson.decimal128 import Decimal128
from bson.int64 import Int64
from bson.max_key import MaxKey
from bson.min_key import MinKey
from bson.objectid import ObjectId
from bson.timestamp import Timestamp

NAN = float("nan")
INF = float("inf")
OID = ObjectId("6650f0a1b2c3d4e5f6a7b8c9")
OTHER_OID = ObjectId("aaaaaaaaaaaaaaaaaaaaaaaa")
UUID_BYTES = bytes(range(16))

NUMBERS: list[Any] = [
    0,
    1,
    -1,
    7,
    -32768,
    32767,
    32768,
    2147483647,
    -2147483648,
    Int64(5),
    Int64(2147483648),
    Int64(-2147483649),
    Int64(2**53),
    7.0,
    2.5,
    -1.5,
    -0.0,
    0.1,
    NAN,
    INF,
    -INF,
    5e-324,
    Decimal128("2.5"),
    Decimal128("0.1"),
    Decimal128("-1.50"),
    Decimal128("7"),
    Decimal128("NaN"),
    Decimal128("Infinity"),
    Decimal128("-Infinity"),
    Decimal128("1E-30"),
    Decimal128("1234567890123456789012345678901234"),
]

BEYOND_DOUBLE: list[Any] = [
    1e300,
    Int64(2**53 + 1),
    Int64(-(2**53) - 1),
    Int64(2**63 - 1),
    Int64(-(2**63)),
    2.0**63,
    2.0**70,
    Decimal128("1180591620717411303424"),
    Decimal128("9007199254740992.5"),
]
"""Numbers that a server which compares in double precision takes for others."""

TEXTS: list[Any] = [
    "",
    " ",
    "a",
    "A",
    "abc",
    "a_c%",
    "a\n",
    "abc\ndef",
    "back\\slash",
    "äöü ß",
    "日本語",
    "é",
    "(a.c)*[x]$",
    "5",
    "true",
    str(OID),
    "66",
    "zz",
    "nul\0inside",
    OID,
    OTHER_OID,
    ObjectId("6" * 24),
]

BEYOND_BMP: list[Any] = ["z\uffff", "z\U0001f600"]
"""Texts that a server which compares UTF-16 takes for others."""

OTHERS: list[Any] = [
    None,
    True,
    False,
    dt.datetime(2024, 1, 1),  # noqa: DTZ001
    dt.datetime(1969, 12, 31, 23, 59, 59, 999000),  # noqa: DTZ001
    dt.datetime(9999, 12, 31, 23, 59, 59, 999000),  # noqa: DTZ001
    dt.datetime(1, 1, 1),  # noqa: DTZ001
    Binary(UUID_BYTES, 4),
    Binary(UUID_BYTES, 3),
    Binary(b"\xff" * 16, 4),
    Binary(UUID_BYTES, 0),
    b"abc",
    b"",
    [],
    [1],
    [7, "abc", None, True, OID],
    [[5]],
    [2.5, Decimal128("2.5"), dt.datetime(2024, 1, 1)],  # noqa: DTZ001
    [Binary(UUID_BYTES, 4)],
    {},
    {"inner": 5},
    {"inner": [5]},
    [{"inner": 5}, {"inner": "abc"}],
    re.compile("^a"),
    Timestamp(5, 1),
    Code("x"),
    MinKey(),
    MaxKey(),
]

MISSING = object()
PLAIN: list[Any] = [*NUMBERS, *TEXTS, *OTHERS, MISSING]
ALL: list[Any] = [*PLAIN, *BEYOND_DOUBLE, *BEYOND_BMP]
