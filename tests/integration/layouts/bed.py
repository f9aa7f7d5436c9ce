"""A table of a running server with a shadow that the test drives step by step."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import Any

import asyncpg
import psycopg

from catalog.model import Table
from catalog.store import load_snapshot
from evolution.layouts.base import Pace, Progress, ShadowTable, ShadowWork
from evolution.layouts.embedded.store import EmbeddedLayouts
from tests.integration.server_process import ServerProcess

_NUMBERS = itertools.count(1001)
STEPS_MAX = 10_000


async def connect_root(server: ServerProcess) -> asyncpg.Connection:
    """The control plane's connection, as the controller opens it."""
    return await asyncpg.connect(
        host=str(server.socket_directory),
        user="morph_root",
        database="morph",
        statement_cache_size=0,
        timeout=60,
    )


async def store_table(server: ServerProcess, name: str) -> Table:
    """The table in the newest version."""
    db = await connect_root(server)
    try:
        snapshot = await load_snapshot(db)
    finally:
        await db.close()
    table = snapshot.versions[snapshot.head].table(name)
    assert table is not None, name
    return table


@dataclass
class Bed:
    """`work` is what the controller would ask for; `client` is a session of an ordinary client."""

    server: ServerProcess
    layouts: EmbeddedLayouts
    client: psycopg.Connection[Any]
    root: psycopg.Connection[Any]
    work: ShadowWork

    def ddl(self, sql: str) -> None:
        """Statements of a client."""
        self.client.execute(sql)

    def make(self, name: str, columns: str) -> None:
        """A table."""
        self.client.execute(f"CREATE TABLE {name} ({columns})")

    async def aim(self, *names: str, pace: Pace | None = None) -> ShadowWork:
        """The change is about these tables."""
        change = self.work.change_id
        tables = []
        for name in names:
            table = await store_table(self.server, name)
            tables.append(ShadowTable(table.id, name, table.store, f"{table.store}s{change}"))
        self.work = replace(self.work, tables=tuple(tables), pace=pace or self.work.pace)
        return self.work

    async def begin(self, *names: str, pace: Pace | None = None) -> None:
        """Aim and begin."""
        await self.layouts.begin(await self.aim(*names, pace=pace))

    async def copy(self) -> Progress:
        """Advance until all is copied and nothing is pending."""
        for _ in range(STEPS_MAX):
            progress = await self.layouts.advance(self.work)
            if progress.copied and not progress.pending:
                return progress
        raise AssertionError("the backfill does not end")

    def rows(self, table: str, columns: str = "*") -> list[Any]:
        """The rows of a store table."""
        return self.root.execute(
            f'SELECT {columns} FROM morph_store."{table}" ORDER BY 1'
        ).fetchall()

    def differences(self) -> list[Any]:
        """Rows that live and shadow do not both have."""
        found = []
        for table in self.work.tables:
            live, shadow = f'morph_store."{table.live}"', f'morph_store."{table.shadow}"'
            found += self.root.execute(
                f"(SELECT 'live', t::text FROM {live} t EXCEPT ALL SELECT 'live', t::text "
                f"FROM {shadow} t) UNION ALL (SELECT 'shadow', t::text FROM {shadow} t "
                f"EXCEPT ALL SELECT 'shadow', t::text FROM {live} t)"
            ).fetchall()
        return found

    def log(self, columns: str) -> list[Any]:
        """The records of the first table's log."""
        number = self.work.tables[0].table_id
        return self.root.execute(
            f'SELECT {columns} FROM morph_log."t{number}" ORDER BY lsn'
        ).fetchall()

    async def close(self) -> None:
        """Leave the server as it was."""
        if self.work.tables:
            await self.layouts.discard(self.work)
        await self.layouts.close()
        self.client.close()
        self.root.close()


def open_bed(server: ServerProcess) -> Bed:
    """A bed with a change of its own."""
    return Bed(
        server,
        EmbeddedLayouts(lambda: connect_root(server)),
        psycopg.connect(server.dsn, autocommit=True),
        server.root(),
        ShadowWork(next(_NUMBERS), 0, 0, 1, (), pace=Pace(step_s=60.0)),
    )
