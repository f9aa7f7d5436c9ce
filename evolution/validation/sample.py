"""Sampling: the rows whose keys have the smallest xxh3(key, seed), from both sides (V5).

All keys are read, and of the rows only those of the sample. The same seed gives the same rows,
whatever is done to the others, and neither order nor age of a row has a part in it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import repeat
from typing import Final

import xxhash

from core.clock import Clock
from evolution.layouts.base import Sides
from evolution.validation.bound import upper_bound
from evolution.validation.categories import SeverityPolicy
from evolution.validation.findings import Findings
from evolution.validation.judge import LOOK_UP_ROWS, Judge, OpenSides, Saved
from evolution.validation.localise import column_differences
from evolution.validation.pace import CLOCK, ReadingPace
from evolution.validation.report import Report

_KEYS: Final = 100_000
_ALL: Final = 1 << 64


@dataclass(slots=True)
class SmallestHashes:
    """Keeps the `size` keys with the smallest hashes."""

    size: int
    seed: int = 0
    threshold: int = _ALL
    _kept: dict[bytes, int] = field(default_factory=dict, init=False)

    def add(self, keys: Iterable[bytes]) -> None:
        """Look at more keys; one that comes twice counts once."""
        keys = list(keys)
        hashes = map(xxhash.xxh3_64_intdigest, keys, repeat(self.seed))
        threshold = self.threshold
        self._kept.update(
            (key, value) for key, value in zip(keys, hashes, strict=True) if value < threshold
        )
        if len(self._kept) > 2 * self.size:
            self._cut()

    def keys(self) -> list[bytes]:
        """The sample."""
        self._cut()
        return list(self._kept)

    def _cut(self) -> None:
        if len(self._kept) > self.size:
            ordered = sorted(self._kept.items(), key=lambda item: item[1])
            self._kept = dict(ordered[: self.size])
            self.threshold = ordered[self.size - 1][1]


@dataclass(slots=True)
class Sample:
    """One comparison of about `rows` rows. A run that was cut off begins again."""

    open_sides: OpenSides
    report: Report
    saved: Saved
    rows: int
    seed: int = 0
    pace: ReadingPace = field(default_factory=ReadingPace)
    policy: SeverityPolicy = field(default_factory=SeverityPolicy)
    clock: Clock = CLOCK
    _judge: Judge = field(init=False)

    def __post_init__(self) -> None:
        self._judge = Judge(self.open_sides, self.report, self.saved, self.policy, self.clock)

    async def run(self) -> Report:
        """Choose the rows, compare them, and say what that shows of all."""
        report = self.report
        report.rows_compared = report.bytes_read = 0
        report.findings = Findings(report.findings.details_max)
        chosen, count = await self._choose()
        if count is not None:
            for at in range(0, len(chosen), LOOK_UP_ROWS):
                begun = self.clock.monotonic()
                async with self.open_sides() as sides:
                    await self._judge.look_at(sides, chosen[at : at + LOOK_UP_ROWS], {})
                await self._judge.step(self.clock.monotonic() - begun)
            await self._judge.look_again()
            if count > len(chosen):
                report.bound = upper_bound(len(chosen), self._judge.different)
        report.close()
        await self.saved(report)
        return report

    async def _choose(self) -> tuple[list[bytes], int | None]:
        """The keys of the sample, and how many there are in all; None when the sides have other
        columns.
        """
        chosen = SmallestHashes(self.rows, self.seed)
        after: bytes | None = None
        count = 0
        while True:
            begun = self.clock.monotonic()
            async with self.open_sides() as sides:
                if after is None:
                    found = column_differences(sides, self._judge.comparison)
                    self.report.findings.extend(found)
                    if len(sides[0].columns) != len(sides[1].columns):
                        return [], None
                keys, until = await _range(sides, after)
            chosen.add(keys)
            count += len(keys)
            await self._judge.step(self.clock.monotonic() - begun)
            if until is None:
                return chosen.keys(), count
            after = until


async def _range(sides: Sides, after: bytes | None) -> tuple[set[bytes], bytes | None]:
    """The keys of both sides in the next range, and where it ends."""
    live, shadow = sides
    one = await live.keys(after, None, _KEYS)
    until = one[-1] if len(one) == _KEYS else None
    other = await shadow.keys(after, until, 2 * _KEYS)
    if len(other) == 2 * _KEYS:
        until = other[-1]
        one = await live.keys(after, until, 0)
    return {*one, *other}, until
