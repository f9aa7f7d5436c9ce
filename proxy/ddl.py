"""DDL and CALL morph.* of a session: run by the control plane inside the session's transaction."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from catalog.model import CatalogSnapshot
from core.errors import (
    InvalidParameterValue,
    MorphError,
    QueryCanceled,
    SerializationFailure,
    UndefinedFunction,
    UndefinedTable,
)
from engine.plans import Plan
from evolution.changes.in_flight import beside_changes
from evolution.ddl import LOCK_CATALOG, run_ddl
from evolution.foreign_look import Look, look, needs_look
from evolution.lifecycle import promote, roll_back
from evolution.operators.calls import ARGUMENTS
from evolution.placement import dematerialize, materialize
from evolution.request import DdlRequest, Outcome
from evolution.servers import add_instance, drop_instance
from evolution.transaction import Row, Transaction
from proxy.change_arguments import Arguments, read_arguments
from proxy.change_calls import CHANGE_CALLS, ChangeCalls
from proxy.internal_errors import restate
from proxy.notices import notice
from proxy.prepared import Portal
from proxy.protocol.server import command_complete
from proxy.relay import BackendError
from rewrite.analysis import StatementPlan
from rewrite.tree import Node, ast

if TYPE_CHECKING:
    from proxy.operations import Operations
    from proxy.session import Session

_STORE_WORD = re.compile(r'"([ck]\d+|[ik]\d+_[^"]+)"')
_Pointer = Callable[
    [Transaction, CatalogSnapshot, Arguments, list[MorphError]], Awaitable[CatalogSnapshot]
]


async def _promote(
    tx: Transaction, snapshot: CatalogSnapshot, given: Arguments, _: list[MorphError]
) -> CatalogSnapshot:
    return await promote(tx, snapshot, given.change)


async def _roll_back(
    tx: Transaction, snapshot: CatalogSnapshot, given: Arguments, told: list[MorphError]
) -> CatalogSnapshot:
    return await roll_back(tx, snapshot, given.change, accept=given.accept, told=told)


_CALLS: dict[str, _Pointer] = {"promote": _promote, "rollback": _roll_back}
_MOVES = {"materialize": materialize, "dematerialize": dematerialize}
_Instances = Callable[[DdlRequest, Mapping[str, str]], Awaitable[Outcome]]
_INSTANCES: dict[str, tuple[_Instances, tuple[str, ...], int]] = {
    "add_instance": (add_instance, ("name", "kind", "options"), 2),
    "drop_instance": (drop_instance, ("name",), 1),
}
"""Procedure → what runs it, its arguments, and how many of them must be given."""


class SessionTransaction:
    """evolution.transaction.Transaction inside a session's own transaction."""

    def __init__(self, operations: Operations, session: Session) -> None:
        self._operations = operations
        self._session = session

    async def apply(self, statements: Sequence[str]) -> None:
        """See Transaction."""
        await self._operations.apply(self._session, list(statements))

    async def fetch(self, sql: str) -> list[Row]:
        """See Transaction."""
        # Not as it is: the client's search_path and pg_temp could give its names other meanings.
        sink = await self._operations.scripts.fetch(
            self._session, "SELECT morph_catalog.query($1)", [sql]
        )
        lines = [json.loads(row[0] or b"[]", object_pairs_hook=list) for row in sink.rows()]
        return [tuple(None if v is None else str(v) for _, v in line) for line in lines]


