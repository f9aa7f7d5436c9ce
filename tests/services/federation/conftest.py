"""Fixtures: one Morphgres, the tables in each placement, and the judge."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.integration.server_process import ServerProcess, running
from tests.services.conftest import PROPERTY
from tests.services.federation.judging import Judge, open_judge
from tests.services.federation.placing import PLACEMENTS, place
from tests.services.servers.fleet import Fleet
from tests.services.servers.process import RunningServer

Connection = psycopg.Connection[Any]
MODES = ("on", "scan", "off")


@pytest.fixture(scope="session")
def open_directory() -> Iterator[Path]:
    """A temporary directory that the private PostgreSQL's user can walk through."""
    with tempfile.TemporaryDirectory(prefix="morph-fed-", dir="/tmp") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture(scope="session")
def morphgres(open_directory: Path) -> Iterator[ServerProcess]:
    """A server for all tests; each module or placement begins with an empty catalog."""
    with running(open_directory / "shared") as process:
        yield process


@pytest.fixture(scope="session")
def judge(morphgres: ServerProcess) -> Iterator[Judge]:
    """PostgreSQL with the same rows."""
    with open_judge(morphgres) as opened:
        yield opened


@pytest.fixture(scope="module", params=list(PLACEMENTS))
def placed(
    request: pytest.FixtureRequest, morphgres: ServerProcess, servers: Fleet
) -> list[RunningServer]:
    """The tables in one placement after the other; the servers that hold them."""
    return place(morphgres, servers, PLACEMENTS[request.param])


@pytest.fixture
def client(
    morphgres: ServerProcess,
    placed: list[RunningServer],
    record_property: Callable[[str, object], None],
) -> Iterator[Connection]:
    """A session over the placed tables."""
    for server in placed:
        record_property(PROPERTY, server.label)
    with morphgres.connect() as connection:
        yield connection
