"""What the parts of one load share: the connection, who is told, what is counted, the events."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from typing import Final, Literal, Protocol

import asyncpg

from catalog.inference.events import InferenceEvent
from catalog.model import CatalogSnapshot
from catalog.naming import Path, full_name
from catalog.sqltext import quote_literal
from engine.loading.jobs import Rows
from evolution.transaction import AdminTransaction

OWNER: Final = "morph_owner"
PREFETCH: Final = 500
Conflict = Literal["reject", "skip", "replace"]
CONFLICTS: Final[tuple[Conflict, ...]] = ("reject", "skip", "replace")


class Sink(Protocol):
    """Who is told while a load goes on."""

    def read(self, rows: Rows) -> None:
        """A batch was read; its rejects are in it."""

    def reject(self, source: int, line: int, reason: str, excerpt: str) -> None:
        """A document was read but not taken."""


@dataclass(slots=True)
class LoadReport:
    """What came of a load. `version` is the new version, 0 if there is none."""

    table: str
    documents: int = 0
    rejects: int = 0
    skipped: int = 0
    created: bool = False
    version: int = 0
    notes: list[str] = field(default_factory=list)


class LoadSession:
    """One load inside one transaction of a superuser's connection."""

    def __init__(
        self, connection: asyncpg.Connection, table: str, sink: Sink, conflict: Conflict
    ) -> None:
        self.connection = connection
        self.tx = AdminTransaction(connection)
        self.table = table
        self.sink = sink
        self.conflict = conflict
        self.report = LoadReport(table)

    async def fetch(self, query: str) -> list[tuple[object, ...]]:
        """Rows of a query run as the owner: a domain or default may call what a client wrote."""
        async with self.connection.transaction():
            await self.connection.execute(f"SET LOCAL ROLE {OWNER}")
            rows = [tuple(row) for row in await self.connection.fetch(query)]
            await self.connection.execute("RESET ROLE")
        return rows

    async def take_out(self, query: str, reason: str) -> int:
        """Run a DELETE on the staging table (see backends.embedded.append) and reject its rows."""
        taken = 0
        async for source, line, record in self._rows_of(query):
            self.sink.reject(source, line, reason, record)
            taken += 1
        self.report.rejects += taken
        return taken

    async def leave_out(self, query: str) -> None:
        """The same without a word: the user asked to skip them."""
        async for _ in self._rows_of(query):
            self.report.skipped += 1

    async def _rows_of(self, query: str) -> AsyncIterator[tuple[int, int, str]]:
        """The rows of a DELETE, a few at a time: it may be all documents of a load."""
        async with self.connection.transaction():
            await self.connection.execute(f"SET LOCAL ROLE {OWNER}")
            async for source, line, record in self.connection.cursor(query, prefetch=PREFETCH):
                yield source, line, record
            await self.connection.execute("RESET ROLE")

    def note(self, text: str) -> None:
        """Tell the user about something at the end."""
        self.report.notes.append(text)


@dataclass(frozen=True, slots=True)
class LoadEvent:
    """One row of morph_catalog.events."""

    table_id: int
    relation: str
    path: Path
    kind: str
    detail: str
    documents: int


def inference_event(table_id: int, relation: str, event: InferenceEvent) -> LoadEvent:
    """What inference has to tell, as a row."""
    count = sum(event.counts.values())
    return LoadEvent(table_id, relation, event.path, event.kind, event.message, count)


def event_statement(event: LoadEvent) -> str:
    """Record an event."""
    path = full_name(event.path) if event.path else ""
    texts = ", ".join(quote_literal(v) for v in (event.relation, path, event.kind, event.detail))
    return (
        "INSERT INTO morph_catalog.events (table_id, relation, path, kind, detail, documents) "
        f"VALUES ({event.table_id}, {texts}, {event.documents})"
    )


def relation_names(snapshot: CatalogSnapshot) -> set[str]:
    """Every name that a relation has in some version."""
    names: set[str] = set()
    for version in snapshot.versions.values():
        for table in version.tables:
            names.add(table.name)
            names |= {c.name for c in table.constraints} | {i.name for i in table.indexes}
    return names


def shown(items: Iterable[str], most: int = 8) -> str:
    """Names for a message, not too many."""
    names = list(items)
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest
