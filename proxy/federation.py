"""Statements over foreign tables: their rows are staged in the session's own backend, the client's
own statement runs over them there, and what it changed is written to the store.

So PostgreSQL answers all of them, with its own types, messages and rows; the stores take what the
exactness table proves (engine/federate.py).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from core.errors import FeatureNotSupported, InternalError
from engine.direct import direct_of
from engine.federate import PARTITIONED, FederatedPlan, plan_federated
from engine.grouped import GroupedPlan, grouped_of
from engine.plans import Plan, remember
from proxy.direct_answers import DirectAnswers
from proxy.federated_explain import FederatedExplain
from proxy.foreign_prepared import ForeignStatements
from proxy.foreign_writes import ForeignWrites
from proxy.logged_writes import Hold, release_unkept, written_tables
from proxy.prepared import Portal
from proxy.protocol.execute import execute_name
from proxy.protocol.server import command_complete
from proxy.relay import EXECUTE, Entry
from proxy.residual import Bound, Parameters, Residual, read_bound
from proxy.staging import PlannedScan, StagedRows, Staging
from proxy.store_transactions import StoreTransactions
from proxy.table_logs import LayoutMoved
from rewrite.analysis import StatementPlan
from rewrite.namespaces import Namespaces
from rewrite.tree import ast

if TYPE_CHECKING:
    from proxy.operations import Operations
    from proxy.session import Session

PLANS_MAX = 256
REPLANS_MAX = 3
INNER = "_morph_federated_"


class Federation:
    """The operation of one worker."""

    def __init__(self, operations: Operations) -> None:
        self._operations = operations
        self._scripts = operations.scripts
        self._worker = operations.worker
        self.residual = Residual(operations.scripts)
        self.transactions = StoreTransactions(operations)
        self.staging = Staging(operations, self.transactions)
        self.direct = DirectAnswers(operations, self.staging)
        self.explainer = FederatedExplain(operations, self)
        self.prepared = ForeignStatements(operations, self)
        self.writes = ForeignWrites(operations, self.staging, self.residual, self.transactions)
        self._plans: OrderedDict[tuple[int, str], tuple[Namespaces, FederatedPlan]] = OrderedDict()
        self._typed: OrderedDict[
            tuple[int, str, bytes], tuple[Namespaces, Parameters, FederatedPlan]
        ] = OrderedDict()
        self._inner = 0

    async def run(
        self,
        session: Session,
        plan: Plan,
        statement: StatementPlan,
        *,
        portal: Portal | None = None,
        execute: bytes = b"",
    ) -> None:
        """One statement over foreign tables."""
        if session.client.codec != "utf-8":
            raise FeatureNotSupported(
                "foreign tables need client_encoding UTF8", hint="SET client_encoding = 'UTF8'."
            )
        await self._worker.instances.refresh()
        if isinstance(statement.node, ast.PrepareStmt):
            await self.prepared.prepare(session, plan, statement, portal, execute)
            return
        bound = read_bound(portal)
        await self.run_bound(session, plan, statement, bound, portal=portal, execute=execute)

    async def run_bound(
        self,
        session: Session,
        plan: Plan,
        statement: StatementPlan,
        bound: Bound,
        *,
        portal: Portal | None = None,
        execute: bytes = b"",
    ) -> None:
        """One statement with its parameters."""
        federated = self.federated(session, plan, statement)
        holds: Sequence[Hold] = ()
        if federated.target is not None:
            plan, statement, holds = await self._held(session, plan, statement)
            federated = self.federated(session, plan, statement)
        try:
            await self._run_bound(
                session, plan, statement, federated, bound, holds, portal=portal, execute=execute
            )
        finally:
            release_unkept(session, holds)

    async def _held(
        self, session: Session, plan: Plan, statement: StatementPlan
    ) -> tuple[Plan, StatementPlan, Sequence[Hold]]:
        """Keep the tables that the statement writes, which is planned again when a cut-over of one
        of them came first.
        """
        for _ in range(REPLANS_MAX):
            try:
                tables = written_tables(statement)
                return plan, statement, await self.transactions.logged.hold(session, tables)
            except LayoutMoved:
                if session.works_in_stores or session.own_snapshot is not None:
                    raise
                at = plan.statements.index(statement)
                await self._worker.table_logs.refresh()
                plan = session.plan_anew(plan.text)
                statement = plan.statements[at]
        tables = written_tables(statement)
        return plan, statement, await self.transactions.logged.hold(session, tables)

    async def _run_bound(
        self,
        session: Session,
        plan: Plan,
        statement: StatementPlan,
        federated: FederatedPlan,
        bound: Bound,
        holds: Sequence[Hold],
        *,
        portal: Portal | None = None,
        execute: bytes = b"",
    ) -> None:
        if portal is None and federated.takes_parameters:
            self.residual.describe(session, plan, statement, bound)
        federated, values, bound = await self.with_values(
            session, plan, statement, federated, bound
        )
        if federated.target is not None:
            push = self.pushes(session)
            alone = portal is not None or plan.single is not None
            sink = await self.writes.run(
                session, federated, bound, values, push=push, alone=alone, holds=holds
            )
            session.send_to_client(sink.raw + command_complete(sink.tag))
            return
        if self._worker.shadowed:
            self._compared(session, plan, federated, portal, execute)
        if await self._answered_directly(
            session, statement, federated, bound, values, portal, execute
        ):
            return
        free = len(bound.values) + 1
        grouped = await self.grouped(session, federated, values)
        if grouped is not None:
            groups, planned = grouped
            staged = await self.staging.stage(session, federated, [planned], free)
            text = groups.text(staged.relations[0])
        else:
            scans = await self.staging.plan(session, federated, values, push=self.pushes(session))
            staged = await self.staging.stage(session, federated, scans, free)
            text = federated.text(staged.relations)
        await self._answer(session, federated, text, staged, bound, portal, execute)

    def _compared(
        self,
        session: Session,
        plan: Plan,
        federated: FederatedPlan,
        portal: Portal | None,
        execute: bytes,
    ) -> None:
        """The answer may be compared with that of another layout."""
        inline = self._worker.inline
        if portal is None:
            if not federated.uses_parameters:
                inline.begin_scanned(session, plan)
        elif portal.bind and not execute_name(execute)[1]:
            inline.begin_scanned(session, plan, portal.prepared.types, portal.bind)

    async def copy_in(
        self, session: Session, plan: Plan, statement: StatementPlan, portal: Portal | None
    ) -> None:
        """COPY FROM STDIN into a foreign table."""
        await self._worker.instances.refresh()
        alone = portal is not None or plan.single is not None
        plan, statement, holds = await self._held(session, plan, statement)
        try:
            tag = await self.writes.copy_in(session, plan, statement, alone=alone, holds=holds)
        finally:
            release_unkept(session, holds)
        session.send_to_client(command_complete(tag))

    async def _answered_directly(
        self,
        session: Session,
        statement: StatementPlan,
        federated: FederatedPlan,
        bound: Bound,
        values: Mapping[int, str | None],
        portal: Portal | None,
        execute: bytes,
    ) -> bool:
        """Whether the store alone answered."""
        direct = direct_of(federated)
        if direct is None or not self.pushes(session) or self.waits(session, federated):
            return False
        limit = execute_name(execute)[1] if execute else 0
        fields = await self.direct.run(session, direct, bound, values, portal, limit)
        if fields is None:
            return False
        if portal is not None:
            prepared = portal.prepared
            known = self._typed.get(_typed_key(prepared.plan, statement, prepared.types))
            parameters = known[1] if known is not None else None
            alone = self._operations.alone
            alone.learn(session, prepared, statement, direct, parameters, fields)
        return True

    async def grouped(
        self, session: Session, federated: FederatedPlan, values: Mapping[int, str | None]
    ) -> tuple[GroupedPlan, PlannedScan] | None:
        """The statement over groups that the store computes, if it does."""
        groups = grouped_of(federated) if self.pushes(session) else None
        if groups is None or self.waits(session, federated):
            return None
        table = groups.scan.placed.table
        backend = await self._worker.instances.backend(table.instance)
        planned = self.staging.planned(groups.scan, backend, groups.ask(values))
        if not planned.plan.grouped:
            return None
        return groups, replace(planned, columns=groups.columns(planned.plan.types))

    # ------------------------------------------------------------------ plan

    def pushes(self, session: Session) -> bool:
        """Whether stores may take parts of the session's statements."""
        return session.pushdown or session.push_scans

    def waits(self, session: Session, federated: FederatedPlan) -> bool:
        """Whether the transaction wrote to a table what its store does not know yet."""
        return session.works_in_stores and self.transactions.any_waiting(
            session, (part.scan.placed.table for parts in federated.parts for part in parts)
        )

    def kind_of(self, instance: str) -> str:
        """The kind of an instance that the catalog knows; a partitioned table is in none."""
        if not instance:
            return PARTITIONED
        kind = self._worker.instances.kind_of(instance)
        if kind is None:
            raise InternalError(f'server "{instance}" of a foreign table is not known')
        return str(kind)

    def federated(self, session: Session, plan: Plan, statement: StatementPlan) -> FederatedPlan:
        """The plan of a statement, without the types of its parameters. Remembered."""
        namespaces = session.plans.namespaces
        key = (statement.start, plan.text)
        known = self._plans.get(key)
        if known is not None and known[0] is namespaces:
            return known[1]
        assert plan.analysis is not None
        made = plan_federated(plan.analysis, statement, namespaces, {}, self.kind_of)
        remember(self._plans, key, (namespaces, made), PLANS_MAX)
        return made

    async def with_values(
        self,
        session: Session,
        plan: Plan,
        statement: StatementPlan,
        federated: FederatedPlan,
        bound: Bound,
    ) -> tuple[FederatedPlan, Mapping[int, str | None], Bound]:
        """The plan that knows the types of $n, and their values as text."""
        if not (federated.uses_parameters and bound.values):
            return federated, {}, bound
        namespaces = session.plans.namespaces
        key = _typed_key(plan, statement, bound.types)
        known = self._typed.get(key)
        if known is None or known[0] is not namespaces:
            assert plan.analysis is not None
            text = plan.analysis.part(statement).text
            types = await self.residual.types(session, text, bound.types)
            made = plan_federated(plan.analysis, statement, namespaces, types.names, self.kind_of)
            known = (namespaces, types, made)
            remember(self._typed, key, known, PLANS_MAX)
        _, types, made = known
        values = await self.residual.values(session, types, bound)
        return made, values, replace(bound, types=types.raw)

    # ------------------------------------------------------------------ answer

    async def _answer(
        self,
        session: Session,
        federated: FederatedPlan,
        text: str,
        staged: StagedRows,
        bound: Bound,
        portal: Portal | None,
        execute: bytes,
    ) -> None:
        limit = execute_name(execute)[1] if portal is not None else 0
        inner = ""
        if portal is not None and limit:
            self._inner += 1
            inner = f"{INNER}{self._inner}"
        self.residual.parse(session, text, bound.types, None)
        self.residual.bind(session, bound.with_arrays(staged.arrays), inner, None)
        entry = Entry(EXECUTE)
        self.residual.execute(session, inner, limit, entry)
        if portal is not None and inner:
            portal.inner = inner  # its tables are dropped at commit
            session.flush_backend()
            return
        await self._scripts.wait_for(session, entry)
        if not isinstance(federated.context.statement, ast.DeclareCursorStmt):
            await self.staging.drop(session, staged.tables)


def _typed_key(plan: Plan, statement: StatementPlan, types: bytes) -> tuple[int, str, bytes]:
    """What a plan that knows its parameters' types is remembered by."""
    return statement.start, plan.text, types