class Ddl:
    """The DDL operations of one worker."""

    def __init__(self, operations: Operations) -> None:
        self._operations = operations
        self._changes = ChangeCalls(operations)

    async def _begin(self, session: Session) -> tuple[SessionTransaction, CatalogSnapshot]:
        tx = SessionTransaction(self._operations, session)
        await tx.apply([LOCK_CATALOG])
        snapshot = await self._operations.scripts.read_snapshot(session)
        begun = session.snapshot.current if session.status != ord("I") else 0
        if begun not in (0, snapshot.current):
            raise SerializationFailure(
                "could not serialize access due to a concurrent promotion",
                detail=f"This transaction began when version {begun} was current; now version "
                f"{snapshot.current} is.",
                hint="The transaction might succeed if retried.",
            )
        return tx, snapshot

    async def _pending(self, session: Session, tx: SessionTransaction) -> int:
        """The version that this transaction made and did not roll back to a savepoint: its row is
        visible and not committed.
        """
        number = session.pending_version
        if number:
            status = (
                "SELECT pg_xact_status(xmin::text::xid8) FROM morph_catalog.versions "
                f"WHERE version = {number}"
            )
            await tx.apply([f"SELECT set_config('morph.pending', coalesce(({status}), ''), true)"])
            if await tx.fetch("SELECT current_setting('morph.pending')") != [("in progress",)]:
                session.pending_version = number = 0
        return number

    async def run(
        self,
        session: Session,
        plan: Plan,
        statement: StatementPlan,
        *,
        portal: Portal | None = None,
        execute: bytes = b"",
    ) -> None:
        """One DDL statement."""
        look = await self._look(session, statement.node)
        request = await self._request(session, plan, statement, look)
        snapshot = request.snapshot
        try:
            outcome = await run_ddl(request)
        except BackendError as error:
            raise _client_error(session, error, plan, request) from error
        if outcome.snapshot.head not in (snapshot.head, 0):
            session.pending_version = outcome.snapshot.head
        session.own_snapshot = outcome.snapshot
        session.forget_plans()
        if outcome.fill:
            outcome = replace(outcome, tag=await self._fill(session, outcome))
        self._finish(session, outcome)

    async def _request(
        self, session: Session, plan: Plan, statement: StatementPlan, look: Look | None = None
    ) -> DdlRequest:
        """The statement for the control plane, with the catalog locked."""
        tx, snapshot = await self._begin(session)
        return DdlRequest(
            tx=tx,
            snapshot=snapshot,
            namespaces=session.plans.namespaces,
            node=statement.node,
            text=plan.text,
            start=statement.start,
            end=statement.end,
            mode=session.ddl_mode,
            actor=session.client.startup.user,
            pending=await self._pending(session, tx),
            instances=self._operations.worker.instances,
            look=look,
        )

    async def _look(self, session: Session, node: Node) -> Look | None:
        """Ask the store that the statement is about, before the catalog is locked. A cancel of
        the session ends it.
        """
        if not needs_look(node):
            return None
        tx = SessionTransaction(self._operations, session)
        instances = self._operations.worker.instances
        work = asyncio.ensure_future(look(tx, instances, node, session.plans.namespaces))
        session.on_cancel = work.cancel
        try:
            await asyncio.wait([work])
        finally:
            session.on_cancel = None
            work.cancel()
        if work.cancelled():
            raise QueryCanceled("canceling statement due to user request")
        return work.result()

    async def _fill(self, session: Session, outcome: Outcome) -> str:
        """Run the query of CREATE TABLE AS in the new catalog; its tag with the row count."""
        plan = session.plan(outcome.fill)
        sink = await self._operations.scripts.fetch(session, plan.wire_text)
        return f"{outcome.tag} {sink.tag.rsplit(' ', 1)[-1]}"

    async def call(
        self,
        session: Session,
        plan: Plan,
        statement: StatementPlan,
        *,
        portal: Portal | None = None,
        execute: bytes = b"",
    ) -> None:
        """CALL morph.<procedure>: of changes (proxy/change_calls.py), materialize(table, column),
        dematerialize(…), add_instance(name, kind, options), drop_instance(name).
        """
        name = statement.node.funccall.funcname[-1].sval
        if name in ARGUMENTS:
            await self.run(session, plan, statement)
            return
        if name in _MOVES:
            await self._move(session, statement.node, name)
            return
        if name in _INSTANCES:
            arguments = _text_arguments(statement.node, name)
            request = await self._request(session, plan, statement)
            self._finish(session, await _INSTANCES[name][0](request, arguments))
            return
        if name not in CHANGE_CALLS:
            raise UndefinedFunction(
                f"procedure morph.{name} does not exist",
                hint=f"There are {', '.join(_procedures())}.",
            )
        begun = SessionTransaction(self._operations, session)
        done = await self._changes.call(session, begun, plan, statement, name)
        if done is not None:
            self._finish(session, done)
            return
        tx, snapshot = await self._begin(session)
        given, told = read_arguments(statement.node, name), list[MorphError]()

        async def moved(each: Transaction) -> CatalogSnapshot:
            return await _CALLS[name](each, snapshot, given, told)

        try:
            fresh = await beside_changes(tx, moved)
        except BackendError as error:  # rows that were written after the look for them
            raise _own_names(restate(session, error, plan)) from error
        self._finish(session, Outcome(fresh, "CALL", tuple(told)))

    async def _move(self, session: Session, node: Node, name: str) -> None:
        arguments: Any = node.funccall.args or ()
        texts = [getattr(getattr(a, "val", None), "sval", None) for a in arguments]
        if len(texts) != 2 or None in texts:
            raise InvalidParameterValue(
                f"morph.{name} takes the name of a table and the name of a column, as texts"
            )
        tx, snapshot = await self._begin(session)
        found = session.plans.namespaces.resolve(None, str(texts[0]))
        if found is None:
            raise UndefinedTable(f'relation "{texts[0]}" does not exist')
        actor = session.client.startup.user
        move = _MOVES[name]
        table, column = found.table, str(texts[1])
        fresh = await beside_changes(tx, lambda each: move(each, snapshot, table, column, actor))
        self._finish(session, Outcome(fresh, "CALL"))

    def _finish(self, session: Session, outcome: Outcome) -> None:
        session.own_snapshot = outcome.snapshot
        session.forget_plans()
        notices = b"".join(
            notice(session, "NOTICE", n.sqlstate, n.primary, n.detail, n.hint)
            for n in outcome.notices
        )
        session.send_to_client(notices + command_complete(outcome.tag))


