"""One server for the layouts, emptied for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.integration.fresh_catalog import empty_catalog
from tests.integration.layouts.bed import Bed, open_bed
from tests.integration.server_process import ServerProcess, running


@pytest.fixture(scope="session")
def server(open_directory: Path) -> Iterator[ServerProcess]:
    """A server of the layouts' own."""
    with running(open_directory / "layouts") as process:
        yield process


@pytest_asyncio.fixture
async def bed(server: ServerProcess) -> AsyncIterator[Bed]:
    """A bed, removed afterwards with all that the test made."""
    empty_catalog(server)
    made = open_bed(server)
    try:
        yield made
    finally:
        await made.close()
