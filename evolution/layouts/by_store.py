"""The layouts of all stores in one: which kind owns the tables of a change."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager

from core.errors import FeatureNotSupported
from evolution.layouts.base import (
    CutOver,
    Discrepancy,
    Flip,
    Layouts,
    Looks,
    Progress,
    ShadowTable,
    ShadowWork,
    Sides,
    Verify,
)


def is_foreign(table: ShadowTable) -> bool:
    """Whether a table lies in another store: its layouts have native names, as JSON."""
    return table.live.startswith("[")


class LayoutsByStore:
    """See `evolution.layouts.base.Layouts`. A change has tables of the embedded store or of one
    other store: they flip together or not at all.
    """

    def __init__(self, embedded: Layouts, foreign: Layouts) -> None:
        self._embedded = embedded
        self._foreign = foreign

    def look_with(self, verify: Verify) -> None:
        """See Looks: other stores look at what was written last inside of the fence."""
        if isinstance(self._embedded, Looks):
            self._embedded.look_with(verify)

    def _of(self, work: ShadowWork) -> Layouts:
        foreign = {is_foreign(table) for table in work.tables}
        if len(foreign) > 1:
            raise FeatureNotSupported(f"change {work.change_id} is about tables of two stores")
        return self._foreign if foreign == {True} else self._embedded

    async def begin(self, work: ShadowWork) -> None:
        """See Layouts."""
        await self._of(work).begin(work)

    async def advance(self, work: ShadowWork) -> Progress:
        """See Layouts."""
        return await self._of(work).advance(work)

    async def catch_up(self, work: ShadowWork) -> Progress:
        """See Layouts."""
        return await self._of(work).catch_up(work)

    async def finish(self, work: ShadowWork) -> Sequence[Discrepancy]:
        """See Layouts."""
        return await self._of(work).finish(work)

    async def blocking(self, work: ShadowWork, limit: int) -> tuple[int, Sequence[Discrepancy]]:
        """See Layouts."""
        return await self._of(work).blocking(work, limit)

    def sides(self, work: ShadowWork, table: ShadowTable) -> AbstractAsyncContextManager[Sides]:
        """See Layouts."""
        return self._of(work).sides(work, table)

    async def repair(self, work: ShadowWork, table: ShadowTable, keys: Sequence[bytes]) -> int:
        """See Layouts."""
        return await self._of(work).repair(work, table, keys)

    async def cut_over(
        self, work: ShadowWork, *, deadline_s: float, verify: Verify, flip: Flip
    ) -> CutOver:
        """See Layouts."""
        return await self._of(work).cut_over(work, deadline_s=deadline_s, verify=verify, flip=flip)

    async def discard(self, work: ShadowWork) -> None:
        """See Layouts."""
        await self._of(work).discard(work)

    async def contract(self, work: ShadowWork) -> None:
        """See Layouts."""
        await self._of(work).contract(work)
