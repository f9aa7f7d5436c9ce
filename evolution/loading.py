"""Loading: documents of files become a table, or more rows of one, in one transaction.

The reading process streams rows into a staging table while it counts what they look like. For a new
table the types are decided then, the store's table is made and filled, and it is published in every
version; an existing one goes on in `evolution.appending`. A kill at any moment leaves nothing of a
load, or all of it.

Keys: `_id`, then `id`, where every document has one. A document with an `_id` that an earlier one
had is a reject (`_id` names the document); an `id` that repeats is no key, and a key is generated.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from dataclasses import replace
from typing import Final

import asyncpg

from backends.embedded.append import delete_repeated
from backends.embedded.ingest import (
    STAGING,
    STAGING_COLUMNS,
    cell_fields,
    fill_statement,
    readable_field,
    staged_value,
    staging_statements,
)
from backends.embedded.layout import (
    Layout,
    constraint_statements,
    create_statement,
    few_physical,
    lay_out,
    store_table,
)
from catalog.inference.infer import InferredTable, KeyCandidate, infer_table
from catalog.inference.rules import JSONB
from catalog.inference.statistics import TableStats
from catalog.model import CatalogSnapshot, DocPath, Stored, Table, Version
from catalog.naming import table_name
from catalog.readers import field_of
from catalog.sqltext import RESERVED_PREFIX
from catalog.store import load_snapshot
from core.encoding.rows import COPY_HEADER, COPY_TRAILER
from core.errors import (
    BadCopyFormat,
    DiskFull,
    FeatureNotSupported,
    InternalError,
    InvalidParameterValue,
    MorphError,
    ObjectNotInPrerequisiteState,
    ReservedName,
    StoreIOError,
    WrongObjectType,
)
from engine.loading.cells import cell_columns, exact_cells
from engine.loading.jobs import Failed, Finished, Frame
from evolution.appending import Appender
from evolution.load_session import (
    OWNER,
    Conflict,
    LoadReport,
    LoadSession,
    Sink,
    event_statement,
    inference_event,
    relation_names,
)
from evolution.publish import Operation, first_version, publish_in_place, table_statements

LOCK_TIMEOUT: Final = "60s"
_READING_ERRORS: Final = (BadCopyFormat, StoreIOError, InvalidParameterValue)
_ID: Final = ("_id",)


def loadable_name(name: str) -> str:
    """The table's name as PostgreSQL can hold it; ReservedName for those of Morphgres."""
    if not name:
        raise InvalidParameterValue("the name of the table is empty")
    if "\0" in name:
        raise InvalidParameterValue("the name of the table holds the character U+0000")
    if name.startswith((RESERVED_PREFIX, "pg_")):
        raise ReservedName(
            f'table name "{name}" is reserved',
            hint=f"Names that begin with {RESERVED_PREFIX} or pg_ cannot be used.",
        )
    return table_name(name)


def existing_table(snapshot: CatalogSnapshot, name: str) -> Table | None:
    """The table that a load goes into, None if it is to be made; WrongObjectType for others, and
    FeatureNotSupported while values are to be converted.
    """
    if not snapshot.versions:
        return None
    table = snapshot.version(snapshot.head).table(name)
    if table is not None and table.lenses:
        raise FeatureNotSupported(
            f'cannot load into "{name}": its newest version shows values in another form than the '
            "store",
            hint="Promote the change that converts them, or discard it; COPY and INSERT work.",
        )
    if table is not None and table.part is not None:
        raise FeatureNotSupported(
            f'cannot load into "{name}": it shows some of the rows of a table that was split',
            hint="Load through a version from before, or use COPY and INSERT.",
        )
    if table is None or table.kind == "table":
        return table
    if table.kind == "view":
        raise WrongObjectType(f'"{name}" is a view', hint="Load into the tables that it reads.")
    raise WrongObjectType(
        f'"{name}" shows the elements of an array',
        hint="Load whole documents into the table that they belong to.",
    )


def field_types(table: Table) -> dict[str, str]:
    """The types of an existing table's columns by top-level field."""
    types = {}
    for column in table.columns:
        if isinstance(column.source, Stored):
            types[field_of(column)] = column.source.type
        elif isinstance(column.source, DocPath) and len(column.source.path) == 1:
            types[column.source.path[0]] = column.type
    return types


