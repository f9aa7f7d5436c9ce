"""EXPLAIN of statements over store tables, in both protocols.

PostgreSQL explains the rewritten statement; its rows are taken up on their way to the client, the
store's names in them replaced, and Morphgres's part put behind (engine/explain.py).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from engine.explain import Explanation, Names, Options, explain, explained, read_options
from engine.plans import Plan
from proxy import simple
from proxy.prepared import Portal
from proxy.protocol.body import encode_string
from proxy.protocol.execute import execute_name
from proxy.protocol.framing import message
from proxy.protocol.message_types import ClientType
from proxy.protocol.server import data_row
from proxy.relay import EXECUTE, Entry, Sink
from rewrite.analysis import StatementPlan, analyse
from rewrite.scope import is_foreign

if TYPE_CHECKING:
    from proxy.operations import Operations
    from proxy.session import Session

_ALL_ROWS = b"\0\0\0\0"


class Explain:
    """The EXPLAIN operation of one worker."""

    def __init__(self, operations: Operations) -> None:
        self._operations = operations
        instance = operations.worker.settings.instances[0]
        self.instance = (instance.name, instance.kind)

    async def run(
        self,
        session: Session,
        plan: Plan,
        statement: StatementPlan,
        *,
        portal: Portal | None = None,
        execute: bytes = b"",
    ) -> None:
        """EXPLAIN in the simple protocol, or by a script of the extended one."""
        explanation = self.explanation(session, plan, statement)
        if any(map(is_foreign, statement.relations)):
            federation = self._operations.federation
            await federation.explainer.run(session, plan, statement, explanation, portal)
            return
        if not session.pushdown:
            analyze = read_options(statement.node).analyze
            merging = self._operations.merging
            if await merging.explain(session, plan, statement, explanation, analyze, portal):
                return
        if portal is not None:
            self.execute(session, plan, statement, execute)
            session.flush_backend()
            return
        entry = simple.run_statement(session, plan, statement)
        take_up(entry, session, statement, explanation)
        await self._operations.scripts.wait_for(session, entry)

    def execute(self, session: Session, plan: Plan, statement: StatementPlan, body: bytes) -> None:
        """Execute of a portal: relayed, without a row limit (all rows are taken up first)."""
        explanation = self.explanation(session, plan, statement)
        entry = Entry(EXECUTE, plan)
        take_up(entry, session, statement, explanation)
        name, _ = execute_name(body)
        whole = encode_string(name, session.client.codec) + _ALL_ROWS
        session.send(message(ClientType.EXECUTE, whole), entry)

    def explanation(self, session: Session, plan: Plan, statement: StatementPlan) -> Explanation:
        """The facts about a statement that the store answers."""
        namespaces = session.plans.namespaces
        analysis = plan.analysis or analyse(plan.text, namespaces)
        kind_of = self._operations.federation.kind_of
        return explain(analysis, statement, namespaces, self.instance, kind_of)


def take_up(
    entry: Entry, session: Session, statement: StatementPlan, explanation: Explanation
) -> None:
    """Let the rows of an EXPLAIN go to the client with names put back and our part behind."""
    sink = Sink()
    sink.done.add_done_callback(_seen)
    names = Names(statement.relations)
    options: Options = read_options(statement.node)
    codec = session.client.codec

    def rewritten(rows: list[list[bytes | None]]) -> bytes:
        texts = [(row[0] or b"").decode(codec) for row in rows]
        lines = explained(texts, explanation, options, names)
        return b"".join(data_row([line.encode(codec)]) for line in lines)

    entry.sink = sink
    entry.rewrite_rows = rewritten


def _seen(done: asyncio.Future[Sink]) -> None:
    """The error went to the client by another way."""
    if not done.cancelled():
        done.exception()
