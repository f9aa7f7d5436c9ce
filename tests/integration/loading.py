"""Loads in tests: a store of one's own, and loads into it without the command line."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg

from catalog.store import load_snapshot
from config.settings import Settings
from engine.loading.jobs import Frame, Input, Job, Rows
from engine.loading.prepare import frames
from evolution.load_session import Conflict, LoadReport
from evolution.loading import Loader, existing_table, field_types
from private_pg.cluster import DATABASE, SUPERUSER, Cluster
from proxy.server import prepare_database


@dataclass
class Told:
    """A sink that remembers: `rejects` are (source, line, reason, excerpt)."""

    rejects: list[tuple[int, int, str, str]] = field(default_factory=list)
    documents: int = 0

    def read(self, rows: Rows) -> None:
        self.documents += rows.documents
        for r in rows.rejects:
            self.reject(rows.source, r.line_number, r.reason, r.excerpt)

    def reject(self, source: int, line: int, reason: str, excerpt: str) -> None:
        self.rejects.append((source, line, reason, excerpt))

    @property
    def lines(self) -> list[int]:
        """The line numbers, in order."""
        return sorted(line for _, line, _, _ in self.rejects)


async def _frames(job: Job, parsers: int) -> AsyncIterator[Frame]:
    for frame in frames(job, parsers=parsers):
        yield frame
        await asyncio.sleep(0)


@dataclass
class Store:
    """An empty store in a private PostgreSQL."""

    connection: asyncpg.Connection
    directory: Path
    files: int = 0

    def file(self, content: str | bytes | Sequence[str], name: str = "") -> str:
        """A file with this content; a sequence is lines."""
        self.files += 1
        path = self.directory / (name or f"{self.files}.ndjson")
        if not isinstance(content, str | bytes):
            content = "".join(f"{line}\n" for line in content)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return str(path)

    async def load(
        self,
        content: str | bytes | Sequence[str],
        table: str = "t",
        *,
        name: str = "",
        conflict: Conflict = "reject",
        parsers: int = 1,
    ) -> tuple[LoadReport, Told]:
        """Load a file with this content."""
        return await self.load_files([self.file(content, name)], table, conflict, parsers)

    async def load_files(
        self, paths: Sequence[str], table: str, conflict: Conflict = "reject", parsers: int = 1
    ) -> tuple[LoadReport, Told]:
        """Load files that exist."""
        told = Told()
        expected = existing_table(await load_snapshot(self.connection), table)
        types = None if expected is None else field_types(expected)
        job = Job(tuple(Input(path) for path in paths), types)
        loader = Loader(self.connection, table, told, expected=expected, conflict=conflict)
        return await loader.load(_frames(job, parsers)), told

    async def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Rows of a query past Morphgres: tables as morph_v1."t", whole ones as morph_w1."t"."""
        return [tuple(row) for row in await self.connection.fetch(query)]

    async def value(self, query: str) -> Any:
        """The one value of a query."""
        return await self.connection.fetchval(query)

    async def columns(self, table: str = "t", schema: str = "v1") -> dict[str, str]:
        """Names and types of a shape's columns."""
        rows = await self.connection.fetch(
            "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute "
            "WHERE attrelid = format('%I.%I', $1::text, $2::text)::regclass AND attnum > 0 "
            "ORDER BY attnum",
            schema,
            table,
        )
        return dict(tuple(row) for row in rows)

    async def events(self, kind: str = "misfit") -> dict[str, int]:
        """Documents of the events of one kind, by path."""
        rows = await self.connection.fetch(
            "SELECT path, documents FROM morph_catalog.events WHERE kind = $1", kind
        )
        return dict(tuple(row) for row in rows)


async def open_store(cluster: Cluster, directory: Path) -> Store:
    """A store with nothing in it; the one before is dropped."""
    host = str(cluster.socket_directory)
    admin = await asyncpg.connect(host=host, user=SUPERUSER, database="postgres")
    try:
        await admin.execute(f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")
    finally:
        await admin.close()
    await prepare_database(cluster, Settings())
    connection = await asyncpg.connect(host=host, user=SUPERUSER, database=DATABASE)
    for json_type in ("json", "jsonb"):
        await connection.set_type_codec(
            json_type, schema="pg_catalog", encoder=str, decoder=lambda text: text
        )
    return Store(connection, directory)
