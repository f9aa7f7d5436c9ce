"""The simple query protocol: one text, any number of statements, one implicit transaction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from core.errors import QueryProtocolError
from engine.plans import Plan
from proxy.name_lookup import moves_names_within
from proxy.protocol import requests
from proxy.protocol.body import decode_text
from proxy.protocol.framing import message
from proxy.protocol.message_types import ClientType
from proxy.relay import BIND, CLOSE, DESCRIBE, EXECUTE, PARSE, QUERY, SYNC, Entry
from rewrite.analysis import Action, Analysis, StatementPlan
from rewrite.context import NeedsWidth
from rewrite.edits import Edit, Rendered, render

if TYPE_CHECKING:
    from proxy.session import Session

DESCRIBE_NAME = b"_morph_describe"
_BIND_TEXT = message(ClientType.BIND, b"\0\0\0\0\0\0\0\0")
_CLOSE_DESCRIBE = message(ClientType.CLOSE, b"S" + DESCRIBE_NAME + b"\0")


def query(session: Session, body: bytes) -> None:
    """Q: plan the text, then relay it whole, statement by statement, or as a script."""
    if session.statements.pop("", None) is not None and session.relay.backend is not None:
        session.relay.backend.statements.discard("")
    if not body or body.find(0) != len(body) - 1:
        raise QueryProtocolError("invalid message format")
    text = decode_text(body[:-1], session.client.codec)
    session.worker.check_length(text)
    try:
        plan = session.plan(text)
    except NeedsWidth:
        session.start_script(session.worker.scripts.run_text(session, text))
        return
    if (
        (session.works_in_stores and ends_transaction(plan))
        or (session.foreign_prepared and runs_prepared(session, plan))
        or (len(plan.statements) > 1 and moves_names_within(plan.statements))
    ):
        session.start_script(session.worker.scripts.run_text(session, text))
    elif plan.relay_only:
        relay_text(session, plan)
    elif needs_script(session, plan):
        session.start_script(session.worker.scripts.run_text(session, text))
    else:
        session.note(plan)
        notices = session.notices_for(plan)
        if notices:
            session.relay.answer_locally(notices)
        if any(s.describe_first for s in plan.statements):
            for statement in plan.statements:
                run_statement(session, plan, statement)
            session.send(requests.SYNC, Entry(SYNC))
        else:
            _forward(session, plan)


def ends_transaction(plan: Plan) -> bool:
    """Whether the text has statements about transactions, which stores must hear of first."""
    return any(statement.kind == "Transaction" for statement in plan.statements)


def runs_prepared(session: Session, plan: Plan) -> bool:
    """Whether the text executes a statement over foreign tables that SQL prepared."""
    return any(runs_foreign(session, statement) for statement in plan.statements)


def runs_foreign(session: Session, statement: StatementPlan) -> bool:
    """The same of one statement."""
    return statement.kind == "Execute" and statement.node.name in session.foreign_prepared


def needs_script(session: Session, plan: Plan) -> bool:
    """True when some statement needs answers before the next can be sent."""
    return any(
        s.action not in (Action.RELAY, Action.EXPLAIN) or s.system_views & _RUNTIME_VIEWS
        for s in plan.statements
    ) or any(s.action is Action.EXPLAIN for s in plan.statements)


_RUNTIME_VIEWS = frozenset({"sessions", "statements"})


def relay_text(session: Session, plan: Plan) -> None:
    """Forward the whole text."""
    if not plan.inert and any(s.system_views & _RUNTIME_VIEWS for s in plan.statements):
        session.start_script(session.worker.scripts.run_text(session, plan.text))
        return
    session.note(plan)
    _forward(session, plan)


def _forward(session: Session, plan: Plan) -> None:
    data = plan.wire_text.encode(session.client.codec)
    if session.worker.shadowed and plan.touches_store:
        session.worker.inline.begin(session, plan)
    entry = Entry(QUERY, plan)
    entry.plain = True
    session.send(message(ClientType.QUERY, data + b"\0"), entry)


def describe_original(session: Session, plan: Plan, statement: StatementPlan) -> None:
    """Let PostgreSQL judge the client's own text against the shapes before the rewritten one."""
    text, start = plan.text[statement.start : statement.end], statement.start
    if statement.action is Action.EXPLAIN:
        skipped = _explain_length(text)
        text, start = text[skipped:], start + skipped
    rendered = _render_part(text, start, statement.described)
    data = DESCRIBE_NAME + b"\0" + rendered.text.encode(session.client.codec) + b"\0\0\0"
    analysis = Analysis(plan.text, rendered, statement.described, (statement,))
    described = Plan(plan.text, rendered.text, analysis, False, (statement,), True)
    session.send(message(ClientType.PARSE, data), Entry(PARSE, described, swallow=True))
    session.send(_CLOSE_DESCRIBE, Entry(CLOSE, swallow=True))


def _render_part(text: str, start: int, edits: Sequence[Edit]) -> Rendered:
    """The part of a text that begins at `start`, with the edits in it: without the rest, as a text
    may have thousands of statements. Positions are those of the whole text.
    """
    local = render(text, [edit.moved(-start) for edit in edits])
    pieces = tuple(
        (out, source + start, size, copied) for out, source, size, copied in local.pieces
    )
    return Rendered(local.text, pieces)


def _explain_length(text: str) -> int:
    """How much of the text stands before what is explained."""
    keywords = ("INSERT", "UPDATE", "DELETE", "MERGE", "WITH")
    upper = text.upper()
    return min((upper.find(k) for k in keywords if k in upper), default=0)


def run_statement(session: Session, plan: Plan, statement: StatementPlan) -> Entry:
    """One statement by extended messages, answered as the simple protocol answers."""
    if statement.describe_first:
        describe_original(session, plan, statement)
    assert plan.analysis is not None
    text = plan.analysis.part(statement).text.encode(session.client.codec)
    session.send(message(ClientType.PARSE, b"\0" + text + b"\0\0\0"), Entry(PARSE, plan, True))
    session.send(_BIND_TEXT, Entry(BIND, plan, True))
    describe = Entry(DESCRIBE, plan)
    describe.quiet_no_data = True
    session.send(requests.DESCRIBE_PORTAL, describe)
    execute = Entry(EXECUTE, plan)
    session.send(requests.EXECUTE_ALL, execute)
    return execute
