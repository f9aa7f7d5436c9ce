"""CALL morph.promote, rollback, hold, resume, discard and contract of changes that need data work.

Such a call waits until the controller, whichever worker that is in, has done it: it runs outside of
any transaction and holds nothing meanwhile. A cancel request, statement_timeout and the end of the
session take the wish back. Notices say which state the change has reached.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

import asyncpg

from core.errors import (
    ActiveTransaction,
    CrashShutdown,
    FeatureNotSupported,
    InvalidParameterValue,
    ObjectNotInPrerequisiteState,
    ReadOnlyTransaction,
    UndefinedFunction,
    UndefinedObject,
)
from engine.plans import Plan
from evolution.changes import events, requests
from evolution.changes.controller import FAULTS, ConnectionCatalog
from evolution.changes.driver import follows, read_snapshot
from evolution.changes.records import CHANGE_CHANNEL, Note, Record, load_record, load_records, move
from evolution.changes.requests import Wish
from evolution.changes.states import Phase, refusal, words
from evolution.lifecycle import line, promote
from evolution.request import Note as Notice
from evolution.request import Outcome
from evolution.transaction import Transaction
from proxy.protocol.reports import notice_response
from proxy.store_waits import bounded
from rewrite.analysis import StatementPlan
from rewrite.tree import Node, ast

if TYPE_CHECKING:
    from proxy.operations import Operations
    from proxy.session import Session

LOOK_S: Final = 1.0
WITHDRAW_S: Final = 10.0

Start = Callable[[Transaction, Record], Awaitable[None]]
Done = Callable[[Record], bool]
_ARGUMENTS: Final[dict[str, tuple[str, ...]]] = {
    "promote": ("change", "lazy"),
    "rollback": ("change", "accept"),
    "hold": ("change",),
    "resume": ("change",),
    "discard": ("change",),
    "contract": ("change",),
}
CHANGE_CALLS: Final = frozenset(_ARGUMENTS)


def read_arguments(node: Node, name: str) -> tuple[int, bool]:
    """(number of the change, the flag lazy or accept) of a CALL with constants."""
    names = _ARGUMENTS[name]
    values: dict[str, Any] = {}
    for number, argument in enumerate(node.funccall.args or ()):
        key = names[number] if number < len(names) else ""
        if isinstance(argument, ast.NamedArgExpr):
            key, argument = argument.name, argument.arg
        if key not in names or key in values:
            key = ""
        if not key:
            break
        while isinstance(argument, ast.TypeCast):
            argument = argument.arg
        value = getattr(argument, "val", None)
        if value is None:
            raise FeatureNotSupported(f"morph.{name} takes a constant")
        values[key] = getattr(value, "boolval" if key != "change" else "ival", None)
        if isinstance(value, ast.Integer) and values[key] is None and key == "change":
            values[key] = 0
        if isinstance(value, ast.Boolean) and key != "change":
            values[key] = bool(values[key])
        if values[key] is None:
            what = "the number of a version" if key == "change" else f"{key} as true or false"
            raise InvalidParameterValue(f"morph.{name} takes {what}")
    if len(values) != len(node.funccall.args or ()) or "change" not in values:
        known = "the number of a version" if len(names) == 1 else " and ".join(names)
        raise UndefinedFunction(f"morph.{name} takes {known}")
    return int(values["change"]), bool(values.get(names[-1])) if len(names) > 1 else False


class ChangeCalls:
    """The calls of one worker's sessions."""

    def __init__(self, operations: Operations) -> None:
        self._operations = operations

    async def call(
        self, session: Session, tx: Transaction, plan: Plan, statement: StatementPlan, name: str
    ) -> Outcome | None:
        """Run one; None when the rest is a matter of the catalog alone (promote and rollback of
        what has no data work).
        """
        number, flag = read_arguments(statement.node, name)
        records = await load_records(tx)
        known = next((r for r in records if r.change_id == number), None)
        if name in ("promote", "rollback"):
            if not any(not r.over or r.phase is not Phase.REJECTED for r in records):
                return None
        elif known is None:
            raise UndefinedObject(
                f"change {number} has no data work",
                hint="morph.progress shows the changes that have.",
            )
        if name == "hold" or (name == "resume" and known is not None):
            assert known is not None
            return await self._flag(session, tx, known, name)
        if name == "promote" and flag:
            return await self._promote_lazily(session, tx, number)
        snapshot = await self._operations.scripts.read_snapshot(session)
        if name == "promote":
            todo = requests.to_promote(snapshot, records, number) if _is(snapshot, number) else []
        elif name == "rollback":
            todo = await self._undone(session, tx, requests.to_roll_back(snapshot, records, number))
        else:
            assert known is not None
            todo = [known]
        if not todo:
            return None
        await self._leave_transaction(session, plan, name)
        accept = requests.ROLL_BACK_ACCEPTING if flag else requests.ROLL_BACK
        for record in todo:
            wanted = {"rollback": accept}.get(name, name)
            await self._wait(session, Wish(record.change_id, wanted))
        await self._operations.worker.reload()
        return await self._rest(session, name, number)

    async def _rest(self, session: Session, name: str, number: int) -> Outcome | None:
        """What is left to do after the layouts: None when the pointer is not there yet."""
        snapshot = await self._operations.scripts.read_snapshot(session)
        outcome = Outcome(snapshot, "CALL")
        if name == "promote":
            return outcome if snapshot.current == number else None
        if name == "rollback":
            return None if number in line(snapshot, snapshot.current) else outcome
        return outcome

    async def _leave_transaction(self, session: Session, plan: Plan, name: str) -> None:
        """The backend has no part in what follows."""
        scripts = self._operations.scripts
        if session.status != ord("I") or len(plan.statements) > 1:
            raise ActiveTransaction(
                f"CALL morph.{name} cannot run inside a transaction block",
                detail="The change needs data work, for which the call waits.",
                hint="COMMIT first; or SET morph.ddl_mode = direct before the DDL.",
            )
        setting = "SELECT pg_catalog.current_setting('transaction_read_only')"
        if (await scripts.fetch(session, setting)).rows()[0][0] == b"on":
            raise ReadOnlyTransaction(
                f"cannot execute CALL morph.{name} in a read-only transaction"
            )
        await scripts.sync(session)

    # ---------------------------------------------------------------- inside the transaction

    async def _flag(self, session: Session, tx: Transaction, known: Record, name: str) -> Outcome:
        """Hold and resume are part of the client's transaction."""
        record = await _locked(tx, known.change_id)
        actor = _actor(session)
        event: events.Event = events.Hold(f"held by {actor}")
        if name == "resume":
            failed = record.phase is Phase.FAILED_REVIEW
            event = events.Retry(actor) if failed else events.Resume()
        snapshot = session.snapshot
        if name == "resume" and not record.state.held and record.phase is not Phase.FAILED_REVIEW:
            note = Notice(f"change {record.change_id} is not held")
            return Outcome(snapshot, "CALL", (note,))
        if refusal(record.state, event):
            raise requests.refused(record, "held" if name == "hold" else "resumed")
        reason = f"held by {actor}" if name == "hold" else ""
        await move(tx, record, event, Note(actor, reason, attempts=record.attempts))
        return Outcome(snapshot, "CALL")

    async def _undone(
        self, session: Session, tx: Transaction, undone: list[Record]
    ) -> list[Record]:
        """Those whose layouts must be swapped back; of the others only the pointer moves."""
        for record in undone:
            if record.state.lazy:
                event = events.PromoteLazily(follows=True, on=False)
                await move(tx, await _locked(tx, record.change_id), event, Note(_actor(session)))
        return [r for r in undone if not _pointer_only(r)]

    async def _promote_lazily(self, session: Session, tx: Transaction, number: int) -> Outcome:
        """The pointer moves at once, the layout when it is ready."""
        await tx.apply(["LOCK TABLE morph_catalog.state IN EXCLUSIVE MODE"])
        snapshot = await self._operations.scripts.read_snapshot(session)
        records = await load_records(tx)
        record = next((r for r in records if r.change_id == number), None)
        if record is None:
            return Outcome(await promote(tx, snapshot, number), "CALL")
        event = events.PromoteLazily(follows(snapshot, records, record))
        why = refusal(record.state, event)
        if why:
            raise ObjectNotInPrerequisiteState(f"change {number} cannot be promoted: {why}")
        await move(tx, await _locked(tx, number), event, Note(_actor(session)))
        return Outcome(await promote(tx, snapshot, number), "CALL")

    # ---------------------------------------------------------------- outside of it

    async def _wait(self, session: Session, wish: Wish) -> None:
        actor = _actor(session)

        async def start(tx: Transaction, record: Record) -> None:
            if wish.wanted == requests.DISCARD:
                await _discard(tx, record, actor)
            else:
                requests.check(record, wish.wanted)
                await tx.apply(requests.wish_statements(wish))

        await bounded(session, self._fulfil(session, wish, start), alone=True)

    async def _fulfil(self, session: Session, wish: Wish, start: Start) -> None:
        worker = self._operations.worker
        try:
            connection = await worker.changes.connect()
            try:
                await self._look_until(session, connection, wish, start)
            finally:
                connection.terminate()
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError) as error:
            raise CrashShutdown("the private PostgreSQL is not there") from error

    async def _look_until(
        self, session: Session, connection: asyncpg.Connection, wish: Wish, start: Start
    ) -> None:
        news = asyncio.Event()
        catalog = ConnectionCatalog(connection)
        await connection.add_listener(CHANGE_CHANNEL, lambda *_: news.set())
        async with catalog.transaction() as tx:
            record = await _locked(tx, wish.change_id)
            await start(tx, record)
        shown = record.phase
        try:
            while True:
                async with catalog.transaction() as tx:
                    record = await load_record(tx, wish.change_id)
                if requests.fulfilled(record, wish):
                    return
                if record.phase is not shown:
                    shown = record.phase
                    text = f"change {wish.change_id} is {words(shown)}"
                    session.send_to_client(notice_response("NOTICE", "00000", text))
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_S):
                        await news.wait()
                news.clear()
        except asyncio.CancelledError:
            await asyncio.shield(_withdraw(catalog, wish))
            raise


