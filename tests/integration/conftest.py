"""Session fixtures: one `morphgres serve` for all tests that do not break it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.server_process import ServerProcess, running
from tests.integration.shop import shop_server
from tests.integration.wire import WireClient


@pytest.fixture(scope="session")
def open_directory() -> Iterator[Path]:
    """A temporary directory that the private PostgreSQL's user can walk through."""
    with tempfile.TemporaryDirectory(prefix="morph-it-", dir="/tmp") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture(scope="session")
def server(open_directory: Path) -> Iterator[ServerProcess]:
    """A server that is shared: tests must leave it as they found it."""
    with running(open_directory / "shared") as process:
        yield process


@pytest.fixture(scope="session")
def changed(open_directory: Path) -> Iterator[ServerProcess]:
    """A server that changed_tables.looking empties for each test."""
    with running(open_directory / "changed") as process:
        yield process


@pytest.fixture
def fresh_directory(open_directory: Path) -> Path:
    """A path for a data directory of one's own; nothing is there yet."""
    parent = Path(tempfile.mkdtemp(prefix="own-", dir=open_directory))
    parent.chmod(0o755)
    return parent / "data"


@pytest.fixture
def connect_raw(server: ServerProcess) -> Iterator[Callable[[], WireClient]]:
    """Makes raw connections to the shared server; all are closed at the end."""
    made: list[WireClient] = []

    def connect() -> WireClient:
        made.append(WireClient(server.host, server.port))
        return made[-1]

    yield connect
    for client in made:
        client.close()


@pytest.fixture
def wire(connect_raw: Callable[[], WireClient]) -> WireClient:
    """One raw session on the shared server."""
    client = connect_raw()
    client.log_in()
    return client


@pytest.fixture(scope="session")
def shop(open_directory: Path) -> Iterator[ServerProcess]:
    """A server with the shop sample and the table books: tests leave both as they found them."""
    with shop_server(open_directory) as process:
        yield process
