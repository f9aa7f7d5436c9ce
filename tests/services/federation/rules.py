"""Numbers that look random and are the same in every run."""

from __future__ import annotations


def mixed(number: int, salt: int) -> int:
    """A number of 31 bits that depends on both (Knuth's multiplicative hashing, twice)."""
    value = (number * 2_654_435_761 + salt * 40_503) & 0xFFFF_FFFF
    value ^= value >> 15
    return (value * 2_246_822_519 & 0xFFFF_FFFF) >> 1
