"""A column of a foreign table in another form, in every kind of store: the new version shows it,
both versions write it, and statements answer as over an embedded table with the same change (R4.2).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

from tests.integration.fresh_catalog import empty_catalog
from tests.integration.server_process import ServerProcess
from tests.services.conftest import PROPERTY
from tests.services.federation.data import TableData
from tests.services.federation.items import ITEMS, make_items
from tests.services.federation.judging import Outcome, outcome
from tests.services.federation.loading import fill_table, run
from tests.services.federation.placing import SINGLE, create_server_text
from tests.services.servers.fleet import Fleet
from tests.services.servers.process import RunningServer

pytestmark = [pytest.mark.services, pytest.mark.timeout(600)]
Connection = psycopg.Connection[Any]
CHANGES = (
    "ALTER TABLE {t} ALTER COLUMN price TYPE text, "
    "ALTER COLUMN at TYPE timestamp USING at AT TIME ZONE 'UTC'",
    "ALTER TABLE {t} ALTER COLUMN qty TYPE numeric(10,1) USING qty / 2.0",
)
BACK = {"qty": "round(qty * 2)::bigint"}
OLD_ROWS = "SELECT * FROM v1.{t} ORDER BY id"
NEW_ROWS = "SELECT * FROM v2.{t} ORDER BY id"

READS = (
    "SELECT * FROM {t} ORDER BY id",
    "TABLE {t}",
    "SELECT id, price FROM {t} WHERE id = 3",
    "SELECT name FROM {t} WHERE id IN (2, 5) ORDER BY id",
    "SELECT id, price, qty FROM {t} WHERE price = '2.50' OR qty > 1 ORDER BY id",
    "SELECT id FROM {t} WHERE qty IS NULL",
    "SELECT id, at FROM {t} WHERE at > '2024-05-04 00:00' ORDER BY at DESC LIMIT 3",
    "SELECT price FROM {t} ORDER BY price LIMIT 4 OFFSET 1",
    "SELECT qty, count(*), max(price), min(at) FROM {t} GROUP BY qty ORDER BY qty",
    "SELECT count(*), sum(qty), avg(qty) FROM {t}",
    "SELECT city, count(*) FROM {t} WHERE qty < 1 GROUP BY city ORDER BY city",
    "SELECT count(*) FROM {t}",
    "SELECT a.id, b.price FROM {t} a JOIN {t} b ON a.qty = b.qty AND a.id < b.id ORDER BY 1, 2",
    "SELECT o.id, n.price, o.price FROM v1.{t} o JOIN v2.{t} n USING (id) ORDER BY id",
    "SELECT i FROM {t} i WHERE id = 4",
    "SELECT to_jsonb(i) FROM {t} i WHERE id = 4",
    "SELECT label, price FROM {t} WHERE label LIKE '% 1%' ORDER BY id",
    "COPY (SELECT id, price, qty, at FROM {t} ORDER BY id) TO STDOUT",
    "SELECT upper(price), qty::int FROM {t} ORDER BY price DESC NULLS LAST, id",
    "SELECT price FROM {t} WHERE price::numeric > 11 ORDER BY id",
    "SELECT a.id, b.price FROM {t} a LEFT JOIN {t} b ON a.id = b.id ORDER BY a.price, a.id LIMIT 3",
    "SELECT a.id, b.price FROM {t} a LEFT JOIN {t} b ON a.id = b.id ORDER BY a.id DESC LIMIT 3",
    "SELECT k.id, i.qty FROM v1.kept k JOIN {t} i ON k.id = i.qty * 2 ORDER BY 1, 2",
    "WITH x AS (SELECT qty q FROM {t}) SELECT DISTINCT q FROM x ORDER BY q",
)
WRITES: dict[str, tuple[str, ...]] = {
    "insert": (
        "INSERT INTO {t} (id, name, qty, price, at) VALUES (20, 'n', 1.5, '7.10', '2024-01-02')",
        "INSERT INTO {t} (id) VALUES (21) RETURNING *",
        "INSERT INTO {t} VALUES (22, 'all', 2.0, '1.5', 'Bern', '2024-01-02 03:04', '{{x}}')",
    ),
    "insert-old": (
        "INSERT INTO v1.{t} (id, qty, price, at) VALUES (20, 3, 1.50, '2024-01-02 03:04+02')",
    ),
    "insert-select": (
        "INSERT INTO {t} (id, qty, price) SELECT id + 100, qty, price FROM {t} WHERE id < 4 "
        "RETURNING id, qty, price",
        "INSERT INTO {t} (id, qty, price) SELECT id + 200, qty / 2.0, price::text FROM v1.{t} "
        "WHERE qty = 2",
    ),
    "update": (
        "UPDATE {t} SET price = '9.99' WHERE id = 3",
        "UPDATE {t} SET qty = qty + 0.5, name = price WHERE id < 3 RETURNING *",
        "UPDATE {t} SET at = at + interval '1 day' WHERE qty IS NULL RETURNING old.at, new.at",
        "UPDATE v1.{t} SET qty = qty * 2, price = price + 1 WHERE id = 3 RETURNING qty, price",
    ),
    "update-null": ("UPDATE {t} SET price = NULL, qty = NULL WHERE id = 6",),
    "update-from": (
        "UPDATE {t} SET qty = v.n FROM (VALUES (1, 2.5), (2, 3.0)) v(i, n) WHERE {t}.id = v.i",
        "UPDATE {t} a SET price = b.price FROM {t} b WHERE b.id = a.id + 1 RETURNING a.id, a.price",
    ),
    "update-other": ("UPDATE {t} SET name = 'x' WHERE id = 4 RETURNING id, name",),
    "delete": (
        "DELETE FROM {t} WHERE price = '2.50' RETURNING id, price",
        "DELETE FROM {t} WHERE id = 5",
        "DELETE FROM {t} WHERE qty > 1 RETURNING *",
    ),
    "merge": (
        "MERGE INTO {t} t USING (VALUES (1, 4.0), (2, NULL), (70, 1.5)) s(id, q) ON t.id = s.id "
        "WHEN MATCHED AND s.q IS NULL THEN DELETE "
        "WHEN MATCHED THEN UPDATE SET qty = s.q "
        "WHEN NOT MATCHED THEN INSERT (id, qty, price) VALUES (s.id, s.q, '3.25') "
        "RETURNING merge_action(), t.id, t.qty, t.price",
    ),
    "conflict": (
        "INSERT INTO {t} (id, price, qty) VALUES (3, '8.25', 1.0), (60, '4.5', 2.0) "
        "ON CONFLICT (id) DO UPDATE SET price = excluded.price, qty = {t}.qty + excluded.qty "
        "RETURNING id, price, qty",
        "INSERT INTO {t} (id, price) VALUES (3, '1') ON CONFLICT DO NOTHING RETURNING id",
    ),
    "wrong": (
        "INSERT INTO {t} (id, qty) VALUES (50, 'many')",
        "UPDATE {t} SET label = 'x'",
        "INSERT INTO {t} (id, price) VALUES (3, '1')",
    ),
}


def change(client: Connection, table: str) -> None:
    """The same changes of form; then a virtual column over one."""
    run(client, "SET morph.ddl_mode = virtual")
    for text in CHANGES:
        back = str(BACK).replace("'", '"')
        run(client, f"SET morph.back = '{back if 'numeric' in text else ''}'")
        run(client, text.format(t=table))
    run(client, "RESET morph.back")
    label = "coalesce(name, '?') || ' ' || coalesce(price, '-')"
    run(client, f"ALTER TABLE {table} ADD COLUMN label text GENERATED ALWAYS AS ({label}) VIRTUAL")


def make_kept(client: Connection) -> None:
    """The same rows in the embedded table `kept`, by way of its first version."""
    run(client, "DELETE FROM v1.kept")
    marks = ", ".join("%s" for _ in ITEMS.columns)
    with client.cursor() as cursor:
        cursor.executemany(f"INSERT INTO v1.kept VALUES ({marks})".encode(), ITEMS.rows)


@pytest.fixture(scope="module", params=SINGLE)
def store(
    request: pytest.FixtureRequest, morphgres: ServerProcess, servers: Fleet
) -> RunningServer:
    """One store after the other: items there, the embedded table kept, and the same changes."""
    empty_catalog(morphgres)
    server = servers.get(request.param)
    with morphgres.connect() as client:
        run(client, create_server_text("s", server))
        make_items(client, server, "s")
        fill_table(client, TableData("kept", ITEMS.columns, ()), "kept")
        run(client, "BEGIN")
        for table in ("items", "kept"):
            change(client, table)
        run(client, "COMMIT")
    return server


@pytest.fixture
def client(
    morphgres: ServerProcess,
    store: RunningServer,
    record_property: Callable[[str, object], None],
) -> Iterator[Connection]:
    """A session in the new version; the rows are as they were made."""
    record_property(PROPERTY, store.label)
    with morphgres.connect() as connection:
        make_items(connection, store, "s")
        make_kept(connection)
        run(connection, "SET search_path = v2")
        yield connection


def both(client: Connection, text: str) -> tuple[Outcome, Outcome]:
    """A statement over the foreign table, and over the embedded one."""
    ours, theirs = (outcome(client, text.format(t=name)) for name in ("items", "kept"))
    if "ORDER BY" not in text:
        ours, theirs = ours.sorted(), theirs.sorted()
    return ours, named_alike(theirs)


def named_alike(theirs: Outcome) -> Outcome:
    """The embedded table's answer with the foreign one's name in its words."""
    message = theirs.message.replace("kept", "items")
    return Outcome(theirs.columns, theirs.rows, theirs.tag, theirs.state, message)


@pytest.mark.parametrize("mode", ["on", "off"])
def test_reads(client: Connection, mode: str) -> None:
    run(client, f"SET morph.pushdown = {mode}")
    for text in READS:
        ours, theirs = both(client, text)
        assert not theirs.state, (text, theirs)
        assert ours == theirs, text


@pytest.mark.parametrize("name", list(WRITES))
def test_writes(client: Connection, name: str) -> None:
    for text in WRITES[name]:
        ours, theirs = both(client, text)
        assert bool(theirs.state) == (name == "wrong"), (text, theirs)
        assert ours == theirs, text
        for rows in (OLD_ROWS, NEW_ROWS):
            ours, theirs = both(client, rows)
            assert ours == theirs, (text, rows)
