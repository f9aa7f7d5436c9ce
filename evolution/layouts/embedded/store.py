"""The layouts of the embedded store, as the controller sees them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import Final

import asyncpg

from catalog.store import load_snapshot
from core.clock import SystemClock
from core.errors import (
    ObjectNotInPrerequisiteState,
    QueryCanceled,
    SerializationFailure,
    StoreError,
)
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
from evolution.layouts.embedded import feeds, log, refusals, residues, shadow
from evolution.layouts.embedded.applier import BATCH_RECORDS, PLAN, applied, apply_log, repair_rows
from evolution.layouts.embedded.backfill import copy_chunk, freeze
from evolution.layouts.embedded.compare import together
from evolution.layouts.embedded.cut_over import TRIES_S, Fence, NotNow, cut_over, plan_of
from evolution.layouts.embedded.feeds import Feed
from evolution.layouts.embedded.finish import make_not_null, make_object, missing_objects
from evolution.layouts.embedded.foreign_keys import unvalidated
from evolution.layouts.embedded.looks import LOOK_RECORDS, Place, look
from evolution.layouts.embedded.sessions import Connect, LockNotAvailable, Sessions
from evolution.layouts.embedded.tables import exists, qualified, read_table
from evolution.layouts.foreign.workers import KnownWorkers
from evolution.validation.lines import key_values

_PENDING_MAX: Final = 100_000
_FEW: Final = 200
_RETRY_S: Final = 0.1
_LOOK_PART: Final = 4
"""Looking takes a step's deadline by so much at most, in one call."""
_FINISH_STEPS: Final = 120
"""The deadline of one index, in steps."""


class NewColumns(SerializationFailure):
    """The live layout has other columns than the shadow by now."""


