"""Runs statements on both layouts of a change whose tables lie in another store.

Two collections cannot be read as of one moment. So the rows of both are staged, as for any
statement over foreign tables (federation.py); those that were written while they were read are left
out of both; and the statement runs over what is left, in a backend of its own with the client's
rights. Rows of other tables are fetched once, for both layouts.

Both are shown in the form of the newer layout, the rows of the older one through the change's
expressions, as in evolution/layouts/foreign/sides.py: an answer of the newer layout is compared
with what it should be. Nothing but scans is asked of the store: no LIMIT, no groups, no order. Both
layouts' rows come in the order of their keys, so no answer differs because of that.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Final

import asyncpg
import pyarrow as pa
import pyarrow.compute as pc

from backends.base import Scope, StoreBackend
from catalog.model import CatalogSnapshot, Column, Native, Table
from catalog.readers import fill
from catalog.sqltext import quote_ident
from catalog.store import load_snapshot
from core.encoding.family import to_text_carrier
from core.encoding.parameters import parameter_text
from core.errors import FeatureNotSupported, OutOfMemory
from core.expr import column_ids, join_and, split_and
from core.types import PgType, find_type, type_by_name
from engine.federate import FederatedPlan, KindOf, names_doc, plan_federated
from engine.merge import ask_of, columns_of, staged_columns, unnest_text
from engine.scan_copy import ScanColumns
from engine.scans import Scan
from evolution.layouts.base import ShadowWork
from evolution.layouts.foreign.store import ForeignLayouts
from evolution.layouts.foreign.windows import BothForms, Window
from evolution.validation.inline import ResultSum
from evolution.validation.replay import Answer, Layout
from proxy.both_layouts import BothLayouts, Read
from proxy.piles import Limits, Pile
from proxy.protocol.bind import Bind
from proxy.protocol.body import write_int16s, write_values
from proxy.residual import Bound, Parameters
from proxy.session_store import CARRIER_FORMS
from proxy.staging import batches_of, counted
from rewrite.analysis import StatementPlan
from rewrite.namespaces import Namespaces
from rewrite.scope import RelationRef

_SEPARATOR: Final = "\0"
"""Between the parts of a key: no text of PostgreSQL has it."""
_DEAD: Final = Column(-1, "_morph_dead", "boolean", Native(()))
_FORMS: Final = {**CARRIER_FORMS, "TimeZone": "UTC"}
"""The settings under which the shadow was computed: an expression may depend on them."""
_HINT: Final = "Use full, checksum or sample for it."
Backends = Callable[[str], Awaitable[StoreBackend]]


def require_comparable(statement: StatementPlan, work: ShadowWork) -> None:
    """FeatureNotSupported (0A000) for what shows the rows of a change in a way that cannot be
    compared: whole documents, and partitions beside others.
    """
    ids = {table.table_id for table in work.tables}
    for ref in statement.relations:
        table = ref.resolved.table
        if table.id in ids and names_doc(statement.node, ref):
            raise FeatureNotSupported(
                f'whole documents of foreign table "{table.name}" are not compared',
                detail="They have fields that the table does not show.",
                hint=_HINT,
            )
        if _is_part(ref, ids):
            raise FeatureNotSupported(
                f'answers about "{table.name}" are not compared',
                detail="Only a part of its rows has two layouts.",
                hint=_HINT,
            )


def comparable(statement: StatementPlan, work: ShadowWork) -> bool:
    """Whether `require_comparable` says nothing."""
    try:
        require_comparable(statement, work)
    except FeatureNotSupported:
        return False
    return True


def _is_part(ref: RelationRef, ids: set[int]) -> bool:
    table = ref.resolved.table
    return any(part.table_id in ids for part in table.partitions) or table.parent_id in ids


@dataclass(slots=True)
class _Rows:
    """The rows of one reference: `keys` of the rows of each batch, where they can be in flight;
    `wrap` makes the columns of the statement's scan, which have these `types`, of what is staged.
    """

    columns: ScanColumns
    table_id: int = 0
    wrap: Mapping[str, str] | None = None
    types: Sequence[str] = ()
    batches: list[pa.RecordBatch] = field(default_factory=list)
    keys: list[pa.Array] = field(default_factory=list)

    def take(self, batch: pa.RecordBatch) -> None:
        """Rows of a table that the change has nothing to do with."""
        self.batches.append(batch if batch.num_columns else counted(batch))

    def settled(self, gone: Iterable[str]) -> _Rows:
        """The same in the order of their keys, without the rows that have one of these."""
        if not self.batches:
            return self
        keys = pa.concat_arrays([each.cast(pa.string()) for each in self.keys])
        order = pc.sort_indices(keys)
        stays = pc.invert(pc.is_in(keys, value_set=pa.array(list(gone), pa.string())))
        order = order.filter(stays.take(order))
        fields = [type_by_name(sql) for _, sql in staged_columns(self.columns)]
        columns = [self._column(n, field).take(order) for n, field in enumerate(fields)]
        batch = pa.RecordBatch.from_arrays(columns, [f"n{n}" for n in range(len(columns))])
        return replace(self, batches=[batch], keys=[])

    def _column(self, number: int, field: PgType) -> pa.Array:
        parts = [batch.column(number) for batch in self.batches]
        if len({str(part.type) for part in parts}) > 1:
            parts = [to_text_carrier(part, field) for part in parts]
        return pa.concat_arrays(parts)

    def relation(self, first: int) -> str:
        """The staged rows, as parameters from `first` on, as the statement reads them."""
        staged = unnest_text(self.columns, first)
        if self.wrap is None:
            return staged
        pairs = zip(self.wrap.items(), self.types, strict=True)
        items = ", ".join(f"({sql})::{t} AS {quote_ident(name)}" for (name, sql), t in pairs)
        return f"(SELECT {items or '1'} FROM {staged} AS _s)"


@dataclass(slots=True)
class _Staged:
    """A statement with the rows of its references, in both layouts."""

    federated: FederatedPlan
    bound: Bound
    live: list[_Rows]
    shadow: list[_Rows]


class StagedLayouts:
    """See LayoutReader. `layouts` is the backend that statements run in; `memory_max` bounds the
    rows of a statement.
    """

    def __init__(
        self,
        layouts: BothLayouts,
        foreign: ForeignLayouts,
        backends: Backends,
        kind_of: KindOf,
        memory_max: int,
    ) -> None:
        self.connect = layouts.connect
        self.layouts = layouts
        self.backends = backends
        self.kind_of = kind_of
        self.memory_max = memory_max
        self._foreign = foreign

    async def open(self) -> None:
        """See LayoutReader."""
        await self.layouts.open()

    def close(self) -> None:
        """See LayoutReader."""
        self.layouts.close()

    @asynccontextmanager
    async def reading(
        self, work: ShadowWork, uses: Mapping[int, Iterable[Table]], timeout_s: float
    ) -> AsyncIterator[StagedMoment]:
        """See LayoutReader."""
        del uses

        async def make(control: asyncpg.Connection) -> tuple[CatalogSnapshot, Sequence[str]]:
            return await load_snapshot(control), ()

        async with self.layouts.transaction(make, timeout_s) as snapshot:
            window = await self._foreign.window(work, snapshot)
            yield StagedMoment(self, work, window, timeout_s)


class StagedMoment:
    """See BothAnswers: each statement has a moment of its own, the same for all its layouts."""

    def __init__(
        self, staged: StagedLayouts, work: ShadowWork, window: Window, timeout_s: float
    ) -> None:
        self._own = staged
        self._work = work
        self._window = window
        self._timeout_s = timeout_s
        self._last: tuple[Read, _Staged | Answer] | None = None

    async def ask(self, layout: Layout, read: Read) -> Answer:
        """See BothAnswers. Rows that need too much memory are an error of the statement."""
        if self._last is None or self._last[0] != read:
            self._last = None
            try:
                self._last = read, await self._stage(read)
            except (OutOfMemory, FeatureNotSupported) as error:
                self._last = read, Answer((), ResultSum(), error.sqlstate, 0.0)
        staged = self._last[1]
        return staged if isinstance(staged, Answer) else await self._run(layout, read, staged)

    async def _run(self, layout: Layout, read: Read, staged: _Staged) -> Answer:
        rows = staged.shadow if layout == "shadow" else staged.live
        limits = Limits(1 << 62, self._own.memory_max, 0)
        free = len(staged.bound.values) + 1
        relations: list[str] = []
        arrays: list[bytes] = []
        for each in rows:
            pile = Pile(each.columns, limits)
            for batch in each.batches:
                pile.add(batch)
            relations.append(each.relation(free + len(arrays)))
            arrays += pile.arrays()
        bound = staged.bound.with_arrays(arrays)
        values = (
            write_int16s(bound.formats) + write_values(bound.values) + write_int16s(bound.results)
        )
        text = staged.federated.text(relations)
        asked = replace(read, types=bound.types, values=values)
        return await self._own.layouts.answer(asked, text, self._timeout_s, _FORMS)

    # ------------------------------------------------------------------ the plan

    async def _stage(self, read: Read) -> _Staged:
        """Both layouts' rows for a statement, without those that were written meanwhile."""
        snapshot = self._window.snapshot
        plan = read.plan(snapshot)
        statement = plan.single
        assert statement is not None
        assert plan.analysis is not None
        require_comparable(statement, self._work)
        bound = _bound(read)
        types = Parameters((), {})
        if bound.values:
            text = plan.analysis.part(statement).text
            types = _types(await self._own.layouts.parameters(read, text, self._timeout_s))
            bound = replace(bound, types=types.raw) if types.oids else bound
        values = _values(types, bound)
        federated = plan_federated(
            plan.analysis,
            statement,
            Namespaces(snapshot, read.path),
            types.names if values else {},
            self._own.kind_of,
        )
        live, shadow = await self._fetch(federated, values)
        return _Staged(federated, bound, live, shadow)

    # ------------------------------------------------------------------ the rows

    async def _fetch(
        self, federated: FederatedPlan, values: Mapping[int, str | None]
    ) -> tuple[list[_Rows], list[_Rows]]:
        limits = Limits(1 << 62, self._own.memory_max, 0)
        scope = Scope(deadline=asyncio.get_running_loop().time() + self._timeout_s)
        newer: list[_Rows] = []
        older: list[_Rows] = []
        async with self._window.open() as flying:
            for place, parts in enumerate(federated.parts):
                scans = [_bare(part.scan) for part in parts if part.needed(values)]
                forms = self._window.forms.get(federated.scans[place].placed.table.id)
                if forms is None:
                    rows = _Rows(columns_of(federated.scans[place], ""))
                    for scan in scans:
                        await self._others(scan, values, rows, scope, limits)
                    newer.append(rows)
                    older.append(rows)
                    continue
                for scan in scans or [_bare(federated.scans[place])]:
                    newer.append(await self._newer(forms, scan, values, scope, limits))
                    older.append(await self._older(forms, scan, values, scope, limits))
        gone = {
            table_id: [_SEPARATOR.join(key) for key in each.gone()]
            for table_id, each in flying.items()
        }
        newer = [r.settled(gone[r.table_id]) if r.table_id else r for r in newer]
        older = [r.settled(gone[r.table_id]) if r.table_id else r for r in older]
        forward = self._window.forward
        return (older, newer) if forward else (newer, older)

    async def _others(
        self,
        scan: Scan,
        values: Mapping[int, str | None],
        rows: _Rows,
        scope: Scope,
        limits: Limits,
    ) -> None:
        """Rows of a table that has one layout as far as the change is concerned."""
        backend = await self._own.backends(scan.placed.table.instance)
        plan = backend.plan_scan(scan.placed.table, ask_of(scan, values, push=True))
        async for batch in batches_of(backend, plan, scope):
            limits.take(batch.nbytes)
            rows.take(batch)

    async def _newer(
        self,
        forms: BothForms,
        scan: Scan,
        values: Mapping[int, str | None],
        scope: Scope,
        limits: Limits,
    ) -> _Rows:
        """The rows of the newer layout, which are as the statement reads them."""
        table = scan.placed.table
        dead = _dead(forms)
        if dead is not None:
            table = replace(table, columns=(*table.columns, dead))
        columns = columns_of(scan, "")
        rows = _Rows(columns, table.id, {name: quote_ident(name) for name in columns.names})
        rows.types = columns.types
        return await self._keyed(forms, scan, table, values, rows, dead, scope, limits)

    async def _older(
        self,
        forms: BothForms,
        scan: Scan,
        values: Mapping[int, str | None],
        scope: Scope,
        limits: Limits,
    ) -> _Rows:
        """Those of the older one, computed in the form of the newer one."""
        made = forms.made
        _require_shown(forms, scan)
        named = {c.id: c.name for c in scan.placed.table.columns}
        inputs = forms.inputs if any(each in made for each in scan.columns) else ()
        wanted = [each for each in scan.columns if each not in made]
        wanted = list(dict.fromkeys([*wanted, *(c.id for c in inputs)]))
        own = {c.id: replace(c, name=f"_o{c.id}") for c in forms.older.columns}
        table = replace(forms.older, columns=tuple(own.values()))
        kept = [p for p in split_and(scan.predicate) if not column_ids(p) & made.keys()]
        predicate = join_and(kept)
        if scan.whole and predicate != scan.predicate:
            predicate = None
        below = replace(
            scan,
            placed=replace(scan.placed, table=table),
            columns=tuple(wanted),
            predicate=predicate,
        )
        texts = [quote_ident(own[c.id].name) for c in inputs]
        wrap = {
            named[each]: fill(made[each], texts) if each in made else quote_ident(own[each].name)
            for each in scan.columns
        }
        rows = _Rows(columns_of(below, ""), table.id, wrap)
        rows.types = columns_of(scan, "").types
        return await self._keyed(forms, below, table, values, rows, None, scope, limits)

    async def _keyed(
        self,
        forms: BothForms,
        scan: Scan,
        table: Table,
        values: Mapping[int, str | None],
        rows: _Rows,
        dead: Column | None,
        scope: Scope,
        limits: Limits,
    ) -> _Rows:
        """Fetch the columns of a scan, and beside them what says which row each is."""
        more = [each for each in table.key if each not in scan.columns]
        if dead is not None:
            more.append(dead.id)
        placed = replace(scan.placed, table=table)
        asked = replace(scan, placed=placed, columns=(*scan.columns, *more))
        plan = forms.backend.plan_scan(table, ask_of(asked, values, push=True))
        types = {column.id: type_by_name(column.type) for column in table.columns}
        at = {column_id: n for n, column_id in enumerate(plan.columns)}
        shown = [at[each] for each in scan.columns]
        async for batch in batches_of(forms.backend, plan, scope):
            if dead is not None:
                gone = pc.fill_null(batch.column(at[dead.id]), False)
                batch = batch.filter(pc.invert(gone))
            limits.take(batch.nbytes)
            keys = [to_text_carrier(batch.column(at[each]), types[each]) for each in table.key]
            rows.keys.append(
                keys[0] if len(keys) == 1 else pc.binary_join_element_wise(*keys, _SEPARATOR)
            )
            rows.batches.append(batch.select(shown) if shown else counted(batch))
        return rows


