"""Conjuncts as conditions on one column: candidates (=, IN, = ANY) and bounds, in stored values.

Pure. A literal becomes the value that CQL stores, or the next one that a bound may name: a
timestamp is whole milliseconds, so `at < '…00.0005'` is `at <= '…00.000'`. A literal that the
column can never be equal to (99999999999 in an int) is no candidate; with no candidates the scan is
empty.
What is not understood here stays in the residual, by NotWritten.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from backends.cassandra import calendar
from backends.cassandra.facts import ColumnFacts
from core import expr as ir
from core.encoding.arrays import parse_array_text
from core.errors import BadCopyFormat
from core.expr import Expr, base_type
from core.types import type_by_name

Value = Any
"""A plain stored value: see scalars.py."""

KEY_BYTES_MAX: Final = 65_535
"""A key's value is at most this long; longer ones cannot be bound."""

INTEGERS: Final = {
    "tinyint": (-(2**7), 2**7 - 1),
    "smallint": (-(2**15), 2**15 - 1),
    "int": (-(2**31), 2**31 - 1),
    "bigint": (-(2**63), 2**63 - 1),
}
_INTEGER_TYPES: Final = ("smallint", "integer", "bigint")
_RANGED: Final = frozenset(
    (
        *(*INTEGERS, "varint", "float", "double", "text", "varchar", "ascii"),
        *("boolean", "timestamp", "date", "time", "blob"),
    )
)
"""Types whose order in a clustering key is PostgreSQL's; that of uuid is not."""


class NotWritten(Exception):
    """CQL has no form for the conjunct; the text is the reason."""


@dataclass(frozen=True, slots=True)
class Bound:
    """One side of a range."""

    value: Value
    inclusive: bool


@dataclass(frozen=True, slots=True)
class Condition:
    """A conjunct over one column: `candidates` or bounds; `source` is the conjunct itself."""

    column: str
    source: Expr
    candidates: tuple[Value, ...] | None = None
    low: Bound | None = None
    high: Bound | None = None


