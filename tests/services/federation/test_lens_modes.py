"""Where a store keeps one layout only, a version goes on being computed in every mode (R4.2)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from backends.cassandra.backend import CassandraBackend
from backends.mongodb.backend import MongoBackend
from backends.postgres.backend import PostgresBackend
from backends.stores import KINDS, LAYOUT_KINDS
from tests.integration.fresh_catalog import empty_catalog
from tests.integration.server_process import ServerProcess
from tests.services.conftest import PROPERTY
from tests.services.federation.items import make_items
from tests.services.federation.loading import run
from tests.services.federation.placing import POSTGRES, create_server_text
from tests.services.servers.fleet import Fleet

pytestmark = [pytest.mark.services, pytest.mark.timeout(600)]


def rows(client: psycopg.Connection[Any], text: str) -> list[tuple[Any, ...]]:
    """What a statement answers."""
    return client.execute(text.encode()).fetchall()


def test_the_kinds_with_layouts_are_those_that_can() -> None:
    found = (CassandraBackend, MongoBackend, PostgresBackend)
    assert {each.kind for each in found} == set(KINDS)
    assert {each.kind for each in found if each.capabilities.layouts} == LAYOUT_KINDS


@pytest.mark.parametrize("mode", ["auto", "shadow"])
@pytest.mark.parametrize("name", [POSTGRES])
def test_a_store_with_one_layout_needs_no_data_work(
    morphgres: ServerProcess,
    servers: Fleet,
    name: str,
    mode: str,
    record_property: Callable[[str, object], None],
) -> None:
    store = servers.get(name)
    record_property(PROPERTY, store.label)
    empty_catalog(morphgres)
    with morphgres.connect() as client:
        run(client, create_server_text("s", store))
        make_items(client, store, "s")
        run(client, f"SET morph.ddl_mode = {mode}")
        run(client, "ALTER TABLE items ALTER COLUMN qty TYPE smallint")
        assert rows(client, "SELECT count(*) FROM morph.progress") == [(0,)]
        run(client, "CALL morph.promote(2)")
        run(client, "UPDATE items SET qty = 9 WHERE id = 2")
        assert rows(client, "SELECT qty, pg_typeof(qty)::text FROM items WHERE id = 2") == [
            (9, "smallint")
        ]
        run(client, "UPDATE v1.items SET qty = 70000 WHERE id = 3")
        run(client, "CALL morph.rollback(2)")
        kept = "SELECT qty, pg_typeof(qty)::text FROM items WHERE id IN (2, 3) ORDER BY id"
        assert rows(client, kept) == [(9, "bigint"), (70000, "bigint")]