def _require_shown(forms: BothForms, scan: Scan) -> None:
    known = {column.id for column in forms.older.columns} | forms.made.keys()
    if not known.issuperset(scan.columns):
        raise FeatureNotSupported(f'"{scan.name}" has columns that lie in one layout only')


def _dead(forms: BothForms) -> Column | None:
    """The column that says that a row is a tombstone, where readers see those."""
    return replace(_DEAD, source=Native(forms.dead)) if forms.dead else None


def _bare(scan: Scan) -> Scan:
    """Which rows there are is not the store's to say: those in flight are left out behind it."""
    return replace(scan, limit=None, order=(), joins=(), partner=None)


def _bound(read: Read) -> Bound:
    """The parameters of a read, one format each."""
    bind = Bind.decode(b"\0\0" + read.values)
    formats = bind.parameter_formats or (0,)
    if len(formats) == 1:
        formats *= len(bind.parameters)
    return Bound(read.types, bind.parameters, formats, bind.result_formats)


def _types(oids: Sequence[int]) -> Parameters:
    found = {n: find_type(oid) for n, oid in enumerate(oids, 1)}
    return Parameters(tuple(oids), {n: t.name for n, t in found.items() if t is not None})


def _values(types: Parameters, bound: Bound) -> dict[int, str | None]:
    """The parameters as text, none when one is in a form that only PostgreSQL reads: then nothing
    that depends on them goes into a scan.
    """
    values: dict[int, str | None] = {}
    if not types.oids:
        return values
    for number, (raw, form) in enumerate(zip(bound.values, bound.formats, strict=True), 1):
        text = None if raw is None else parameter_text(types.name(number), form, raw)
        if raw is not None and text is None:
            return {}
        values[number] = text
    return values
