"""Opening a backend on a database of its own, and reading scans whole."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from pymongo import AsyncMongoClient
from pymongo.errors import AutoReconnect

from backends.base import ScanPlan, Scope
from backends.mongodb.backend import MongoBackend
from backends.stores import StoreOptions
from core.encoding import to_text_carrier
from core.types import type_by_name
from tests.services.mongodb import values
from tests.services.servers.process import RunningServer

DROPS = 3


@dataclass
class Store:
    """A backend, the driver's own client beside it, and the database they share."""

    backend: MongoBackend
    client: AsyncMongoClient[dict[str, Any]]
    database: str
    server: RunningServer
    values: list[Any] = field(default_factory=lambda: list(values.ALL))

    @property
    def db(self) -> Any:
        """The database by the driver's client."""
        return self.client[self.database]


@asynccontextmanager
async def open_store(server: RunningServer, database: str, **options: Any) -> AsyncIterator[Store]:
    """A store on an empty database, which is dropped at the end."""
    client: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(server.uri)
    backend = MongoBackend("shop", StoreOptions(dsn=server.uri, **options))
    try:
        await _drop(client, database)
        yield Store(backend, client, database, server)
        await _drop(client, database)
    finally:
        await backend.close()
        await client.close()


async def _drop(client: AsyncMongoClient[dict[str, Any]], database: str) -> None:
    """Again, where a server under load closes the connection; it is dropped then, or not."""
    for _ in range(DROPS - 1):
        try:
            await client.drop_database(database)
        except AutoReconnect:
            continue
        return
    await client.drop_database(database)


async def scan_rows(
    backend: MongoBackend,
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
