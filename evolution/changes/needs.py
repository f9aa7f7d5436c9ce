"""What the driver of changes needs from elsewhere, beside the layouts."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from evolution.layouts.base import Discrepancy, ShadowTable, ShadowWork, Sides
from evolution.transaction import Transaction


class Catalog(Protocol):
    """The catalog database, for transactions of the control plane."""

    def transaction(self) -> AbstractAsyncContextManager[Transaction]:
        """One transaction: it commits at the end of the block, and not when that raises."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a validation of a change found. `complete`: it saw all that its method asks for;
    `reason` is for people.
    """

    report_id: int
    critical: int
    complete: bool = True
    reason: str = ""


class Validation(Protocol):
    """Compares live and shadow; evolution/validation."""

    async def validate(self, work: ShadowWork, method: str) -> Verdict:
        """Compare all tables of a change. Goes on where an interrupted run was."""

    async def verify(
        self, table: ShadowTable, sides: Sides, keys: Sequence[bytes]
    ) -> Sequence[Discrepancy]:
        """The last look inside a cut-over (layouts.base.Verify)."""

    async def record(self, work: ShadowWork, found: Sequence[Discrepancy], method: str) -> int:
        """Keep what others found as a report; its id."""


class Pins(Protocol):
    """Which sessions of all workers stay on a version of their own choice."""

    async def pinned(self, change_id: int) -> int:
        """Sessions on versions older than the change, that its contraction would hurt; -1 when a
        worker does not answer.
        """
