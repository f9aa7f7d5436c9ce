"""MongoDB behind the backend seam: scans as raw cursors, descriptions, statistics.

One client of pymongo's asyncio API an instance, connected at the first use. What is asked of the
server is in the plan's MongoQuery; see pushdown.py and filters.py for why it is exact.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from typing import Any, Final

import pyarrow as pa

from backends.base import (
    BackendDefaults,
    Capabilities,
    Description,
    Few,
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
from backends.change_store import ChangeStore
from backends.mongodb import pushdown
from backends.mongodb.change_log import Commands
from backends.mongodb.change_store import MongoChangeStore
from backends.mongodb.client import Connected, Connection
from backends.mongodb.columnar import KnownShapes
from backends.mongodb.cursor import RawCursor
from backends.mongodb.decode import MisfitCounter
from backends.mongodb.describe import SampleReader, describe
from backends.mongodb.errors import translated
from backends.mongodb.filters import INTEGRAL
from backends.mongodb.grouping import Unsettled
from backends.mongodb.plain import plain_rows
from backends.mongodb.point_plans import PointPlans
from backends.mongodb.query import MongoQuery
from backends.mongodb.reply import is_empty
from backends.mongodb.rows import RowMaker, documents_of, first_rows
from backends.mongodb.transaction import MongoTransaction, session_of
from backends.mongodb.writer import Writer
from backends.stores import StoreOptions
from catalog.model import Table
from core.errors import (
    ConnectionFailure,
    FeatureNotSupported,
    StoreError,
    UndefinedSchema,
    UndefinedTable,
)

SAMPLE_ROWS: Final = 10_000
"""Documents that a description looks at where a collection has more (option sample_rows)."""
SIZED_ROWS: Final = 50
"""Documents whose size stands for all in statistics."""
_SYSTEM: Final = "system."


class MongoBackend(BackendDefaults):
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
        documents=True,
        prints_jsonb=True,
        few=True,
        layouts=True,
    )

    def __init__(self, name: str, options: StoreOptions) -> None:
        self.name = name
        self._options = options
        self._connection = Connection(name, options)
        self._plans = PointPlans()
        self._shapes = KnownShapes()
        self._changes = MongoChangeStore(Commands(name, self._connection))

    def plan_scan(self, table: Table, ask: ScanAsk) -> ScanPlan:
        """See Backend; `native` is a MongoQuery."""
        expressions, lookups = self._connection.expressions, self._connection.lookups
        if ask.partner is not None:
            return pushdown.plan_scan(table, ask, expressions=expressions, lookups=lookups)
        return self._plans.plan(table, ask, expressions=expressions)

    async def scan(self, plan: ScanPlan, scope: Scope) -> AsyncIterator[pa.RecordBatch]:
        """See Backend."""
        query = plan.native
        assert isinstance(query, MongoQuery)
        connected = await self._connection.use(scope.deadline)
        misfits = MisfitCounter()
        if query.by_key and scope.transaction is None:
            found = await self._by_key(connected, query, misfits, scope)
            if found is not None:
                for batch in found:
                    yield batch
                _tell(misfits, scope)
                return
        begun = False
        try:
            async with aclosing(self._batches(connected, query, misfits, scope)) as batches:
                async for batch in batches:
                    begun = True
                    yield batch
        except StoreError as error:
            if begun:
                raise
            connected, query = self._otherwise(connected, query, error)
            async with aclosing(self._batches(connected, query, misfits, scope)) as batches:
                async for batch in batches:
                    yield batch
        _tell(misfits, scope)

    def _otherwise(
        self, connected: Connected, query: MongoQuery, error: StoreError
    ) -> tuple[Connected, MongoQuery]:
        """The query for a server that turned out to lack something; else the error."""
        if connected.features.bits and next(iter(INTEGRAL)) in error.detail:
            return self._connection.without_bits(), query
        if query.partners:  # all rows, then: the statement runs over what comes
            everything = replace(query, partners=(), limit=0, merged_by=None)
            return self._connection.without_lookups(), everything
        raise error

    async def _by_key(
        self, connected: Connected, query: MongoQuery, misfits: MisfitCounter, scope: Scope
    ) -> list[pa.RecordBatch] | None:
        """All rows of a read by keys in one reply, or None: then it is scanned."""
        documents = await self._keyed(connected, query, scope)
        if documents is None:
            return None
        return [self._few_batch(documents, query, misfits)] if documents else []

    async def few(self, plan: ScanPlan, scope: Scope) -> Few | None:
        """See Backend: documents by their `_id`, in one reply."""
        query = plan.native
        assert isinstance(query, MongoQuery)
        if not query.by_key or scope.transaction is not None:
            return None
        connected = self._connection.connected or await self._connection.use(scope.deadline)
        documents = await self._keyed(connected, query, scope)
        if documents is None:
            return None
        rows = plain_rows(documents, query)
        if rows is not None:
            return rows[: query.limit] if query.limit else rows
        misfits = MisfitCounter()
        batch = self._few_batch(documents, query, misfits)
        _tell(misfits, scope)
        return batch

    async def _keyed(
        self, connected: Connected, query: MongoQuery, scope: Scope
    ) -> list[Any] | None:
        """The documents of a read by keys; None when there are more than one reply has."""
        features = connected.features
        [command] = query.commands(wide_dates=features.wide_dates, bits=features.bits)
        cursor = self._cursor(connected, query.database, scope)
        try:
            documents = await cursor.only(command, query.collection)
        except (ConnectionFailure, StoreError):
            return None  # the scan tries again, as the server needs it
        if documents is not None and not documents:
            await self._identity(connected, query, scope)
        return documents

    def _few_batch(
        self, documents: list[Any], query: MongoQuery, misfits: MisfitCounter
    ) -> pa.RecordBatch:
        batch = RowMaker(query, misfits).decoded(documents)
        return batch.slice(0, query.limit) if query.limit else batch

    async def _batches(
        self, connected: Connected, query: MongoQuery, misfits: MisfitCounter, scope: Scope
    ) -> AsyncGenerator[pa.RecordBatch, None]:
        if query.quick is not None:
            groups = await self._quick(connected, query, misfits, scope)
            if groups is not None:
                yield groups
                return
        maker = RowMaker(query, misfits, self._shapes)
        if query.merged_by is not None:
            yield await self._merged(connected, query, maker, scope)
            return
        left = query.limit
        features = connected.features
        for command in query.commands(wide_dates=features.wide_dates, bits=features.bits):
            if query.limit and "find" in command:
                command["limit" if query.limit_in_store else "batchSize"] = left
            async with aclosing(self._replies(connected, query, command, scope)) as replies:
                async for reply in replies:
                    for batch in maker.batches(reply):
                        if query.limit and query.answers == "rows":
                            batch = batch.slice(0, left)
                            left -= batch.num_rows
                        yield batch
                    if query.limit and left <= 0:
                        return
        for batch in maker.finish():
            yield batch

    async def _quick(
        self, connected: Connected, query: MongoQuery, misfits: MisfitCounter, scope: Scope
    ) -> pa.RecordBatch | None:
        """The groups by the quick pipeline; None when its answer does not settle them, or it is
        refused: a sum may be too large for a server that would sum decimals.
        """
        quick = replace(query, pipeline=query.quick, quick=None)
        maker = RowMaker(quick, misfits, quick=True)
        features = connected.features
        [command] = quick.commands(wide_dates=features.wide_dates, bits=features.bits)
        try:
            async with aclosing(self._replies(connected, quick, command, scope)) as replies:
                async for reply in replies:
                    list(maker.batches(reply))
        except (Unsettled, StoreError):
            return None
        [groups] = maker.finish()
        return groups

    async def _merged(
        self, connected: Connected, query: MongoQuery, maker: RowMaker, scope: Scope
    ) -> pa.RecordBatch:
        """The first rows of all segments together: each has no more than the limit."""
        features = connected.features
        found: list[pa.RecordBatch] = []
        for command in query.commands(wide_dates=features.wide_dates, bits=features.bits):
            async with aclosing(self._replies(connected, query, command, scope)) as replies:
                async for reply in replies:
                    found += maker.batches(reply)
        return first_rows(query, found)

    async def _replies(
        self, connected: Connected, query: MongoQuery, command: dict[str, Any], scope: Scope
    ) -> AsyncGenerator[bytes, None]:
        """The replies of one command. A connection that fails before the first one is tried again
        once; a collection that is not there, or was exchanged meanwhile, is an error.
        """
        before = ""
        for attempt in (1, 2):
            seen = 0
            cursor = self._cursor(connected, query.database, scope)
            try:
                async with aclosing(cursor.replies(command, query.collection)) as replies:
                    async for reply in replies:
                        seen += 1
                        if seen == 1 and cursor.open and scope.transaction is None:
                            before = await self._identity(connected, query, scope)
                        yield reply
                        last = reply
            except ConnectionFailure:
                if seen or attempt == 2 or scope.transaction is not None:
                    raise
                continue
            doubtful = seen > 1 or is_empty(last) or query.answers == "count"
            if doubtful and scope.transaction is None:
                after = await self._identity(connected, query, scope)
                if seen > 1 and after != before:
                    raise ConnectionFailure(
                        f'collection "{query.collection}" of instance "{self.name}" was exchanged '
                        "during the scan"
                    )
            return

    def _cursor(self, connected: Connected, database: str, scope: Scope) -> RawCursor:
        return RawCursor(
            self.name,
            connected,
            database,
            deadline=scope.deadline,
            batch_rows=self._options.batch_rows,
            session=session_of(scope),
        )

    async def _identity(self, connected: Connected, query: MongoQuery, scope: Scope) -> str:
        """What tells the collection from another of its name. UndefinedTable when it is gone."""
        named = {"name": query.collection}
        found = [
            each  # looked at again: not every server heeds the filter
            for each in await self._collections(connected, query.database, named, scope)
            if each["name"] == query.collection
        ]
        if not found:
            raise UndefinedTable(
                f'collection "{query.database}.{query.collection}" of instance "{self.name}" '
                "does not exist"
            )
        return str(found[0].get("info", {}).get("uuid", ""))

    async def _collections(
        self, connected: Connected, database: str, condition: dict[str, Any], scope: Scope
    ) -> list[dict[str, Any]]:
        command = {"listCollections": 1, "filter": condition, "cursor": {}}
        with translated(self.name):
            async with asyncio.timeout_at(scope.deadline):
                cursor = await connected.client[database].cursor_command(command)
                return await cursor.to_list()

    async def apply(self, table: Table, changes: RowChanges, scope: Scope) -> WriteResult:
        """See Backend. Several rows are written in one transaction where the server has them; else
        an error tells how many stayed.
        """
        connected = await self._connection.use(scope.deadline)
        return await Writer(self.name, connected, table, scope).apply(changes)

    async def begin(self, scope: Scope, *, isolation: str, read_only: bool) -> StoreTransaction:
        """See StoreBackend: snapshot isolation, on replica sets and sharded clusters."""
        del read_only
        connected = await self._connection.use(scope.deadline)
        if not connected.features.transactions:
            raise FeatureNotSupported(
                f'instance "{self.name}" has no transactions',
                detail="MongoDB has them on replica sets and sharded clusters.",
                hint="Write outside of a transaction block, one statement at a time.",
            )
        if isolation.lower().replace("_", " ") == "serializable":
            raise FeatureNotSupported(
                f'instance "{self.name}" has no serializable transactions',
                hint="MongoDB has snapshot isolation: use REPEATABLE READ.",
            )
        transaction = MongoTransaction(self.name, connected)
        await transaction.start(scope.deadline)
        return transaction

    def change_store(self) -> ChangeStore:
        """See StoreBackend."""
        return self._changes

    async def server(self, scope: Scope) -> ServerInfo:
        """See StoreBackend."""
        return await self._connection.look_again(scope.deadline)

    async def list_tables(self, namespace: str, scope: Scope) -> tuple[NativeTable, ...]:
        """See StoreBackend; `namespace` is a database."""
        connected = await self._connection.use(scope.deadline)
        found = await self._collections(connected, namespace, {}, scope)
        if not found:
            raise UndefinedSchema(f'database "{namespace}" of instance "{self.name}" is empty')
        return tuple(
            NativeTable((namespace, each["name"]), each.get("type", "collection"))
            for each in sorted(found, key=lambda each: str(each["name"]))
            if not each["name"].startswith(_SYSTEM)
        )

    async def describe(self, native: tuple[str, ...], scope: Scope) -> Description:
        """See StoreBackend: from all documents of a small collection, else from a random sample."""
        database, collection = native
        connected = await self._connection.use(scope.deadline)
        total = await self._estimate(connected, database, collection, scope)
        wanted = int(self._options.parts.get("sample_rows", SAMPLE_ROWS))
        complete = total <= wanted or self._options.parts.get("describe") == "full"
        reader = await self._sample(connected, native, None if complete else wanted, scope)
        if not reader.documents:
            await self._identity(connected, MongoQuery(database, collection, ()), scope)
        return describe(collection, reader, max(total, reader.documents), complete=complete)

    async def _sample(
        self, connected: Connected, native: tuple[str, ...], size: int | None, scope: Scope
    ) -> SampleReader:
        collection = native[1]
        everything: dict[str, Any] = {"find": collection, "filter": {}}
        if size is None:
            return await self._read_sample(connected, native, everything, scope)
        sample = {"aggregate": collection, "pipeline": [{"$sample": {"size": size}}]}
        try:
            return await self._read_sample(connected, native, sample, scope)
        except StoreError:  # a server without $sample: the first documents
            first = {**everything, "limit": size}
            return await self._read_sample(connected, native, first, scope)

    async def _read_sample(
        self,
        connected: Connected,
        native: tuple[str, ...],
        command: dict[str, Any],
        scope: Scope,
    ) -> SampleReader:
        database, collection = native
        reader = SampleReader()
        cursor = self._cursor(connected, database, scope)
        async with aclosing(cursor.replies(command, collection)) as replies:
            async for reply in replies:
                for document in documents_of(reply):
                    reader.add(document)
                await asyncio.sleep(0)
        return reader

    async def _estimate(
        self, connected: Connected, database: str, collection: str, scope: Scope
    ) -> int:
        with translated(self.name, collection):
            async with asyncio.timeout_at(scope.deadline):
                found = await connected.client[database].command({"count": collection})
        return int(found["n"])

    async def observe(self, table: Table, sample: SampleSpec) -> ObservedTable:
        """See Backend: a random sample of the collection."""
        connected = await self._connection.use(None)
        scope = Scope()
        database, collection = table.native
        total = await self._estimate(connected, database, collection, scope)
        size = None if total <= sample.rows_max else sample.rows_max
        reader = await self._sample(connected, table.native, size, scope)
        found = describe(collection, reader, total, complete=size is None).observed
        assert found is not None
        return found

    async def statistics(self, table: Table, scope: Scope) -> TableStatistics:
        """See StoreBackend: the server's own counter, and the size of the first documents."""
        connected = await self._connection.use(scope.deadline)
        database, collection = table.native
        rows = await self._estimate(connected, database, collection, scope)
        command = {"find": collection, "limit": SIZED_ROWS, "singleBatch": True}
        cursor = self._cursor(connected, database, scope)
        async with aclosing(cursor.replies(command, collection)) as replies:
            async for reply in replies:
                size, count = len(reply), len(documents_of(reply))
        return TableStatistics(rows, max(1, size // count) if count else 100)

    async def close(self) -> None:
        """See Backend."""
        await self._connection.close()


def _tell(misfits: MisfitCounter, scope: Scope) -> None:
    if scope.misfits is not None:
        for event in misfits.events():
            scope.misfits(event)
