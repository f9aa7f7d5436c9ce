"""Virtual columns of foreign tables, in every kind of store: no store has them (R2, R1.8)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

from tests.integration.fresh_catalog import empty_catalog
from tests.integration.server_process import ServerProcess
from tests.services.conftest import PROPERTY
from tests.services.federation.items import ITEMS, make_items
from tests.services.federation.loading import run
from tests.services.federation.placing import SINGLE, create_server_text
from tests.services.servers.fleet import Fleet

pytestmark = [pytest.mark.services, pytest.mark.timeout(600)]
Connection = psycopg.Connection[Any]
VIRTUAL = {
    "twice": ("bigint", "qty * 2"),
    "score": ("int", "morph.hash_int(id, 0, 9)"),
    "label": ("text", "coalesce(name, '?') || ' of ' || coalesce(city, '?')"),
}
STATEMENTS = (
    "SELECT * FROM {t} ORDER BY id",
    "SELECT label, twice FROM {t} WHERE twice > 2 AND id < 9 ORDER BY score, id LIMIT 3",
    "SELECT twice, count(*), max(label) FROM {t} GROUP BY twice ORDER BY twice",
    "SELECT a.id, b.label FROM {t} a JOIN {t} b ON a.twice = b.id ORDER BY 1",
    "INSERT INTO {t} (id, name, qty) VALUES (20, 'new', 7) RETURNING *",
    "INSERT INTO {t} (id, label) VALUES (21, 'given')",
    "UPDATE {t} SET qty = twice + 1 WHERE id = 3 RETURNING qty, twice",
    "DELETE FROM {t} WHERE label LIKE '%Oslo' AND id < 4 RETURNING id, label",
    "SELECT * FROM {t} ORDER BY id",
)


@pytest.fixture(params=SINGLE)
def client(
    request: pytest.FixtureRequest,
    morphgres: ServerProcess,
    servers: Fleet,
    record_property: Callable[[str, object], None],
) -> Iterator[Connection]:
    """A session that sees items with virtual columns; judge is a table of PostgreSQL's own."""
    empty_catalog(morphgres)
    server = servers.get(request.param)
    record_property(PROPERTY, server.label)
    with morphgres.connect() as connection:
        run(connection, create_server_text("s", server))
        make_items(connection, server, "s")
        columns = ", ".join(f"{name} {kind}" for name, kind in ITEMS.columns.items())
        run(connection, f"CREATE TEMP TABLE judge ({columns}, PRIMARY KEY (id))")
        run(connection, "INSERT INTO judge SELECT * FROM items")
        for name, (kind, value) in VIRTUAL.items():
            added = f"ADD COLUMN {name} {kind} GENERATED ALWAYS AS ({value})"
            run(connection, f"ALTER FOREIGN TABLE items {added} VIRTUAL")
            run(connection, f"ALTER TABLE judge {added} STORED")
        run(connection, "SET search_path = v4")
        yield connection


def answer(client: Connection, text: str) -> Any:
    """The rows, or the error."""
    try:
        return client.execute(text.encode()).fetchall()
    except psycopg.Error as error:
        return error.sqlstate, error.diag.message_primary


def test_virtual_columns(client: Connection) -> None:
    for text in STATEMENTS:
        theirs, ours = (answer(client, text.format(t=name)) for name in ("judge", "items"))
        assert ours == theirs, text
