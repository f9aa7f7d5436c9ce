"""Two hand-made layouts of a table in a private PostgreSQL, as a change would have them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace

import asyncpg

from evolution.layouts.base import ShadowTable, ShadowWork, SideColumn, Sides
from evolution.validation.embedded.select import SideSelect, SqlColumn
from evolution.validation.embedded.side import EmbeddedSide, read_together
from evolution.validation.pace import ReadingPace
from evolution.validation.report import Method, Report
from evolution.validation.scrub import Scrub
from private_pg.cluster import Cluster

TABLE_ID = 5


async def connect(cluster: Cluster) -> asyncpg.Connection:
    """A superuser's connection to the bed's database."""
    return await asyncpg.connect(
        host=str(cluster.socket_directory),
        user="morph_root",
        database="validation",
        statement_cache_size=0,
        timeout=60,
    )


async def make_database(cluster: Cluster) -> None:
    """The database with the owner that sides read as."""
    admin = await asyncpg.connect(
        host=str(cluster.socket_directory), user="morph_root", database="postgres", timeout=60
    )
    try:
        await admin.execute("DROP DATABASE IF EXISTS validation WITH (FORCE)")
        await admin.execute("CREATE DATABASE validation TEMPLATE template0")
        if not await admin.fetchval("SELECT true FROM pg_roles WHERE rolname = 'morph_owner'"):
            await admin.execute("CREATE ROLE morph_owner NOLOGIN")
    finally:
        await admin.close(timeout=5)
    connection = await connect(cluster)
    try:
        await connection.execute("CREATE SCHEMA morph_store AUTHORIZATION morph_owner")
    finally:
        await connection.close(timeout=5)


def sql_columns(columns: Sequence[tuple[str, str, str]]) -> tuple[SqlColumn, ...]:
    """From (name, type, expression)."""
    return tuple(
        SqlColumn(SideColumn(n, name, sql_type), sql)
        for n, (name, sql_type, sql) in enumerate(columns, 1)
    )


def select(
    table: str, columns: Sequence[tuple[str, str, str]], key: int = 1, **more: str
) -> SideSelect:
    """A side over morph_store.<table> t whose first `key` columns are its key."""
    made = sql_columns(columns)
    base = SideSelect(f'morph_store."{table}" t', made[:key], made)
    return replace(base, **more)  # type: ignore[arg-type]


@dataclass
class Bed:
    """Opens both sides as of one moment."""

    cluster: Cluster
    live: SideSelect
    shadow: SideSelect
    bytes_max: int = 32 << 20

    @asynccontextmanager
    async def sides(self) -> AsyncIterator[Sides]:
        """For a scrub."""
        async with read_together(lambda: connect(self.cluster)) as connection:
            yield (
                EmbeddedSide(connection, self.live, self.bytes_max),
                EmbeddedSide(connection, self.shadow, self.bytes_max),
            )

    async def scrub(
        self, method: Method = "checksum", report: Report | None = None, **pace: float
    ) -> Report:
        """One pass."""

        async def saved(_: Report) -> None:
            pass

        made = report or Report(1, TABLE_ID, 7, method)
        return await Scrub(self.sides, made, saved, ReadingPace(**pace)).run()  # type: ignore[arg-type]


class BedLayouts:
    """What a validator asks of layouts, over a bed."""

    def __init__(self, bed: Bed) -> None:
        self._bed = bed

    def sides(self, work: ShadowWork, table: ShadowTable) -> AbstractAsyncContextManager[Sides]:
        """See Layouts."""
        return self._bed.sides()

    async def repair(self, work: ShadowWork, table: ShadowTable, keys: Sequence[bytes]) -> int:
        """See Layouts: the bed's shadow is a plain copy with one key column."""
        connection = await connect(self._bed.cluster)
        ids = [int(key) for key in keys]
        try:
            gone = await connection.fetch(
                "DELETE FROM morph_store.shadow WHERE id = ANY($1) RETURNING id", ids
            )
            made = await connection.fetch(
                "INSERT INTO morph_store.shadow SELECT * FROM morph_store.live WHERE id = ANY($1) "
                "RETURNING id",
                ids,
            )
            return len({r["id"] for r in (*gone, *made)})
        finally:
            await connection.close(timeout=5)