_MIRRORED: Final = {"=": "=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}


def column_of(part: Expr) -> int | None:
    """The id of the one column that a conjunct tests, or None for another form."""
    match part:
        case ir.ColumnRef() if part.type == ir.BOOLEAN:
            found: Expr = part
        case ir.Not(arg=ir.ColumnRef() as found):
            pass
        case ir.Compare():
            found = part.left if isinstance(part.left, ir.ColumnRef) else part.right
        case ir.In() | ir.Like():
            found = part.operand
        case _:
            return None
    return found.column_id if isinstance(found, ir.ColumnRef) and not found.path else None


def read_condition(part: Expr, column: ColumnFacts) -> Condition:
    """The conjunct as a condition on that column; NotWritten when it is none."""
    cql = column.type
    match part:
        case ir.ColumnRef():
            return Condition(column.name, part, (True,))
        case ir.Not():
            return Condition(column.name, part, (False,))
        case ir.Compare():
            return _comparison(part, column)
        case ir.In():
            found = {}
            for literal in _items(part):
                for value in equals(cql, literal):
                    found[_identity(value)] = value
            return Condition(column.name, part, tuple(found.values()))
        case ir.Like():
            return _prefix(part, column)
        case _:
            raise NotWritten("CQL has no such condition")


def _identity(value: Value) -> object:
    """A key under which -0.0 and 0.0 are two values, as they are in a partition key."""
    return struct.pack(">d", value) if isinstance(value, float) else value


def _items(part: ir.In) -> Iterable[ir.Literal]:
    if not part.spread:
        return [_literal(item) for item in part.items]
    array = _literal(part.items[0])
    if array.text is None:
        return []
    element = array.type.removesuffix("[]")
    try:
        parsed = parse_array_text(array.text)
    except BadCopyFormat as error:
        raise NotWritten("a malformed array") from error
    return [ir.Literal(element, text) for text in parsed.elements]


def _literal(expr: Expr) -> ir.Literal:
    if not isinstance(expr, ir.Literal):
        raise NotWritten("CQL compares a column with constants only")
    return expr


def _comparison(part: ir.Compare, column: ColumnFacts) -> Condition:
    op, other = part.op, part.right
    if not isinstance(part.left, ir.ColumnRef):
        op, other = _MIRRORED.get(op, op), part.left
    if op not in _MIRRORED:
        raise NotWritten(f"CQL has no operator {op}")
    literal = _literal(other)
    if literal.text is None:
        return Condition(column.name, part, ())
    if op == "=":
        return Condition(column.name, part, equals(column.type, literal))
    if column.type not in _RANGED:
        raise NotWritten(f"the order of {column.type} is not PostgreSQL's")
    low = _low(column.type, literal, op == ">=") if op[0] == ">" else None
    high = _high(column.type, literal, op == "<=") if op[0] == "<" else None
    return Condition(column.name, part, low=low, high=high)


# Candidates: the stored values that equal a literal


def equals(cql: str, literal: ir.Literal) -> tuple[Value, ...]:
    """The stored values that PostgreSQL calls equal to the literal: none, one, or both zeros."""
    if literal.text is None:
        return ()
    if cql in ("float", "double"):
        number = _float(cql, literal)
        return (0.0, -0.0) if number == 0 else (number,)
    value = _exact(cql, literal)
    return () if value is None else (value,)


def _exact(cql: str, literal: ir.Literal) -> Value | None:
    """The stored value of the same meaning, None when there is none."""
    text, kind = str(literal.text), base_type(literal.type)
    if cql in INTEGERS and kind in _INTEGER_TYPES:
        first, last = INTEGERS[cql]
        return _integer(text) if first <= _integer(text) <= last else None
    if cql == "varint" and kind in (*_INTEGER_TYPES, "numeric"):
        number = _decimal(text)
        return int(number) if number == number.to_integral_value() else None
    if cql in ("text", "varchar", "ascii") and kind in ("text", "character varying"):
        return None if _unstorable(cql, text) else text
    if cql == "boolean" and kind == "boolean":
        return _boolean(text)
    if cql in ("uuid", "timeuuid") and kind == "uuid":
        found = _uuid(text)
        return None if cql == "timeuuid" and found[6] >> 4 != 1 else found
    if cql == "blob" and kind == "bytea":
        return _blob(text)
    if cql == "timestamp" and kind == "timestamp with time zone":
        micros = _instant(text)
        return None if micros % 1000 else micros // 1000
    if cql == "date" and kind == "date":
        return _known(calendar.read_day(text), text)
    if cql == "time" and kind == "time without time zone":
        return _known(calendar.read_clock(text), text)
    raise NotWritten(f"{cql} is not compared with {kind} in CQL")


def _unstorable(cql: str, text: str) -> bool:
    return (cql == "ascii" and not text.isascii()) or len(text.encode()) > KEY_BYTES_MAX


# Bounds: the nearest stored value on the right side of a literal


def _low(cql: str, literal: ir.Literal, inclusive: bool) -> Bound:
    """column > literal, or >= when inclusive."""
    if cql in ("float", "double"):
        number = _float(cql, literal)
        # PostgreSQL's zeros are equal; Cassandra puts -0.0 below 0.0.
        zero = -0.0 if inclusive else 0.0
        return Bound(zero if number == 0 else number, inclusive)
    floor, exact = _floor(cql, literal)
    return Bound(floor, inclusive and exact)


def _high(cql: str, literal: ir.Literal, inclusive: bool) -> Bound:
    """column < literal, or <= when inclusive."""
    if cql in ("float", "double"):
        number = _float(cql, literal)
        zero = 0.0 if inclusive else -0.0
        return Bound(zero if number == 0 else number, inclusive)
    floor, exact = _floor(cql, literal)
    return Bound(floor, inclusive or not exact)


def _floor(cql: str, literal: ir.Literal) -> tuple[Value, bool]:
    """The greatest stored value that is not above the literal, and whether it is equal."""
    text, kind = str(literal.text), base_type(literal.type)
    if cql in INTEGERS and kind in _INTEGER_TYPES:
        first, last = INTEGERS[cql]
        whole = _integer(text)
        if whole < first:
            raise NotWritten(f"{text} is below every {cql}")
        return (whole, True) if whole <= last else (last, False)
    if cql == "varint" and kind in (*_INTEGER_TYPES, "numeric"):
        number = _decimal(text)
        return math.floor(number), number == math.floor(number)
    if cql == "timestamp" and kind == "timestamp with time zone":
        micros = _instant(text)
        return micros // 1000, micros % 1000 == 0
    value = _exact(cql, literal)
    if value is None:
        raise NotWritten(f"no {cql} is next to {text!r}")
    return value, True


# Literals


def _float(cql: str, literal: ir.Literal) -> float:
    kind, text = base_type(literal.type), str(literal.text)
    if cql == "float" and kind != "real":
        raise NotWritten(f"real is not compared with {kind} in CQL")
    if kind not in ("real", "double precision", "numeric", *_INTEGER_TYPES):
        raise NotWritten(f"{cql} is not compared with {kind} in CQL")
    try:
        number = float(text)
    except ValueError as error:
        raise NotWritten(f"{text!r} is not a number") from error
    if math.isnan(number) or (kind == "numeric" and math.isinf(number)):
        raise NotWritten("NaN has many forms in a key")
    if cql == "double":
        return number
    try:
        return float(struct.unpack(">f", struct.pack(">f", number))[0])
    except OverflowError as error:
        raise NotWritten(f"{text!r} is beyond real") from error


_DIGITS: Final = re.compile(r"[+-]?[0-9]+")
_NUMBER: Final = re.compile(r"[+-]?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]{1,5})?")


def _integer(text: str) -> int:
    """PostgreSQL takes more forms, and refuses some that Python takes: those are left to it."""
    if not _DIGITS.fullmatch(text):
        raise NotWritten(f"{text!r} is an integer in a form of its own, or none")
    return int(text)


def _decimal(text: str) -> Decimal:
    if not _NUMBER.fullmatch(text):
        raise NotWritten(f"{text!r} is a number in a form of its own, or none")
    number = Decimal(text)
    if not number.is_finite() or abs(number.adjusted()) > 10_000:
        raise NotWritten(f"{text!r} is not a number of CQL")
    return number


def _boolean(text: str) -> bool:
    if text not in ("true", "false", "t", "f"):
        raise NotWritten(f"{text!r} is not in PostgreSQL's own form")
    return text[0] == "t"


_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_HEX: Final = re.compile(r"\\x((?:[0-9a-fA-F]{2})*)")


def _uuid(text: str) -> bytes:
    if not _UUID.fullmatch(text):
        raise NotWritten(f"{text!r} is not in PostgreSQL's own form")
    return UUID(text).bytes


def _blob(text: str) -> bytes | None:
    match = _HEX.fullmatch(text)
    if match is None:
        raise NotWritten("bytea that is not in hexadecimal form")
    value = bytes.fromhex(match[1])
    return value if len(value) <= KEY_BYTES_MAX else None


def _instant(text: str) -> int:
    return _known(calendar.read_instant(text), text)


def _known(value: int | None, text: str) -> int:
    if value is None:
        raise NotWritten(f"{text!r} is not in PostgreSQL's own form")
    return value


# LIKE


def _prefix(part: ir.Like, column: ColumnFacts) -> Condition:
    """LIKE 'abc%' as a range, LIKE 'abc' as an equality."""
    pattern = _literal(part.pattern)
    if part.insensitive or column.type not in ("text", "varchar"):
        raise NotWritten("CQL has no ILIKE")
    if pattern.text is None:
        return Condition(column.name, part, ())
    prefix, open_ended = _like_prefix(pattern.text, part.escape)
    if not open_ended:
        found = () if _unstorable(column.type, prefix) else (prefix,)
        return Condition(column.name, part, found)
    after = _successor(prefix)
    if not prefix or after is None or _unstorable(column.type, prefix):
        raise NotWritten("LIKE without a prefix")
    return Condition(column.name, part, low=Bound(prefix, True), high=Bound(after, False))


def _like_prefix(pattern: str, escape: str | None) -> tuple[str, bool]:
    mark = "\\" if escape is None else escape
    prefix = ""
    rest = iter(pattern)
    for char in rest:
        if mark and char == mark:
            following = next(rest, None)
            if following is None:
                raise NotWritten("a pattern that ends with its escape")
            prefix += following
        elif char == "%":
            if any(each != "%" for each in rest):
                raise NotWritten("LIKE with more than a prefix")
            return prefix, True
        elif char == "_":
            raise NotWritten("LIKE with more than a prefix")
        else:
            prefix += char
    return prefix, False


_LAST_CODE_POINT: Final = 0x10FFFF
_SURROGATES: Final = range(0xD800, 0xE000)


def _successor(prefix: str) -> str | None:
    """The least text above every text that begins so; None when there is none."""
    while prefix and ord(prefix[-1]) == _LAST_CODE_POINT:
        prefix = prefix[:-1]
    if not prefix:
        return None
    code = ord(prefix[-1]) + 1
    return prefix[:-1] + chr(_SURROGATES.stop if code in _SURROGATES else code)


# Several conditions on one column


def merge(conditions: Sequence[Condition]) -> tuple[Condition, list[Expr]]:
    """One condition that stands for all it can of several on a column, and the conjuncts it left.

    Candidates win over bounds: they are few, and the bounds stay to be checked by the engine.
    """
    chosen = [each for each in conditions if each.candidates is not None]
    if chosen:
        left = [each.source for each in conditions if each.candidates is None]
        values = {_identity(value): value for value in chosen[0].candidates or ()}
        for each in chosen[1:]:
            allowed = {_identity(value) for value in each.candidates or ()}
            values = {key: value for key, value in values.items() if key in allowed}
        return Condition(chosen[0].column, _all(chosen), tuple(values.values())), left
    low = _tightest([each.low for each in conditions], highest=True)
    high = _tightest([each.high for each in conditions], highest=False)
    return Condition(conditions[0].column, _all(conditions), low=low, high=high), []


def _all(conditions: Sequence[Condition]) -> Expr:
    joined = ir.join_and([each.source for each in conditions])
    assert joined is not None
    return joined


def _tightest(bounds: Sequence[Bound | None], *, highest: bool) -> Bound | None:
    given = [each for each in bounds if each is not None]
    if not given:
        return None
    best = given[0]
    for each in given[1:]:
        key, known = _sortable(each.value), _sortable(best.value)
        tighter = key > known if highest else key < known
        if tighter or (key == known and not each.inclusive):
            best = each
    return best


def _sortable(value: Value) -> Any:
    """Both zeros apart, as Cassandra orders them."""
    return (value, math.copysign(1.0, value)) if isinstance(value, float) else value


def is_same_type(declared: str, column: ColumnFacts) -> bool:
    """Whether a foreign column shows the stored values as they are, so that conditions hold."""
    scalar = column.cql.scalar
    if scalar is None:
        return False
    natural, shown = type_by_name(scalar.postgres), type_by_name(declared)
    if shown.typmod not in (-1, natural.typmod):
        return False
    if column.type in INTEGERS:
        return shown.name in _INTEGER_TYPES
    if natural.name == "text":
        return shown.name in ("text", "character varying")
    return natural.name == shown.name
