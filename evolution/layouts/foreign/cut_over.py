"""The cut-over of tables in another store: hold writers, drain, verify, settle, flip, tell all.

The flip is one transaction of the catalog: the tables' places, the roles of the feeds, the pointer
and the change's state. Whoever dies before it has changed nothing but that the shadow has no
tombstones; whoever dies behind it leaves writers that look at the feeds before they write.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from catalog.instances import option_pairs
from catalog.model import CatalogSnapshot, Table
from catalog.shapes import option_changes
from catalog.sqltext import PUBLIC, quote_ident, shape_schema
from catalog.store import load_snapshot
from core.errors import MorphError, QueryCanceled, SerializationFailure, StoreError
from evolution.ddl import LOCK_CATALOG
from evolution.foreign_options import kept_options
from evolution.layouts.base import CutOver, Discrepancy, Flip, ShadowWork, Verify
from evolution.layouts.embedded.sessions import LockNotAvailable, OwnerTransaction, Sessions
from evolution.layouts.embedded.swapped import catalog_statements
from evolution.layouts.foreign import feeds, fence
from evolution.layouts.foreign.feeding import Feeding, Log
from evolution.layouts.foreign.forms import forms_of, promoted_lenses, swapped_versions
from evolution.layouts.foreign.images import LOSSY
from evolution.layouts.foreign.workers import KnownWorkers
from evolution.validation.lines import escape

if TYPE_CHECKING:
    from evolution.layouts.foreign.store import ForeignLayouts

TRIES_S: Final = (0.1, 0.2, 0.4, 0.8)
"""How long each try waits for the writers of now."""
DRAIN_S: Final = 1.0
KNOWN_S: Final = 1.0
_FEW: Final = 4
_LOOKS: Final = 3
"""So often a difference is looked at again that a write past Morphgres may have made."""


class NotNow(Exception):
    """The cut-over cannot be made now; everything stays as it was."""

    def __init__(self, reason: str, discrepancies: Sequence[Discrepancy] = ()) -> None:
        super().__init__(reason)
        self.reason = reason
        self.discrepancies = tuple(discrepancies)


async def turned(sessions: Sessions, work: ShadowWork) -> bool:
    """True when this cut-over has happened already."""
    async with sessions.step(work.pace.step_s) as db:
        found = [await feeds.take(db, work, table) for table in work.tables]
    return all(feed.direction != work.direction for feed in found)


@dataclass(slots=True)
class Turning:
    """One cut-over of one change."""

    layouts: ForeignLayouts
    sessions: Sessions
    workers: KnownWorkers
    work: ShadowWork
    clock: Callable[[], float]
    deadline_s: float
    waited_s: float = 0.0

    async def run(self, verify: Verify, flip: Flip) -> CutOver:
        """Try a few times, each a little longer; between them who was held goes on."""
        until = self.clock() + self.deadline_s
        result = CutOver(False, reason="it was not tried")
        for hold_s in TRIES_S:
            try:
                found = await self._try(hold_s, until, verify, flip)
                return CutOver(True, self.waited_s, "", tuple(found))
            except NotNow as error:
                result = CutOver(False, self.waited_s, error.reason, error.discrepancies)
            except LockNotAvailable as error:
                result = CutOver(False, self.waited_s, error.primary)
            except (SerializationFailure, QueryCanceled, StoreError) as error:
                return CutOver(False, self.waited_s, error.primary)
            if result.discrepancies or self.clock() + 3 * hold_s > until:
                break
            await asyncio.sleep(2 * hold_s)
        return result

    async def _try(
        self, hold_s: float, until: float, verify: Verify, flip: Flip
    ) -> list[Discrepancy]:
        feedings = await self.layouts.feedings(self.work)
        for feeding in feedings:
            await self._few_left(feeding, until)
            self._require_ready(feeding)
        tails = [await f.store.tail_token(f.forms.shadow, f.scope) for f in feedings]
        ids = [feeding.table.table_id for feeding in feedings]
        async with fence.held(self.sessions, ids, hold_s, self.clock) as begun:
            try:
                found = await self._held(feedings, tails, until, verify, flip)
            finally:
                self.waited_s = self.clock() - begun
        for feeding in feedings:
            with suppress(MorphError):  # the next step brings it in, and removes it
                await feeding.forget(feeding.brought)
        return found

    async def _few_left(self, feeding: Feeding, until: float) -> None:
        """As little as possible is left of the log before anybody waits."""
        before = 0
        while self.clock() < until - self.deadline_s / 2:
            log = await self.layouts.bring(feeding)
            count = len(log.settled)
            if log.whole and (count <= _FEW or (before and count >= before)):
                return  # as many come as are brought in
            before = count

    def _require_ready(self, feeding: Feeding) -> None:
        feed = feeding.feed
        if not feed.copied:
            raise NotNow("the backfill has not ended")
        if feeding.direction == "forward" and feed.owned_s < feeding.store.grace_s:
            raise NotNow("a former owner's last write may still be on its way")

    async def _held(
        self,
        feedings: Sequence[Feeding],
        tails: Sequence[str | None],
        until: float,
        verify: Verify,
        flip: Flip,
    ) -> list[Discrepancy]:
        found: list[Discrepancy] = []
        for feeding in feedings:
            if not await feeding.drain(min(self.clock() + DRAIN_S, until)):
                raise NotNow("a write that was broken off may still arrive at the store")
            self._require_ready(feeding)
            found += await self._verified(feeding, verify)
        for feeding in feedings:
            await feeding.store.settle(feeding.forms.shadow, feeding.feed.lsn, feeding.scope)
            if feeding.direction == "forward":
                await feeding.store.clean(feeding.forms.shadow, feeding.scope)
        await self._flip(feedings, tails, flip)
        await self._told()
        return found

    async def _verified(self, feeding: Feeding, verify: Verify) -> list[Discrepancy]:
        where = feeding.feed.where
        async with self.sessions.step(self.work.pace.step_s) as db:
            refused = await db.fetchval(
                f"SELECT count(*) FROM morph_log.refused WHERE {where} AND sqlstate <> $1",
                LOSSY,
            )
        if refused and feeding.direction == "forward":
            raise NotNow(f"{refused} rows cannot be in the new layout")
        found = await self._differing(feeding, verify)
        for _ in range(_LOOKS):
            # Who writes past Morphgres does not heed the fence: such a row differs for a moment.
            tail = await feeding.tail(fully=True) if _critical(found) else None
            if tail is None:
                break
            await feeding.bring(Log([], [], tail.whole), tail)
            written = {key[0] if len(key) == 1 else f"({', '.join(key)})" for key in tail.keys}
            if not _critical([each for each in found if each.record_id not in written]):
                return []
            found = await self._differing(feeding, verify)
        if _critical(found):
            raise NotNow("the layouts differ", found)
        return found

    async def _differing(self, feeding: Feeding, verify: Verify) -> list[Discrepancy]:
        forms, store, scope = feeding.forms, feeding.store, feeding.scope
        recent = list(dict.fromkeys(feeding.feed.recent))
        live, shadow, sides = await asyncio.gather(
            store.reread(forms.live, recent, scope),
            store.reread(forms.shadow, recent, scope),
            self.layouts.open_sides(feeding, still=True),
        )
        positions = list(dict.fromkeys(row.position for row in (*live, *shadow)))
        for side, rows in zip(sides, (live, shadow), strict=True):
            side.know((*live, *shadow))
            side.hold(positions, rows)
        keys = [escape(position.encode()) for position in positions]
        return list(await verify(feeding.table, sides, keys))

    # ------------------------------------------------------------------ the commit point

    async def _flip(
        self, feedings: Sequence[Feeding], tails: Sequence[str | None], flip: Flip
    ) -> None:
        async with self.sessions.step(self.deadline_s, isolation="read_committed") as db:
            await db.execute(LOCK_CATALOG)
            for feeding in feedings:
                await feeds.take(db, self.work, feeding.table, lock=True)
            before = await load_snapshot(db)
            places = {}
            for feeding in feedings:
                table, feed = feeding.table, feeding.feed
                if forms_of(before, table, feed.live, feed.shadow) != feeding.forms:
                    raise NotNow("the catalog changed while the cut-over began")
                kind = (await self.layouts.backend_of(feed)).kind
                form = replace(
                    feeding.forms.shadow, options=option_pairs(kept_options(kind, feed.shadow))
                )
                places[table.table_id] = (promoted_lenses(before, table), form)
            fresh = swapped_versions(before, places)
            statements = (
                *_shape_statements(before, fresh),
                *catalog_statements(fresh, _family(fresh, set(places))),
            )
            await db.execute(";\n".join(statements))
            for feeding, tail in zip(feedings, tails, strict=True):
                await feeds.turn(db, feeding.feed, tail)
            await flip(OwnerTransaction(db))

    async def _told(self) -> None:
        """Nobody reads the old place once a writer goes on."""
        try:
            await self.workers.wait(KNOWN_S, 0.0)
        except MorphError:
            return  # a worker that is late looks at the feeds before it writes


def _critical(found: Sequence[Discrepancy]) -> bool:
    return any(each.severity == "critical" for each in found)


def _family(snapshot: CatalogSnapshot, ids: set[int]) -> set[int]:
    """The tables and the arrays in them."""
    return ids | {t.id for v in snapshot.versions.values() for t in v.tables if t.parent_id in ids}


def _shape_statements(before: CatalogSnapshot, fresh: CatalogSnapshot) -> list[str]:
    """What \\d shows of the place, in every version and in public."""
    statements = []
    for number, version in fresh.versions.items():
        for table in version.tables:
            old = before.versions[number].table_by_id(table.id)
            statements += _options(number, old, table) if old is not None else []
            if old is not None and number == before.current:
                statements += _options(0, old, table)
    return statements


def _options(number: int, old: Table, new: Table) -> list[str]:
    changes = option_changes(old.options, new.options)
    if not changes:
        return []
    schema = shape_schema(number) if number else PUBLIC
    return [f"ALTER TABLE {quote_ident(schema)}.{quote_ident(new.name)} OPTIONS ({changes})"]
