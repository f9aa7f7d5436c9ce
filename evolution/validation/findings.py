"""What a comparison found: exact counts of everything, details of the first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from config.validation import Category, Severity
from evolution.layouts.base import Discrepancy

DETAILS_MAX: Final = 10_000


@dataclass(frozen=True, slots=True)
class Found:
    """A discrepancy with the key of its row, by which it can be repaired; None: of no row."""

    discrepancy: Discrepancy
    key: bytes | None = None


@dataclass(slots=True)
class Findings:
    """`details` are the first `details_max`; `counts` and `severities` are of all."""

    details_max: int = DETAILS_MAX
    counts: Counter[Category] = field(default_factory=Counter)
    severities: Counter[Severity] = field(default_factory=Counter)
    details: list[Found] = field(default_factory=list)

    @property
    def total(self) -> int:
        """How many there are."""
        return self.counts.total()

    @property
    def critical(self) -> int:
        """How many of them are critical."""
        return self.severities["critical"]

    @property
    def wanted(self) -> bool:
        """False when details are full and only counts go on."""
        return len(self.details) < self.details_max

    def add(self, found: Found) -> None:
        """Count one, and keep it while there is room."""
        self.counts[found.discrepancy.type] += 1
        self.severities[found.discrepancy.severity] += 1
        if self.wanted:
            self.details.append(found)

    def extend(self, found: Iterable[Found]) -> None:
        """Add many."""
        for one in found:
            self.add(one)
