"""One step of one feed: the log, then a chunk of the backfill.

The order inside is the proof (decision 0011): what is in the log is collected, then a position is
drawn, then the rows are read, then they are put at that position, and only then what was done *when
it was collected* is removed. So after the last write of a key there is always one more read, and a
put with a higher position was read later, whoever did it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Container, Iterable, Sequence
from dataclasses import dataclass, field

import asyncpg

from backends.base import Scope
from backends.change_store import ChangeStore, Intent, Key, StoreRow, Tail, TailLost
from catalog.store import load_snapshot
from core.errors import SerializationFailure
from core.telemetry.log import Log as EventLog
from evolution.layouts.base import Direction, ShadowTable, ShadowWork
from evolution.layouts.embedded.backfill import next_chunk
from evolution.layouts.embedded.sessions import Sessions
from evolution.layouts.foreign import brought, feeds, images
from evolution.layouts.foreign.feeds import ForeignFeed
from evolution.layouts.foreign.forms import Forms, forms_of
from evolution.layouts.foreign.images import Made
from evolution.layouts.foreign.touched import Touched

BATCH_RECORDS = 2_000
"""A step brings in about so many records at most, so that it ends in time."""
CHUNK_ROWS_MIN = 500
"""A chunk of the backfill has no fewer: where each request costs seconds of its own (a server that
walks its whole collection to find where a range begins), smaller ones take no less time, and ever
smaller ones would never end. Nothing is locked meanwhile.
"""
UNDER_WAY_US = 1_000_000
"""A write is no reason not to hold the writers before it takes longer."""
_log = EventLog("evolution.layouts.foreign")


@dataclass(slots=True)
class Log:
    """What is in a log: `settled` records can be brought in and removed, `open` ones wait for their
    write to be answered; `whole` is false when there are more. It was read at `at_us`.
    """

    settled: list[Intent]
    open: list[Intent]
    whole: bool
    at_us: int = 0

    @property
    def oldest_us(self) -> int:
        """When the oldest of them was written, 0 for none."""
        return min((each.ts_us for each in (*self.settled, *self.open)), default=0)

    def behind_s(self, gone: Container[int]) -> float:
        """How far behind who has brought this in was when it was read: by writes that take longer
        than usual, by those whose worker is `gone`, and by what did not fit in. What came meanwhile
        is the next one's.
        """
        late = [
            self.at_us - each.ts_us
            for each in self.open
            if self.at_us - each.ts_us > UNDER_WAY_US or each.writer in gone
        ]
        if self.settled and len(self.settled) + len(self.open) >= BATCH_RECORDS:
            late.append(self.at_us - max(each.ts_us for each in self.settled))
        return max(late, default=0) / 1e6


@dataclass(slots=True)
class Feeding:
    """A feed with all that it takes to work on it. `gone` says since when a worker's incarnation
    is no more, in seconds, None for one that lives.
    """

    store: ChangeStore
    sessions: Sessions
    work: ShadowWork
    table: ShadowTable
    feed: ForeignFeed
    forms: Forms
    touched: Touched
    scope: Scope
    now_us: Callable[[], int]
    clock: Callable[[], float]
    gone: dict[int, float] = field(default_factory=dict)
    brought: list[Intent] = field(default_factory=list)
    """Records that were brought in inside of a fence, and are to be removed behind it."""

    @property
    def direction(self) -> Direction:
        """Which layout is fed."""
        return self.feed.direction

    # ------------------------------------------------------------------ the log

    async def log(self) -> Log:
        """What is in the log now."""
        at_us = self.now_us()
        found = await self.store.read(self.feed.place, BATCH_RECORDS, self.scope)
        settled = [each for each in found if self._settled(each)]
        names = {(each.lsn, each.writer) for each in settled}
        rest = [each for each in found if (each.lsn, each.writer) not in names]
        return Log(settled, rest, len(found) < BATCH_RECORDS, at_us)

    def _settled(self, record: Intent) -> bool:
        """Whether its write cannot come to effect any later than now."""
        if record.done:
            return True
        if self.now_us() > record.deadline_us + int(self.store.grace_s * 1e6):
            return True
        return self.gone.get(record.writer, 0.0) > self.store.grace_s

    async def tail(self, *, fully: bool = False) -> Tail | None:
        """What was written past Morphgres since the last look, and what was not; None where the
        store does not tell.
        """
        if self.feed.tail is None:
            return None
        try:
            return await self.store.tail(
                self.forms.live, self.feed.tail, BATCH_RECORDS, self.scope, fully=fully
            )
        except TailLost as error:
            await self._anew(error)
            return None

    async def _anew(self, error: TailLost) -> None:
        """Rows may have been written that nobody told of: they all are copied once more."""
        feed = self.feed
        _log.warning(
            "tail.lost", change=feed.change_id, table=self.table.name,
            error=error.primary, detail=error.detail,
        )  # fmt: skip
        feed.tail = await self.store.tail_token(self.forms.live, self.scope)
        feed.bound, feed.total = await self.store.bound(self.forms.live, self.scope)
        feed.cursor, feed.copied, feed.rows = None, False, 0
        await self._draw()
        await self._save()

    async def bring(self, log: Log, tail: Tail | None, *, keep: bool = False) -> None:
        """Bring in what is settled, and what others wrote; `keep`: it stays in the log."""
        others = tail.keys if tail is not None else ()
        keys = list(dict.fromkeys([*(each.key for each in log.settled), *others]))
        if keys:
            await self.bring_keys(keys)
        behind = self.feed.tail if tail is None else tail.token
        if not keys and behind == self.feed.tail:
            return
        self.feed.applied += len(log.settled)
        self.feed.recent = [*self.feed.recent, *keys][-feeds.RECENT_KEYS :]
        self.feed.tail = behind
        await self._save()
        if not keep:
            await self.forget(log.settled)

    async def forget(self, records: Sequence[Intent]) -> None:
        """Remove what is brought in."""
        if records:
            await self.store.remove(self.feed.place, records, self.scope)

    async def bring_keys(self, keys: Sequence[Key]) -> Made:
        """Make the rows with these keys again from the live ones."""
        await self._draw(keys)
        rows = await self.store.reread(self.forms.live, keys, self.scope)
        made = await self._made(keys, rows)
        await self._put(made)
        self.feed.applied_lsn = self.feed.lsn
        return made

    async def _made(self, keys: Sequence[Key], rows: Sequence[StoreRow]) -> Made:
        old: dict[Key, StoreRow] = {}
        if self.direction == "back":
            found = await self.store.reread(self.forms.shadow, keys, self.scope)
            old = {row.key: row for row in found}
        async with self.sessions.step(self.work.pace.step_s) as db:
            if self.direction == "back":
                made = await images.back(db, self.forms, keys, rows, old)
            else:
                made = await images.forward(db, self.forms, keys, rows)
            await self._note_refused(db, keys, made)
        return made

    async def _put(self, made: Made) -> None:
        forms, lsn = self.forms, self.feed.lsn
        put = self.store.put_back if self.direction == "back" else self.store.put
        try:
            await put(forms.live, forms.shadow, made.images, lsn, self.scope)
        except BaseException:
            self.touched.epoch = 0
            raise

    async def _note_refused(self, db: asyncpg.Connection, keys: Iterable[Key], made: Made) -> None:
        """Keep what was refused until the row changes or goes."""
        if await db.fetchval(f"SELECT EXISTS (SELECT FROM morph_log.refused WHERE {self._at})"):
            await db.executemany(
                f"DELETE FROM morph_log.refused WHERE {self._at} AND key = $1",
                [(list(key),) for key in keys],
            )
        if made.refused:
            await db.executemany(
                "INSERT INTO morph_log.refused (change_id, table_id, key, sqlstate, message) "
                f"VALUES ({self.feed.change_id}, {self.feed.table_id}, $1, $2, $3) "
                "ON CONFLICT DO NOTHING",
                [(list(key), each.sqlstate, each.message) for key, each in made.refused.items()],
            )

    @property
    def _at(self) -> str:
        return self.feed.where

    # ------------------------------------------------------------------ the backfill

    async def copy(self) -> int:
        """Copy the next rows and move the cursor behind them; how many."""
        feed, pace = self.feed, self.work.pace
        begun = self.clock()
        await self._draw()
        limit = min(feed.chunk_rows, max(int(pace.rows_per_s), 1)) if pace.rows_per_s else 0
        chunk = await self.store.chunk(
            self.forms.live, feed.cursor, feed.bound, limit or feed.chunk_rows, self.scope
        )
        made = await self._made([row.key for row in chunk.rows], chunk.rows)
        await self._put(made)
        feed.cursor = chunk.last or feed.cursor
        feed.copied = chunk.ended or (feed.bound is not None and feed.cursor == feed.bound)
        feed.rows += len(chunk.rows)
        feed.bytes += chunk.nbytes
        seconds = self.clock() - begun
        rows = next_chunk(feed.chunk_rows, len(chunk.rows), seconds, pace.chunk_s)
        feed.chunk_rows = max(rows, CHUNK_ROWS_MIN)
        await self._save()
        return len(chunk.rows)

    # ------------------------------------------------------------------ the feed's row

    async def _draw(self, keys: Sequence[Key] = ()) -> None:
        """A new position, at which these keys are brought in; whoever is not the owner any more
        learns it here.
        """
        async with self.sessions.step(self.work.pace.step_s, isolation="read_committed") as db:
            fresh = await feeds.draw(db, self.work, self.table, self.touched.epoch)
            if keys:
                await brought.note(db, fresh, keys)
        self.touched.epoch = self.work.epoch
        if (fresh.live, fresh.direction) != (self.feed.live, self.feed.direction):
            raise SerializationFailure("the layouts have changed their roles meanwhile")
        self.feed.lsn, self.feed.epoch, self.feed.owned_s = fresh.lsn, fresh.epoch, fresh.owned_s

    async def _save(self) -> None:
        async with self.sessions.step(self.work.pace.step_s, isolation="read_committed") as db:
            await feeds.save(db, self.feed)

    async def drain(self, until: float) -> bool:
        """Bring in all there is; whether nothing is left before `until`. What others write goes on
        meanwhile: that is brought in which was there when it was looked for first. Records stay in
        the log, `brought`, until nobody waits any more: then they are brought in once too often.
        """
        told = False
        while True:
            log, tail = await asyncio.gather(self._left(), self._others(told))
            told = tail is None or tail.whole
            if not log.settled and not log.open and (tail is None or not tail.keys):
                return True
            await self.bring(log, tail, keep=log.whole)
            if log.whole:
                self.brought += log.settled
            if self.clock() >= until:
                return False
            if not log.settled:
                await asyncio.sleep(0.005)  # its writer is about to say that it is done

    async def _left(self) -> Log:
        """What is in the log but for what is brought in."""
        log = await self.log()
        names = {(each.lsn, each.writer) for each in self.brought}
        log.settled = [each for each in log.settled if (each.lsn, each.writer) not in names]
        return log

    async def _others(self, told: bool) -> Tail | None:
        return None if told else await self.tail(fully=True)


async def opened(
    sessions: Sessions, work: ShadowWork, table: ShadowTable
) -> tuple[ForeignFeed, Forms]:
    """The feed of a table and its forms."""
    async with sessions.step(work.pace.step_s) as db:
        feed = await feeds.take(db, work, table)
        forms = forms_of(await load_snapshot(db), table, feed.live, feed.shadow)
    return feed, forms
