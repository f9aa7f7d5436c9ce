"""The extended query protocol: Parse, Bind, Describe, Execute, Close.

Names are the client's own; a statement that the attached backend does not know (it was prepared on
another one, or the catalog moved on) is prepared again before it is used.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from core.errors import (
    CachedPlanChanged,
    DuplicatePreparedStatement,
    ProgramLimitExceeded,
    SyntaxErrorAt,
)
from proxy.direct_answers import next_part
from proxy.prepared import Portal, Prepared
from proxy.protocol.bind import bind_names
from proxy.protocol.body import encode_string
from proxy.protocol.describe_close import target_name
from proxy.protocol.descriptions import FieldDescription
from proxy.protocol.execute import execute_name, rename_execute
from proxy.protocol.framing import message
from proxy.protocol.message_types import ClientType
from proxy.protocol.parse import Parse
from proxy.protocol.reports import encode_error
from proxy.relay import BIND, CLOSE, DESCRIBE, EXECUTE, PARSE, BackendError, Entry
from proxy.simple import _RUNTIME_VIEWS, describe_original, ends_transaction, runs_prepared
from rewrite.analysis import Action
from rewrite.context import NeedsWidth
from rewrite.scope import is_foreign

if TYPE_CHECKING:
    from engine.plans import Plan
    from proxy.session import Session

_SCRIPTED = frozenset({Action.DDL, Action.CALL, Action.COPY_IN, Action.MAINTAIN})


def parse(session: Session, body: bytes) -> None:
    """P: plan the text and prepare what it became."""
    request = Parse.decode(body, session.client.codec)
    session.worker.check_length(request.sql)
    try:
        plan = session.plan(request.sql)
    except NeedsWidth:
        session.start_script(session.worker.scripts.parse_with_width(session, body))
        return
    prepare(session, request, plan, body)


def prepare(session: Session, request: Parse, plan: Plan, body: bytes) -> None:
    """Keep a planned statement and prepare it in the backend."""
    types = body[-(2 + 4 * len(request.parameter_oids)) :]
    if len(plan.statements) > 1:
        raise SyntaxErrorAt("cannot insert multiple commands into a prepared statement")
    if request.statement and request.statement in session.statements:
        raise DuplicatePreparedStatement(f'prepared statement "{request.statement}" already exists')
    limit = session.worker.settings.server.max_prepared_statements
    if request.statement and len(session.statements) - ("" in session.statements) >= limit:
        raise ProgramLimitExceeded(
            f"the session has {limit} prepared statements already",
            hint="Close some, or raise server.max_prepared_statements.",
        )
    prepared = Prepared(
        request.statement, request.sql, types, plan, session.snapshot.epoch, session.search_path
    )
    session.statements[request.statement] = prepared
    send_parse(session, prepared, swallow=False)


def send_parse(session: Session, prepared: Prepared, *, swallow: bool) -> None:
    """Prepare a statement in the attached backend."""
    plan = prepared.plan
    single = plan.single
    text = plan.wire_text
    if single is not None:
        if single.describe_first:
            describe_original(session, plan, single)
        if single.action in _SCRIPTED:
            text = ""
    backend = session.relay.backend
    assert backend is not None
    codec = session.client.codec
    data = encode_string(prepared.name, codec) + encode_string(text, codec) + prepared.types
    entry = Entry(PARSE, plan, swallow)
    entry.undo = lambda: _forget(session, prepared)
    session.send(message(ClientType.PARSE, data), entry)
    backend.statements.add(prepared.name)


def _forget(session: Session, prepared: Prepared) -> None:
    if session.statements.get(prepared.name) is prepared:
        del session.statements[prepared.name]
    if session.relay.backend is not None:
        session.relay.backend.statements.discard(prepared.name)


def _known(session: Session, name: str) -> Prepared | None:
    """The statement, present in the backend and planned for the epoch of now."""
    prepared = session.statements.get(name)
    backend = session.relay.backend
    if prepared is None or backend is None:
        return prepared
    if prepared.epoch != session.snapshot.epoch:
        raise CachedPlanChanged("cached plan must not change result type")
    if name not in backend.statements:
        send_parse(session, prepared, swallow=True)
    return prepared


def _replanning(session: Session, name: str, kind: int, body: bytes) -> bool:
    """The catalog moved on since the statement was planned. It is planned anew if its names mean
    something else now, and only if its row description stays (EVOLUTION 6); what that takes is a
    script, after which the message is looked at again.
    """
    prepared = session.statements.get(name)
    if prepared is None or session.relay.backend is None or prepared.refused:
        return False
    if prepared.epoch == session.snapshot.epoch:
        return False
    plan = session.plan(prepared.text) if prepared.plan.touches_store else prepared.plan
    if plan.wire_text == prepared.plan.wire_text:
        prepared.plan = plan  # its version may be superseded now
        prepared.epoch = session.snapshot.epoch
        return False
    session.start_script(_replan(session, prepared, plan), before=(kind, body))
    return True


async def _replan(session: Session, prepared: Prepared, plan: Plan) -> None:
    """The parameters keep the types that they had: the client encodes them so, in binary too."""
    scripts = session.worker.scripts
    try:
        old = await scripts.describe(session, prepared.plan, prepared.types)
        oids = old.parameter_oids
        types = struct.pack(f"!h{len(oids)}I", len(oids), *oids)
        new = await scripts.describe(session, plan, types)
    except BackendError as error:
        session.send_to_client(session.translate_error(encode_error(error.fields), plan))
        return
    if [_shown(f) for f in old.fields] != [_shown(f) for f in new.fields]:
        prepared.refused = True
        return
    prepared.plan, prepared.epoch, prepared.types = plan, session.snapshot.epoch, types
    backend = session.relay.backend
    if backend is not None:
        if prepared.name:
            close = message(ClientType.CLOSE, b"S" + encode_string(prepared.name))
            session.send(close, Entry(CLOSE, swallow=True))
        backend.statements.discard(prepared.name)


def _shown(column: FieldDescription) -> tuple[str, int, int]:
    return column.name, column.type_oid, column.typmod


def bind(session: Session, body: bytes) -> None:
    """B: relayed raw."""
    portal_name, statement_name, _ = bind_names(body)
    if _replanning(session, statement_name, ClientType.BIND, body):
        return
    limit = session.worker.settings.server.max_portals
    if portal_name not in session.portals and len(session.portals) >= limit:
        raise ProgramLimitExceeded(
            f"the session has {limit} portals already",
            hint="Close some, or raise server.max_portals.",
        )
    prepared = _known(session, statement_name)
    plan = None
    if prepared is not None:
        plan = prepared.plan
        portal = Portal(portal_name, prepared)
        if not plan.relay_only or session.worker.shadowed:
            portal.bind = body
        session.portals[portal_name] = portal
    else:
        session.portals.pop(portal_name, None)
    session.send(message(ClientType.BIND, body), Entry(BIND, plan))


def describe(session: Session, body: bytes) -> None:
    """D: relayed; the row description is patched on its way back."""
    target, name = target_name(body, "DESCRIBE")
    if target == "S":
        if _replanning(session, name, ClientType.DESCRIBE, body):
            return
        prepared = _known(session, name)
    else:
        portal = session.portals.get(name)
        prepared = portal.prepared if portal else None
    plan = prepared.plan if prepared else None
    session.send(message(ClientType.DESCRIBE, body), Entry(DESCRIBE, plan))


def execute(session: Session, body: bytes) -> None:
    """E: relayed, or a script for what a relay cannot do."""
    name, limit = execute_name(body)
    portal = session.portals.get(name)
    if portal is None:
        session.send(message(ClientType.EXECUTE, body), Entry(EXECUTE))
        return
    plan = portal.prepared.plan
    if portal.inner:
        session.send(rename_execute(portal.inner, limit), Entry(EXECUTE, plan))
        return
    if portal.rest is not None:
        # The backend's own portal knows whether it is still there, and the transaction alive.
        session.send(message(ClientType.DESCRIBE, b"P" + body[:-4]), Entry(DESCRIBE, None, True))
        session.relay.answer_locally(next_part(session, portal, limit))
        return
    session.note(plan)
    if (session.works_in_stores and ends_transaction(plan)) or (
        session.foreign_prepared and runs_prepared(session, plan)
    ):
        session.start_script(session.worker.scripts.execute(session, portal, body))
        return
    if not plan.relay_only:
        notices = session.notices_for(plan)
        if notices:
            session.relay.answer_locally(notices)
        single = plan.single
        if single is not None and single.action not in (Action.RELAY, Action.EXPLAIN):
            session.start_script(session.worker.scripts.execute(session, portal, body))
            return
    single = plan.single
    if single is not None and single.system_views & _RUNTIME_VIEWS:
        session.start_script(session.worker.scripts.execute(session, portal, body))
        return
    if single is not None and single.action is Action.EXPLAIN:
        if not session.pushdown or any(map(is_foreign, single.relations)):
            session.start_script(session.worker.scripts.execute(session, portal, body))
            return
        session.worker.scripts.operations.explainer.execute(session, plan, single, body)
        return
    if session.worker.shadowed and plan.touches_store and portal.bind and not limit:
        session.worker.inline.begin(session, plan, portal.prepared.types, portal.bind)
    session.send(message(ClientType.EXECUTE, body), Entry(EXECUTE, plan))


def close(session: Session, body: bytes) -> None:
    """C: forget the statement or portal, here and in the backend."""
    target, name = target_name(body, "CLOSE")
    backend = session.relay.backend
    if target == "S":
        session.statements.pop(name, None)
        if backend is not None:
            backend.statements.discard(name)
    else:
        portal = session.portals.pop(name, None)
        if portal is not None and portal.inner:
            inner = message(ClientType.CLOSE, b"P" + encode_string(portal.inner))
            session.send(inner, Entry(CLOSE, swallow=True))
    session.send(message(ClientType.CLOSE, body), Entry(CLOSE))
