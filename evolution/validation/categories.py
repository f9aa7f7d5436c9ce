"""What kind of difference two values are, and how bad each kind is."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import ROUND_DOWN, ROUND_HALF_EVEN, ROUND_HALF_UP, Decimal, localcontext
from typing import Final, cast

from config.validation import Category, Severity, parse_severities
from evolution.validation.canonical import base_type, microseconds

_NUMBERS: Final = frozenset(
    {"smallint", "integer", "bigint", "numeric", "real", "double precision"}
)
_TIMES: Final = frozenset({"timestamp without time zone", "timestamp with time zone"})
_TEXTS: Final = frozenset({"text", "character varying", "character", "name"})
_UNITS: Final[tuple[tuple[int, str], ...]] = (
    (86_400_000_000, "days"),
    (3_600_000_000, "hours"),
    (60_000_000, "minutes"),
    (1_000_000, "seconds"),
    (1_000, "milliseconds"),
)
_DIGITS_MAX: Final = 2_000
"""Longer numbers are not looked at for rounding: they differ."""

_DEFAULT: Final[Mapping[Category, Severity]] = {
    "STALE": "warning",
    "ORDER_MISMATCH": "warning",
    "NONDETERMINISTIC": "info",
}


@dataclass(frozen=True, slots=True)
class SeverityPolicy:
    """How bad each category is; what `levels` does not name is as by default: critical, but for
    STALE and ORDER_MISMATCH (warning) and NONDETERMINISTIC (info).
    """

    levels: Mapping[Category, Severity] = field(default_factory=dict)

    def of(self, category: Category) -> Severity:
        """The severity of a category."""
        return self.levels.get(category, _DEFAULT.get(category, "critical"))


def policy_of(words: str) -> SeverityPolicy:
    """The policy of the setting `validation.severities`: "STALE=critical, DECODE_ERROR=info".

    Raises InvalidParameterValue (22023).
    """
    levels = cast("dict[Category, Severity]", parse_severities(words))
    return SeverityPolicy(levels)


def classify(sql_type: str, live: bytes | None, shadow: bytes | None) -> tuple[Category, str]:
    """The category of two values that differ, and what is wrong in words, without the values."""
    if live is None or shadow is None:
        return "VALUE_MISMATCH", "NULL in the " + (
            "shadow, a value in the live table" if shadow is None else "live table, a value here"
        )
    name = base_type(sql_type)
    if name in _NUMBERS:
        return _of_numbers(name, live, shadow)
    if name in _TIMES:
        return _of_times(live, shadow)
    if name in _TEXTS:
        return "VALUE_MISMATCH", _of_texts(live.decode(), shadow.decode())
    return "VALUE_MISMATCH", "the values differ"


def _of_numbers(name: str, live: bytes, shadow: bytes) -> tuple[Category, str]:
    if len(live) + len(shadow) > _DIGITS_MAX:
        return "VALUE_MISMATCH", "the numbers differ"
    one, other = Decimal(live.decode()), Decimal(shadow.decode())
    if not (one.is_finite() and other.is_finite()):
        return "VALUE_MISMATCH", "the numbers differ"
    if one == other:
        return "VALUE_MISMATCH", "the sign of zero differs"
    if name == "double precision" and _narrow(one) == float(other):
        return "PRECISION_LOSS", "the shadow has the number in single precision"
    with localcontext() as context:
        context.prec = _DIGITS_MAX
        places = -int(other.normalize().as_tuple().exponent)
        if places < -int(one.normalize().as_tuple().exponent):
            unit = Decimal(1).scaleb(-max(places, 0))
            rounded = {one.quantize(unit, how) for how in _ROUNDINGS}
            if other in rounded:
                return "PRECISION_LOSS", f"the shadow has {max(places, 0)} digits after the point"
        if one == -other:
            return "VALUE_MISMATCH", "the sign differs"
    return "VALUE_MISMATCH", "the numbers differ"


_ROUNDINGS: Final = (ROUND_DOWN, ROUND_HALF_EVEN, ROUND_HALF_UP)


def _narrow(number: Decimal) -> float:
    """The nearest that single precision holds, or an infinity."""
    try:
        return float(struct.unpack(">f", struct.pack(">f", float(number)))[0])
    except OverflowError:
        return float("inf") if number > 0 else float("-inf")


def _of_times(live: bytes, shadow: bytes) -> tuple[Category, str]:
    one, other = microseconds(live), microseconds(shadow)
    if one is None or other is None:
        return "VALUE_MISMATCH", "the times differ"
    for unit, name in _UNITS:
        if other % unit == 0 and one % unit and abs(one - other) < unit:
            return "PRECISION_LOSS", f"the shadow has the time in whole {name}"
    shift = other - one
    if shift % 900_000_000 == 0 and abs(shift) <= 86_400_000_000:
        return "VALUE_MISMATCH", f"the times differ by {shift // 60_000_000} minutes, as zones do"
    return "VALUE_MISMATCH", "the times differ"


def _of_texts(live: str, shadow: str) -> str:
    if live.startswith(shadow):
        return f"the shadow's text is cut after {len(shadow)} characters"
    if live.lower() == shadow.lower():
        return "the texts differ in case"
    if live.strip() == shadow.strip():
        return "the texts differ in white space at the ends"
    return "the texts differ"
