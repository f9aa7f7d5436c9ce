"""Bisection: finds differing rows of two distant stores by sums of key ranges (V4).

Only sums travel, and the rows of the leaves that differ. With one differing row in a million that
is 65 sums and about 1,000 rows; where differences are all over, reading everything is cheaper, and
`Bisection.scan` says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from core.checksum import MultisetChecksum
from evolution.layouts.base import Row, Side
from evolution.validation.localise import Pair, unequal

FAN_OUT: Final = 32
LEAF_ROWS: Final = 1_024
SCAN_SHARE: Final = 0.4
"""So many leaves (of at least `FAN_OUT`) that differ: about 0.05 % of the rows, scattered."""

Range = tuple[bytes | None, bytes | None]
"""(after, until), None where there is no bound."""


class Summed(Protocol):
    """A store that sums rows where they are."""

    async def cut(self, part: Range, parts: int) -> tuple[int, Sequence[Range]]:
        """How many rows a range has, and the range cut into about equal parts."""

    async def sums(self, ranges: Sequence[Range]) -> Sequence[MultisetChecksum]:
        """The sum of the rows (with their keys) of each range."""

    async def rows(self, part: Range) -> Sequence[Row]:
        """The rows of a range."""


@dataclass(slots=True)
class Bisection:
    """What came of it: `pairs` differ; `asked` sums of each side and `fetched` rows of the live
    side travelled; `scan`: it was given up, because reading everything is cheaper.
    """

    pairs: list[Pair] = field(default_factory=list)
    asked: int = 0
    fetched: int = 0
    scan: bool = False


async def bisect(
    live: Summed, shadow: Summed, *, fan_out: int = FAN_OUT, leaf_rows: int = LEAF_ROWS
) -> Bisection:
    """Find the rows that differ. Ranges are cut where the live side's rows are."""
    found = Bisection()
    level: list[Range] = await _unequal(live, shadow, [(None, None)], found)
    width = 1
    while level:
        inner: list[Range] = []
        for part in level:
            rows, parts = await live.cut(part, fan_out)
            if rows <= leaf_rows:
                await _leaf(live, shadow, part, found)
            else:
                inner += parts
        if not inner:
            break
        width *= fan_out
        level = await _unequal(live, shadow, inner, found)
        if len(inner) > fan_out and len(level) > SCAN_SHARE * width:
            found.scan = True
            return found
    return found


async def _unequal(
    live: Summed, shadow: Summed, ranges: list[Range], found: Bisection
) -> list[Range]:
    found.asked += len(ranges)
    pairs = zip(ranges, await live.sums(ranges), await shadow.sums(ranges), strict=True)
    return [part for part, one, other in pairs if one != other]


async def _leaf(live: Summed, shadow: Summed, part: Range, found: Bisection) -> None:
    one, other = await live.rows(part), await shadow.rows(part)
    found.fetched += len(one)
    found.pairs += unequal(one, other)


class SummedSide:
    """A side of a validation as a `Summed`: it reads the rows, and only sums leave it."""

    def __init__(self, side: Side) -> None:
        self._side = side

    async def cut(self, part: Range, parts: int) -> tuple[int, Sequence[Range]]:
        """See Summed."""
        keys = await self._side.keys(part[0], part[1], 0)
        step = -(-len(keys) // parts) or 1
        ends: list[bytes | None] = list(keys[step - 1 : len(keys) - 1 : step])
        starts = [part[0], *ends]
        return len(keys), list(zip(starts, [*ends, part[1]], strict=True))

    async def sums(self, ranges: Sequence[Range]) -> Sequence[MultisetChecksum]:
        """See Summed."""
        made = []
        for part in ranges:
            total = MultisetChecksum()
            total.add_rows([row.key + b"\t" + row.data for row in await self.rows(part)])
            made.append(total)
        return made

    async def rows(self, part: Range) -> Sequence[Row]:
        """See Summed."""
        found: list[Row] = []
        after, ended = part[0], False
        while not ended:
            chunk = await self._side.chunk(after, part[1], 0)
            found += chunk.split()
            after, ended = chunk.last, chunk.ended
        return found
