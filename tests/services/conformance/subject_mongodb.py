"""MongoDB in the conformance suite."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from bson.binary import Binary
from bson.decimal128 import Decimal128
from bson.int64 import Int64

from backends.base import Scope
from backends.mongodb.backend import MongoBackend
from catalog.model import Table
from tests.services.conformance.subject import MODEL, Row
from tests.services.mongodb.scanning import Store, open_store
from tests.services.servers.process import RunningServer

DATABASE = "morph_conformance"
READERS: Mapping[str, Any] = {
    "bigint": Int64,
    "text": str,
    "integer": int,
    "double precision": float,
    "numeric": Decimal128,
    "boolean": lambda text: text == "t",
    "timestamp with time zone": dt.datetime.fromisoformat,
    "uuid": lambda text: Binary(uuid.UUID(text).bytes, 4),
}
GAPS: Mapping[str, Mapping[str, str]] = {
    "mongo-java-server": {
        "grouping": "its expressions are not those of MongoDB, so groupings are not asked",
        "transactions": "it has none",
    }
}


@dataclass
class MongoSubject:
    """See Subject: the key is `_id`, which the suite's `id` is stored as."""

    store: Store
    kind: str = "mongodb"
    tables: list[Table] = field(default_factory=list)

    @property
    def backend(self) -> MongoBackend:
        """The backend under test."""
        return self.store.backend

    @property
    def server(self) -> RunningServer:
        """Where it runs."""
        return self.store.server

    @property
    def namespace(self) -> str:
        """The database."""
        return self.store.database

    @property
    def gaps(self) -> Mapping[str, str]:
        """What the server lacks."""
        return GAPS.get(self.server.product, {})

    async def make(self, name: str, rows: Sequence[Row]) -> Table:
        """See Subject."""
        documents = []
        for row in rows:
            values = zip(MODEL.items(), row, strict=True)
            document = {
                "_id" if column == "id" else column: READERS[sql_type](text)
                for (column, sql_type), text in values
                if text is not None
            }
            documents.append(document)
        await self.store.db[name].insert_many(documents)
        native = (self.store.database, name)
        found = await self.backend.describe(native, Scope())
        columns = tuple(replace(c, name="id") if c.name == "_id" else c for c in found.columns)
        return Table(len(self.tables) + 1, name, "foreign", columns, native=native, key=found.key)

    def nowhere(self, table: Table) -> Table:
        """See Subject."""
        return replace(table, native=(self.store.database, "nowhere"))


@asynccontextmanager
async def open_mongodb(server: RunningServer, batch_rows: int) -> AsyncIterator[MongoSubject]:
    """The subject on a database of its own."""
    async with open_store(server, DATABASE, batch_rows=batch_rows) as store:
        yield MongoSubject(store)