class Loader:
    """One load into one table, on a superuser's connection.

    `expected` is the table as it was when reading began (its types went to the reading process).
    """

    def __init__(
        self,
        connection: asyncpg.Connection,
        table: str,
        sink: Sink,
        *,
        expected: Table | None = None,
        conflict: Conflict = "reject",
    ) -> None:
        self._session = LoadSession(connection, table, sink, conflict)
        self._connection = connection
        self._table = table
        self._expected = expected

    async def load(self, frames: AsyncIterator[Frame]) -> LoadReport:
        """Load all documents of a job, or nothing of it."""
        try:
            async with self._connection.transaction():
                await self._load(frames)
        except asyncpg.DiskFullError as error:
            raise DiskFull(
                f'could not load into "{self._table}": no space left on device',
                detail="Nothing of this load was kept.",
                hint="Free some space where the data directory lies, and load again.",
            ) from error
        except asyncpg.LockNotAvailableError as error:
            raise ObjectNotInPrerequisiteState(
                f'could not load into "{self._table}": somebody holds a lock for long',
                detail="Nothing of this load was kept.",
                hint="End open transactions that changed schemas, and load again.",
            ) from error
        return self._session.report

    async def _load(self, frames: AsyncIterator[Frame]) -> None:
        connection = self._connection
        # Input comes as fast as it comes; the first error ends the transaction anyway.
        for setting in (
            "statement_timeout = 0",
            "temp_file_limit = -1",
            "search_path = pg_catalog, pg_temp",
        ):
            await connection.execute(f"SET LOCAL {setting}")
        for statement in staging_statements(OWNER):
            await connection.execute(statement)
        stats = await self._stage(frames)
        if not stats.documents:
            raise BadCopyFormat(
                f'there is no document to load into "{self._table}"',
                detail="Every record was rejected." if self._session.report.rejects else "",
            )
        await connection.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
        await connection.execute("LOCK TABLE morph_catalog.state IN EXCLUSIVE MODE")
        snapshot = await first_version(self._session.tx, await load_snapshot(connection))
        table = existing_table(snapshot, self._table)
        if (table is None) != (self._expected is None):
            raise ObjectNotInPrerequisiteState(
                f'table "{self._table}" was made or dropped while the files were read',
                hint="Load again.",
            )
        if table is None:
            await self._new_table(snapshot, stats)
        else:
            await connection.execute(f"ANALYZE {STAGING} (ordinal)")
            await Appender(self._session, snapshot, table, stats).append()
        await connection.execute(f"DROP TABLE {STAGING}")

    async def _stage(self, frames: AsyncIterator[Frame]) -> TableStats:
        finished: list[TableStats] = []
        report, sink = self._session.report, self._session.sink

        async def rows() -> AsyncIterator[bytes]:
            yield COPY_HEADER
            async for frame in frames:
                if isinstance(frame, Finished):
                    finished.append(frame.stats)
                elif isinstance(frame, Failed):
                    raise reading_error(frame)
                else:
                    report.rejects += len(frame.rejects)
                    sink.read(frame)
                    yield frame.copy
            yield COPY_TRAILER

        schema, _, name = STAGING.partition(".")
        await self._connection.copy_to_table(
            name, schema_name=schema, source=rows(), columns=STAGING_COLUMNS, format="binary"
        )
        return finished[0]

    async def _new_table(self, snapshot: CatalogSnapshot, stats: TableStats) -> None:
        taken = relation_names(snapshot)
        inferred = exact_cells(infer_table(self._table, stats, taken=taken), stats)
        before = self._session.report.rejects
        layout = await self._filled(inferred, snapshot.next_id, taken)
        refused = self._session.report.rejects - before
        versions = {
            number: _with_tables(version, layout)
            for number, version in snapshot.versions.items()
            if not any(version.table(table.name) for table in layout.tables)
        }
        fresh = replace(
            snapshot, versions={**snapshot.versions, **versions}, next_id=layout.next_id
        )
        table_id = layout.table.id
        statements = [
            event_statement(inference_event(table_id, self._table, event))
            for event in inferred.events
        ]
        for version in versions.values():
            statements += table_statements(fresh, version, layout.tables)
        operation = Operation("load", self._table, f"morphgres load --table {self._table}", "load")
        await publish_in_place(
            self._session.tx, snapshot, versions, statements, [operation], next_id=layout.next_id
        )
        report = self._session.report
        report.created = True
        report.documents = stats.documents - refused - report.skipped
        report.notes += [f"{e.column or self._table}: {e.message}" for e in inferred.events]

    async def _filled(
        self, inferred: InferredTable, next_id: int, taken: Collection[str]
    ) -> Layout:
        """The store's table with all rows, under the first key whose values are unique."""
        inferred, moved = few_physical(inferred)
        fields = cell_fields(cell_columns(inferred))
        fields |= {key: readable_field(key, t) for key, t in moved.items() if t != JSONB}
        for key in inferred.keys:
            layout = lay_out(inferred, key, next_id, taken)
            if await self._fill(layout, fields):
                return layout
            if key.path == _ID:
                await self._refuse_repeated(key)
                if await self._fill(layout, fields):
                    return layout
        raise InternalError("a generated key was not unique")

    async def _fill(self, layout: Layout, fields: dict[str, str]) -> bool:
        table = layout.table
        statements = [
            create_statement(table),
            fill_statement(table, layout.nullable, fields),
            *constraint_statements(table),
            # Nobody can name the table; with SELECT PostgreSQL shows the key in its errors.
            f"GRANT SELECT ON {store_table(table)} TO morph_client",
            f"ANALYZE {store_table(table)}",
        ]
        try:
            async with self._connection.transaction():
                await self._session.tx.apply(statements)
        except (asyncpg.UniqueViolationError, asyncpg.ProgramLimitExceededError):
            return False  # repeated values, or values too long for an index
        return True

    async def _refuse_repeated(self, key: KeyCandidate) -> None:
        session = self._session
        value = staged_value(key.path[0], key.pg_type)
        query = delete_repeated([value], keep_last=session.conflict == "replace")
        if session.conflict == "reject":
            await session.take_out(query, f"the key {key.name} was in this load before")
        else:
            await session.leave_out(query)


def _with_tables(version: Version, layout: Layout) -> Version:
    for table in layout.tables:
        version = version.with_table(table)
    return version


def reading_error(failed: Failed) -> MorphError:
    """The error that the reading process met."""
    kind = next((k for k in _READING_ERRORS if k.sqlstate == failed.sqlstate), MorphError)
    return kind(failed.primary, detail=failed.detail, hint=failed.hint)
