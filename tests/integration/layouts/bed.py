"""A table of a running server with a shadow that the test drives step by step."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import asyncpg
import psycopg

from catalog.model import Version
from catalog.store import SNAPSHOT_QUERY, load_snapshot, snapshot_from_rows
from evolution.layouts.avro import decode_batch, encode_batch
from evolution.layouts.base import (
    CutOver,
    Discrepancy,
    Pace,
    Progress,
    ShadowTable,
    ShadowWork,
    Sides,
)
from evolution.layouts.embedded.reader import read_batches
from evolution.layouts.embedded.sessions import Sessions
from evolution.layouts.embedded.store import EmbeddedLayouts
from evolution.layouts.embedded.tables import read_table
from evolution.layouts.records import LogBatch
from evolution.lifecycle import promote, roll_back
from evolution.transaction import Transaction
from tests.integration.fresh_catalog import empty_catalog
from tests.integration.server_process import ServerProcess

_NUMBERS = itertools.count(1001)
STEPS_MAX = 10_000
TRIES_MAX = 60
DEADLINE_S = 30.0
"""The product's is 5 s; a machine that is busy with other tests gets more."""


async def connect_root(server: ServerProcess) -> asyncpg.Connection:
    """The control plane's connection, as the controller opens it."""
    return await asyncpg.connect(
        host=str(server.socket_directory),
        user="morph_root",
        database="morph",
        statement_cache_size=0,
        timeout=60,
    )


async def newest(server: ServerProcess) -> tuple[Version, Version]:
    """The newest version and its parent (itself when it is the first)."""
    db = await connect_root(server)
    try:
        snapshot = await load_snapshot(db)
    finally:
        await db.close()
    head = snapshot.versions[snapshot.head]
    return head, snapshot.versions.get(head.parent, head)


async def verify(table: ShadowTable, sides: Sides, keys: Sequence[bytes]) -> list[Discrepancy]:
    """Both sides completely: the tables of the tests are small."""
    live, shadow = sides
    left, right = await live.chunk(None, None, 0), await shadow.chunk(None, None, 0)
    if left.data == right.data:
        return []
    differ = set(left.data.splitlines()) ^ set(right.data.splitlines())
    return [Discrepancy("VALUE_MISMATCH", str(sorted(differ)[:4]), "", table.table_id)]


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
        """The change is about these tables, and about the lenses that the newest version added."""
        change = self.work.change_id
        head, parent = await newest(self.server)
        tables = []
        for name in names:
            table = head.table(name)
            assert table is not None, name
            old = parent.table_by_id(table.id)
            known = {lens.id for lens in old.lenses} if old is not None else set()
            lenses = tuple(lens.id for lens in table.lenses if lens.id not in known)
            shadow = f"{table.store}s{change}"
            tables.append(ShadowTable(table.id, name, table.store, shadow, lenses))
        self.work = replace(
            self.work,
            version=head.number,
            parent=parent.number,
            tables=tuple(tables),
            pace=pace or self.work.pace,
        )
        return self.work

    async def ready(self, *names: str) -> None:
        """Begin, copy, finish."""
        await self.begin(*names)
        while not (await self.layouts.advance(self.work)).copied:
            pass
        assert await self.layouts.finish(self.work) == []

    async def cut_over(self, **options: Any) -> CutOver:
        """One try; afterwards `work` is the way back."""
        result = await self.layouts.cut_over(
            self.work, **{"deadline_s": DEADLINE_S, "verify": verify, "flip": self.flip, **options}
        )
        if result.done:
            self.turn()
        return result

    async def through(self) -> CutOver:
        """The cut-over, tried again as the controller does."""
        for attempt in range(TRIES_MAX):
            result = await self.cut_over()
            if result.done:
                return result
            await asyncio.sleep(min(0.02 * 2**attempt, 0.5))
        raise AssertionError(result.reason)

    def turn(self) -> None:
        """What served is the shadow now."""
        tables = tuple(replace(t, live=t.shadow, shadow=t.live) for t in self.work.tables)
        back = "back" if self.work.direction == "forward" else "forward"
        self.work = replace(self.work, tables=tables, direction=back)  # type: ignore[arg-type]

    async def flip(self, tx: Transaction) -> None:
        """Move the pointer, if the change made a version."""
        rows = await tx.fetch(SNAPSHOT_QUERY)
        snapshot = snapshot_from_rows(rows)
        if self.work.version == self.work.parent:
            return
        if self.work.direction == "forward":
            await promote(tx, snapshot, self.work.version)
        else:
            await roll_back(tx, snapshot, self.work.version)

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
        """The records of the first table's log, one by one: `columns` over those of a run, with the
        record's own position, key, image and touched columns.
        """
        name = f'morph_log."t{self.work.tables[0].table_id}"'
        keys = self.root.execute(
            "SELECT string_agg(format('l.%%1$I[p] AS %%1$I', attname), ', ') FROM pg_attribute "
            "WHERE attrelid = %s::regclass AND attname ~ '^c[0-9]+$'",
            (name,),
        ).fetchone()
        assert keys is not None
        image = "(SELECT json_object_agg(key, value -> (p - 1)) FROM json_each(l.image))"
        return self.root.execute(
            f"SELECT {columns} FROM (SELECT l.lsn + 2 * (p - 1) AS lsn, l.xid, l.op, {keys[0]}, "
            f"{image}::jsonb AS image, l.touched -> (p - 1) AS touched "
            f"FROM {name} l, generate_series(1, l.rows) p) r ORDER BY lsn"
        ).fetchall()

    async def fresh(self) -> None:
        """An empty catalog, and another change."""
        await self.layouts.discard(self.work)
        await self.layouts.close()
        self.client.close()
        empty_catalog(self.server)
        self.client = psycopg.connect(self.server.dsn, autocommit=True)
        self.work = ShadowWork(next(_NUMBERS), 0, 0, 1, (), pace=self.work.pace)

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


async def read(bed: Bed, checkpoint: str) -> tuple[list[LogBatch], str]:
    """What is new, sent as Avro and back."""
    sessions = Sessions(lambda: connect_root(bed.server))
    try:
        async with sessions.step(60) as db:
            table = bed.work.tables[0]
            live = await read_table(db, table.live)
            batches, now = await read_batches(db, table.table_id, live, checkpoint)
    finally:
        await sessions.close()
    return [decode_batch(encode_batch(batch)) for batch in batches], now
