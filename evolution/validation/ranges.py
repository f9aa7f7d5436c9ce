"""The same key range of both sides, whatever is missing, extra or unreadable in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from core.errors import InternalError, MorphError
from evolution.layouts.base import Chunk, Side, Sides

_MORE: Final = 1_000
_ATTEMPTS: Final = 8
_OF_ROWS: Final = ("22", "23", "54", "P0", "XX001", "XX002")
"""Errors that a value of a row causes."""
_FINAL: Final = (*_OF_ROWS, "0A", "42", "XX")
"""Errors that no repetition heals."""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A row that one side cannot give: for the live one, `up` fails on it."""

    of_live: bool
    key: bytes
    error: MorphError


@dataclass(frozen=True, slots=True)
class Aligned:
    """Both sides of one range that ends at `last` (None: at the end of everything)."""

    live: Chunk
    shadow: Chunk
    last: bytes | None
    ended: bool
    unreadable: tuple[Unreadable, ...] = ()


def caused_by_a_row(error: MorphError) -> bool:
    """True for an error that reading other rows does not have."""
    return error.sqlstate.startswith(_OF_ROWS)


def final(error: MorphError) -> bool:
    """True for an error that comes again when it is tried again."""
    return error.sqlstate.startswith(_FINAL)


async def aligned(sides: Sides, after: bytes | None, rows: int) -> Aligned:
    """The next range of about `rows` rows.

    It ends where the live side's chunk does; where the shadow has so many rows more that they do
    not fit, it ends earlier.
    """
    live, shadow = sides
    one = await live.chunk(after, None, rows)
    until = None if one.ended else one.last
    other = await shadow.chunk(after, until, one.rows + _MORE)
    for _ in range(_ATTEMPTS):
        if other.ended and (one.ended or one.last == until):
            return Aligned(one, other, until, until is None)
        until = other.last if not other.ended else one.last
        one = await live.chunk(after, until, 0)
        other = await shadow.chunk(after, until, 0)
    raise InternalError(
        "two sides of a validation find no common range",
        detail="One key has more rows in the shadow than a chunk holds.",
    )


async def around(sides: Sides, after: bytes | None, rows: int) -> Aligned:
    """`aligned` for a range in which a row cannot be read: the readable rows before the first such
    row, or that row alone.
    """
    live, shadow = sides
    keys = await live.keys(after, None, rows) or await shadow.keys(after, None, rows)
    if not keys:
        raise InternalError("a range without keys cannot be read")
    good = await _readable(sides, after, keys)
    if good:
        until = keys[good - 1]
        one, other = await live.chunk(after, until, 0), await shadow.chunk(after, until, 0)
        return Aligned(one, other, until, False)
    until = await _first_alone(sides, after, keys[0])
    bad: list[Unreadable] = []
    one = await _or_empty(live, True, after, until, bad)
    other = await _or_empty(shadow, False, after, until, bad)
    return Aligned(one, other, until, False, tuple(bad))


async def _first_alone(sides: Sides, after: bytes | None, until: bytes) -> bytes:
    """The end of the range that has one key of the side that cannot be read."""
    try:
        await sides[0].chunk(after, until, 0)
    except MorphError as error:
        if not caused_by_a_row(error):
            raise
        return until
    return next(iter(await sides[1].keys(after, until, 0)), until)


async def _readable(sides: Sides, after: bytes | None, keys: Sequence[bytes]) -> int:
    """How many keys from the first one on can be read, by bisection."""
    low, high = 0, len(keys)
    while low < high:
        middle = (low + high + 1) // 2
        try:
            for side in sides:
                await side.chunk(after, keys[middle - 1], 0)
            low = middle
        except MorphError as error:
            if not caused_by_a_row(error):
                raise
            high = middle - 1
    return low


async def _or_empty(
    side: Side, of_live: bool, after: bytes | None, until: bytes, bad: list[Unreadable]
) -> Chunk:
    try:
        return await side.chunk(after, until, 0)
    except MorphError as error:
        if not caused_by_a_row(error):
            raise
        bad.append(Unreadable(of_live, until, error))
        return Chunk(b"", 0, None, True, list)


async def next_range(sides: Sides, after: bytes | None, rows: int) -> Aligned:
    """The next range, with what cannot be read in it."""
    try:
        return await aligned(sides, after, rows)
    except MorphError as error:
        if not caused_by_a_row(error):
            raise
    return await around(sides, after, rows)
