"""One change, one step at a time: what its state calls for, done and made durable.

A step looks at the record, runs the effect of the state on the layouts and writes the transition.
Nothing is kept between steps that matters: whoever takes over after a crash begins with the record.
Crash rules (EVOLUTION 6): a change that is found FENCED was not flipped, because the flip and the
state PROMOTED are one transaction; its fence is taken away and it is tried again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from catalog.model import CatalogSnapshot
from catalog.store import SNAPSHOT_QUERY, snapshot_from_rows
from config.changes import ChangesSettings
from core.clock import Clock
from core.errors import (
    CheckViolation,
    ForeignKeyViolation,
    NotNullViolation,
    NumericValueOutOfRange,
    StringDataRightTruncation,
    UniqueViolation,
)
from core.telemetry.log import Log
from evolution.changes import events
from evolution.changes.needs import Catalog, Pins, Validation
from evolution.changes.records import (
    Note,
    Record,
    announce_statement,
    fed_through,
    fenced_by,
    forget_progress_statement,
    layout_name,
    load_record,
    load_records,
    lock_statement,
    move,
    note_statement,
    progress_statement,
    waits_for,
)
from evolution.changes.states import FINAL, SHADOWED, Phase, refusal
from evolution.changes.throttle import WAITS, Throttle
from evolution.layouts.base import CutOver, Discrepancy, Layouts, Pace, Progress, ShadowWork
from evolution.lifecycle import line, promote, roll_back, standing
from evolution.transaction import Transaction

LOG = Log("changes")
FENCE_GRACE_S = 2.0
BUSY_PAUSE_S = 0.02
RATE_WEIGHT = 0.2
KEYS_TOLD = 10
_BROKEN = (
    CheckViolation, ForeignKeyViolation, NotNullViolation, NumericValueOutOfRange,
    StringDataRightTruncation, UniqueViolation,
)  # fmt: skip


async def read_snapshot(tx: Transaction) -> CatalogSnapshot:
    """The catalog as the transaction sees it."""
    return snapshot_from_rows(await tx.fetch(SNAPSHOT_QUERY))


def follows(snapshot: CatalogSnapshot, records: Sequence[Record], record: Record) -> bool:
    """Whether the change may become current: it is already (promoted lazily), or the current
    version is before it on its line with nothing between that needs data work of its own.
    """
    if snapshot.current == record.change_id:
        return True
    ancestors = line(snapshot, record.change_id)
    if snapshot.current not in ancestors:
        return False
    between = set(ancestors[1 : ancestors.index(snapshot.current)])
    return not any(r.change_id in between and not _served(r) for r in records)


def keys_told(count: int, first: Sequence[Discrepancy]) -> str:
    """The keys of rows for people: the first ones of many."""
    keys = ", ".join(dict.fromkeys(each.record_id for each in first))
    return f"keys {keys}, …" if count > len(first) else f"keys {keys}"


def _served(record: Record) -> bool:
    return record.phase in (Phase.PROMOTED, Phase.CONTRACTING, Phase.COMPLETED)


class Driver:
    """Drives changes with one controller's epoch; `owner` is its name for people."""

    def __init__(
        self,
        catalog: Catalog,
        layouts: Layouts,
        validation: Validation,
        pins: Pins,
        settings: ChangesSettings,
        clock: Clock,
        throttle: Throttle,
    ) -> None:
        self._catalog = catalog
        self._layouts = layouts
        self._validation = validation
        self._pins = pins
        self._settings = settings
        self._clock = clock
        self._throttle = throttle
        self._rates: dict[int, tuple[float, int, float]] = {}
        self._lags: dict[int, float] = {}
        self._by_phase: dict[Phase, Callable[[Record], Awaitable[float]]] = {
            Phase.ANALYZED: self._analyzed,
            Phase.SHADOWING: self._shadowing,
            Phase.BACKFILLING: self._backfilling,
            Phase.CATCHING_UP: self._catching_up,
            Phase.VALIDATING: self._validating,
            Phase.READY: self._ready,
            Phase.FENCED: self._left_fenced,
            Phase.PROMOTED: self._promoted,
            Phase.RB_FENCED: self._left_fenced,
            Phase.ROLLED_BACK: self._rolled_back,
            Phase.CONTRACTING: self._contracting,
            Phase.DISCARDED: self._removing,
            Phase.FAILED_REVIEW: self._removing,
        }

    async def step(self, change_id: int) -> float | None:
        """Do what the state of the change calls for; seconds until the next look, None when nothing
        will be left to do. Faults of the store are raised.
        """
        async with self._catalog.transaction() as tx:
            found = [r for r in await load_records(tx) if r.change_id == change_id]
        if not found or found[0].over:
            return None
        record = found[0]
        handler = self._by_phase.get(record.phase)
        if handler is None:
            return self._settings.idle_pause
        return await handler(record)

    async def claim(self, owner: str) -> None:
        """Become the owner of all changes that are not over: their epochs grow."""
        async with self._catalog.transaction() as tx:
            for record in await load_records(tx):
                if not record.over:
                    claimed = events.Claimed(record.state.epoch + 1)
                    note = Note(owner, record.reason, owner=owner, attempts=record.attempts)
                    fenced = record.phase in (Phase.FENCED, Phase.RB_FENCED)
                    await move(tx, record, claimed, note)
                    if fenced:
                        LOG.warning("changes.fence_left", change=record.change_id)

    async def fault(self, change_id: int, tries: int, reason: str) -> None:
        """Write down that a step failed; after `changes.fault_tries` in a row it is held."""
        async with self._catalog.transaction() as tx:
            record = await load_record(tx, change_id)
            hold = tries >= self._settings.fault_tries and not record.state.held
            if hold and record.phase in SHADOWED:
                await move(tx, record, events.Hold(reason), Note(reason=reason))
            elif reason != record.reason:
                note = Note(reason=reason, attempts=record.attempts, retry_s=record.retry_in_s)
                await tx.apply([note_statement(record, note)])

    # ---------------------------------------------------------------- small pieces

    @property
    def pace(self) -> Pace:
        """How fast the store may be worked on."""
        return Pace(
            self._settings.chunk_time,
            self._settings.rows_per_s,
            self._settings.step_timeout,
            self._settings.error_limit,
        )

    def _work(self, record: Record) -> ShadowWork:
        return record.work(self.pace)

    def _limit(self, seconds: float) -> asyncio.Timeout:
        return self._clock.timeout_at(self._clock.monotonic() + seconds)

    async def _move(self, record: Record, event: events.Event, note: Note | None = None) -> Record:
        async with self._catalog.transaction() as tx:
            await move(tx, record, event, note)
            fresh = await load_record(tx, record.change_id)
            if fresh.over and fresh.phase is not Phase.FAILED_REVIEW:  # that one is still shown
                await tx.apply([forget_progress_statement(record.change_id)])
        LOG.info(
            "changes.moved",
            change=record.change_id,
            what=type(event).__name__,
            state=fresh.phase.value,
            reason=fresh.reason,
        )
        return fresh

    async def _note(self, record: Record, note: Note) -> None:
        wanted = record.wanted if note.wanted is None else note.wanted
        if (note.reason, wanted) != (record.reason, record.wanted):
            async with self._catalog.transaction() as tx:
                await tx.apply([note_statement(record, note), announce_statement(record.change_id)])

    async def _feed(self, record: Record) -> Progress:
        """Bring in the log; of a shadow that was complete and is not any more (new columns), the
        copying too.
        """
        async with self._limit(self._settings.step_timeout):
            progress = await self._layouts.catch_up(self._work(record))
            if progress.differing and record.phase is not Phase.READY:
                await self._validation.record(self._work(record), progress.differing, "checksum")
            if not progress.copied and record.phase in (Phase.PROMOTED, Phase.ROLLED_BACK):
                progress = await self._layouts.advance(self._work(record))
        await self._show(record, progress)
        return progress

    async def _incomplete(self, record: Record, progress: Progress) -> bool:
        """Whether the shadow began anew, by DDL or as writes were missed; then the change does."""
        if progress.copied:
            return False
        reason = "its copy began anew"
        await self._move(record, events.Rebase(reason), Note(reason=reason))
        return True

    async def _show(self, record: Record, progress: Progress) -> None:
        self._lags[record.change_id] = progress.lag_s
        now = self._clock.monotonic()
        at, rows, rate = self._rates.get(record.change_id, (now, progress.rows, 0.0))
        if now > at:
            sample = (progress.rows - rows) / (now - at)
            rate = sample if not rate else rate + RATE_WEIGHT * (sample - rate)
        self._rates[record.change_id] = (now, progress.rows, max(rate, 0.0))
        async with self._catalog.transaction() as tx:
            await tx.apply([progress_statement(record.change_id, progress, max(rate, 0.0))])

    def _pause(self, progress: Progress) -> float:
        return BUSY_PAUSE_S if progress.pending else self._settings.idle_pause

    async def _fail(
        self, record: Record, found: Sequence[Discrepancy], method: str, words: str = ""
    ) -> float:
        report_id = await self._validation.record(self._work(record), found, method)
        reason = words or (found[0].message if found else "the review failed")
        if len(found) > 1:
            reason += f" (and {len(found) - 1} more)"
        note = Note(reason=reason, report_id=report_id, wanted="")
        async with self._catalog.transaction() as tx:
            # Somebody's wish may have come between: the report is written once all the same.
            await tx.apply([lock_statement(record.change_id)])
            fresh = await load_record(tx, record.change_id)
            ours = fresh.state.epoch == record.state.epoch
            if ours and not refusal(fresh.state, events.Failed(reason)):
                await move(tx, fresh, events.Failed(reason), note)
        return 0.0

    # ---------------------------------------------------------------- until it is ready

    async def _analyzed(self, record: Record) -> float:
        if record.state.held:
            return self._settings.idle_pause
        async with self._catalog.transaction() as tx:
            records = await load_records(tx)
            snapshot = await read_snapshot(tx)
        waits = waits_for(records, record)
        if waits:
            other = next(r for r in records if r.change_id == waits)
            reason = f"change {waits}, {other.phase.value.lower()}, keeps two layouts of a table"
            await self._note(record, Note(reason=reason))
            return self._settings.idle_pause
        version = snapshot.version(record.change_id)
        live = {t.id: layout_name(t) for t in version.tables}
        tables = tuple(replace(t, live=live[t.table_id]) for t in record.tables)
        await self._move(record, events.Started(), Note(tables=tables))
        return 0.0

    async def _shadowing(self, record: Record) -> float:
        async with self._limit(self._settings.step_timeout):
            await self._layouts.begin(self._work(record))
        await self._move(record, events.Begun())
        return 0.0

    async def _backfilling(self, record: Record) -> float:
        if record.state.held:
            return self._pause(await self._feed(record))
        why = await self._throttle.why(self._catalog, self._lags.get(record.change_id, 0.0))
        if why or record.reason.startswith(WAITS):
            await self._note(record, Note(reason=why))
            return self._pause(await self._feed(record)) if why else 0.0
        async with self._limit(self._settings.step_timeout):
            progress = await self._layouts.advance(self._work(record))
        await self._show(record, progress)
        if progress.left_out > self._settings.error_limit:
            return await self._fail(record, progress.errors, "full")
        if progress.errors:
            await self._validation.record(self._work(record), progress.errors, "full")
        if progress.lag_s > self._settings.lag_hold:
            reason = f"its shadow is {progress.lag_s:.0f} s behind"
            await self._move(record, events.Hold(reason), Note(reason=reason))
        elif progress.copied:
            await self._move(record, events.Copied())
        return 0.0

    async def _catching_up(self, record: Record) -> float:
        progress = await self._feed(record)
        if await self._incomplete(record, progress):
            return 0.0
        if record.state.held or progress.lag_s > self._settings.lag_max:
            return self._pause(progress)
        async with self._limit(self._settings.index_timeout):
            found = await self._layouts.finish(self._work(record))
        if any(d.severity == "critical" for d in found):
            return await self._fail(record, found, "full")
        progress = await self._feed(record)
        event = events.CaughtUp(progress.lag_s, self._settings.lag_max)
        if not refusal(record.state, event):
            await self._move(record, event)
        return 0.0

    async def _validating(self, record: Record) -> float:
        if record.state.held:
            return self._pause(await self._feed(record))
        comparing = asyncio.ensure_future(
            self._validation.validate(self._work(record), self._settings.validation)
        )
        try:
            while not comparing.done():
                progress = await self._feed(record)
                await asyncio.wait([comparing], timeout=self._pause(progress))
        finally:
            comparing.cancel()
            await asyncio.gather(comparing, return_exceptions=True)
        verdict = comparing.result()
        async with self._catalog.transaction() as tx:
            record = await load_record(tx, record.change_id)
        if record.phase is not Phase.VALIDATING:
            return 0.0
        note = Note(reason=verdict.reason, report_id=verdict.report_id)
        if verdict.critical:
            await self._move(record, events.Failed(verdict.reason), replace(note, wanted=""))
        elif not verdict.complete:
            await self._note(record, note)
            return self._settings.idle_pause
        else:
            wanted = "" if record.wanted == "validate" else None
            event = events.Validated(verdict.report_id, verdict.critical)
            await self._move(record, event, replace(note, wanted=wanted))
        return 0.0

    async def _ready(self, record: Record) -> float:
        progress = await self._feed(record)
        if await self._incomplete(record, progress):
            return 0.0
        if any(each.severity == "critical" for each in progress.differing):
            return await self._fail(record, progress.differing, "checksum")
        if record.wanted == "validate":
            await self._move(record, events.Revalidate(), Note(wanted="validate"))
            return 0.0
        wanted = record.wanted == "promote" or record.state.lazy
        if not wanted or record.state.held:
            return self._pause(progress)
        if record.retry_in_s > 0:
            return min(record.retry_in_s, self._pause(progress))
        return await self._cut_over(record)

    # ---------------------------------------------------------------- the cut-over and its way back

    async def _cut_over(self, record: Record) -> float:
        async with self._limit(self._settings.index_timeout):
            found = await self._layouts.finish(self._work(record))  # what DDL added since
        if any(d.severity == "critical" for d in found):
            return await self._fail(record, found, "full")
        progress, again = await self._feed(record), await self._feed(record)
        if again.left_out:
            told = keys_told(again.left_out, again.errors[:KEYS_TOLD])
            why = f"{again.left_out} rows cannot be in the new layout ({told})"
            return await self._not_fenced(record, why, final=True)
        async with self._catalog.transaction() as tx:
            records = await load_records(tx)
            snapshot = await read_snapshot(tx)
        event = events.Fence(
            (progress.fence_lag_s, again.fence_lag_s),
            follows(snapshot, records, record),
            fenced_by(records, record),
            self._settings.fence_timeout,
            self._settings.fence_lag,
        )
        why = refusal(record.state, event)
        if why and max(event.lags_s) > event.lag_max_s and event.follows:
            await self._note(record, Note(reason=why, attempts=record.attempts))
            return BUSY_PAUSE_S  # no failed try: nobody waited for it
        if why:
            return await self._not_fenced(record, why, final=not event.follows)
        return await self._through(record, event, self._flip)

    async def _not_fenced(self, record: Record, why: str, *, final: bool) -> float:
        attempts = record.attempts + (0 if final else 1)
        given_up = final or attempts >= self._settings.fence_tries
        note = Note(
            reason=why,
            attempts=0 if given_up else attempts,
            retry_s=self._backoff(attempts),
            wanted="" if given_up else None,
        )
        async with self._catalog.transaction() as tx:
            await tx.apply([note_statement(record, note), announce_statement(record.change_id)])
        return BUSY_PAUSE_S

    async def _through(
        self,
        record: Record,
        event: events.Event,
        flip: Callable[[Record], Callable[[Transaction], Awaitable[None]]],
    ) -> float:
        """Fence, swap the layouts, and unfence if that did not happen."""
        limit = self._settings.fence_timeout
        note = Note(attempts=record.attempts, fence_s=limit)
        fenced = await self._move(record, event, note)
        result = CutOver(done=False)
        try:
            async with self._limit(limit + FENCE_GRACE_S):
                result = await self._layouts.cut_over(
                    self._work(fenced),
                    deadline_s=limit,
                    verify=self._validation.verify,
                    flip=flip(fenced),
                )
        except TimeoutError:
            result = CutOver(done=False, reason="the cut-over took too long")
        except _BROKEN as error:  # what the change takes back or does again does not hold
            result = CutOver(done=False, reason=error.primary)
        finally:
            if not result.done:
                await asyncio.shield(self._unfence(fenced, result))
        LOG.info(
            "changes.flipped" if result.done else "changes.not_flipped",
            change=record.change_id,
            waited_s=round(result.waited_s, 4),
            reason=result.reason,
        )
        return 0.0

    async def _unfence(self, fenced: Record, result: CutOver) -> None:
        """Back to the state before the fence, unless the flip did commit after all."""
        async with self._catalog.transaction() as tx:
            found = await load_record(tx, fenced.change_id)
            if found.phase is not fenced.phase or found.revision != fenced.revision:
                return
            attempts = found.attempts + 1
            given_up = attempts >= self._settings.fence_tries
            reason = result.reason or "the cut-over was interrupted"
            note = Note(
                reason=reason,
                attempts=0 if given_up else attempts,
                retry_s=self._backoff(attempts),
                wanted="" if given_up else None,
            )
            await move(tx, found, events.Unfenced(reason), note)
            found = await load_record(tx, fenced.change_id)
        critical = [d for d in result.discrepancies if d.severity == "critical"]
        if critical and found.phase is Phase.READY:
            await self._fail(found, critical, "inline")

    def _backoff(self, attempts: int) -> float:
        pause = self._settings.backoff_min * 2.0 ** min(attempts - 1, 30)
        return float(min(pause, self._settings.backoff_max))

    def _flip(self, fenced: Record) -> Callable[[Transaction], Awaitable[None]]:
        async def flip(tx: Transaction) -> None:
            snapshot = await read_snapshot(tx)
            can = follows(snapshot, await load_records(tx), fenced)
            event = events.Flipped(fenced.state.epoch, can)
            note = Note(wanted="", window_s=self._settings.rollback_window)
            if can and snapshot.current != fenced.change_id:
                await promote(tx, snapshot, fenced.change_id)
            await move(tx, fenced, event, note)

        return flip

    def _flip_back(self, fenced: Record) -> Callable[[Transaction], Awaitable[None]]:
        async def flip(tx: Transaction) -> None:
            snapshot = await read_snapshot(tx)
            if fenced.change_id in line(snapshot, snapshot.current):
                accept = fenced.wanted == "rollback accepting"
                await roll_back(tx, snapshot, fenced.change_id, accept=accept)
            note = Note(wanted="", window_s=self._settings.rollback_window)
            await move(tx, fenced, events.FlippedBack(fenced.state.epoch), note)

        return flip

    async def _left_fenced(self, record: Record) -> float:
        """A fence of a controller that is gone, or of a cut-over that was broken off."""
        await self._unfence(record, CutOver(done=False, reason="the cut-over was interrupted"))
        return 0.0

    # ---------------------------------------------------------------- after the promotion

    async def _promoted(self, record: Record) -> float:
        progress = await self._feed(record)
        if record.wanted.startswith("rollback"):
            if record.retry_in_s > 0:
                return min(record.retry_in_s, self._pause(progress))
            return await self._cut_back(record)
        by_user = record.wanted == "contract"
        window_over = record.window_s <= 0
        if by_user or (window_over and self._settings.contraction == "after_window"):
            return await self._contract(record, by_user=by_user, window_over=window_over)
        return self._pause(progress)

    async def _cut_back(self, record: Record) -> float:
        async with self._limit(self._settings.index_timeout):
            await self._layouts.finish(self._work(record))  # what DDL added since
            blocking, first = await self._layouts.blocking(self._work(record), KEYS_TOLD)
        async with self._catalog.transaction() as tx:
            records = await load_records(tx)
        event = events.FenceBack(
            record.window_s > 0 or self._settings.contraction == "manual",
            blocking,
            record.wanted == "rollback accepting",
            fenced_by(records, record),
        )
        why = refusal(record.state, event)
        if why and blocking and "cannot be shown" in why:
            why += f" ({keys_told(blocking, first)})"
        why = why or await self._not_put_back(record)
        if why:
            return await self._not_fenced(record, why, final=event.fenced_by == 0)
        return await self._through(record, event, self._flip_back)

    async def _not_put_back(self, record: Record) -> str:
        """Why a rollback would be refused: constraints that rows of now do not fit."""
        if record.wanted == "rollback accepting":
            return ""
        async with self._catalog.transaction() as tx:
            snapshot = await read_snapshot(tx)
            if record.change_id not in line(snapshot, snapshot.current):
                return ""
            found = await standing(tx, snapshot, record.change_id)
        return f"{found[0].primary}: {found[0].detail.removesuffix('.')}" if found else ""

    async def _contract(self, record: Record, *, by_user: bool, window_over: bool) -> float:
        pinned = await self._pins.pinned(record.change_id)
        async with self._catalog.transaction() as tx:
            older = fed_through(await load_records(tx), record)
        if pinned < 0:
            why = "a worker did not say which versions its sessions use"
        else:
            event = events.Contract(window_over, by_user, pinned, older)
            why = refusal(record.state, event)
            if not why:
                await self._move(record, event, Note(wanted=""))
                return 0.0
        await self._note(record, Note(reason=why, wanted="" if by_user else None))
        return self._settings.idle_pause

    async def _rolled_back(self, record: Record) -> float:
        progress = await self._feed(record)
        if record.wanted == "promote":
            await self._move(record, events.Revalidate(), Note(wanted="promote"))
            return 0.0
        if record.window_s <= 0 and self._settings.contraction == "after_window":
            await self._move(
                record, events.Discard("controller"), Note(reason="the window is over")
            )
            return 0.0
        return self._pause(progress)

    async def _contracting(self, record: Record) -> float:
        async with self._limit(self._settings.index_timeout):
            await self._layouts.contract(self._work(record))
        await self._move(record, events.Contracted())
        return 0.0

    async def _removing(self, record: Record) -> float:
        assert record.phase in FINAL
        async with self._limit(self._settings.step_timeout):
            await self._layouts.discard(self._work(record))
        await self._move(record, events.Settled(), Note(reason=record.reason))
        return 0.0
