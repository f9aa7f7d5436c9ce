"""Session fixtures: a throw-away private PostgreSQL."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest_asyncio

from private_pg.binaries import find_binaries
from private_pg.cluster import Cluster, ClusterLimits, prepare_cluster
from private_pg.identity import choose_identity
from private_pg.supervisor import Supervisor


@pytest_asyncio.fixture(scope="session")
async def pg18_cluster() -> AsyncIterator[Cluster]:
    """A running private PostgreSQL without any Morphgres objects (not durable: fast)."""
    with tempfile.TemporaryDirectory(prefix="morph-pg-") as directory:
        Path(directory).chmod(0o755)
        cluster = prepare_cluster(
            Path(directory) / "data",
            find_binaries(),
            choose_identity(),
            ClusterLimits(durable=False),
        )
        supervisor = Supervisor(cluster)
        await supervisor.start()
        try:
            yield cluster
        finally:
            await supervisor.stop()


@pytest_asyncio.fixture(scope="session")
async def pg18_dsn(pg18_cluster: Cluster) -> str:
    """The libpq DSN of a superuser on a scratch database of that server."""
    admin = await asyncpg.connect(
        host=str(pg18_cluster.socket_directory), user="morph_root", database="postgres"
    )
    await admin.execute("CREATE DATABASE scratch")
    await admin.close()
    return pg18_cluster.dsn(database="scratch")
