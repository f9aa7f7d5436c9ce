"""Transactions that keep their first snapshot, while a cut-over may come (decision 0009).

PostgreSQL gives a statement its snapshot before it waits for its tables. In READ COMMITTED it gets
another behind the wait; above that the first one stays, and where the wait was the fence of a
cut-over, that is older than what the cut-over brought into the new layout. LOCK TABLE waits without
a snapshot (PostgreSQL 18, "LOCK"). So in such a transaction the views of a statement are locked
first. What was not read before goes on with a snapshot from behind the fence; who had one already,
in which a table lies elsewhere, gets 40001.

Only while a table has two layouts (`Worker.moving`), and only where the level is not known to be
READ COMMITTED: that is asked once, and again when something was run that may have changed it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from catalog.model import CatalogSnapshot, Table, Version
from catalog.sqltext import quote_ident, view_schema
from core.errors import MorphError, SerializationFailure
from proxy.protocol.bind import bind_names
from proxy.protocol.message_types import ClientType
from proxy.protocol.parse import Parse
from proxy.protocol.query import Query
from proxy.protocol.reports import encode_error
from proxy.relay import BackendError, Sink
from rewrite.analysis import StatementPlan
from rewrite.context import NeedsWidth

if TYPE_CHECKING:
    from engine.plans import Plan
    from proxy.session import Session
    from rewrite.tree import Node

READ_COMMITTED: Final = b"read committed"
_IDLE: Final = ord("I")
_SETTINGS: Final = ("transaction_isolation", "default_transaction_isolation")
_CHANGES_LEVEL: Final = ("TRANSACTION", "SESSION CHARACTERISTICS", *_SETTINGS, "")
_READS: Final = frozenset(
    {
        "Copy", "CreateTableAs", "DeclareCursor", "Delete", "Explain", "Insert", "Merge", "Prepare",
        "Select", "Update",
    }
)  # fmt: skip
_EPOCH: Final = "SELECT epoch FROM morph_catalog.state"
_OWN_EPOCH: Final = "SELECT epoch FROM morph_catalog.snapshot() LIMIT 1"


class Isolation:
    """What is known of a session's isolation level. `plain`: READ COMMITTED, now and by default.
    `level` is that of the open transaction, b"" while it is unknown; `held` are the tables whose
    views it has locked.
    """

    __slots__ = ("_touched", "held", "level", "plain")

    def __init__(self) -> None:
        self.plain = False
        self.level = b""
        self.held: set[int] = set()
        self._touched = False

    def forget(self) -> None:
        """It may be another one by now."""
        self.plain = False
        self.level = b""
        self._touched = True

    def note_setting(self, name: str) -> None:
        """A setting is set or reset; "" stands for all."""
        if name.split(" AS ", maxsplit=1)[0] in _CHANGES_LEVEL:
            self.forget()

    def note_transaction(self, node: Node) -> None:
        """A statement about transactions is on its way to the private PostgreSQL."""
        self.ended()
        if node.kind.name.removeprefix("TRANS_STMT_") in ("BEGIN", "START"):
            self._touched = False
            if any(each.defname == _SETTINGS[0] for each in node.options or ()):
                self.forget()

    def ended(self) -> None:
        """The transaction, or a part of it, is over; its locks with it."""
        self.level = b""
        self.held.clear()

    def learn(self, level: bytes, default: bytes, *, alone: bool) -> None:
        """What the backend says; `alone`: outside of a block, so that no ROLLBACK undoes it."""
        self.level = level
        self.plain = level == default == READ_COMMITTED and (alone or not self._touched)


def gate(session: Session, kind: int, body: bytes) -> bool:
    """Whether something must be done before this message of the client; then it is on its way."""
    if session.isolation.plain or session.failed:
        return False
    plan = _plan_of(session, kind, body)
    if plan is None or not plan.touches_store:
        return False
    if len(plan.statements) > 1 and any(s.kind == "Transaction" for s in plan.statements):
        return False  # they are run one by one, each through `before_statement`
    views = _views(session, plan.statements)
    if not views:
        return False
    session.start_script(_before_message(session, kind, views), before=(kind, body))
    return True


async def before_statement(session: Session, statement: StatementPlan) -> None:
    """The same before a statement of a script. Raises BackendError, SerializationFailure (40001)
    and CrashShutdown (57P02).
    """
    if statement.kind == "Transaction":
        session.isolation.ended()
    elif not session.isolation.plain and not session.failed:
        views = _views(session, [statement])
        if views:
            await _hold(session, views)


def _plan_of(session: Session, kind: int, body: bytes) -> Plan | None:
    """The plan that a message is about; None where it has none, or does not get so far."""
    codec = session.client.codec
    try:
        if kind == ClientType.QUERY:
            return session.plan(Query.decode(body, codec).sql)
        if kind == ClientType.PARSE:
            return session.plan(Parse.decode(body, codec).sql)
        if kind == ClientType.BIND:
            prepared = session.statements.get(bind_names(body)[1])
            if prepared is None or prepared.epoch == session.snapshot.epoch:
                return prepared.plan if prepared is not None else None
            return session.plan(prepared.text)
    except (MorphError, NeedsWidth):
        pass  # it is reported where the message is handled
    return None


def _views(session: Session, statements: Sequence[StatementPlan]) -> dict[int, tuple[str, str]]:
    """(name, view) of each table that has two layouts and is not held, by the table's id."""
    isolation, moving = session.isolation, session.worker.moving
    if isolation.level == READ_COMMITTED:
        return {}
    found: dict[int, tuple[str, str]] = {}
    for statement in statements:
        for ref in statement.relations if statement.kind in _READS else ():
            version, table = ref.resolved.version, ref.resolved.table
            stored = _stored(version, table)
            if stored in moving and stored not in isolation.held:
                view = f"{quote_ident(view_schema(version.number))}.{quote_ident(table.name)}"
                found[stored] = table.name, view
    return found