class EmbeddedLayouts:
    """See `evolution.layouts.base.Layouts`. `connect` gives a superuser's connection to the
    catalog's database, without a cache of statements: layouts change under it.
    """

    def __init__(
        self,
        connect: Connect,
        clock: Callable[[], float] = SystemClock.monotonic,
        workers: Sequence[int] = (),
    ) -> None:
        self._sessions = Sessions(connect)
        self._clock = clock
        self._workers = KnownWorkers(self._sessions, workers, clock) if workers else None
        self._validated: set[int] = set()
        self._verify: Verify | None = None
        self._looked: dict[int, int] = {}
        self._places: dict[tuple[int, int], Place] = {}

    def look_with(self, verify: Verify) -> None:
        """How the rows are compared that are written between a validation and a cut-over."""
        self._verify = verify

    async def close(self) -> None:
        """End the connections."""
        await self._sessions.close()

    # ------------------------------------------------------------------ begin

    async def begin(self, work: ShadowWork) -> None:
        """See Layouts."""
        for table in sorted(work.tables, key=lambda each: each.table_id):
            await self._locked(work, lambda db, t=table: shadow.make(db, work, t))
        await self._freeze(work)

    async def _locked(self, work: ShadowWork, act: Callable[..., object]) -> None:
        """Run what waits for writers for a moment, again and again until `step_s` is over."""
        until = self._clock() + work.pace.step_s
        while True:
            try:
                async with self._sessions.step(work.pace.step_s, isolation="read_committed") as db:
                    await db.execute(f"SET LOCAL lock_timeout = {shadow.LOCK_WAIT_MS}")
                    for table in work.tables:
                        await db.execute(log.lock_statement(table.table_id))
                    await act(db)  # type: ignore[misc]
                    return
            except LockNotAvailable:
                if self._clock() + _RETRY_S >= until:
                    raise
            await asyncio.sleep(_RETRY_S)

    async def _freeze(self, work: ShadowWork) -> None:
        """Freeze the bounds of all tables in one snapshot: every write is captured by now."""
        async with self._sessions.step(work.pace.step_s) as db:
            for _, feed in await feeds.take(db, work):
                if feed.checkpoint is None:
                    await freeze(db, feed, await read_table(db, feed.live))
                    feed.start_lsn = await db.fetchval(
                        f"SELECT last_value FROM {log.clock_name(feed.table_id)}"
                    )
                    await feeds.save(db, feed)

    # ------------------------------------------------------------------ feeding

    async def advance(self, work: ShadowWork) -> Progress:
        """See Layouts."""
        return await self._feed(work, backfill=True)

    async def catch_up(self, work: ShadowWork) -> Progress:
        """See Layouts."""
        if work.direction == "back" and work.change_id not in self._validated:
            await self._validate_keys(work)
        progress = await self._feed(work, backfill=False)
        looked = self._looked.get(work.change_id, -LOOK_RECORDS)
        if self._verify is None or progress.applied < looked + LOOK_RECORDS:
            return progress
        if progress.pending > _FEW:
            return progress  # bringing in comes first, and each look would go round what is pending
        until = self._clock() + work.pace.step_s / _LOOK_PART
        found, left = await self._look(work, self._verify, until)
        if not left:
            self._looked[work.change_id] = progress.applied
        return replace(progress, differing=tuple(found[:REPORTED_MAX]))

    async def _look(
        self, work: ShadowWork, verify: Verify, until: float
    ) -> tuple[list[Discrepancy], bool]:
        """Look at all tables: what differs, and whether the time was over before the end."""
        found: list[Discrepancy] = []
        for table in work.tables:
            key = work.change_id, table.table_id
            while True:
                place = self._places.get(key)
                part = await look(self._sessions.connect, work, table, verify, place)
                found += part.found
                if part.snapshot:
                    async with self._sessions.step(work.pace.step_s) as db:
                        feed = await feeds.find(db, work, table, lock=True)
                        if feed is not None:
                            await feeds.mark_looked(db, feed, part.snapshot)
                if part.place is None:
                    self._places.pop(key, None)
                    break
                self._places[key] = part.place
                if self._clock() >= until:
                    return found, True
        return found, False

    async def _feed(self, work: ShadowWork, *, backfill: bool) -> Progress:
        begun = self._clock()
        copied, complete = 0, False
        try:
            async with self._sessions.step(work.pace.step_s) as db:
                copied, complete = await self._step(db, work, backfill=backfill)
        except NewColumns:
            await self._follow(work)
        pace = work.pace.rows_per_s
        if pace and copied:
            await asyncio.sleep(max(0.0, copied / pace - (self._clock() - begun)))
        return await self._progress(work, complete=complete)

    async def _step(
        self, db: asyncpg.Connection, work: ShadowWork, *, backfill: bool
    ) -> tuple[int, bool]:
        """One transaction: the log of all tables, then a chunk of the first that has rows left.
        How many rows were copied, and whether nothing of the log is left.
        """
        await db.execute(PLAN)
        copied, complete = 0, True
        for _, feed in await feeds.take(db, work):
            live, target = await read_table(db, feed.live), await read_table(db, feed.shadow)
            if shadow.added_columns(live, target):
                raise NewColumns("the live layout has new columns")
            before = feed.checkpoint
            assert before is not None, "begin() has frozen the bounds"
            brought = await apply_log(db, feed, live, target, BATCH_RECORDS)
            complete &= brought.all
            if not feed.copied and not copied and (backfill or feed.direction == "back"):
                copied = (await copy_chunk(db, feed, live, target, work.pace, self._clock)).rows
                await feeds.save(db, feed)
            else:
                # A part without a record moves the checkpoint up to the next large transaction.
                await applied(db, feed, before, brought.records or not brought.all)
            if brought.records:
                await db.execute(log.truncate_statement(feed.table_id))
        return copied, complete

    async def _follow(self, work: ShadowWork) -> None:
        async with self._sessions.step(work.pace.step_s, isolation="read_committed") as db:
            epoch = (await load_snapshot(db)).epoch
            for _, feed in await feeds.take(db, work):
                await db.execute(log.lock_statement(feed.table_id))
                await shadow.follow_columns(db, feed, epoch)
        await self._freeze(work)

    async def _progress(self, work: ShadowWork, *, complete: bool) -> Progress:
        """Rows that are left out are told of when the log is in: before, they may come in yet."""
        async with self._sessions.step(work.pace.step_s) as db:
            parts = [await _progress(db, feed) for _, feed in await _taken(db, work)]
        found = summed(parts)
        return found if complete else replace(found, left_out=0, errors=())

    # ------------------------------------------------------------------ finishing

    async def finish(self, work: ShadowWork) -> Sequence[Discrepancy]:
        """See Layouts. One object a transaction: what is made stays when it is called again."""
        found: list[Discrepancy] = []
        for table in sorted(work.tables, key=lambda each: each.table_id):
            found += await self._finish_table(work, table)
        return found

    async def _finish_table(self, work: ShadowWork, table: ShadowTable) -> list[Discrepancy]:
        deadline_s = work.pace.step_s * _FINISH_STEPS
        found: list[Discrepancy] = []
        async with self._sessions.step(deadline_s, isolation="read_committed") as db:
            feed = await feeds.find(db, work, table)
            assert feed is not None, "the shadow was begun"
            found += await refusals.left_out(db, feed, REPORTED_MAX, work.pace.error_limit)
            objects = await missing_objects(db, work, table, feed)
        for each in objects:
            async with self._sessions.step(deadline_s, isolation="read_committed") as db:
                found += await make_object(db, feed, each, await read_table(db, feed.shadow))
        async with self._sessions.step(deadline_s, isolation="read_committed") as db:
            found += await make_not_null(db, work, table, feed)
            await db.execute(f"ANALYZE {qualified(feed.shadow)}")
            await db.execute(
                f"UPDATE morph_log.shadows SET finished = $1 WHERE {feed.where}",
                not any(each.severity == "critical" for each in found),
            )
            if not feed.finished:  # a validation follows
                now = await db.fetchval("SELECT pg_current_snapshot()::text")
                await feeds.mark_looked(db, feed, now)
        return found

    # ------------------------------------------------------------------ looking

    def sides(self, work: ShadowWork, table: ShadowTable) -> AbstractAsyncContextManager[Sides]:
        """See Layouts."""
        return together(self._sessions.connect, work, table)

    async def blocking(self, work: ShadowWork, limit: int) -> tuple[int, Sequence[Discrepancy]]:
        """See Layouts."""
        count, found = 0, []
        await self.catch_up(work)
        async with self._sessions.step(work.pace.step_s * _FINISH_STEPS) as db:
            snapshot = await load_snapshot(db)
            for table, feed in await _taken(db, work):
                ids = [c.id for lens in shadow.promoted_lenses(snapshot, table) for c in lens.under]
                part, first = await residues.blocking(db, feed, ids, limit)
                count += part
                found += first
        return count, found[:limit]

    async def repair(self, work: ShadowWork, table: ShadowTable, keys: Sequence[bytes]) -> int:
        """See Layouts."""
        async with self._sessions.step(work.pace.step_s) as db:
            await db.execute(PLAN)
            feed = await feeds.find(db, work, table, lock=True)
            assert feed is not None, "the shadow was begun"
            return await repair_rows(db, feed, [key_values(key) for key in keys])

    # ------------------------------------------------------------------ the cut-over

    async def cut_over(
        self, work: ShadowWork, *, deadline_s: float, verify: Verify, flip: Flip
    ) -> CutOver:
        """See Layouts."""
        until = self._clock() + deadline_s
        result = CutOver(False)
        try:
            if await self._turned(work):
                return CutOver(True)
            if self._workers is not None:  # a worker that has not heard lets old snapshots through
                await self._workers.wait(deadline_s, 0.0)
            for hold_s in TRIES_S:
                result = await self._try(work, hold_s, until - self._clock(), verify, flip)
                if result.done or result.discrepancies or self._clock() + 3 * hold_s > until:
                    break
                await asyncio.sleep(2 * hold_s)  # who was held goes on
        except (SerializationFailure, QueryCanceled, StoreError) as error:
            return CutOver(False, result.waited_s, error.primary)
        return result

    async def _try(
        self, work: ShadowWork, hold_s: float, deadline_s: float, verify: Verify, flip: Flip
    ) -> CutOver:
        """One try, with as little as possible left of the log before anybody waits."""
        until = self._clock() + deadline_s / 2
        await self._bring_in(work, until)
        seen, left = await self._look(work, verify, until)
        if any(each.severity == "critical" for each in seen):
            return CutOver(False, 0.0, "the layouts differ", tuple(seen))
        if left:
            return CutOver(False, 0.0, "rows written since the validation are being compared")
        await self._bring_in(work, until)
        fence = Fence(self._clock, hold_s)
        try:
            async with self._sessions.step(deadline_s, isolation="read_committed") as db:
                plan = await plan_of(db, work)
            async with self._sessions.step(2 * deadline_s, isolation="read_committed") as db:
                found = await cut_over(
                    db, work, plan, fence, deadline_s=deadline_s, verify=verify, flip=flip
                )
        except NotNow as error:
            fence.end()
            return CutOver(False, fence.held_s, error.reason, error.discrepancies)
        except LockNotAvailable as error:
            fence.end()
            return CutOver(False, fence.held_s, error.primary)
        fence.end()
        for state in (self._looked, self._places):
            state.clear()
        self._validated.discard(work.change_id)
        return CutOver(True, fence.held_s, "", tuple(found))

    async def _bring_in(self, work: ShadowWork, until: float) -> None:
        """Catch up until next to nothing is left, or the time is over."""
        while self._clock() < until:
            progress = await self.catch_up(work)
            if progress.pending <= _FEW and (progress.copied or work.direction == "forward"):
                return

    async def _turned(self, work: ShadowWork) -> bool:
        """True when this cut-over has happened already."""
        async with self._sessions.step(work.pace.step_s) as db:
            return all(
                feed.direction != work.direction and feed.live == table.shadow
                for table, feed in await _taken(db, work)
            )

    async def _validate_keys(self, work: ShadowWork) -> None:
        """Foreign keys that a cut-over moved look at the rows, one at a time."""
        deadline_s = work.pace.step_s * _FINISH_STEPS
        async with self._sessions.step(deadline_s, isolation="read_committed") as db:
            keys = await unvalidated(db, [table.live for table in work.tables])
        for key in keys:
            try:
                async with self._sessions.step(deadline_s, isolation="read_committed") as db:
                    await db.execute(f"SET LOCAL lock_timeout = {shadow.LOCK_WAIT_MS}")
                    await db.execute(key.validate())
            except (LockNotAvailable, StoreError):
                continue  # it holds for what is written, and is validated another time
        self._validated.add(work.change_id)

    # ------------------------------------------------------------------ the end

    async def discard(self, work: ShadowWork) -> None:
        """See Layouts."""
        await self._remove(work)

    async def contract(self, work: ShadowWork) -> None:
        """See Layouts. Older changes' reverse shadows, which are fed through these, go first.

        Raises ObjectNotInPrerequisiteState (55000) when there are some.
        """
        async with self._sessions.step(work.pace.step_s) as db:
            for table, feed in await _taken(db, work):
                for other in await feeds.of_table(db, table.table_id):
                    if other.live == feed.shadow:
                        raise ObjectNotInPrerequisiteState(
                            f"change {other.change_id} can be rolled back only through change "
                            f"{work.change_id}",
                            hint=f"Contract change {other.change_id} first.",
                        )
        await self._remove(work)

    async def _remove(self, work: ShadowWork) -> None:
        for table in sorted(work.tables, key=lambda each: each.table_id):
            await self._locked(work, lambda db, t=table: _remove(db, work, t))


