"""Fixtures: a Morphgres, and a session of it over a database of its own in each server."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient

from tests.integration.fresh_catalog import empty_catalog
from tests.integration.server_process import ServerProcess, running
from tests.services.clients import Shop
from tests.services.conftest import PROPERTY
from tests.services.federation.placing import create_server_text
from tests.services.servers.process import RunningServer


@pytest.fixture(scope="session")
def morphgres() -> Iterator[ServerProcess]:
    """A server for all tests; each begins with an empty catalog."""
    with tempfile.TemporaryDirectory(prefix="morph-mongo-", dir="/tmp") as name:
        Path(name).chmod(0o755)  # the private PostgreSQL runs as another user
        with running(Path(name) / "shared", config="[merge]\nlookup_rows_min = 0\n") as process:
            yield process


@pytest.fixture
def shop(
    morphgres: ServerProcess,
    mongodb: RunningServer,
    own_name: str,
    record_property: Callable[[str, object], None],
) -> Iterator[Shop]:
    """An empty catalog and an empty database."""
    record_property(PROPERTY, mongodb.label)
    empty_catalog(morphgres)
    documents: MongoClient[dict[str, Any]] = MongoClient(mongodb.uri)
    with documents, morphgres.connect() as client:
        client.execute(create_server_text("s", mongodb, database=own_name).encode())
        yield Shop(client, documents[own_name], morphgres)
        documents.drop_database(own_name)
