"""Opening a backend on a database of its own, and reading scans whole."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import asyncpg

from backends.base import ScanAsk, ScanPlan, Scope
from backends.postgres.backend import PostgresBackend
from backends.postgres.connection import SETTINGS
from backends.postgres.pushdown import NativeScan
from backends.stores import StoreOptions
from catalog.model import Table
from core.encoding import to_text_carrier
from core.expr import Expr
from core.types import type_by_name
from engine.exactness import judge_for
from evolution.foreign_columns import foreign_parts
from tests.services.servers.process import RunningServer

# Texts sort by a language there, and its locale is not ours: nothing may depend on it.
DATABASE = (
    "CREATE DATABASE {} TEMPLATE template0 ENCODING 'UTF8' LOCALE_PROVIDER icu "
    "ICU_LOCALE 'en-US' LOCALE 'C'"
)


@dataclass
class Store:
    """A backend, a connection of the driver itself beside it, and the database they share."""

    backend: PostgresBackend
    connection: asyncpg.Connection
    server: RunningServer
    database: str
    tables: dict[str, Table] = field(default_factory=dict)

    async def table(self, name: str, definition: str = "", schema: str = "public") -> Table:
        """The foreign table over `name`, which is made first when it has a definition."""
        if definition:
            await self.connection.execute(f'CREATE TABLE {schema}."{name}" ({definition})')
        described = await self.backend.describe((schema, name), Scope())
        made = Table(
            len(self.tables) + 1,
            name,
            "foreign",
            described.columns,
            instance=self.backend.name,
            native=(schema, name),
            key=described.key,
        )
        self.tables[name] = foreign_parts(made)
        return self.tables[name]

    def ask(self, table: Table, names: Sequence[str], **parts: Any) -> ScanAsk:
        """An ask for columns by name, judged by the exactness table."""
        return ScanAsk(1, ids(table, names), judge=judge_for("postgres"), **parts)

    async def rows(
        self, table: Table, names: Sequence[str], predicate: Expr | None = None, **parts: Any
    ) -> list[tuple[Any, ...]]:
        """The rows of a scan that the store takes whole, as texts."""
        plan = self.backend.plan_scan(table, self.ask(table, names, predicate=predicate, **parts))
        assert plan.residual is None, plan.reasons
        return await scan_rows(self.backend, plan)


def ids(table: Table, names: Sequence[str]) -> tuple[int, ...]:
    """The ids of columns by name."""
    return tuple(c.id for name in names for c in table.columns if c.name == name)


def options(server: RunningServer, database: str, **changes: Any) -> StoreOptions:
    """How to reach a database of the server."""
    parts = {
        "host": server.host,
        "port": str(server.port),
        "user": "postgres",
        "database": database,
    }
    parts.update(changes.pop("parts", {}))
    return replace(StoreOptions(parts=parts), **changes)


async def connect(server: RunningServer, database: str) -> asyncpg.Connection:
    """A connection of the driver itself, with the settings that the backend has."""
    return await asyncpg.connect(
        host=server.host,
        port=server.port,
        user="postgres",
        database=database,
        server_settings=dict(SETTINGS),
    )


@asynccontextmanager
async def open_store(
    server: RunningServer, database: str, create: str = DATABASE, **changes: Any
) -> AsyncIterator[Store]:
    """A store on a database of its own, which is dropped at the end."""
    admin = await connect(server, "postgres")
    await admin.execute(f"DROP DATABASE IF EXISTS {database} WITH (FORCE)")
    await admin.execute(create.format(database))
    backend = PostgresBackend("shop", options(server, database, **changes))
    connection = await connect(server, database)
    await connection.execute("SET search_path = public, pg_catalog")
    try:
        yield Store(backend, connection, server, database)
    finally:
        await backend.close()
        await connection.close()
        await admin.execute(f"DROP DATABASE {database} WITH (FORCE)")
        await admin.close()


async def scan_rows(
    backend: PostgresBackend, plan: ScanPlan, scope: Scope | None = None
) -> list[tuple[Any, ...]]:
    """All rows of a plan as PostgreSQL's texts; for rows without columns empty tuples."""
    native = plan.native
    assert isinstance(native, NativeScan)
    rows: list[tuple[Any, ...]] = []
    async for batch in backend.scan(plan, scope or Scope()):
        if not batch.num_columns:
            rows += [()] * batch.num_rows
            continue
        texts = [
            to_text_carrier(column, type_by_name(sql)).to_pylist()
            for column, sql in zip(batch.columns, native.types, strict=True)
        ]
        rows += list(zip(*texts, strict=True))
    return rows