def _procedures() -> list[str]:
    return sorted([*CHANGE_CALLS, *ARGUMENTS, *_MOVES, *_INSTANCES])


def _text_arguments(node: Node, name: str) -> dict[str, str]:
    """The arguments of a procedure of instances by name: constants, casts of them left out."""
    _, names, required = _INSTANCES[name]
    values: dict[str, str] = {}
    for number, argument in enumerate(node.funccall.args or ()):
        key = names[number] if number < len(names) else ""
        if isinstance(argument, ast.NamedArgExpr):
            key, argument = argument.name, argument.arg
        while isinstance(argument, ast.TypeCast):
            argument = argument.arg
        text = getattr(getattr(argument, "val", None), "sval", None)
        if key not in names or key in values:
            raise UndefinedFunction(f"morph.{name} takes the arguments {', '.join(names)}")
        if text is None:
            raise InvalidParameterValue(f"morph.{name} takes {key} as a text that is written out")
        values[key] = text
    if any(key not in values for key in names[:required]):
        raise UndefinedFunction(f"morph.{name} takes the arguments {', '.join(names)}")
    return values


def _client_error(
    session: Session, error: BackendError, plan: Plan, request: DdlRequest
) -> BackendError:
    """The error of a statement that ran inside morph_catalog.apply, as if it ran outside."""
    fields = error.fields
    restated = restate(session, error, plan).fields
    source = request.rendered.get(fields.get("q", ""))
    if source is not None and "p" in fields:
        restated["P"] = str(source.source_offset(int(fields["p"]) - 1) + 1)
    for code in ("M", "D", "H"):
        if code in restated:
            text = restated[code].replace("morph_scratch.", "").replace("morph_store.", "")
            text = _STORE_WORD.sub(lambda m: _store_word(m, request), text)
            restated[code] = text
    if restated.get("s") in ("morph_scratch", "morph_store"):
        restated["s"] = "public"
    return BackendError(restated)


def _own_names(error: BackendError) -> BackendError:
    """Constraints of the store by the names that clients gave them."""
    fields = dict(error.fields)
    for code in fields.keys() & {"M", "D", "H"}:
        fields[code] = _STORE_WORD.sub(_given_name, fields[code])
    if "n" in fields:
        fields["n"] = _STORE_WORD.sub(_given_name, f'"{fields["n"]}"').strip('"')
    return BackendError(fields, answered=error.answered)


def _given_name(match: re.Match[str]) -> str:
    name = match[1].partition("_")[2]
    return f'"{name}"' if name else match[0]


def _store_word(match: re.Match[str], request: DdlRequest) -> str:
    """A name of the store that the transaction made, in the client's terms."""
    word = match[1]
    name = request.store_names.get(word) or word.partition("_")[2] or word
    return f'"{name}"' if word in request.store_names or "_" in word else match[0]
