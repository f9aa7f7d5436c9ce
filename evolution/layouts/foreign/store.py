"""The layouts of tables in other stores, as the controller sees them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from backends.base import Scope, StoreBackend
from backends.change_store import ChangeStore, LogPlace
from catalog.model import CatalogSnapshot, Table
from catalog.store import load_snapshot
from core.clock import SystemClock
from core.errors import UndefinedObject
from evolution.layouts.base import (
    REPORTED_MAX,
    CutOver,
    Discrepancy,
    Flip,
    Progress,
    ShadowTable,
    ShadowWork,
    Sides,
    Verify,
    summed,
)
from evolution.layouts.embedded.refusals import record_id
from evolution.layouts.embedded.sessions import Connect, Sessions
from evolution.layouts.foreign import feeds
from evolution.layouts.foreign.cut_over import Turning, turned
from evolution.layouts.foreign.feeding import Feeding, Log, opened
from evolution.layouts.foreign.feeds import ForeignFeed, native_of
from evolution.layouts.foreign.images import LOSSY
from evolution.layouts.foreign.sides import ForeignSide, Moment, itself, position_of
from evolution.layouts.foreign.touched import Touched
from evolution.layouts.foreign.windows import Window, window_of
from evolution.layouts.foreign.workers import KnownWorkers

Stores = Callable[[str], Awaitable[StoreBackend]]
_WORKERS_S = 2.0


def now_us() -> int:
    """Microseconds since 1970: the time domain of positions."""
    return int(SystemClock().now().timestamp() * 1e6)


class ForeignLayouts:
    """See `evolution.layouts.base.Layouts`. `connect` gives a superuser's connection to the
    catalog's database, `stores` the backend of an instance; `workers` are the numbers of the
    node's workers.
    """

    def __init__(
        self,
        connect: Connect,
        stores: Stores,
        workers: Sequence[int],
        clock: Callable[[], float] = SystemClock.monotonic,
    ) -> None:
        self._sessions = Sessions(connect)
        self._stores = stores
        self._clock = clock
        self._workers = KnownWorkers(self._sessions, workers, clock)
        self._touched: dict[tuple[int, int], Touched] = {}

    async def close(self) -> None:
        """End the connections."""
        await self._sessions.close()

    # ------------------------------------------------------------------ begin

    async def begin(self, work: ShadowWork) -> None:
        """See Layouts. The log is there before the workers hear of it, and they all know before the
        bound is frozen: from then on every write that commits is in the log.
        """
        for table in work.tables:
            store, instance = await self._store_of(work, table)
            live = native_of(table.live)
            await store.make_log(LogPlace(live[0], table.table_id), self._scope(work))
            async with self._sessions.step(work.pace.step_s, isolation="read_committed") as db:
                if await feeds.find(db, work, table) is None:
                    shadow = native_of(table.shadow)
                    await feeds.add(db, work, table, instance, live, shadow)
        await self._workers.wait(_WORKERS_S, await self._grace(work))
        for table in work.tables:
            await self._freeze(work, table)

    async def _freeze(self, work: ShadowWork, table: ShadowTable) -> None:
        feed, forms = await opened(self._sessions, work, table)
        if feed.frozen:
            return
        store, _ = await self._store_of(work, table)
        await store.make_shadow(forms.live, forms.shadow, self._scope(work))
        feed.tail = await store.tail_token(forms.live, self._scope(work))
        feed.bound, feed.total = await store.bound(forms.live, self._scope(work))
        feed.frozen = True
        async with self._sessions.step(work.pace.step_s, isolation="read_committed") as db:
            drawn = await feeds.draw(db, work, table)
            feed.epoch, feed.start_lsn = drawn.epoch, drawn.lsn
            await feeds.save(db, feed)

    def _scope(self, work: ShadowWork) -> Scope:
        return Scope(asyncio.get_running_loop().time() + work.pace.step_s)

    async def _backend(self, work: ShadowWork, table: ShadowTable) -> StoreBackend:
        async with self._sessions.step(work.pace.step_s) as db:
            snapshot = await load_snapshot(db)
        for version in reversed(snapshot.versions.values()):
            shown = version.table_by_id(table.table_id)
            if shown is not None:
                return await self._stores(shown.instance)
        raise UndefinedObject(f'foreign table "{table.name}" does not exist any more')

    async def _store_of(self, work: ShadowWork, table: ShadowTable) -> tuple[ChangeStore, str]:
        backend = await self._backend(work, table)
        return backend.change_store(), backend.name

    async def _grace(self, work: ShadowWork) -> float:
        """The longest of the stores' graces."""
        stores = [await self._store_of(work, table) for table in work.tables]
        return max((store.grace_s for store, _ in stores), default=0.0)

    async def _feeding(self, work: ShadowWork, table: ShadowTable) -> Feeding:
        feed, forms = await opened(self._sessions, work, table)
        store = (await self._stores(feed.instance)).change_store()
        key = (work.change_id, table.table_id)
        touched = self._touched.setdefault(key, Touched())
        return Feeding(
            store, self._sessions, work, table, feed, forms, touched, self._scope(work),
            now_us, self._clock,
        )  # fmt: skip

    # ------------------------------------------------------------------ feeding

    async def advance(self, work: ShadowWork) -> Progress:
        """See Layouts."""
        return await self._feed(work, backfill=True)

    async def catch_up(self, work: ShadowWork) -> Progress:
        """See Layouts."""
        return await self._feed(work, backfill=False)

    async def _feed(self, work: ShadowWork, *, backfill: bool) -> Progress:
        begun, copied = self._clock(), 0
        parts: list[Progress] = []
        for table in work.tables:
            feeding = await self._feeding(work, table)
            brought = await self.bring(feeding)
            if backfill and not feeding.feed.copied and not copied:
                copied = await feeding.copy()
            parts.append(
                await self._progress(feeding, await feeding.log(), brought.behind_s(feeding.gone))
            )
        if work.pace.rows_per_s and copied:
            pause = copied / work.pace.rows_per_s - (self._clock() - begun)
            await asyncio.sleep(max(0.0, pause))
        return summed(parts)

    async def bring(self, feeding: Feeding) -> Log:
        """Bring in what the log has, with what is known of workers that are gone."""
        log = await feeding.log()
        writers = {each.writer for each in log.open}
        if writers:
            async with self._sessions.step(feeding.work.pace.step_s) as db:
                feeding.gone = await self._workers.gone(db, sorted(writers))
            log = await feeding.log()
        tail = await feeding.tail()
        await feeding.bring(log, tail)
        log.whole &= tail is None or tail.whole
        return log

    async def _progress(self, feeding: Feeding, log: Log, behind_s: float) -> Progress:
        feed = feeding.feed
        errors = await self._refused(feeding, REPORTED_MAX, lossy=False)
        pending = len(log.settled) + len(log.open)
        lag_s = max(0.0, (now_us() - log.oldest_us) / 1e6) if pending else 0.0
        if feed.direction == "forward":
            # So long the cut-over would have to wait for the former owner's last write.
            lag_s = max(lag_s, feeding.store.grace_s - feed.owned_s)
            behind_s = max(behind_s, feeding.store.grace_s - feed.owned_s)
        return Progress(
            feed.rows, max(feed.total, feed.rows), feed.bytes, feed.applied, pending, lag_s,
            feed.copied, feed.start_lsn, feed.applied_lsn, len(errors), tuple(errors),
            behind_s=behind_s,
        )  # fmt: skip

    async def _refused(self, feeding: Feeding, limit: int, *, lossy: bool) -> list[Discrepancy]:
        """Rows that the other layout cannot hold; `lossy`: that it has, but not exactly."""
        feed, sign = feeding.feed, "=" if lossy else "<>"
        async with self._sessions.step(feeding.work.pace.step_s) as db:
            rows = await db.fetch(
                f"SELECT key, sqlstate, message FROM morph_log.refused WHERE {feed.where} "
                f"AND sqlstate {sign} '{LOSSY}' ORDER BY key LIMIT {limit}"
            )
        return [
            Discrepancy(
                "COERCION_ERROR",
                f"{row['sqlstate']}: {row['message']}",
                record_id(row["key"]),
                feed.table_id,
            )
            for row in rows
        ]

    # ------------------------------------------------------------------ finishing

    async def finish(self, work: ShadowWork) -> Sequence[Discrepancy]:
        """See Layouts: the shadow gets the indexes of the live layout."""
        found: list[Discrepancy] = []
        for table in work.tables:
            feeding = await self._feeding(work, table)
            forms = feeding.forms
            against = await feeding.store.copy_indexes(forms.live, forms.shadow, feeding.scope)
            found += [
                Discrepancy("CONSTRAINT_VIOLATION", message, "", table.table_id)
                for message in against
            ]
        return found

    # ------------------------------------------------------------------ looking

    def sides(self, work: ShadowWork, table: ShadowTable) -> AbstractAsyncContextManager[Sides]:
        """See Layouts."""
        return self._sides(work, table)

    @asynccontextmanager
    async def _sides(self, work: ShadowWork, table: ShadowTable) -> AsyncIterator[Sides]:
        yield await self.open_sides(await self._feeding(work, table))

    async def moment(self, feeding: Feeding, *, still: bool = False) -> Moment:
        """What is in flight from now on."""
        feed = feeding.feed
        async with self._sessions.step(feeding.work.pace.step_s) as db:
            rows = await db.fetch(f"SELECT key FROM morph_log.refused WHERE {feed.where}")
        refused = frozenset(tuple(row["key"]) for row in rows)
        return Moment(
            feeding.store, self._sessions, feed, lambda: self._scope(feeding.work), refused,
            feeding.forms.live, feed.tail, still,
        )  # fmt: skip

    async def window(self, work: ShadowWork, snapshot: CatalogSnapshot) -> Window:
        """Both layouts for who reads them by their stores' own scans; `snapshot` is the catalog's
        of now. Raises ObjectNotInPrerequisiteState (55000) for a shadow that is not complete, and
        SerializationFailure (40001) in the middle of a cut-over.
        """
        return await window_of(self, work, snapshot)

    async def open_sides(
        self, feeding: Feeding, *, still: bool = False
    ) -> tuple[ForeignSide, ForeignSide]:
        """Both layouts; `still`: inside of a fence."""
        forms, feed = feeding.forms, feeding.feed
        moment = await self.moment(feeding, still=still)
        newer = forms.shadow if feed.direction == "forward" else forms.live
        own = forms.over if feed.direction == "forward" else forms.under
        plain = (itself(own), own)
        made = (
            (forms.up, forms.up_inputs)
            if feed.direction == "forward"
            else (forms.down, forms.down_inputs)
        )
        one, other = (made, plain) if feed.direction == "forward" else (plain, made)
        return (
            ForeignSide(moment, self._sessions, forms.live, newer.columns, *one),
            ForeignSide(moment, self._sessions, forms.shadow, newer.columns, *other),
        )

    async def blocking(self, work: ShadowWork, limit: int) -> tuple[int, Sequence[Discrepancy]]:
        """See Layouts."""
        count, found = 0, []
        await self.catch_up(work)
        for table in work.tables:
            feeding = await self._feeding(work, table)
            async with self._sessions.step(work.pace.step_s) as db:
                count += await db.fetchval(
                    f"SELECT count(*) FROM morph_log.refused WHERE {feeding.feed.where}"
                )
            found += await self._refused(feeding, limit, lossy=True)
            found += await self._refused(feeding, limit, lossy=False)
        return count, found[:limit]

    async def repair(self, work: ShadowWork, table: ShadowTable, keys: Sequence[bytes]) -> int:
        """See Layouts."""
        feeding = await self._feeding(work, table)
        positions = [str(position_of(key)) for key in keys]
        live = await feeding.store.at(feeding.forms.live, positions, feeding.scope)
        there = await feeding.store.at(feeding.forms.shadow, positions, feeding.scope)
        before = {row.key: (row.values, row.raw) for row in there}
        names = list(dict.fromkeys(row.key for row in (*live, *there)))
        await feeding.bring_keys(names)
        rows = await feeding.store.reread(feeding.forms.shadow, names, feeding.scope)
        after = {row.key: (row.values, row.raw) for row in rows}
        return sum(before.get(key, ({}, None))[0] != after.get(key, ({}, None))[0] for key in names)

    # ------------------------------------------------------------------ the cut-over

    async def cut_over(
        self, work: ShadowWork, *, deadline_s: float, verify: Verify, flip: Flip
    ) -> CutOver:
        """See Layouts."""
        if await turned(self._sessions, work):
            return CutOver(True)
        turning = Turning(self, self._sessions, self._workers, work, self._clock, deadline_s)
        return await turning.run(verify, flip)

    async def backend_of(self, feed: ForeignFeed) -> StoreBackend:
        """The store that has a feed's layouts."""
        return await self._stores(feed.instance)

    async def feedings(self, work: ShadowWork) -> list[Feeding]:
        """All tables of a change."""
        return [await self._feeding(work, table) for table in work.tables]

    # ------------------------------------------------------------------ the end

    async def discard(self, work: ShadowWork) -> None:
        """See Layouts."""
        await self._remove(work)

    async def contract(self, work: ShadowWork) -> None:
        """See Layouts."""
        await self._remove(work, tidy=True)

    async def _remove(self, work: ShadowWork, *, tidy: bool = False) -> None:
        """The feeds first: then nobody writes the log any more, and it can go."""
        for table in work.tables:
            async with self._sessions.step(work.pace.step_s, isolation="read_committed") as db:
                await feeds.remove(db, work, table)
        await self._workers.wait(_WORKERS_S, 0.0)
        for table in work.tables:
            try:
                store, _ = await self._store_of(work, table)
            except UndefinedObject:
                continue  # it was dropped, and its rows are other people's
            scope = self._scope(work)
            await store.drop(_at(table, native_of(table.shadow)), scope)
            if tidy:
                await store.tidy(_at(table, native_of(table.live)), scope)
            await store.drop_log(LogPlace(native_of(table.live)[0], table.table_id), scope)
            self._touched.pop((work.change_id, table.table_id), None)


def _at(table: ShadowTable, native: tuple[str, ...]) -> Table:
    return Table(table.table_id, table.name, "foreign", (), native=native)
