"""The merge tier: rows come out of the store and the statement runs over them.

All scans of a statement are one COPY TO in the session's own backend: one snapshot (engine/
scan_copy.py), the transaction's own changes included. The connection is then free for the way back:
few rows as binary arrays in parameters, many by COPY BINARY into temporary tables. In between they
wait encoded, at most `merge.memory_max` of them in memory and `merge.spill_max` on disk. Rows pass
as Arrow batches, or undecoded (engine/scan_relay.py) where the store's COPY BINARY fits as it is,
or, of one or two tables that are not large, as whole columns (engine/scan_arrays.py).
A client whose encoding is not UTF8 stays in tier 1.

It serves `SET morph.pushdown = off` (nothing goes into the scans) and `= scan` (what the exactness
table proves goes into them); cursors, COPY (query) and writes stay in tier 1. Row descriptions are
always tier 1's, so a client cannot tell the tiers apart.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from itertools import count
from typing import TYPE_CHECKING

from backends.embedded.backend import EmbeddedBackend
from backends.embedded.sizes import fits_text
from catalog.model import Table
from core.errors import MorphError
from engine.explain import Explanation, scan_use, without_explain
from engine.merge import MergePlan, ask_of, columns_of, plan_merge, unnest_text
from engine.plans import Plan, remember
from engine.scan_arrays import (
    SCANS_MAX,
    SETTING,
    FetchedArrays,
    ScanArrays,
    arrays_text,
    read_arrays,
)
from engine.scan_copy import ScanColumns, ScanReader, copy_text
from engine.scan_relay import TOKEN_BYTES, RelayLayout, RelaySplitter, relay_layout
from proxy import simple
from proxy.explain import take_up
from proxy.internal_errors import reported
from proxy.piles import Limits, Pile
from proxy.prepared import Portal
from proxy.protocol.execute import execute_name
from proxy.protocol.framing import message
from proxy.protocol.message_types import ClientType
from proxy.relay import EXECUTE, BackendError, Entry
from proxy.relayed import RelayedPile
from proxy.residual import Bound, Residual, read_bound
from proxy.session_store import SessionStore
from proxy.temporary_tables import load_pile, temporary
from rewrite.analysis import StatementPlan
from rewrite.namespaces import Namespaces
from rewrite.tree import ast

if TYPE_CHECKING:
    from proxy.operations import Operations
    from proxy.session import Session

PLANS_MAX = 256
INNER = "_morph_merge_"
ARRAYS_SHARE = 2
"""Tables go as arrays up to this part of `merge.memory_max`: the store holds their rows, too."""
FITS_FOR_S = 1.0
"""What was found of the size of tables holds so long."""
SET_JOINS = f"SELECT pg_catalog.set_config('{SETTING}', '{{}}', true)"


@dataclass(slots=True)
class Staged:
    """The staged scans: `tables` has the temporary table of each large one. `hashes`: the planner
    must be kept from sorting for a join.
    """

    columns: list[ScanColumns]
    piles: Sequence[Pile | RelayedPile | ScanArrays]
    tables: dict[int, str]
    layout: RelayLayout | None = None
    hashes: bool = False

    def relation(self, number: int) -> str:
        """The table of a large scan as the statement reads it."""
        table = self.tables[number]
        return table if self.layout is None else self.layout.relation_text(table, number)


class Merging:
    """The merge operation of one worker."""

    def __init__(self, operations: Operations) -> None:
        self._operations = operations
        self._scripts = operations.scripts
        self._settings = operations.worker.settings.merge
        instance = operations.worker.settings.instances[0]
        self._instance = (instance.name, instance.kind)
        self._backend = EmbeddedBackend(instance.name)
        self._plans: OrderedDict[tuple[int, str], tuple[Namespaces, MergePlan]] = OrderedDict()
        self._fitting: dict[tuple[str, ...], tuple[bool, float]] = {}
        self._numbers = count(1)
        self._statement = Residual(operations.scripts)

    async def run(
        self,
        session: Session,
        plan: Plan,
        statement: StatementPlan,
        *,
        portal: Portal | None = None,
        execute: bytes = b"",
    ) -> None:
        """One SELECT."""
        merge = self._merge_plan(session, plan, statement)
        if merge.refusal or not self._in_utf8(session):
            await self._relay(session, plan, statement, portal, execute)
            return
        if portal is None:
            self._statement.describe(session, plan, statement, Bound())
        bound = read_bound(portal)
        merge, values = await self._with_parameters(session, plan, statement, merge, bound)
        staged = await self._stage(session, merge, values)
        await self._answer(session, merge, staged, bound, portal, execute)

    # ------------------------------------------------------------------ plan

    def _in_utf8(self, session: Session) -> bool:
        """Text comes back in the client's encoding, and not every text has a form in another."""
        return session.client.codec == "utf-8"

    def _merge_plan(self, session: Session, plan: Plan, statement: StatementPlan) -> MergePlan:
        namespaces = session.plans.namespaces
        key = (statement.start, plan.text)
        known = self._plans.get(key)
        if known is not None and known[0] is namespaces:
            return known[1]
        assert plan.analysis is not None
        merge = plan_merge(plan.analysis, statement, namespaces, {})
        remember(self._plans, key, (namespaces, merge), PLANS_MAX)
        return merge

    async def _with_parameters(
        self,
        session: Session,
        plan: Plan,
        statement: StatementPlan,
        merge: MergePlan,
        bound: Bound,
    ) -> tuple[MergePlan, Mapping[int, str | None]]:
        """The plan that knows the types of $n, and their values as text."""
        if not (session.push_scans and merge.uses_parameters and bound.values):
            return merge, {}
        assert plan.analysis is not None
        text = plan.analysis.part(statement).text
        types = await self._statement.types(session, text, bound.types)
        values = await self._statement.values(session, types, bound)
        return plan_merge(plan.analysis, statement, session.plans.namespaces, types.names), values

    # ------------------------------------------------------------------ tier 1

    async def _relay(
        self,
        session: Session,
        plan: Plan,
        statement: StatementPlan,
        portal: Portal | None,
        execute: bytes,
    ) -> None:
        if portal is None:
            entry = simple.run_statement(session, plan, statement)
            await self._scripts.wait_for(session, entry)
        else:
            session.send(message(ClientType.EXECUTE, execute), Entry(EXECUTE, plan))
            session.flush_backend()

    # ------------------------------------------------------------------ scans

    async def _stage(
        self, session: Session, merge: MergePlan, values: Mapping[int, str | None]
    ) -> Staged:
        columns = []
        for scan in merge.scans:
            ask = ask_of(scan, values, push=session.push_scans)
            plan = self._backend.plan_scan(scan.placed.table, ask)
            columns.append(columns_of(scan, str(plan.native)))
        store = SessionStore(self._scripts, session, self._settings.batch_bytes)
        if self._relayable(columns):
            if session.push_scans and 0 < len(columns) <= SCANS_MAX:
                staged = await self._stage_arrays(store, merge, columns)
                if staged is not None:
                    return staged
            layout = relay_layout(columns, secrets.token_bytes(TOKEN_BYTES))
            staged = await self._stage_relayed(store, layout)
            if staged is not None:
                return staged
        return await self._stage_decoded(store, columns)

    def _relayable(self, columns: Iterable[ScanColumns]) -> bool:
        """Whether rows can go back undecoded; arrays cannot be elements of arrays."""
        arrays = any(sql.endswith("[]") for each in columns for sql in each.types)
        return self._backend.capabilities.relays_copy_binary and not arrays

    async def _stage_arrays(
        self, store: SessionStore, merge: MergePlan, columns: list[ScanColumns]
    ) -> Staged | None:
        """None when the tables are too large for it."""
        bytes_max = self._settings.memory_max
        tables = [scan.placed.table for scan in merge.scans]
        chunks: list[bytes] = []
        size = 0

        def take(data: bytes) -> None:
            nonlocal size
            size += len(data)
            chunks.append(data)
            if size > bytes_max:
                chunks.clear()

        if not await self._fits(store, tables, bytes_max // ARRAYS_SHARE):
            return None
        await self._copy_out(store, arrays_text(columns), take, framed=False)
        if size > bytes_max:
            return None
        fetched = read_arrays(b"".join(chunks), columns)
        return Staged(columns, fetched.scans, {}, hashes=self._hashes(fetched))

    async def _fits(self, store: SessionStore, tables: Sequence[Table], bytes_max: int) -> bool:
        """Whether the tables are small enough to be held; asked once in FITS_FOR_S."""
        key = tuple(sorted(table.store for table in tables))
        now = asyncio.get_running_loop().time()
        known, until = self._fitting.get(key, (False, 0.0))
        if now < until:
            return known
        if len(self._fitting) >= PLANS_MAX:
            self._fitting.clear()
        fits = await store.fetch(f"SELECT {fits_text(tables, bytes_max)}") == [("t",)]
        self._fitting[key] = (fits, now + FITS_FOR_S)
        return fits

    def _hashes(self, fetched: FetchedArrays) -> bool:
        rows = max(each.rows for each in fetched.scans)
        joined = len(fetched.scans) > 1 and rows > self._settings.small_rows_max
        return joined and fetched.joins_by_merge

    async def _stage_relayed(self, store: SessionStore, layout: RelayLayout) -> Staged | None:
        """None in a read-only transaction when there are many rows: no table can be made."""
        limits = Limits.of(self._settings, read_only=False)
        small = self._settings.batch_bytes
        piles = [RelayedPile(layout, n, limits, small) for n in range(len(layout.scans))]
        splitter = RelaySplitter(layout)

        def take(data: bytes) -> None:
            for number, part in splitter.feed(data):
                piles[number].add(part)

        await self._copy_out(store, layout.copy_text(), take, framed=True)
        for number, part in splitter.finish():
            piles[number].add(part)
        for pile in piles:
            pile.complete()
        staged = Staged(list(layout.scans), piles, {}, layout)
        large = [pile for pile in piles if pile.large]
        if large and await store.fetch("SHOW transaction_read_only") == [("on",)]:
            return None
        for pile in large:
            name = self._table()
            quoted = temporary(name)
            await store.fetch(layout.create_text(name))
            copy = f"COPY {quoted} FROM STDIN (FORMAT binary)"
            await store.copy_frames(copy, pile.frames(), cut=True)
            for text in layout.analyze_texts(quoted, pile.number):
                await store.fetch(text)
            staged.tables[pile.number] = quoted
        return staged

    async def _copy_out(
        self, store: SessionStore, text: str, take: Callable[[bytes], None], *, framed: bool
    ) -> None:
        try:
            async with aclosing(store.copy_out(text, framed=framed)) as chunks:
                async for chunk in chunks:
                    take(chunk)
        except BackendError:
            raise
        except MorphError as error:
            if store.broken:
                raise reported(error) from error
            raise

    async def _stage_decoded(self, store: SessionStore, columns: list[ScanColumns]) -> Staged:
        """By Arrow batches."""
        async with store.carrier_forms() as read_only:
            limits = Limits.of(self._settings, read_only=read_only)
            piles = [Pile(each, limits) for each in columns]
            reader = ScanReader(columns, self._settings.batch_bytes)

            def take(data: bytes) -> None:
                for number, batch in reader.feed(data):
                    piles[number].add(batch)

            await self._copy_out(store, copy_text(columns), take, framed=False)
            for number, batch in reader.finish():
                piles[number].add(batch)
        staged = Staged(columns, piles, {})
        for number, pile in enumerate(piles):
            if pile.large:
                staged.tables[number] = await load_pile(store, self._table(), pile)
        return staged

    def _table(self) -> str:
        """A new name for a temporary table."""
        return f"_morph_m{next(self._numbers)}"

    # ------------------------------------------------------------------ answer

    def _residual(self, merge: MergePlan, staged: Staged, bound: Bound) -> tuple[str, Bound]:
        """The text over what was staged, and the parameters with the arrays behind."""
        arrays: list[bytes] = []
        relations: dict[int, str] = {}
        for number, pile in enumerate(staged.piles):
            if number in staged.tables:
                relations[number] = staged.relation(number)
                continue
            first = len(bound.values) + len(arrays) + 1
            relations[number] = unnest_text(staged.columns[number], first)
            arrays += pile.arrays()
        if staged.tables:
            text = merge.text(relations.__getitem__)
        else:
            text = merge.small_text(tuple(relations.values()))
        return text, bound.with_arrays(arrays)

    async def _answer(
        self,
        session: Session,
        merge: MergePlan,
        staged: Staged,
        bound: Bound,
        portal: Portal | None,
        execute: bytes,
    ) -> None:
        text, bound = self._residual(merge, staged, bound)
        await self._joins_by_merge(session, staged, "off")
        limit = execute_name(execute)[1] if portal is not None else 0
        inner = f"{INNER}{next(self._numbers)}" if portal is not None and limit else ""
        self._statement.parse(session, text, bound.types, None)
        self._statement.bind(session, bound, inner, None)
        entry = Entry(EXECUTE)
        self._statement.execute(session, inner, limit, entry)
        if portal is not None and inner:
            portal.inner = inner  # its tables are dropped at commit
            session.flush_backend()
        else:
            await self._scripts.wait_for(session, entry)
        await self._joins_by_merge(session, staged, "on")
        if inner:
            return
        if staged.tables:
            await self._scripts.fetch(session, f"DROP TABLE {', '.join(staged.tables.values())}")

    async def _joins_by_merge(self, session: Session, staged: Staged, value: str) -> None:
        """Around the statement; an error ends the transaction, and the setting with it."""
        if staged.hashes:
            await self._scripts.fetch(session, SET_JOINS.format(value))

    # ------------------------------------------------------------------ EXPLAIN

    async def explain(
        self,
        session: Session,
        plan: Plan,
        statement: StatementPlan,
        explanation: Explanation,
        analyze: bool,
        portal: Portal | None,
    ) -> bool:
        """EXPLAIN of a SELECT in this tier; False when tier 1 answers it."""
        merge = self._merge_plan(session, plan, statement)
        inner = statement.node.query
        if merge.refusal or not isinstance(inner, ast.SelectStmt) or not self._in_utf8(session):
            return False
        if portal is None:
            self._statement.describe(session, plan, statement, Bound())
        bound = read_bound(portal)
        merge, values = await self._with_parameters(session, plan, statement, merge, bound)
        if analyze:
            staged = await self._stage(session, merge, values)
        else:
            columns = [columns_of(scan, "") for scan in merge.scans]
            limits = Limits.of(self._settings, read_only=True)
            staged = Staged(columns, [Pile(each, limits) for each in columns], {})
        text, bound = self._residual(merge, staged, bound)
        uses = []
        for scan in merge.scans:
            scanned = self._backend.plan_scan(
                scan.placed.table, ask_of(scan, values, push=session.push_scans)
            )
            uses.append(scan_use(scan, scanned, str(scanned.native)))
        await self._joins_by_merge(session, staged, "off")
        self._statement.parse(session, text, bound.types, None)
        self._statement.bind(session, bound, "", None)
        entry = Entry(EXECUTE)
        native = without_explain(merge.text(lambda n: f"scan{n + 1}"))
        take_up(
            entry,
            session,
            statement,
            replace(explanation, tier=2, scans=tuple(uses), native=native),
        )
        self._statement.execute(session, "", 0, entry)
        await self._scripts.wait_for(session, entry)
        await self._joins_by_merge(session, staged, "on")
        if staged.tables:
            await self._scripts.fetch(session, f"DROP TABLE {', '.join(staged.tables.values())}")
        return True
