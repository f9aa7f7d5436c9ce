"""A fresh server with the sample for each page that shows output."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.server_process import ServerProcess


@pytest.fixture(scope="module")
def open_directory() -> Iterator[Path]:
    """A directory that the private PostgreSQL's user can walk through, whatever others do."""
    with tempfile.TemporaryDirectory(prefix="morph-docs-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture(scope="module")
def fresh_shop(open_directory: Path) -> Iterator[ServerProcess]:
    """A server that has loaded the sample and nothing else."""
    process = ServerProcess(open_directory / "data", arguments=("--sample", "shop"))
    process.start()
    yield process
    process.stop()
