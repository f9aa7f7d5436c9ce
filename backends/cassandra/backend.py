"""Cassandra behind the backend seam: docs/backends/cassandra.md says what it does and does not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING, Final

from backends.base import (
    BackendDefaults,
    Capabilities,
    Description,
    Few,
    NativeTable,
    ObservedField,
    ObservedTable,
    RowChanges,
    SampleSpec,
    ScanAsk,
    ScanPlan,
    Scope,
    ServerInfo,
    TableStatistics,
    WriteResult,
)
from backends.cassandra import schema
from backends.cassandra.change_store import CassandraChangeStore
from backends.cassandra.decoding import plain_rows, rows_to_batch
from backends.cassandra.facts import TableFacts, quote_cql, relation_cql
from backends.cassandra.link import Link, Watcher
from backends.cassandra.options import read_options, table_choice, table_flag
from backends.cassandra.point_plans import PointPlans
from backends.cassandra.pushdown import KIND, NativeScan
from backends.cassandra.scanning import read_key, run_grouped, run_scan
from backends.cassandra.writes import Writer
from backends.stores import StoreOptions
from catalog.model import Table
from core.errors import MorphError

if TYPE_CHECKING:
    import pyarrow as pa

FACTS_SECONDS: Final = 30.0
"""What is known of a table is read again when it is older; schema events end it at once."""
LONG_MAX: Final = 1_000
"""Reads of a key that are known to have more rows than a page."""
MURMUR3: Final = "org.apache.cassandra.dht.Murmur3Partitioner"


class CassandraBackend(BackendDefaults):
    """One instance. It connects when it is first used; see StoreBackend for the errors."""

    kind = KIND
    capabilities = Capabilities(
        predicate=True,
        limit=True,
        order=True,
        aggregate=True,
        keys=True,
        writes=True,
        few=True,
        layouts=True,
    )

    def __init__(self, name: str, options: StoreOptions) -> None:
        self.name = name
        self.options = read_options(options)
        self.on_schema_change: Watcher | None = None
        self._link = Link(name, self.options)
        self._link.watch = self._changed
        self._facts: dict[tuple[str, str], tuple[TableFacts, float]] = {}
        self._plans = PointPlans()
        self._long: set[str] = set()
        self._server: ServerInfo | None = None
        self._refreshing: set[asyncio.Task[None]] = set()
        self._changes = CassandraChangeStore(self._link, self._known, self.statistics)

    def change_store(self) -> CassandraChangeStore:
        """See StoreBackend."""
        return self._changes

    # Planning

    def plan_scan(self, table: Table, ask: ScanAsk) -> ScanPlan:
        """See Backend. While the stored table is not known: a full scan, planned again later."""
        found = self._facts.get(self._native(table))
        filtering = table_flag(table.options, "allow_filtering", self.options.allow_filtering)
        return self._plans.plan(table, ask, found and found[0], allow_filtering=filtering)

    def _native(self, table: Table) -> tuple[str, str]:
        return schema.native_name(table.native, self.options.keyspace)

    async def _known(self, table: Table, deadline: float | None) -> TableFacts:
        """The facts, read again when they are old."""
        native = self._native(table)
        found = self._facts.get(native)
        now = asyncio.get_running_loop().time()
        if found is not None and now - found[1] < FACTS_SECONDS:
            return found[0]
        facts = await schema.read_facts(self._link, native, deadline)
        self._facts[native] = (facts, now)
        return facts

    def _refresh_later(self, native: tuple[str, str]) -> None:
        """Reads old facts again, for the plans to come: indexes come and go."""
        found = self._facts.get(native)
        now = asyncio.get_running_loop().time()
        if found is not None and now - found[1] >= FACTS_SECONDS and not self._refreshing:
            self._facts[native] = (found[0], now)
            self._start_refresh(native)

    def _start_refresh(self, native: tuple[str, str]) -> None:
        task = asyncio.create_task(self._refresh(native))
        self._refreshing.add(task)
        task.add_done_callback(self._refreshing.discard)

    async def _refresh(self, native: tuple[str, str]) -> None:
        loop = asyncio.get_running_loop()
        try:
            facts = await schema.read_facts(self._link, native, loop.time() + FACTS_SECONDS)
        except MorphError:
            self._facts.pop(native, None)
        else:
            self._facts[native] = (facts, loop.time())

    def _changed(self, keyspace: str, table: str, change: str) -> None:
        """A schema event: what was known of the tables it may touch is read again at once."""
        for native in [each for each in self._facts if each[0] == keyspace]:
            if table in ("", native[1]):
                del self._facts[native]
                self._start_refresh(native)
        if self.on_schema_change is not None:
            self.on_schema_change(keyspace, table, change)

    # Reading

    def scan(self, plan: ScanPlan, scope: Scope) -> AsyncGenerator[pa.RecordBatch, None]:
        """See Backend; `native` is a NativeScan."""
        native = plan.native
        assert isinstance(native, NativeScan)
        if native.known and native.relation is not None:
            self._refresh_later(native.relation)
            if native.access != "full":
                return self._run(native, scope, 1)
        return self._scan(native, scope)

    async def few(self, plan: ScanPlan, scope: Scope) -> Few | None:
        """See Backend: one key, whose rows are one page."""
        native = plan.native
        assert isinstance(native, NativeScan)
        if not native.known or native.access != "keys" or len(native.binds) != 1:
            return None
        if native.reducers or native.limit == 0 or native.text in self._long:
            return None
        if native.relation is not None:
            self._refresh_later(native.relation)
        page = await read_key(self._link, native, scope)
        if page.state is not None:
            if len(self._long) < LONG_MAX:
                self._long.add(native.text)
            return None
        rows = page.rows()
        made = plain_rows(native, page.layout, rows)
        if made is not None:
            return made[: native.limit]
        batch = rows_to_batch(native, page.layout, rows, scope.misfits)
        return batch if native.limit is None else batch.slice(0, native.limit)

    def _run(
        self, native: NativeScan, scope: Scope, ranges: int
    ) -> AsyncGenerator[pa.RecordBatch, None]:
        if native.reducers:
            return run_grouped(self._link, native, scope)
        return run_scan(self._link, native, scope, ranges)

    async def _scan(self, native: NativeScan, scope: Scope) -> AsyncGenerator[pa.RecordBatch, None]:
        """A scan that must ask the server first: of the table, of the partitioner."""
        if not native.known:
            native = await self._planned(native, scope)
        async with aclosing(self._run(native, scope, await self._ranges(scope))) as batches:
            async for batch in batches:
                yield batch

    async def _planned(self, native: NativeScan, scope: Scope) -> NativeScan:
        """A scan that was planned blindly, now with facts: it may only narrow what it reads."""
        table, ask = native.table, native.ask
        assert table is not None
        assert ask is not None
        await self._known(table, scope.deadline)
        plain = ScanAsk(ask.version, ask.columns, ask.predicate, judge=ask.judge, whole=ask.whole)
        again = self.plan_scan(table, plain).native
        assert isinstance(again, NativeScan)
        return again

    async def _ranges(self, scope: Scope) -> int:
        """Parts of the ring to read at a time; one where the partitioner is not Murmur3."""
        info = self._server or await self.server(scope)
        return self.options.scan_ranges if info.features["token_ranges"] else 1

    # The server and its tables

    async def server(self, scope: Scope) -> ServerInfo:
        """See StoreBackend."""
        rows = await self._link.query(
            "SELECT release_version, partitioner FROM system.local", (), scope.deadline
        )
        version, partitioner = (each.decode() for each in rows[0])
        views = (
            await self._link.query(
                "SELECT table_name FROM system_virtual_schema.tables WHERE keyspace_name = ?",
                ("system_views",),
                scope.deadline,
            )
            if int(version.partition(".")[0]) >= 4
            else []
        )
        features = {
            "token_ranges": partitioner == MURMUR3,
            "sai": (b"sai_column_indexes",) in views,
            "transactions": False,
        }
        self._server = ServerInfo("Apache Cassandra", version, features)
        return self._server

    async def list_tables(self, namespace: str, scope: Scope) -> tuple[NativeTable, ...]:
        """See StoreBackend; `namespace` is a keyspace."""
        return await schema.list_tables(self._link, namespace, scope.deadline)

    async def describe(self, native: tuple[str, ...], scope: Scope) -> Description:
        """See StoreBackend: Cassandra declares its tables, so nothing is sampled."""
        facts = await schema.read_facts(self._link, native, scope.deadline)
        now = asyncio.get_running_loop().time()
        self._facts[schema.native_name(native, self.options.keyspace)] = (facts, now)
        return schema.describe(facts)

    async def statistics(self, table: Table, scope: Scope) -> TableStatistics:
        """See StoreBackend: a sample of the ring, whose density tells how many rows there are."""
        facts = await self._known(table, scope.deadline)
        names = ", ".join(map(quote_cql, (each.name for each in facts.partition)))
        columns = ", ".join(map(quote_cql, (each.name for each in facts.columns)))
        relation = relation_cql(facts.keyspace, facts.name)
        text = f"SELECT token({names}), {columns} FROM {relation} LIMIT {SAMPLE_ROWS}"
        statement = await self._link.prepare(text, scope.deadline)
        bound = statement.bind((), idempotent=True)
        bound.fetch_size = SAMPLE_ROWS
        page = await self._link.run(bound, scope.deadline)
        assert page is not None
        width = max(1, len(page.body) // max(1, page.count))
        info = self._server or await self.server(scope)
        if page.count < SAMPLE_ROWS or not info.features["token_ranges"]:
            return TableStatistics(page.count, width)
        share = (page.rows()[-1][0] + 2**63) / 2**64
        return TableStatistics(int(page.count / max(share, 1e-12)), width)

    async def apply(self, table: Table, changes: RowChanges, scope: Scope) -> WriteResult:
        """See Backend: lightweight transactions, so 23505 and 40001 are known, not guessed."""
        facts = await self._known(table, scope.deadline)
        mode = table_choice(table.options, "insert_mode", self.options.insert_mode)
        writer = Writer(self._link, table, facts, scope, upsert=mode == "upsert")
        return WriteResult(await writer.apply(changes))

    async def observe(self, table: Table, sample: SampleSpec) -> ObservedTable:
        """See Backend: of each column how many of the sampled rows have a value."""
        facts = await self._known(table, None)
        columns = ", ".join(quote_cql(each.name) for each in facts.columns)
        text = f"SELECT {columns} FROM {relation_cql(facts.keyspace, facts.name)} LIMIT ?"
        rows = await self._link.query(text, (sample.rows_max,), None)
        fields = []
        for position, each in enumerate(facts.columns):
            present = sum(row[position] is not None for row in rows)
            if present:
                fields.append(ObservedField((each.name,), present, {each.type: present}))
        total = (await self.statistics(table, Scope())).rows
        return ObservedTable(len(rows), max(total, len(rows)), tuple(fields))

    async def close(self) -> None:
        """See Backend."""
        for task in self._refreshing:
            task.cancel()
        await self._link.close()


SAMPLE_ROWS: Final = 1_000
"""Rows that statistics look at."""
