"""Loading: documents of files become a table in every version, in one transaction.

The reading process streams rows into a staging table while it counts what they look like; then the
types are decided, the store's table is made and filled, and the table is published. A kill at any
moment leaves nothing of it, or all.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Literal, Protocol

import asyncpg

from backends.embedded.ingest import (
    COPY_HEADER,
    COPY_TRAILER,
    STAGING,
    STAGING_COLUMNS,
    fill_statement,
    staged_value,
    staging_statements,
)
from backends.embedded.layout import (
    Layout,
    constraint_statements,
    create_statement,
    lay_out,
    store_table,
)
from backends.files.records import EXCERPT_CHARS
from catalog.inference.events import InferenceEvent
from catalog.inference.infer import InferredTable, KeyCandidate, infer_table
from catalog.inference.statistics import TableStats
from catalog.model import CatalogSnapshot, Version
from catalog.naming import full_name
from catalog.sqltext import quote_literal
from catalog.store import load_snapshot
from core.errors import BadCopyFormat, FeatureNotSupported, MorphError, StoreIOError
from engine.loading.jobs import Failed, Finished, Frame, Rows
from evolution.publish import Operation, first_version, publish_in_place, table_statements
from evolution.transaction import AdminTransaction

OWNER: Final = "morph_owner"
ORIGIN: Final = "load"
Conflict = Literal["reject", "skip", "replace"]


class Sink(Protocol):
    """Who is told while a load goes on."""

    def read(self, rows: Rows) -> None:
        """A batch was read; its rejects are in it."""

    def reject(self, source: int, line: int, reason: str, excerpt: str) -> None:
        """A document was read but not taken."""


@dataclass(slots=True)
class LoadReport:
    """What came of a load."""

    table: str
    documents: int = 0
    rejects: int = 0
    created: bool = False
    version: int = 0
    notes: list[str] = field(default_factory=list)


class Loader:
    """One load into one table, on a superuser's connection."""

    def __init__(
        self, connection: asyncpg.Connection, table: str, sink: Sink, conflict: Conflict = "reject"
    ) -> None:
        self._connection = connection
        self._tx = AdminTransaction(connection)
        self._table = table
        self._sink = sink
        self._conflict = conflict
        self._report = LoadReport(table)

    async def load(self, frames: AsyncIterator[Frame]) -> LoadReport:
        """Load all documents of a job, or nothing of it."""
        async with self._connection.transaction():
            # Input comes as fast as it comes; the first error ends the transaction anyway.
            await self._connection.execute("SET LOCAL statement_timeout = 0")
            for statement in staging_statements(OWNER):
                await self._connection.execute(statement)
            stats = await self._stage(frames)
            if not stats.documents:
                raise BadCopyFormat(f'there is no document to load into "{self._table}"')
            await self._connection.execute("LOCK TABLE morph_catalog.state IN EXCLUSIVE MODE")
            snapshot = await load_snapshot(self._connection)
            snapshot = await first_version(self._tx, snapshot)
            if snapshot.version(snapshot.head).table(self._table) is not None:
                raise FeatureNotSupported("loading into an existing table")
            await self._new_table(snapshot, stats)
            await self._connection.execute(f"DROP TABLE {STAGING}")
        self._report.documents += stats.documents
        return self._report

    async def _stage(self, frames: AsyncIterator[Frame]) -> TableStats:
        finished: list[TableStats] = []

        async def rows() -> AsyncIterator[bytes]:
            yield COPY_HEADER
            async for frame in frames:
                if isinstance(frame, Finished):
                    finished.append(frame.stats)
                elif isinstance(frame, Failed):
                    raise reading_error(frame)
                else:
                    self._report.rejects += len(frame.rejects)
                    self._sink.read(frame)
                    yield frame.copy
            yield COPY_TRAILER

        schema, _, name = STAGING.partition(".")
        await self._connection.copy_to_table(
            name, schema_name=schema, source=rows(), columns=STAGING_COLUMNS, format="binary"
        )
        return finished[0]

    async def _new_table(self, snapshot: CatalogSnapshot, stats: TableStats) -> None:
        taken = relation_names(snapshot)
        inferred = infer_table(self._table, stats, taken=taken)
        layout = await self._filled(inferred, snapshot.next_id, taken)
        versions = {
            number: _with_tables(version, layout)
            for number, version in snapshot.versions.items()
            if not any(version.table(table.name) for table in layout.tables)
        }
        fresh = replace(
            snapshot, versions={**snapshot.versions, **versions}, next_id=layout.next_id
        )
        statements = [event_statement(layout.table.id, self._table, e) for e in inferred.events]
        for version in versions.values():
            statements += table_statements(fresh, version, layout.tables)
        operation = Operation("load", self._table, f"morphgres load --table {self._table}", ORIGIN)
        await publish_in_place(
            self._tx, snapshot, versions, statements, [operation], next_id=layout.next_id
        )
        self._report.created = True
        self._report.version = snapshot.head
        self._report.notes += [f"{e.column or self._table}: {e.message}" for e in inferred.events]

    async def _filled(self, inferred: InferredTable, next_id: int, taken: Iterable[str]) -> Layout:
        """The store's table with all rows, under the first key whose values are unique."""
        for key in inferred.keys:
            layout = lay_out(inferred, key, next_id, set(taken))
            if await self._fill(layout):
                return layout
            if key.path == ("_id",):
                await self._remove_duplicates(key)
                if await self._fill(layout):
                    return layout
        raise AssertionError("a generated key is always unique")

    async def _fill(self, layout: Layout) -> bool:
        table = layout.table
        statements = [
            create_statement(table),
            fill_statement(table, layout.nullable),
            *constraint_statements(table),
            f"ANALYZE {store_table(table)}",
        ]
        try:
            async with self._connection.transaction():
                await self._tx.apply(statements)
        except (asyncpg.UniqueViolationError, asyncpg.ProgramLimitExceededError):
            return False
        return True

    async def _remove_duplicates(self, key: KeyCandidate) -> None:
        value = staged_value(key.path[0], key.pg_type)
        rows = await self._connection.fetch(
            f"DELETE FROM {STAGING} USING (SELECT s.ctid AS place, row_number() OVER "
            f"(PARTITION BY {value} ORDER BY s.ordinal) AS nth FROM {STAGING} s) d "
            f"WHERE morph_load.ctid = d.place AND d.nth > 1 "
            f"RETURNING source, line, left(doc::text, {EXCERPT_CHARS})"
        )
        for source, line, excerpt in rows:
            self._sink.reject(source, line, f"duplicate value of the key {key.name}", excerpt)
        self._report.rejects += len(rows)
        self._report.documents -= len(rows)


