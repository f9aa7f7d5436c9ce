"""Which types a CSV cell is the canonical text of.

A CSV column gets a type other than text only if *every* non-empty cell is exactly what PostgreSQL
would print for the value in that type (DateStyle ISO, time zone UTC), so that reading the column
as the type loses nothing: `007`, `1.50` as a double, `+1`, `1e5` or ` 1` are not canonical.

The mask of a cell depends on its text alone, and the candidates of a column are the AND of the
masks of its cells: counting cells by mask is mergeable.
"""

from __future__ import annotations

import math
import re
from datetime import date
from decimal import Decimal, localcontext
from typing import Final

from catalog.inference.kinds import DOUBLE_EXACT_MAX, INT8_MAX, INT8_MIN

BOOL: Final = 1
INT8: Final = 2
FLOAT8: Final = 4
NUMERIC: Final = 8
DATE: Final = 16
TIMESTAMP: Final = 32
TIMESTAMPTZ: Final = 64

# In order of preference; the first type that all cells allow wins.
MASK_TYPES: Final[tuple[tuple[int, str], ...]] = (
    (BOOL, "boolean"),
    (INT8, "bigint"),
    (FLOAT8, "double precision"),
    (NUMERIC, "numeric"),
    (DATE, "date"),
    (TIMESTAMP, "timestamp without time zone"),
    (TIMESTAMPTZ, "timestamp with time zone"),
)

_INFINITIES: Final = (math.inf, -math.inf)
CELL_NUMBER_MAX: Final = 200  # longer digit strings are text; no number in a file is that long

_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:e[+-][0-9]{2,3})?", re.ASCII)
_INSTANT = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})"
    r"(?: (?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{0,5}[1-9])?(\+00)?)?",
    re.ASCII,
)


def float8_text(value: float) -> str:
    """A finite double as PostgreSQL prints it: shortest digits, exponent from 1e+15 and 1e-05."""
    text = repr(value)
    mantissa, _, exponent = text.partition("e")
    digits = mantissa.lstrip("-").replace(".", "").lstrip("0")
    if not digits:
        return "-0" if text[0] == "-" else "0"
    if not exponent and not abs(value) >= 1e15:
        return mantissa.removesuffix(".0")
    return _scientific(text)


def _scientific(text: str) -> str:
    """repr of a double (any form) in PostgreSQL's exponent form."""
    sign = "-" if text[0] == "-" else ""
    mantissa, _, exponent = text.lstrip("-").partition("e")
    whole, _, fraction = mantissa.partition(".")
    power = int(exponent or 0) + len(whole) - 1
    digits = (whole + fraction).rstrip("0")
    tail = f".{digits[1:]}" if len(digits) > 1 else ""
    return f"{sign}{digits[0]}{tail}e{power:+03d}"


def cell_mask(text: str) -> int:
    """The types whose canonical text this cell is; 0 for none."""
    first = text[:1]
    if first in ("t", "f"):
        return BOOL if text in ("true", "false") else 0
    if not first or first not in "-0123456789" or len(text) > CELL_NUMBER_MAX:
        return 0
    if _NUMBER.fullmatch(text):
        return _number_mask(text)
    return _instant_mask(text)


def _number_mask(text: str) -> int:
    double = float(text)
    mask = FLOAT8 if float8_text(double) == text and not _on_bound(text, double) else 0
    if "e" in text:
        return mask
    if text[0] == "-" and not text.strip("-0."):
        return mask  # a negative zero is a double only
    mask |= NUMERIC
    if "." not in text and len(text) <= 20 and INT8_MIN <= int(text) <= INT8_MAX:
        mask |= INT8
    return mask


def _on_bound(text: str, double: float) -> bool:
    """True if the decimal lies exactly halfway between two doubles.

    Python takes such a decimal for the shortest form of the even one, PostgreSQL's Ryu does not and
    prints more digits. Below 2^53 a midpoint has more digits than any shortest form.
    """
    if abs(double) < DOUBLE_EXACT_MAX or math.isinf(double):
        return False
    with localcontext() as context:
        context.prec = 800
        twice = Decimal(text) * 2
        here = Decimal(double)
        return any(twice == here + Decimal(math.nextafter(double, to)) for to in _INFINITIES)


def _instant_mask(text: str) -> int:
    match = _INSTANT.fullmatch(text)
    if match is None:
        return 0
    try:
        date(int(match[1]), int(match[2]), int(match[3]))
    except ValueError:
        return 0
    if len(text) == 10:
        return DATE
    return TIMESTAMPTZ if match[4] else TIMESTAMP
