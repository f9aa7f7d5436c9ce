"""Opening a backend on a keyspace of its own, making tables there, and reading scans whole."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile, Session
from cassandra.policies import RoundRobinPolicy
from cassandra.query import tuple_factory

from backends.base import RowChanges, ScanAsk, ScanPlan, Scope, WriteResult
from backends.cassandra.backend import CassandraBackend
from backends.cassandra.pushdown import NativeScan
from backends.stores import StoreOptions
from catalog.model import Table
from core.encoding import to_text_carrier
from core.expr import Expr
from core.types import type_by_name
from engine.exactness import judge_for
from tests.services.servers.process import RunningServer

REPLICATION = "{'class': 'SimpleStrategy', 'replication_factor': 1}"
SETUP_SECONDS = 60.0


@dataclass
class Store:
    """A backend, the driver's own session beside it, and the keyspace they share."""

    backend: CassandraBackend
    session: Session
    keyspace: str
    server: RunningServer
    tables: dict[str, Table] = field(default_factory=dict)

    async def cql(self, *texts: str) -> None:
        """Statements by the driver itself, in the keyspace."""
        for text in texts:
            await asyncio.to_thread(self.session.execute, text, timeout=SETUP_SECONDS)

    async def rows(self, text: str) -> list[tuple[Any, ...]]:
        """The rows of a statement by the driver itself."""
        found = await asyncio.to_thread(self.session.execute, text, timeout=SETUP_SECONDS)
        return list(found)

    async def table(self, name: str, definition: str = "", **options: str) -> Table:
        """The foreign table over `name`, which is made first when it has a definition."""
        if definition:
            await self.cql(f"CREATE TABLE {self.keyspace}.{name} ({definition})")
        described = await self.backend.describe((self.keyspace, name), Scope())
        made = Table(
            len(self.tables) + 1,
            name,
            "foreign",
            described.columns,
            instance=self.backend.name,
            native=(self.keyspace, name),
            key=described.key,
            options=tuple(options.items()),
        )
        self.tables[name] = made
        return made

    def plan(
        self, table: Table, columns: Sequence[str], where: Expr | None, **ask: Any
    ) -> ScanPlan:
        """The plan of a scan, with the exactness table for judge."""
        ids = tuple(column_id(table, name) for name in columns)
        ask = {"judge": judge_for("cassandra"), **ask}
        return self.backend.plan_scan(table, ScanAsk(1, ids, where, **ask))

    async def scan(
        self, table: Table, columns: Sequence[str], where: Expr | None = None, **ask: Any
    ) -> list[tuple[Any, ...]]:
        """The rows of a scan, whose residual must be nothing."""
        plan = self.plan(table, columns, where, **ask)
        assert plan.residual is None, plan.reasons
        return await read(self.backend, plan)

    async def write(self, table: Table, **changes: Mapping[str, Sequence[Any]]) -> WriteResult:
        """Changes by name of column, as text carriers or Python values of the Arrow carrier."""
        batches = {kind: batch_of(table, values) for kind, values in changes.items()}
        return await self.backend.apply(table, RowChanges(**batches), Scope())


def column_id(table: Table, name: str) -> int:
    """The id of a column by its name."""
    column = table.column(name)
    assert column is not None, name
    return column.id


def batch_of(table: Table, values: Mapping[str, Sequence[Any]]) -> pa.RecordBatch:
    """A batch of the named columns: texts become text carriers, other values Arrow's."""
    arrays = []
    for name, column_values in values.items():
        column = table.column(name)
        assert column is not None, name
        is_text = any(isinstance(each, str) for each in column_values)
        kind = pa.string() if is_text else type_by_name(column.type).arrow
        arrays.append(pa.array(column_values, kind))
    names = [f"c{column_id(table, name)}" for name in values]
    return pa.RecordBatch.from_arrays(arrays, names=names)


async def read(
    backend: CassandraBackend,
    plan: ScanPlan,
    scope: Scope | None = None,
    text: Sequence[str] = (),
) -> list[tuple[Any, ...]]:
    """All rows of a plan; with the types of its columns as PostgreSQL's text."""
    rows: list[tuple[Any, ...]] = []
    async for batch in backend.scan(plan, scope or Scope()):
        columns = batch.columns
        if text:
            columns = [
                to_text_carrier(column, type_by_name(name))
                for column, name in zip(columns, text, strict=True)
            ]
        lists = [column.to_pylist() for column in columns]
        rows += list(zip(*lists, strict=True)) if lists else [()] * batch.num_rows
    return rows


def native_of(plan: ScanPlan) -> NativeScan:
    """The native scan of a plan."""
    assert isinstance(plan.native, NativeScan)
    return plan.native


def options_of(server: RunningServer, **parts: str) -> StoreOptions:
    """How to reach the server."""
    return StoreOptions(parts={"host": server.host, "port": str(server.port), **parts})


def make(server: RunningServer, **parts: str) -> CassandraBackend:
    """A backend on the server."""
    return CassandraBackend("ring", options_of(server, **parts))


@asynccontextmanager
async def open_store(
    server: RunningServer,
    keyspace: str,
    *,
    batch_rows: int = 10_000,
    replication: str = REPLICATION,
    **parts: str,
) -> AsyncIterator[Store]:
    """A store on a keyspace of its own, which is dropped at the end."""
    profile = ExecutionProfile(load_balancing_policy=RoundRobinPolicy(), row_factory=tuple_factory)
    cluster = Cluster(
        [server.host],
        port=server.port,
        protocol_version=5,
        connect_timeout=30,
        control_connection_timeout=30,
        execution_profiles={EXEC_PROFILE_DEFAULT: profile},
    )
    session = await asyncio.to_thread(cluster.connect)
    backend = CassandraBackend("ring", replace(options_of(server, **parts), batch_rows=batch_rows))
    store = Store(backend, session, keyspace, server)
    try:
        await store.cql(
            f"DROP KEYSPACE IF EXISTS {keyspace}",
            f"CREATE KEYSPACE {keyspace} WITH replication = {replication}",
            f"USE {keyspace}",
        )
        yield store
        await store.cql(f"DROP KEYSPACE {keyspace}")
    finally:
        await backend.close()
        await asyncio.to_thread(cluster.shutdown)
