"""Decimal digits of wide integers (varint, decimal) without Python's quadratic conversion.

A varint of 60 kB has 144,000 digits; `Decimal(n)` takes two seconds for it, in which the event loop
stands still, this 60 ms. The number is split into halves of its bits, and `decimal` multiplies by
number-theoretic transforms (compare CPython 3.12, Lib/_pylong.py).
"""

from __future__ import annotations

from decimal import MAX_EMAX, MAX_PREC, MIN_EMIN, Decimal, Inexact, localcontext
from typing import Final

_DIRECT_BITS: Final = 1_000


def decimal_digits(number: int) -> str:
    """The digits of a number that is not negative."""
    powers: dict[int, Decimal] = {}

    def power_of_two(bits: int) -> Decimal:
        found = powers.get(bits)
        if found is None:
            half = bits >> 1
            direct = bits <= _DIRECT_BITS
            found = Decimal(1 << bits) if direct else power_of_two(half) * power_of_two(bits - half)
            powers[bits] = found
        return found

    def convert(part: int, bits: int) -> Decimal:
        if bits <= _DIRECT_BITS:
            return Decimal(part)
        half = bits >> 1
        high = part >> half
        low = part - (high << half)
        return convert(low, half) + convert(high, bits - half) * power_of_two(half)

    with localcontext() as context:
        context.prec, context.Emax, context.Emin = MAX_PREC, MAX_EMAX, MIN_EMIN
        context.traps[Inexact] = True
        return f"{convert(number, number.bit_length()):f}"
