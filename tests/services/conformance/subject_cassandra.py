"""Cassandra in the conformance suite."""

from __future__ import annotations

import asyncio
import datetime as dt
import uuid
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

from cassandra.concurrent import execute_concurrent_with_args

from backends.cassandra.backend import CassandraBackend
from catalog.model import Table
from tests.services.cassandra.stores import Store, open_store
from tests.services.conformance.subject import MODEL, Row
from tests.services.servers.process import RunningServer

KEYSPACE = "morph_conformance"
TYPES: Mapping[str, tuple[str, Callable[[str], Any]]] = {
    "bigint": ("bigint", int),
    "text": ("text", str),
    "integer": ("int", int),
    "double precision": ("double", float),
    "numeric": ("decimal", Decimal),
    "boolean": ("boolean", lambda text: text == "t"),
    "timestamp with time zone": ("timestamp", dt.datetime.fromisoformat),
    "uuid": ("uuid", uuid.UUID),
}
GAPS: Mapping[str, str] = {
    "grouping": "CQL groups by its keys only",
    "transactions": "it has none; writes are lightweight transactions of one partition",
}


@dataclass
class CassandraSubject:
    """See Subject: the key is the partition key."""

    store: Store
    kind: str = "cassandra"
    gaps: Mapping[str, str] = field(default_factory=lambda: GAPS)

    @property
    def backend(self) -> CassandraBackend:
        """The backend under test."""
        return self.store.backend

    @property
    def server(self) -> RunningServer:
        """Where it runs."""
        return self.store.server

    @property
    def namespace(self) -> str:
        """The keyspace."""
        return self.store.keyspace

    async def make(self, name: str, rows: Sequence[Row]) -> Table:
        """See Subject."""
        columns = ", ".join(f"{column} {TYPES[kind][0]}" for column, kind in MODEL.items())
        await self.store.cql(f"CREATE TABLE {name} ({columns}, PRIMARY KEY (id))")
        insert = await asyncio.to_thread(
            self.store.session.prepare,
            f"INSERT INTO {name} ({', '.join(MODEL)}) VALUES ({', '.join('?' * len(MODEL))})",
        )
        readers = [TYPES[kind][1] for kind in MODEL.values()]
        values = [
            [None if text is None else read(text) for read, text in zip(readers, row, strict=True)]
            for row in rows
        ]
        await asyncio.to_thread(execute_concurrent_with_args, self.store.session, insert, values)
        return await self.store.table(name)

    def nowhere(self, table: Table) -> Table:
        """See Subject."""
        return replace(table, native=(self.store.keyspace, "nowhere"))


@asynccontextmanager
async def open_cassandra(server: RunningServer, batch_rows: int) -> AsyncIterator[CassandraSubject]:
    """The subject on a keyspace of its own."""
    async with open_store(server, KEYSPACE, batch_rows=batch_rows) as store:
        yield CassandraSubject(store)
