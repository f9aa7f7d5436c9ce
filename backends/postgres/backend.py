"""A PostgreSQL server behind the backend seam: scans by COPY, writes by key, real transactions.

A scan is one COPY TO STDOUT, so it sees one snapshot; its rows are read no faster than they are
taken, and leaving it cancels the query in the server. See pushdown.py for what it asks.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from typing import Final

import asyncpg
import pyarrow as pa

from backends.base import (
    BackendDefaults,
    Capabilities,
    Description,
    NativeTable,
    ObservedTable,
    RowChanges,
    SampleSpec,
    ScanAsk,
    ScanPlan,
    Scope,
    ServerInfo,
    StoreTransaction,
    TableStatistics,
    WriteResult,
)
from backends.postgres import describing, pushdown
from backends.postgres.connection import Connections, NoConnectionFree
from backends.postgres.copying import RowReader, copied, text_batch
from backends.postgres.faults import translated
from backends.postgres.pushdown import POINT_ROWS, NativeScan, PointRead
from backends.postgres.transactions import PostgresTransaction, begin_text
from backends.postgres.types import store_columns
from backends.postgres.writing import write
from backends.stores import StoreOptions
from catalog.model import Table
from core.errors import ConnectionFailure
from core.types import PgType

COUNTED_ROWS: Final = 1_000_000
"""Rows without columns that one batch stands for."""


class PostgresBackend(BackendDefaults):
    """See the module's text; one for all sessions of a process."""

    kind = pushdown.KIND
    capabilities = Capabilities(
        predicate=True,
        limit=True,
        order=True,
        transactions=True,
        aggregate=True,
        keys=True,
        writes=True,
        savepoints=True,
        completes=True,
        rekeys=True,
    )

    def __init__(self, name: str, options: StoreOptions) -> None:
        self.name = name
        self._options = options
        self._connections = Connections(name, options)

    # ------------------------------------------------------------------ scans

    def plan_scan(self, table: Table, ask: ScanAsk) -> ScanPlan:
        """See Backend; `native` is a NativeScan. What the server's encoding allows is known once
        it was connected to; until then texts beyond ASCII stay with the engine.
        """
        facts = self._connections.facts
        return pushdown.plan_scan(table, ask, ascii_only=facts is None or not facts.utf8)

    async def scan(self, plan: ScanPlan, scope: Scope) -> AsyncIterator[pa.RecordBatch]:
        """See Backend."""
        native = plan.native
        assert isinstance(native, NativeScan)
        for attempt in (1, 2):
            began = False
            try:
                async with aclosing(self._batches(native, scope)) as batches:
                    async for batch in batches:
                        began = True
                        yield batch
            except ConnectionFailure:
                # A connection that waited in the pool may be dead; nothing was read from it.
                if began or attempt == 2 or scope.transaction is not None:
                    raise
                await self._connections.expire()
                continue
            return

    async def _batches(
        self, native: NativeScan, scope: Scope
    ) -> AsyncGenerator[pa.RecordBatch, None]:
        if native.point is not None:
            few = await self._point(native.point, native.fields, scope)
            if few is not None:
                if few.num_rows:
                    yield few
                return
        reader = RowReader(native.fields, scope.bytes_max, small=not native.counted)
        async with self._using(scope) as connection:
            chunks = copied(connection, native.sql, self.name, scope.deadline)
            async with aclosing(chunks):
                async for chunk in chunks:
                    for batch in reader.feed(chunk):
                        for part in self._parts(native, batch):
                            yield part
        for batch in reader.finish():
            for part in self._parts(native, batch):
                yield part

    async def _point(
        self, point: PointRead, fields: Sequence[PgType], scope: Scope
    ) -> pa.RecordBatch | None:
        """The rows of a key in the text carrier; None when they are too many for that."""
        async with self._using(scope) as connection:
            with translated(self.name):
                async with asyncio.timeout_at(scope.deadline):
                    rows = await connection.fetch(point.sql, *point.values)
        if len(rows) > POINT_ROWS:
            return None
        columns = [[row[n] for row in rows] for n in range(len(fields))]
        return text_batch(columns, fields)

    def _parts(self, native: NativeScan, batch: pa.RecordBatch) -> list[pa.RecordBatch]:
        """The batch in pieces of the wanted size; a count as the rows that it counted."""
        if native.counted:
            left, sizes = int(batch.column(0)[0].as_py()), []
            while left > 0:
                sizes.append(min(left, COUNTED_ROWS))
                left -= sizes[-1]
            return [pa.table({"n": pa.nulls(n)}).select([]).to_batches()[0] for n in sizes]
        size = self._options.batch_rows
        if batch.num_rows <= size:
            return [batch]
        return [batch.slice(at, size) for at in range(0, batch.num_rows, size)]

    # ------------------------------------------------------------------ writes

    async def apply(self, table: Table, changes: RowChanges, scope: Scope) -> WriteResult:
        """See Backend: all of it or nothing."""
        given = scope.transaction
        transaction = given or await self.begin(scope, isolation="read committed", read_only=False)
        assert isinstance(transaction, PostgresTransaction)
        try:
            async with transaction.use(scope.deadline) as connection:
                done = await write(connection, table, changes, self.name, scope.deadline)
            if given is None:
                await transaction.commit(scope.deadline)
        except BaseException:
            if given is None:
                await transaction.rollback(None)
            raise
        return done

    def fills(self, table: Table) -> frozenset[int]:
        """See Backend."""
        return frozenset(number for number, c in store_columns(table).items() if c.filled)

    # ------------------------------------------------------------------ what is there

    async def observe(self, table: Table, sample: SampleSpec) -> ObservedTable:
        """See Backend."""
        del sample
        async with self._asking(Scope()) as connection:
            return await describing.observe(connection, table.native, self.name)

    async def server(self, scope: Scope) -> ServerInfo:
        """See StoreBackend."""
        try:
            async with self._asking(scope) as connection:
                await connection.fetchval("SELECT 1")
        except NoConnectionFree:
            pass  # it works on what the others ask
        facts = self._connections.facts
        assert facts is not None
        features = {"utf8": facts.utf8, "writable": not facts.in_recovery}
        return ServerInfo("PostgreSQL", facts.version, features)

    async def list_tables(self, namespace: str, scope: Scope) -> tuple[NativeTable, ...]:
        """See StoreBackend; the namespace is a schema."""
        async with self._asking(scope) as connection:
            return await describing.list_tables(connection, namespace, self.name)

    async def describe(self, native: tuple[str, ...], scope: Scope) -> Description:
        """See StoreBackend."""
        async with self._asking(scope) as connection:
            return await describing.describe(connection, native, self.name)

    async def statistics(self, table: Table, scope: Scope) -> TableStatistics:
        """See StoreBackend."""
        async with self._asking(scope) as connection:
            return await describing.statistics(connection, table.native)

    async def begin(self, scope: Scope, *, isolation: str, read_only: bool) -> StoreTransaction:
        """See StoreBackend."""
        text = begin_text(isolation, read_only=read_only)
        connection = await self._connections.acquire(scope.deadline)
        try:
            with translated(self.name):
                async with asyncio.timeout_at(scope.deadline):
                    await connection.execute(text)
        except BaseException:
            await self._connections.release(connection)
            raise
        return PostgresTransaction(self.name, self._connections, connection)

    def _using(self, scope: Scope) -> AbstractAsyncContextManager[asyncpg.Connection]:
        """A connection for a piece of work: that of the scope's transaction, if it has one."""
        transaction = scope.transaction
        if transaction is None:
            return self._connections.use(scope.deadline)
        assert isinstance(transaction, PostgresTransaction)
        return transaction.use(scope.deadline)

    @asynccontextmanager
    async def _asking(self, scope: Scope) -> AsyncIterator[asyncpg.Connection]:
        """A connection to ask something, with the scope's deadline."""
        async with self._connections.use(scope.deadline) as connection:
            with translated(self.name):
                async with asyncio.timeout_at(scope.deadline):
                    yield connection

    async def close(self) -> None:
        """See Backend."""
        await self._connections.close()
