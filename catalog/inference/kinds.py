"""The kinds of values that inference tells apart, and the carriers of values JSON has no form for.

Readers hand over ordinary Python values (None, bool, int, float, Decimal, str, dict, list) and, for
everything else, `Typed`: the value as PostgreSQL's input text and as JSON text. A number's class is
judged from its literal by `float_or_decimal`, not from what Python makes of it.

Invariant: a plain `float` denotes exactly the number its literal wrote; any other literal with a
fraction or an exponent is a `Decimal`.
"""

from __future__ import annotations

from decimal import Decimal
from enum import IntEnum
from typing import Final, NamedTuple

INT8_MIN: Final = -(2**63)
INT8_MAX: Final = 2**63 - 1
DOUBLE_EXACT_MAX: Final = 2**53  # every integer up to here is a double

# numeric: digits before and after the decimal point (PostgreSQL manual, table 8.2).
NUMERIC_DIGITS_MAX: Final = 131_072
NUMERIC_SCALE_MAX: Final = 16_383

# A literal of at most 16 characters has at most 15 digits beside the point: DBL_DIG, always exact.
_SURELY_EXACT: Final = 16
_PYTHON_INT_DIGITS: Final = 4_000  # Python's own limit is 4,300
_NUMERIC_EXPONENT_MAX: Final = 2**30 - 1  # numeric_in refuses larger ones, even of zero

OUT_OF_RANGE: Final = "number out of the range of type numeric"


class Kind(IntEnum):
    """What one value is; the groups below are what the rules are written in."""

    NULL = 0
    BOOL = 1
    INT = 2  # |n| <= 2^53
    LONG = 3  # the rest of int64
    BIGINT = 4  # an integer literal beyond int64
    FLOAT = 5  # a literal that a double holds exactly (shortest round trip)
    FLOAT_SPECIAL = 6  # NaN, infinities, -0.0 of Extended JSON and Parquet
    DECIMAL = 7
    DECIMAL_SPECIAL = 8  # NaN and infinities of Decimal128
    STRING = 9
    OBJECT_ID = 10
    TIMESTAMPTZ = 11
    TIMESTAMP = 12
    DATE = 13
    TIME = 14
    INTERVAL = 15
    UUID = 16
    BYTES = 17
    EXTENDED = 18  # Extended JSON without a PostgreSQL type: regex, minKey, oplog timestamp …
    CSV = 19  # a CSV cell; its candidates are counted by mask
    EMPTY = 20  # an empty CSV cell: NULL, but of a column of text
    OBJECT = 21
    ARRAY = 22


INTEGERS: Final = frozenset({Kind.INT, Kind.LONG})
NUMBERS: Final = frozenset(
    {
        Kind.INT,
        Kind.LONG,
        Kind.BIGINT,
        Kind.FLOAT,
        Kind.FLOAT_SPECIAL,
        Kind.DECIMAL,
        Kind.DECIMAL_SPECIAL,
    }
)
DOUBLES: Final = frozenset({Kind.INT, Kind.FLOAT, Kind.FLOAT_SPECIAL})
TEXTS: Final = frozenset({Kind.STRING, Kind.OBJECT_ID})
CELLS: Final = frozenset({Kind.CSV, Kind.EMPTY})
SPECIALS: Final = frozenset({Kind.FLOAT_SPECIAL, Kind.DECIMAL_SPECIAL})

# Kinds that JSON has no form for, with their type: a column of one of them is physical.
PHYSICAL_TYPES: Final[dict[Kind, str]] = {
    Kind.TIMESTAMPTZ: "timestamp with time zone",
    Kind.TIMESTAMP: "timestamp without time zone",
    Kind.DATE: "date",
    Kind.TIME: "time without time zone",
    Kind.INTERVAL: "interval",
    Kind.UUID: "uuid",
    Kind.BYTES: "bytea",
}


class Typed(NamedTuple):
    """A value that JSON has no form for: `pg` is PostgreSQL's input text, `json` its JSON text.

    `pg` is empty for `Kind.EXTENDED`, which lives in jsonb only.
    """

    kind: Kind
    pg: str
    json: str


class ObjectId(str):
    """A MongoDB ObjectId as 24 hex digits, lower case; JSON text and PostgreSQL see a string."""

    __slots__ = ()


class CsvCell(str):
    """A CSV cell. Its JSON text is a string, or null if it is empty and was not quoted."""

    __slots__ = ()


PYTHON_KINDS: Final[dict[type, Kind]] = {
    type(None): Kind.NULL,
    bool: Kind.BOOL,
    int: Kind.INT,
    float: Kind.FLOAT,
    Decimal: Kind.DECIMAL,
    str: Kind.STRING,
    ObjectId: Kind.OBJECT_ID,
    dict: Kind.OBJECT,
    list: Kind.ARRAY,
}


def int_kind(value: int) -> Kind:
    """Where an integer literal belongs."""
    if -DOUBLE_EXACT_MAX <= value <= DOUBLE_EXACT_MAX:
        return Kind.INT
    return Kind.LONG if INT8_MIN <= value <= INT8_MAX else Kind.BIGINT


def float_or_decimal(literal: str) -> float | Decimal:
    """A number literal with a fraction or exponent; made for `json`'s parse_float.

    ValueError if PostgreSQL's numeric cannot hold it.
    """
    if len(literal) <= _SURELY_EXACT and "e" not in literal and "E" not in literal:
        return float(literal)
    exact = exact_number(literal)
    double = float(literal)
    # An overflow gives inf and an underflow 0: both differ from the exact number.
    return double if Decimal(repr(double)) == exact else exact


def integer_or_decimal(literal: str) -> int | Decimal:
    """An integer literal of any length; Python refuses to convert more than 4,300 digits."""
    return int(literal) if len(literal) <= _PYTHON_INT_DIGITS else exact_number(literal)


def exact_number(literal: str) -> Decimal:
    """A finite number literal exactly; ValueError outside of PostgreSQL's numeric."""
    try:
        value = Decimal(literal)
    except ArithmeticError:
        raise ValueError(OUT_OF_RANGE) from None
    exponent = value.as_tuple().exponent
    if not isinstance(exponent, int) or exponent < -NUMERIC_SCALE_MAX:
        raise ValueError(OUT_OF_RANGE)
    digits = value.adjusted() if value else 0
    if digits >= NUMERIC_DIGITS_MAX or exponent > _NUMERIC_EXPONENT_MAX:
        raise ValueError(OUT_OF_RANGE)
    return value


def number_text(value: Decimal) -> str:
    """A finite decimal as JSON and PostgreSQL write it, with its scale and no exponent."""
    return format(value, "f")
