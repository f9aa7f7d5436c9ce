"""A catalog database with the fixed objects in it, for the records of changes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import pytest_asyncio

from catalog.store import bootstrap
from evolution.seeds.library import library_sql
from evolution.transaction import AdminTransaction
from private_pg.cluster import DATABASE, SUPERUSER, Cluster


class Catalog:
    """Transactions on the catalog, one at a time on one connection."""

    def __init__(self, connection: asyncpg.Connection, host: str = "") -> None:
        self.connection = connection
        self.host = host

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AdminTransaction]:
        """One transaction of the control plane."""
        async with self.connection.transaction():
            yield AdminTransaction(self.connection)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def catalog_database(pg18_cluster: Cluster) -> AsyncIterator[str]:
    """The socket directory of a server whose database `morph` has the fixed objects, twice made."""
    host = str(pg18_cluster.socket_directory)
    admin = await asyncpg.connect(host=host, user=SUPERUSER, database="postgres")
    await admin.execute(f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")
    await admin.execute(f"CREATE DATABASE {DATABASE} TEMPLATE template0")
    await admin.close()
    connection = await asyncpg.connect(host=host, user=SUPERUSER, database=DATABASE)
    await bootstrap(connection, library_sql())
    await bootstrap(connection, library_sql())
    await connection.close()
    yield host


@pytest_asyncio.fixture(loop_scope="session")
async def catalog(catalog_database: str) -> AsyncIterator[Catalog]:
    """The catalog without any change."""
    connection = await asyncpg.connect(host=catalog_database, user=SUPERUSER, database=DATABASE)
    await connection.execute(
        "TRUNCATE morph_catalog.shadows, morph_catalog.change_steps, morph_catalog.fences, "
        "morph_catalog.shadow_progress, morph_catalog.versions, morph_catalog.changes"
    )
    try:
        yield Catalog(connection, catalog_database)
    finally:
        await connection.close()
