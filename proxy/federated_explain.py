"""EXPLAIN of statements over foreign tables: what each store does, what is left, and why.

PostgreSQL explains the residual statement over the staged relations; without ANALYZE no row is
fetched, and they are empty. A statement that a store answers alone has no plan of PostgreSQL.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from catalog.sqltext import quote_ident
from core.errors import FeatureNotSupported
from engine.direct import Direct, direct_of
from engine.explain import (
    Explanation,
    Names,
    ScanUse,
    explained,
    read_options,
    scan_use,
    store_plan,
    without_explain,
)
from engine.federate import FederatedPlan
from engine.merge import ask_of, columns_of, unnest_text
from engine.plans import Plan
from engine.scan_copy import ScanColumns
from proxy.explain import take_up
from proxy.piles import Limits, Pile
from proxy.prepared import Portal
from proxy.protocol.server import command_complete, data_row
from proxy.relay import EXECUTE, Entry
from proxy.residual import Bound, read_bound
from proxy.staging import PlannedScan, StagedRows, rows_of
from proxy.store_waits import bounded
from rewrite.analysis import StatementPlan

if TYPE_CHECKING:
    from proxy.federation import Federation
    from proxy.operations import Operations
    from proxy.session import Session


class FederatedExplain:
    """EXPLAIN over foreign tables, of one worker."""

    def __init__(self, operations: Operations, federation: Federation) -> None:
        self._worker = operations.worker
        self._scripts = operations.scripts
        self._federation = federation

    async def run(
        self,
        session: Session,
        plan: Plan,
        statement: StatementPlan,
        explanation: Explanation,
        portal: Portal | None,
    ) -> None:
        """One EXPLAIN, in both protocols."""
        federation = self._federation
        await self._worker.instances.refresh()
        federated = federation.federated(session, plan, statement)
        analyze = read_options(statement.node).analyze
        if federated.target is not None and analyze:
            raise FeatureNotSupported("EXPLAIN ANALYZE of a write to a foreign table")
        bound = read_bound(portal)
        if portal is None:
            federation.residual.describe(session, plan, statement, bound)
        federated, values, bound = await federation.with_values(
            session, plan, statement, federated, bound
        )
        direct = direct_of(federated)
        if (
            direct is not None
            and federation.pushes(session)
            and not federation.waits(session, federated)
        ):
            planned = await self._direct(direct, values)
            if planned is not None:
                await self._answer(session, statement, explanation, planned, analyze)
                return
        await self._residual(
            session, plan, statement, explanation, federated, values, bound, analyze
        )

    async def _direct(self, direct: Direct, values: Mapping[int, str | None]) -> PlannedScan | None:
        table = direct.scan.placed.table
        backend = await self._worker.instances.backend(table.instance)
        ask = ask_of(direct.scan, values, push=True)
        planned = self._federation.staging.planned(direct.scan, backend, ask)
        return planned if direct.answers(planned.plan) else None

    async def _answer(
        self,
        session: Session,
        statement: StatementPlan,
        explanation: Explanation,
        planned: PlannedScan,
        analyze: bool,
    ) -> None:
        """The rows of an EXPLAIN of a statement that a store answers alone."""
        actual = await self._measured(session, planned) if analyze else ""
        options = read_options(statement.node)
        alias, server = planned.scan.alias, planned.backend.name
        facts = replace(explanation, tier=1, scans=(_use(planned),), native="")
        rows = store_plan(alias, server, options, actual)
        lines = explained(rows, facts, options, Names(()))
        codec = session.client.codec
        data = b"".join(data_row([line.encode(codec)]) for line in lines)
        session.relay.answer_locally(data + command_complete("EXPLAIN"))

    async def _measured(self, session: Session, planned: PlannedScan) -> str:
        staging = self._federation.staging
        scope = await staging.reading(session, planned.scan.placed.table, planned.backend)
        rows = 0

        async def count() -> None:
            nonlocal rows
            async for batch in rows_of(planned, scope):
                rows += batch.num_rows

        started = self._worker.clock()
        await bounded(session, count())
        spent = (self._worker.clock() - started) * 1000
        return f" (actual time=0.000..{spent:.3f} rows={rows} loops=1)"

    async def _residual(
        self,
        session: Session,
        plan: Plan,
        statement: StatementPlan,
        explanation: Explanation,
        federated: FederatedPlan,
        values: Mapping[int, str | None],
        bound: Bound,
        analyze: bool,
    ) -> None:
        federation = self._federation
        free = len(bound.values) + 1
        grouped = await federation.grouped(session, federated, values)
        if grouped is not None:
            groups, planned = grouped
            scans: Sequence[PlannedScan] = [planned]
        else:
            scans = await federation.staging.plan(
                session, federated, values, push=federation.pushes(session)
            )
        if analyze:
            staged = await federation.staging.stage(session, federated, scans, free)
        else:
            columns = [planned.columns] if grouped is not None else federated_columns(federated)
            staged = self._empty(columns, free)
        if federated.target is not None:
            # What is changed cannot be a subquery; nothing runs, so the shape's view will do.
            assert plan.analysis is not None
            text = native = plan.analysis.part(statement).text
            staged = StagedRows([], [], [])
        elif grouped is not None:
            text = groups.text(staged.relations[0])
            native = groups.text("scan1")
        else:
            text = federated.text(staged.relations)
            native = federated.text([f"scan{n + 1}" for n in range(len(federated.scans))])
        federation.residual.parse(session, text, bound.types, None)
        federation.residual.bind(session, bound.with_arrays(staged.arrays), "", None)
        entry = Entry(EXECUTE)
        facts = replace(
            explanation,
            tier=2,
            scans=tuple(map(_use, scans)),
            native=without_explain(native),
        )
        take_up(entry, session, statement, facts)
        federation.residual.execute(session, "", 0, entry)
        await self._scripts.wait_for(session, entry)
        await federation.staging.drop(session, staged.tables)

    def _empty(self, columns: Sequence[ScanColumns], free: int) -> StagedRows:
        limits = Limits.of(self._worker.settings.merge, read_only=True)
        staged = StagedRows([], [], [])
        for each in columns:
            staged.relations.append(unnest_text(each, free + len(staged.arrays)))
            staged.arrays += Pile(each, limits).arrays()
        return staged


def federated_columns(federated: FederatedPlan) -> list[ScanColumns]:
    """The columns of the staged relations."""
    return [columns_of(scan, "") for scan in federated.scans]


def _use(planned: PlannedScan) -> ScanUse:
    use = scan_use(planned.scan, planned.plan, str(planned.plan.native))
    keys = planned.keys
    if keys is None:
        return replace(use, rows=planned.rows)
    column = planned.scan.placed.table.column_by_id(keys.key.column_id)
    assert column is not None
    joined = f"{quote_ident(column.name)} = ANY (keys of {quote_ident(keys.name)})"
    return replace(use, rows=planned.rows, semi_join=joined)
