"""PREPARE and EXECUTE in SQL of statements over foreign tables.

PostgreSQL gets the PREPARE as it is, over the version views: it checks the statement, knows its
parameters and shows it in pg_prepared_statements. There it could only fail, so an EXECUTE runs the
kept text with the values of its arguments instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from core.errors import SyntaxErrorAt
from engine.plans import Plan
from proxy import simple
from proxy.prepared import Portal
from proxy.protocol.framing import message
from proxy.protocol.message_types import ClientType
from proxy.relay import EXECUTE, Entry
from proxy.residual import Bound
from rewrite.analysis import StatementPlan
from rewrite.tree import Tokens

if TYPE_CHECKING:
    from proxy.federation import Federation
    from proxy.operations import Operations
    from proxy.session import Session


@dataclass(frozen=True, slots=True)
class ForeignPrepared:
    """A prepared statement over foreign tables: its own text."""

    text: str


class ForeignStatements:
    """PREPARE and EXECUTE over foreign tables, of one worker."""

    def __init__(self, operations: Operations, federation: Federation) -> None:
        self._scripts = operations.scripts
        self._federation = federation

    async def prepare(
        self,
        session: Session,
        plan: Plan,
        statement: StatementPlan,
        portal: Portal | None,
        execute: bytes,
    ) -> None:
        """PREPARE: relayed, and kept."""
        assert plan.analysis is not None
        if portal is None:
            entry = simple.run_statement(session, plan, statement)
        else:
            entry = Entry(EXECUTE, plan)
            session.send(message(ClientType.EXECUTE, execute), entry)
        await self._scripts.wait_for(session, entry)
        text = plan.analysis.text
        tokens = Tokens(text)
        first = tokens.index_at(statement.start)
        at = tokens.find_top(first, frozenset({"AS"}), statement.end)
        inner = text[tokens.items[at].end : statement.end]
        session.foreign_prepared[statement.node.name] = ForeignPrepared(inner)

    async def execute(self, session: Session, plan: Plan, statement: StatementPlan) -> None:
        """EXECUTE of a kept statement."""
        node = statement.node
        kept = session.foreign_prepared[node.name]
        inner = session.plan(kept.text)
        single = inner.single
        assert single is not None
        assert inner.analysis is not None
        residual = self._federation.residual
        types = await residual.types(session, inner.analysis.part(single).text, b"\0\0")
        bound = Bound(types.raw)
        given = len(node.params or ())
        if given != len(types.oids):
            raise SyntaxErrorAt(
                f'wrong number of parameters for prepared statement "{node.name}"',
                detail=f"Expected {len(types.oids)} parameters but got {given}.",
            )
        if given:
            values = await self._values(session, plan, statement, types.names)
            bound = Bound(types.raw, values, (0,) * given)
        await self._federation.run_bound(session, inner, single, bound)

    async def _values(
        self, session: Session, plan: Plan, statement: StatementPlan, types: Mapping[int, str]
    ) -> tuple[bytes | None, ...]:
        """The arguments as PostgreSQL reads them, in text form."""
        assert plan.analysis is not None
        text = plan.analysis.text
        tokens = Tokens(text)
        opening = tokens.index_at(statement.start) + 2  # EXECUTE name (
        items, _ = tokens.list_items(opening + 1, frozenset())
        listed = ", ".join(
            f"(({text[start:end]})::{types.get(n, 'text')})::pg_catalog.text"
            for n, (start, end) in enumerate(items, 1)
        )
        [row] = (await self._scripts.fetch(session, f"SELECT {listed}")).rows()
        return tuple(row)
