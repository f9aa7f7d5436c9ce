"""A start goes on when the private PostgreSQL breaks off in the middle of it (DESIGN 7.1, 7.9)."""

from __future__ import annotations

import asyncio

import asyncpg

from catalog.store import load_snapshot
from config.settings import Settings
from private_pg.cluster import SUPERUSER, Cluster
from proxy.server import DATABASE, prepare_database

DEADLINE_S = 120.0
WAITING = (
    "SELECT pid FROM pg_stat_activity WHERE datname = current_database() "
    "AND wait_event_type = 'Lock' AND pid <> pg_backend_pid()"
)


async def test_the_fixed_objects_are_made_again_when_the_connection_broke(
    pg18_cluster: Cluster,
) -> None:
    await prepare_database(pg18_cluster, Settings())
    host = str(pg18_cluster.socket_directory)
    db = await asyncpg.connect(host=host, user=SUPERUSER, database=DATABASE)
    watch = await asyncpg.connect(host=host, user=SUPERUSER, database=DATABASE)
    try:
        lock = db.transaction()
        await lock.start()
        names = await db.fetch(
            "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables "
            "WHERE schemaname = 'morph_catalog'"
        )
        await db.execute(f"LOCK TABLE {', '.join(row[0] for row in names)}")
        preparing = asyncio.create_task(prepare_database(pg18_cluster, Settings()))
        async with asyncio.timeout(DEADLINE_S):
            while (pid := await watch.fetchval(WAITING)) is None:
                await asyncio.sleep(0.01)
        assert await watch.fetchval("SELECT pg_terminate_backend($1)", pid)
        async with asyncio.timeout(DEADLINE_S):
            while await watch.fetchval(WAITING) == pid:
                await asyncio.sleep(0.01)
        assert not preparing.done()
        await lock.rollback()
        async with asyncio.timeout(DEADLINE_S):
            await preparing
        assert (await load_snapshot(db)).epoch >= 0
    finally:
        await watch.close()
        await db.close()