async def _taken(db: asyncpg.Connection, work: ShadowWork) -> list[tuple[ShadowTable, Feed]]:
    found = [(table, await feeds.find(db, work, table)) for table in work.tables]
    return [(table, feed) for table, feed in found if feed is not None]


async def _progress(db: asyncpg.Connection, feed: Feed) -> Progress:
    new = log.new_records(feed.checkpoint_sql, "")
    row = await db.fetchrow(
        "SELECT coalesce(sum(q.rows), 0)::bigint AS pending, "
        "coalesce(extract(epoch FROM clock_timestamp()) - min(ts_us) / 1e6, 0)::float8 AS lag_s "
        f"FROM (SELECT l.ts_us, l.rows FROM {log.log_name(feed.table_id)} l WHERE {new} "
        f"LIMIT {_PENDING_MAX}) q"
    )
    left_out = await refusals.count(db, feed)
    errors: Sequence[Discrepancy] = ()
    if left_out:
        errors = await refusals.refused(db, feed, REPORTED_MAX)
    size = await db.fetchval("SELECT pg_table_size(to_regclass($1))", f"morph_store.{feed.shadow}")
    return Progress(
        feed.rows, feed.total, size or 0, feed.applied, row["pending"], max(row["lag_s"], 0.0),
        feed.copied, feed.start_lsn, feed.applied_lsn, left_out, tuple(errors),
    )  # fmt: skip


async def _remove(db: asyncpg.Connection, work: ShadowWork, table: ShadowTable) -> None:
    feed = await feeds.find(db, work, table, lock=True)
    if feed is None:
        return
    await feeds.remove(db, feed)
    if not await feeds.of_table(db, feed.table_id):
        await shadow.stop_capture(db, feed.table_id, feed.live)
    if await exists(db, feed.shadow):
        await db.execute(f'DROP TABLE morph_store."{feed.shadow}"')
