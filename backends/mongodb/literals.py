"""Literals of the expression IR as BSON values: exact, or not at all."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from bson.decimal128 import Decimal128

from core import expr as ir
from core.encoding.arrays import parse_array_text
from core.errors import MorphError
from core.expr import base_type

_HEX: Final = "0123456789abcdef"
OID_DIGITS: Final = 24
_ZONED: Final = re.compile(
    r"(\d{4}-\d\d-\d\d)(?:[ T](\d\d:\d\d(?::\d\d(?:\.\d{1,6})?)?))?(Z|[+-]\d\d(?::?\d\d)?)",
    re.ASCII,
)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class NotPushed(Exception):
    """This store has no exact filter for the expression; the text is the reason."""


@dataclass(frozen=True, slots=True)
class Instant:
    """An instant in microseconds since 1970; `infinite` is -1 or 1 for the infinities."""

    us: int
    infinite: int = 0


def literal_of(node: ir.Expr) -> ir.Literal:
    """The node as a literal. Raises NotPushed for anything else."""
    if isinstance(node, ir.Param):
        raise NotPushed(f"parameter ${node.number} is not bound")
    if not isinstance(node, ir.Literal):
        raise NotPushed("a comparison of something else than a column and a constant")
    return node


def spread_items(node: ir.Expr) -> list[ir.Literal]:
    """The items of `= ANY ('{…}')`."""
    array = literal_of(node)
    element = array.type.removesuffix("[]")
    if array.text is None:
        return [ir.Literal(element, None)]
    try:
        parsed = parse_array_text(array.text)
    except MorphError as error:
        raise NotPushed("a malformed array") from error
    return [ir.Literal(element, text) for text in parsed.elements]


def read_literal(literal: ir.Literal) -> Any:
    """The value in Python: int, Decimal, float, str, bool, Instant, bytes. Raises NotPushed."""
    reader = _READERS.get(base_type(literal.type))
    if reader is None or base_type(literal.type) != literal.type or literal.text is None:
        raise NotPushed(f"a literal of type {literal.type}")
    try:
        return reader(literal.text)
    except (ValueError, InvalidOperation) as error:
        raise NotPushed(f"a literal of type {literal.type} in a form of its own") from error


def _read_text(text: str) -> str:
    if "\0" in text:
        raise NotPushed("a text with a zero byte")
    text.encode()
    return text


def _read_boolean(text: str) -> bool:
    if text not in ("true", "false", "t", "f"):
        raise ValueError(text)
    return text[0] == "t"


def _read_instant(text: str) -> Instant:
    if text in ("infinity", "-infinity"):
        return Instant(0, -1 if text[0] == "-" else 1)
    match = _ZONED.fullmatch(text)
    if match is None:
        raise NotPushed("a timestamp without time zone: it depends on the session's")
    zone = match[3] if match[3] != "Z" else "+00"
    moment = datetime.fromisoformat(f"{match[1]}T{match[2] or '00:00'}{_colon(zone)}")
    return Instant((moment - _EPOCH) // timedelta(microseconds=1))


def _colon(zone: str) -> str:
    digits = zone[1:].replace(":", "")
    return f"{zone[0]}{digits[:2]}:{digits[2:] or '00'}"


def _read_uuid(text: str) -> bytes:
    digits = text.strip("{}").replace("-", "")
    if len(digits) != 32:
        raise ValueError(text)
    return bytes.fromhex(digits)


def _read_integer(text: str) -> int:
    if not re.fullmatch(r"-?\d{1,19}", text, re.ASCII):
        raise ValueError(text)
    return int(text)


def _read_float(text: str) -> float:
    if "_" in text:
        raise ValueError(text)
    return float(text)


def _read_numeric(text: str) -> Decimal:
    if "_" in text:
        raise ValueError(text)
    return Decimal(text)


_READERS: Final[dict[str, Callable[[str], Any]]] = {
    "smallint": _read_integer,
    "integer": _read_integer,
    "bigint": _read_integer,
    "numeric": _read_numeric,
    "double precision": _read_float,
    "text": _read_text,
    "character varying": _read_text,
    "boolean": _read_boolean,
    "timestamp with time zone": _read_instant,
    "uuid": _read_uuid,
}


def decimal128(value: Decimal) -> Decimal128:
    """The decimal exactly. Raises NotPushed where 34 digits do not hold it."""
    try:
        made = Decimal128(str(value))
    except (ValueError, InvalidOperation, ArithmeticError) as error:
        raise NotPushed("a number that Decimal128 does not hold") from error
    if value.is_finite() and made.to_decimal() != value:
        raise NotPushed("a number that Decimal128 does not hold")
    return made


def is_object_id(text: str) -> bool:
    """Whether the text is what an ObjectId looks like in a text column."""
    return len(text) == OID_DIGITS and all(letter in _HEX for letter in text)


def first_object_id(text: str, *, above: bool) -> str | None:
    """The least 24 hex digits that sort at or after the text (`above`: after it), by code point;
    None when there are none.
    """
    for at in range(OID_DIGITS):
        if at == len(text):
            return text + "0" * (OID_DIGITS - at)
        if text[at] not in _HEX:
            return _next_after(text[:at], text[at])
    if len(text) == OID_DIGITS and not above:
        return text
    return _next_after(text[: OID_DIGITS - 1], text[OID_DIGITS - 1])


def _next_after(prefix: str, letter: str) -> str | None:
    """The least digits that begin with `prefix` and go on above `letter`, or come after them."""
    while True:
        larger = next((digit for digit in _HEX if digit > letter), None)
        if larger is not None:
            made = prefix + larger
            return made + "0" * (OID_DIGITS - len(made))
        if not prefix:
            return None
        prefix, letter = prefix[:-1], prefix[-1]
