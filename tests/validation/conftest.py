"""A database with an empty schema morph_store."""

from __future__ import annotations

from collections.abc import AsyncIterator
from importlib.resources import files

import asyncpg
import pytest_asyncio

from catalog.system_views.discrepancies import DISCREPANCIES
from catalog.system_views.validation_reports import VALIDATION_REPORTS
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


@pytest_asyncio.fixture
async def reports_catalog(root: asyncpg.Connection) -> None:
    """The tables and views of reports, empty."""
    statements = (files("catalog") / "bootstrap.sql").read_text("utf-8")
    block = statements[
        statements.index("CREATE TABLE IF NOT EXISTS morph_catalog.validation_rep") :
    ]
    await root.execute(
        "DROP SCHEMA IF EXISTS morph_catalog, morph CASCADE;"
        "CREATE SCHEMA morph_catalog AUTHORIZATION morph_owner;"
        "CREATE SCHEMA morph AUTHORIZATION morph_owner; SET ROLE morph_owner;"
        + block[: block.index("-- Written many")]
    )
    for view in (VALIDATION_REPORTS, DISCREPANCIES):
        for statement in view.statements():
            if not statement.startswith("GRANT"):
                await root.execute(statement)
    await root.execute("RESET ROLE")