def _with_tables(version: Version, layout: Layout) -> Version:
    for table in layout.tables:
        version = version.with_table(table)
    return version


def relation_names(snapshot: CatalogSnapshot) -> set[str]:
    """Every name that a relation has in some version."""
    names: set[str] = set()
    for version in snapshot.versions.values():
        for table in version.tables:
            names.add(table.name)
            names |= {c.name for c in table.constraints} | {i.name for i in table.indexes}
    return names


def event_statement(table_id: int, relation: str, event: InferenceEvent) -> str:
    """Record what inference has to tell."""
    path = full_name(event.path) if event.path else ""
    texts = ", ".join(quote_literal(v) for v in (relation, path, event.kind, event.message))
    return (
        "INSERT INTO morph_catalog.events (table_id, relation, path, kind, detail, documents) "
        f"VALUES ({table_id}, {texts}, {sum(event.counts.values())})"
    )


def reading_error(failed: Failed) -> MorphError:
    """The error that the reading process met."""
    kind = next(
        (k for k in (BadCopyFormat, StoreIOError) if k.sqlstate == failed.sqlstate), MorphError
    )
    return kind(failed.primary, detail=failed.detail, hint=failed.hint)


__all__: Sequence[str] = ("Conflict", "LoadReport", "Loader", "Sink")