async def _withdraw(catalog: ConnectionCatalog, wish: Wish) -> None:
    if wish.wanted == requests.DISCARD:
        return
    with contextlib.suppress(*FAULTS):
        async with asyncio.timeout(WITHDRAW_S), catalog.transaction() as tx:
            await tx.apply([requests.withdraw_statement(wish)])


async def _locked(tx: Transaction, number: int) -> Record:
    """The record, which nobody else moves until the transaction ends."""
    await tx.apply([f"SELECT FROM morph_catalog.shadows WHERE change_id = {number} FOR UPDATE"])
    return await load_record(tx, number)


async def _discard(tx: Transaction, record: Record, actor: str) -> None:
    if record.phase is Phase.DISCARDED:
        return
    requests.check(record, requests.DISCARD)
    if (await read_snapshot(tx)).current == record.change_id:
        number = record.change_id
        raise requests.refused(
            record,
            "discarded while its version is current",
            f"CALL morph.rollback({number}) first.",
        )
    await move(tx, record, events.Discard(actor), Note(actor, f"discarded by {actor}", wanted=""))


def _pointer_only(record: Record) -> bool:
    """A change whose version is current without its layout: promoted lazily, or its shadow given
    up after that. Its rollback moves the pointer.
    """
    return record.phase not in (
        Phase.FENCED, Phase.PROMOTED, Phase.RB_FENCED, Phase.CONTRACTING, Phase.COMPLETED,
    )  # fmt: skip


def _actor(session: Session) -> str:
    return str(session.client.startup.user)


def _is(snapshot: Any, number: int) -> bool:
    return number in snapshot.versions
