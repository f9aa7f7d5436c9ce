"""PostgreSQL in the conformance suite."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

from backends.postgres.backend import PostgresBackend
from catalog.model import Table
from tests.services.conformance.subject import MODEL, Row
from tests.services.postgres.stores import Store, open_store
from tests.services.servers.process import RunningServer

DATABASE = "morph_conformance"


@dataclass
class PostgresSubject:
    """See Subject: the key is the primary key."""

    store: Store
    kind: str = "postgres"
    gaps: Mapping[str, str] = field(default_factory=dict)

    @property
    def backend(self) -> PostgresBackend:
        """The backend under test."""
        return self.store.backend

    @property
    def server(self) -> RunningServer:
        """Where it runs."""
        return self.store.server

    @property
    def namespace(self) -> str:
        """The schema."""
        return "public"

    async def make(self, name: str, rows: Sequence[Row]) -> Table:
        """See Subject."""
        columns = ", ".join(f"{column} {kind}" for column, kind in MODEL.items())
        table = await self.store.table(name, f"{columns}, PRIMARY KEY (id)")
        slots = ", ".join(f"${n}::text::{kind}" for n, kind in enumerate(MODEL.values(), 1))
        await self.store.connection.executemany(f'INSERT INTO "{name}" VALUES ({slots})', rows)
        return table

    def nowhere(self, table: Table) -> Table:
        """See Subject."""
        return replace(table, native=("public", "nowhere"))


@asynccontextmanager
async def open_postgres(server: RunningServer, batch_rows: int) -> AsyncIterator[PostgresSubject]:
    """The subject on a database of its own."""
    async with open_store(server, DATABASE, batch_rows=batch_rows) as store:
        yield PostgresSubject(store)
