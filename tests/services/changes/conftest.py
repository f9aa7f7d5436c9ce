"""Fixtures: a Morphgres whose changes are fast, and a database of its own in each server."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient

from tests.integration.changes.conftest import QUICK
from tests.integration.changes.prices import WAIT_S, state
from tests.integration.fresh_catalog import empty_catalog
from tests.integration.server_process import ServerProcess, eventually, running
from tests.services.changes.goods import STORED, Goods, fill, keyspace_on, make_foreign
from tests.services.clients import Shop
from tests.services.conftest import PROPERTY
from tests.services.federation.placing import create_server_text
from tests.services.servers.process import RunningServer

ROWS = 500
CHANGE = 2
TABLE = """CREATE FOREIGN TABLE price (
  id bigint OPTIONS (path '_id') NOT NULL, name text, total double precision
) SERVER s OPTIONS (collection 'price', key 'id')"""
CHANGE_TYPE = (
    "ALTER TABLE price ALTER COLUMN total TYPE numeric(12,2) USING round(total::numeric, 2)"
)
BACK = "SET morph.back = 'total::double precision'"


@dataclass(frozen=True, slots=True)
class Prices(Shop):
    """With the foreign table `price`, which changes."""

    def change(self) -> None:
        """Version 2: whole cents."""
        self.run(BACK, CHANGE_TYPE, "RESET morph.back")

    def reaches(self, wanted: str, change: int = CHANGE) -> None:
        """Wait until the change is in a state."""
        eventually(
            lambda: state(self.client, change) == wanted,
            timeout_s=WAIT_S,
            what=f"change {change} {wanted}",
        )


@pytest.fixture(scope="session")
def morphgres() -> Iterator[ServerProcess]:
    """A server for all tests; each begins with an empty catalog."""
    with tempfile.TemporaryDirectory(prefix="morph-foreign-", dir="/tmp") as name:
        Path(name).chmod(0o755)  # the private PostgreSQL runs as another user
        with running(Path(name) / "shared", QUICK) as process:
            yield process


@pytest.fixture
def directory() -> Iterator[Path]:
    """Where a server of a test's own has its data."""
    with tempfile.TemporaryDirectory(
        prefix="morph-dying-", dir="/tmp", ignore_cleanup_errors=True
    ) as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture
def prices(
    morphgres: ServerProcess,
    mongodb: RunningServer,
    own_name: str,
    record_property: Callable[[str, object], None],
) -> Iterator[Prices]:
    """Version 1 of the table with some rows; what the table does not show is in them, too."""
    record_property(PROPERTY, mongodb.label)
    empty_catalog(morphgres)
    documents: MongoClient[dict[str, Any]] = MongoClient(mongodb.uri)
    with documents, morphgres.connect() as client:
        database = documents[own_name]
        database.price.insert_many(
            {"_id": n, "name": f"n{n}", "total": n / 8, "more": {"n": [n]}}
            for n in range(1, ROWS + 1)
        )
        client.execute(create_server_text("s", mongodb, database=own_name).encode())
        client.execute(TABLE.encode())
        yield Prices(client, database, morphgres)
        documents.drop_database(own_name)


@pytest.fixture
def goods(
    morphgres: ServerProcess,
    cassandra: RunningServer,
    own_name: str,
    record_property: Callable[[str, object], None],
) -> Iterator[Goods]:
    """Version 1 of the table of Cassandra with some rows."""
    record_property(PROPERTY, cassandra.label)
    empty_catalog(morphgres)
    keyspace = f"life_{own_name}"
    with keyspace_on(cassandra, keyspace) as session, morphgres.connect() as client:
        session.execute(STORED, timeout=60)
        fill(session)
        make_foreign(client, cassandra, keyspace)
        yield Goods(client, session, keyspace, morphgres)
