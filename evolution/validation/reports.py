"""Where reports are kept."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from evolution.validation.report import Method, Report


class Reports(Protocol):
    """Keeps reports; what is saved survives a crash."""

    def claim(
        self, change_id: int, table_id: int, method: Method
    ) -> AbstractAsyncContextManager[None]:
        """Nobody else runs this method over this table meanwhile, in whatever process.

        Raises ObjectNotInPrerequisiteState (55000) when somebody does.
        """

    async def begin(
        self, change_id: int, table_id: int, relation: str, method: Method, *, resume: bool = True
    ) -> Report:
        """The report of a run: the one that was not ended, as far as it got, or a new one (always
        without `resume`).
        """

    async def save(self, report: Report) -> None:
        """Write down how far the report is. `timestamp` becomes the time of this."""

    async def keys(self, report_id: int) -> tuple[int, int, Sequence[bytes]]:
        """(change, table, keys of the rows that have details in a report)."""
