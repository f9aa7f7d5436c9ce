"""One server whose changes are fast, emptied for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.fresh_catalog import empty_catalog
from tests.integration.server_process import ServerProcess, running

QUICK = (
    '[changes]\nidle_pause = "20ms"\nbackoff_min = "20ms"\nbackoff_max = "200ms"\n'
    'fence_lag = "1s"\n'  # many tests may share the machine
)


@pytest.fixture(scope="package")
def changing(open_directory: Path) -> Iterator[ServerProcess]:
    """The server."""
    with running(open_directory / "changes", QUICK) as process:
        yield process


@pytest.fixture
def server(changing: ServerProcess) -> ServerProcess:
    """The server without any table."""
    empty_catalog(changing)
    return changing
