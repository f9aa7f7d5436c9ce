"""A database with an empty schema morph_store."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest_asyncio

from private_pg.cluster import Cluster
from tests.validation.bed import connect, make_database


@pytest_asyncio.fixture(scope="session")
async def validation_cluster(pg18_cluster: Cluster) -> Cluster:
    """The shared server, with the bed's database."""
    await make_database(pg18_cluster)
    return pg18_cluster


@pytest_asyncio.fixture
async def root(validation_cluster: Cluster) -> AsyncIterator[asyncpg.Connection]:
    """A superuser's connection; the store is empty before and after."""
    connection = await connect(validation_cluster)
    reset = (
        "DROP SCHEMA IF EXISTS morph_store CASCADE; "
        "CREATE SCHEMA morph_store AUTHORIZATION morph_owner"
    )
    try:
        await connection.execute(reset)
        yield connection
        await connection.execute(reset)
    finally:
        await connection.close(timeout=5)
