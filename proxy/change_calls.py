"""CALL morph.promote, rollback, check_rollback, hold, resume, discard, contract, validate and
repair of changes that need data work.

A call that waits for the controller, whichever worker that is in, runs outside of any transaction
and holds nothing meanwhile. A cancel request, statement_timeout and the end of the session take the
wish back. Notices say which state the change has reached.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from core.errors import (
    ActiveTransaction,
    InvalidParameterValue,
    ObjectNotInPrerequisiteState,
    ReadOnlyTransaction,
    SerializationFailure,
    UndefinedObject,
)
from engine.plans import Plan
from evolution.changes import events, requests
from evolution.changes.driver import KEYS_TOLD, follows, keys_told
from evolution.changes.needs import Verdict
from evolution.changes.records import Note, Record, load_records, move
from evolution.changes.requests import Wish
from evolution.changes.states import Phase, refusal, words
from evolution.ddl import LOCK_CATALOG
from evolution.layouts.base import Discrepancy
from evolution.lifecycle import line, promote, require_promotable, standing
from evolution.request import Note as Notice
from evolution.request import Outcome
from evolution.shared.undo import ROLL_BACK_HINT
from evolution.transaction import Transaction
from evolution.validation.validator import method_named
from proxy.change_arguments import ARGUMENTS, Arguments, read_arguments
from proxy.change_wishes import fulfil, locked
from proxy.inline_asking import ask_workers
from proxy.layout_readers import layout_reader
from proxy.notices import notice
from proxy.replays import replay
from proxy.store_waits import bounded
from rewrite.analysis import StatementPlan

if TYPE_CHECKING:
    from proxy.operations import Operations
    from proxy.session import Session

CHANGE_CALLS: Final = frozenset(ARGUMENTS)
PAUSES_S: Final = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
_COMPARABLE: Final = (Phase.READY, Phase.PROMOTED, Phase.ROLLED_BACK)


@dataclass(frozen=True, slots=True)
class _Call:
    """One call: who asks, in which transaction, for what; `records` are all changes."""

    session: Session
    tx: Transaction
    plan: Plan
    name: str
    given: Arguments
    records: list[Record]

    @property
    def actor(self) -> str:
        """The role that calls."""
        return str(self.session.client.startup.user)

    @property
    def known(self) -> Record | None:
        """The change itself, if it has data work."""
        return next((r for r in self.records if r.change_id == self.given.change), None)

    def record(self) -> Record:
        """It, or UndefinedObject (42704)."""
        if self.known is None:
            raise UndefinedObject(
                f"change {self.given.change} has no data work",
                hint="morph.progress shows the changes that have.",
            )
        return self.known


class ChangeCalls:
    """The calls of one worker's sessions."""

    def __init__(self, operations: Operations) -> None:
        self._operations = operations
        self._by_name: dict[str, Callable[[_Call], Awaitable[Outcome | None]]] = {
            "promote": self._promote,
            "rollback": self._roll_back,
            "hold": self._hold,
            "resume": self._resume,
            "discard": self._wish,
            "contract": self._wish,
            "check_rollback": self._check_rollback,
            "validate": self._validate,
            "repair": self._repair,
        }

    async def call(
        self, session: Session, tx: Transaction, plan: Plan, statement: StatementPlan, name: str
    ) -> Outcome | None:
        """Run one; None when the rest is a matter of the catalog alone (promote and rollback of
        what has no data work).
        """
        given = read_arguments(statement.node, name)
        call = _Call(session, tx, plan, name, given, await load_records(tx))
        return await self._by_name[name](call)

    # ---------------------------------------------------------------- calls that wait

    async def _promote(self, call: _Call) -> Outcome | None:
        number = call.given.change
        if call.given.lazy:
            return await self._promote_lazily(call)
        if not call.records:
            return None
        snapshot = await self._operations.scripts.read_snapshot(call.session)
        if number not in snapshot.versions:
            return None
        todo = requests.to_promote(snapshot, call.records, number)
        if not todo:
            return None
        await self._require_outside(call)
        await require_promotable(call.tx, snapshot, number)
        await self._wait_for(call, [Wish(r.change_id, requests.PROMOTE) for r in todo])
        snapshot = await self._operations.scripts.read_snapshot(call.session)
        return Outcome(snapshot, "CALL") if snapshot.current == number else None

    async def _roll_back(self, call: _Call) -> Outcome | None:
        if not call.records:
            return None
        snapshot = await self._operations.scripts.read_snapshot(call.session)
        undone = requests.to_roll_back(snapshot, call.records, call.given.change)
        for record in undone:
            if record.state.lazy:
                event = events.PromoteLazily(follows=True, on=False)
                await move(
                    call.tx, await locked(call.tx, record.change_id), event, Note(call.actor)
                )
        todo = [r for r in undone if not _pointer_only(r)]
        if not todo:
            return None
        wanted = requests.ROLL_BACK_ACCEPTING if call.given.accept else requests.ROLL_BACK
        await self._require_outside(call)
        if not call.given.accept and call.given.change in line(snapshot, snapshot.current):
            for found in await standing(call.tx, snapshot, call.given.change):
                raise found.error(ROLL_BACK_HINT.format(call.given.change))
        await self._wait_for(call, [Wish(r.change_id, wanted) for r in todo])
        snapshot = await self._operations.scripts.read_snapshot(call.session)
        left = call.given.change in line(snapshot, snapshot.current)
        return None if left else Outcome(snapshot, "CALL")

    async def _wish(self, call: _Call) -> Outcome:
        await self._wait_for(call, [Wish(call.record().change_id, call.name)])
        return Outcome(await self._operations.scripts.read_snapshot(call.session), "CALL")

    async def _wait_for(self, call: _Call, wishes: list[Wish]) -> None:
        await self._leave_transaction(call)
        session, worker = call.session, self._operations.worker

        def told(record: Record) -> None:
            text = f"change {record.change_id} is {words(record.phase)}"
            session.send_to_client(notice(session, "NOTICE", "00000", text))

        for wish in wishes:
            work = fulfil(worker.changes.connect, wish, call.actor, told)
            await bounded(session, work, alone=True)
        await worker.reload()

    async def _leave_transaction(self, call: _Call) -> None:
        """The backend has no part in what follows."""
        await self._require_outside(call)
        await self._operations.scripts.sync(call.session)

    async def _require_outside(self, call: _Call) -> None:
        scripts, session = self._operations.scripts, call.session
        if session.status != ord("I") or len(call.plan.statements) > 1:
            raise ActiveTransaction(
                f"CALL morph.{call.name} cannot run inside a transaction block",
                detail="The change needs data work, for which the call waits.",
                hint="COMMIT first; or SET morph.ddl_mode = direct before the DDL.",
            )
        setting = "SELECT pg_catalog.current_setting('transaction_read_only')"
        if (await scripts.fetch(session, setting)).rows()[0][0] == b"on":
            what = f"CALL morph.{call.name}"
            raise ReadOnlyTransaction(f"cannot execute {what} in a read-only transaction")

    # ---------------------------------------------------------------- inside the transaction

    async def _hold(self, call: _Call) -> Outcome:
        reason = f"held by {call.actor}"
        return await self._flag(call, events.Hold(reason), reason, "held")

    async def _resume(self, call: _Call) -> Outcome:
        record = call.record()
        if record.phase is Phase.FAILED_REVIEW:
            return await self._flag(call, events.Retry(call.actor), "", "tried again")
        if not record.state.held:
            note = Notice(f"change {record.change_id} is not held")
            return Outcome(call.session.snapshot, "CALL", (note,))
        return await self._flag(call, events.Resume(), "", "resumed")

    async def _flag(self, call: _Call, event: events.Event, reason: str, what: str) -> Outcome:
        record = await locked(call.tx, call.record().change_id)
        if why := refusal(record.state, event):
            removing = isinstance(event, events.Retry)
            raise requests.refused(record, what, f"Try again: {why}." if removing else "")
        await move(call.tx, record, event, Note(call.actor, reason, attempts=record.attempts))
        return Outcome(call.session.snapshot, "CALL")

    async def _promote_lazily(self, call: _Call) -> Outcome:
        """The pointer moves at once, the layout when it is ready."""
        number = call.given.change
        await call.tx.apply([LOCK_CATALOG])
        snapshot = await self._operations.scripts.read_snapshot(call.session)
        records = await load_records(call.tx)
        record = next((r for r in records if r.change_id == number), None)
        if record is not None:
            event = events.PromoteLazily(follows(snapshot, records, record))
            why = refusal(record.state, event)
            if why:
                raise ObjectNotInPrerequisiteState(f"change {number} cannot be promoted: {why}")
            await move(call.tx, await locked(call.tx, number), event, Note(call.actor))
        return Outcome(await promote(call.tx, snapshot, number), "CALL")

    # ---------------------------------------------------------------- comparing

    async def _validate(self, call: _Call) -> Outcome:
        """Compare now, in this worker, whatever the controller does."""
        record = self._comparable(call)
        await self._leave_transaction(call)
        changes = self._operations.worker.changes
        method = call.given.method or ("query" if call.given.queries else "")
        method = method_named(method or changes.validation_method)
        if call.given.queries and method != "query":
            raise InvalidParameterValue(f"validation by {method} takes no queries")
        if method == "query":
            work = self._replayed(call, record)
        elif method == "inline":
            work = ask_workers(changes.connect, changes.workers, record.change_id)
        else:
            work = changes.validator.validate(record.work(), method)
        verdict = await bounded(call.session, work, alone=True)
        severity = "WARNING" if verdict.critical else "NOTICE"
        state = "01000" if verdict.critical else "00000"
        found = verdict.reason or "no differences"
        text = f"validation of change {record.change_id}: {found}"
        detail = f"Report {verdict.report_id} is in morph.validation_reports."
        call.session.send_to_client(notice(call.session, severity, state, text, detail))
        return Outcome(await self._operations.scripts.read_snapshot(call.session), "CALL")

    async def _replayed(self, call: _Call, record: Record) -> Verdict:
        """As the role that calls: in morph.statements are texts of others."""
        worker = self._operations.worker
        startup = {"user": call.actor, "database": worker.database}
        layouts = layout_reader(worker, record, startup)
        await worker.write_runtime()
        return await replay(
            layouts,
            worker.changes.validator,
            record.work(),
            call.given.queries,
            worker.stateless_functions,
            worker.settings.validation.query_timeout,
        )

    async def _check_rollback(self, call: _Call) -> Outcome:
        """How many rows the old layout cannot show as they are, and what could not be put back."""
        record, number = call.known, call.given.change
        if record is not None and record.phase is not Phase.PROMOTED:
            raise requests.refused(record, "rolled back", "Only what is promoted can be.")
        if record is not None:
            await self._require_outside(call)
        snapshot = await self._operations.scripts.read_snapshot(call.session)
        found = [
            (f"{each.count} rows stand against a rollback of change {number}",
             f"{each.primary}: {each.detail}")
            for each in await standing(call.tx, snapshot, number)
        ]  # fmt: skip
        if record is not None:
            await self._operations.scripts.sync(call.session)
            count, first = await bounded(call.session, self._blocking(record), alone=True)
            if count:
                text = f"{count} rows stand against a rollback of change {number}"
                detail = f"The old layout cannot show them as they are: {keys_told(count, first)}."
                found.insert(0, (text, detail))
        for text, detail in found or [(f"a rollback of change {number} would lose nothing", "")]:
            call.session.send_to_client(notice(call.session, "NOTICE", "00000", text, detail))
        return Outcome(await self._operations.scripts.read_snapshot(call.session), "CALL")

    async def _blocking(self, record: Record) -> tuple[int, Sequence[Discrepancy]]:
        """Again while the controller works on the same shadow in this moment."""
        layouts = self._operations.worker.changes.layouts
        for pause_s in PAUSES_S:
            try:
                return await layouts.blocking(record.work(), KEYS_TOLD)
            except SerializationFailure:
                await asyncio.sleep(pause_s)
        return await layouts.blocking(record.work(), KEYS_TOLD)

    async def _repair(self, call: _Call) -> Outcome:
        """Make the rows of a report's discrepancies from the live ones again."""
        record = self._comparable(call)
        if not call.given.report:
            raise InvalidParameterValue("morph.repair takes the number of a report")
        await self._leave_transaction(call)
        validator = self._operations.worker.changes.validator
        work = validator.repair(record.work(), call.given.report)
        changed = await bounded(call.session, work, alone=True)
        text = f"{changed} rows were made again"
        call.session.send_to_client(notice(call.session, "NOTICE", "00000", text))
        return Outcome(await self._operations.scripts.read_snapshot(call.session), "CALL")

    def _comparable(self, call: _Call) -> Record:
        record = call.record()
        if record.phase not in _COMPARABLE:
            raise requests.refused(
                record, "validated", "What is ready, promoted or rolled back has two layouts."
            )
        return record


def _pointer_only(record: Record) -> bool:
    """A change whose version is current without its layout: promoted lazily, or its shadow given
    up after that. Its rollback moves the pointer.
    """
    return record.phase not in (
        Phase.FENCED, Phase.PROMOTED, Phase.RB_FENCED, Phase.CONTRACTING, Phase.COMPLETED,
    )  # fmt: skip