def _stored(version: Version, table: Table) -> int:
    """The id of the table that has the rows: arrays are in those of their parents."""
    parent = version.table_by_id(table.parent_id) if table.parent_id else None
    return _stored(version, parent) if parent is not None else table.id


async def _before_message(session: Session, kind: int, views: dict[int, tuple[str, str]]) -> None:
    try:
        await _hold(session, views)
        return
    except BackendError as error:
        if not error.answered:
            report = encode_error(error.fields)
            session.send_to_client(session.translate_error(report, None))
    except MorphError as error:
        await session.worker.scripts.poison(session, error)
    if kind == ClientType.QUERY:
        session.end_query(first=True)


async def _hold(session: Session, views: dict[int, tuple[str, str]]) -> None:
    scripts, isolation = session.worker.scripts, session.isolation
    alone = session.status == _IDLE
    outside = alone and session.relay.in_step
    if not isolation.level:
        # SHOW takes no snapshot, and makes LOCK TABLE one that is not the first of its batch.
        sinks = [Sink() for _ in _SETTINGS]
        for sink, name in zip(sinks, _SETTINGS, strict=True):
            scripts.queue(session, f"SHOW {name}", (), sink)
        [level], [default] = [(await scripts.complete(session, s)).rows()[0] for s in sinks]
        isolation.learn(level or b"", default or b"", alone=alone)
        if level == READ_COMMITTED:
            if outside:
                await scripts.sync(session)
            return
    names = ", ".join(view for _, view in views.values())
    await scripts.fetch(session, f"LOCK TABLE {names} IN ACCESS SHARE MODE")
    isolation.held.update(views)
    await _require_same_layouts(session, {number: name for number, (name, _) in views.items()})


async def _require_same_layouts(session: Session, names: dict[int, str]) -> None:
    """SerializationFailure (40001) when the transaction's snapshot is from before a cut-over of
    tables that are locked. Reading the session's catalog takes the snapshot if there is none.
    """
    worker, scripts = session.worker, session.worker.scripts
    epoch = int(await worker.ask_admin(_EPOCH))
    own = await scripts.fetch(session, _OWN_EPOCH)
    if int(own.rows()[0][0] or 0) >= epoch:
        return
    if worker.snapshot.epoch < epoch:
        await worker.reload()
    then, now = await scripts.read_snapshot(session), worker.snapshot
    for number, name in names.items():
        before = _layout(then, number)
        if before and before != _layout(now, number):
            raise SerializationFailure(
                f'could not serialize access due to a cut-over of table "{name}" to another layout',
                hint="The transaction might succeed if retried.",
            )


def _layout(snapshot: CatalogSnapshot, table_id: int) -> str:
    """The name of the layout that serves a table, the same in all versions; "" where it is not."""
    shown = (version.table_by_id(table_id) for version in snapshot.versions.values())
    return next((table.store for table in shown if table is not None), "")
