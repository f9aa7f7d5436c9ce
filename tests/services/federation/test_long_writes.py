"""Writes of more rows than are compared and written in one piece: window after window, with the
meaning of a statement (R1.8, issue 4.10).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import errors

from tests.integration.fresh_catalog import empty_catalog
from tests.integration.server_process import ServerProcess, running
from tests.services.conftest import PROPERTY
from tests.services.federation.data import TableData
from tests.services.federation.loading import LOADERS, run
from tests.services.federation.placing import (
    NAMESPACE,
    POSTGRES,
    SECANTUS,
    SINGLE,
    create_server_text,
    create_table_text,
)
from tests.services.servers.fleet import Fleet
from tests.services.servers.process import RunningServer

pytestmark = [pytest.mark.services, pytest.mark.timeout(600)]
Connection = psycopg.Connection[Any]
CONFIG = '[merge]\nmemory_max = "1MB"\nbatch_bytes = "64KB"\n'
ROWS = 1200
LONG = TableData(
    "long",
    {"id": "bigint", "n": "bigint", "name": "text"},
    tuple((n, n % 10, f"{n:>250}") for n in range(ROWS)),
)
STATE = "SELECT count(*), sum(id), sum(n), sum(length(name)) FROM long"


@pytest.fixture(scope="module")
def small(open_directory: Path) -> Iterator[ServerProcess]:
    """A server whose windows are of a few hundred rows."""
    with running(open_directory / "windows", CONFIG) as process:
        yield process


@pytest.fixture(scope="module", params=SINGLE)
def store(request: pytest.FixtureRequest, small: ServerProcess, servers: Fleet) -> RunningServer:
    """One store after the other."""
    empty_catalog(small)
    server = servers.get(request.param)
    with small.connect() as client:
        run(client, create_server_text("s", server))
        run(client, create_table_text(LONG, "s", server.kind))
    return server


@pytest.fixture
def client(
    small: ServerProcess,
    store: RunningServer,
    record_property: Callable[[str, object], None],
) -> Iterator[Connection]:
    """A session; the rows are as they were made, and as many are in a temporary table `own`."""
    record_property(PROPERTY, store.label)
    LOADERS[store.kind](store, NAMESPACE, [LONG])
    with small.connect() as connection:
        run(connection, "CREATE TEMPORARY TABLE own (id bigint PRIMARY KEY, n bigint, name text)")
        with connection.cursor().copy("COPY own FROM STDIN") as copy:
            for row in LONG.rows:
                copy.write_row(row)
        yield connection


@pytest.mark.parametrize(
    "text",
    [
        "UPDATE long SET n = n + 1, name = name || '!'",
        "UPDATE long SET name = repeat(name, 5) WHERE id % 3 = 0",
        "UPDATE long SET n = 7 WHERE id = 600",
        "DELETE FROM long WHERE id % 2 = 0",
        "DELETE FROM long WHERE id BETWEEN 150 AND 1050",
        "DELETE FROM long",
        "INSERT INTO long SELECT id + 10000, n, name FROM long",
        "MERGE INTO long t USING (SELECT g AS id FROM generate_series(600, 1800) g) s "
        "ON t.id = s.id WHEN MATCHED AND t.n = 3 THEN DELETE "
        "WHEN MATCHED THEN UPDATE SET name = 'x' "
        "WHEN NOT MATCHED THEN INSERT VALUES (s.id, 1, 'new')",
        "INSERT INTO long SELECT g, 0, 'up' FROM generate_series(900, 1500) g ON CONFLICT (id) "
        "DO UPDATE SET name = excluded.name, n = long.n + 1",
    ],
)
def test_as_over_a_table_of_postgresql(client: Connection, text: str) -> None:
    tag = client.execute(text.encode()).statusmessage
    own = (
        text.replace(" long ", " own ").replace("FROM long", "FROM own").replace("long.n", "own.n")
    )
    assert client.execute(own.encode()).statusmessage == tag
    found = client.execute(STATE).fetchall()
    assert found == client.execute(STATE.replace("long", "own").encode()).fetchall()
    different = "(TABLE long EXCEPT TABLE own) UNION ALL (TABLE own EXCEPT TABLE long)"
    assert client.execute(different).fetchall() == []


def test_an_error_late_on(client: Connection, store: RunningServer) -> None:
    before = client.execute(STATE).fetchall()
    late = "SELECT CASE g WHEN 6499 THEN 5 ELSE g END, 0, repeat('x', 250)"
    with pytest.raises(errors.UniqueViolation) as caught:
        run(client, f"INSERT INTO long {late} FROM generate_series(5000, 6500) g")
    after = client.execute(STATE).fetchall()
    if store.kind == "postgres" or store.label.startswith("SecantusDB"):
        assert after == before
    else:
        assert "stay" in (caught.value.diag.message_detail or "") or after == before
    with pytest.raises(errors.DivisionByZero):
        run(client, "UPDATE long SET n = 1 / (id - 1199)")
    assert client.execute(STATE).fetchall() == after


@pytest.mark.parametrize("store", [POSTGRES, SECANTUS], indirect=True)
def test_in_a_transaction(client: Connection) -> None:
    before = client.execute(STATE).fetchall()
    run(client, "BEGIN")
    run(client, "UPDATE long SET n = n + 1")
    run(client, "DELETE FROM long WHERE id % 2 = 0")
    assert client.execute("SELECT count(*), sum(n) FROM long").fetchall() == [(600, 3600)]
    run(client, "ROLLBACK")
    assert client.execute(STATE).fetchall() == before


@pytest.mark.parametrize("store", [POSTGRES], indirect=True)
def test_a_timeout_undoes_it(client: Connection, store: RunningServer) -> None:  # 57014
    before = client.execute(STATE).fetchall()
    with psycopg.connect(store.uri, autocommit=True) as remote:
        run(
            remote,
            "CREATE OR REPLACE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN PERFORM pg_sleep(0.01); RETURN new; END $$",
        )
        trigger = f"BEFORE UPDATE ON {NAMESPACE}.long FOR EACH ROW EXECUTE FUNCTION slow()"
        run(remote, f"CREATE TRIGGER slow {trigger}")
    run(client, "SET statement_timeout = '3s'")
    with pytest.raises(errors.QueryCanceled):
        run(client, "UPDATE long SET n = n + 1")
    run(client, "RESET statement_timeout")
    assert client.execute(STATE).fetchall() == before


@pytest.mark.parametrize("store", [POSTGRES], indirect=True)
def test_rows_move_window_by_window(client: Connection, store: RunningServer) -> None:
    with psycopg.connect(store.uri, autocommit=True) as remote:
        run(remote, "DROP SCHEMA IF EXISTS windows CASCADE; CREATE SCHEMA windows")
        for name in ("low", "high"):
            # The key has the column by which rows are placed, as PostgreSQL's own would.
            run(
                remote,
                f"CREATE TABLE windows.{name} (id bigint, n bigint, name text, "
                "PRIMARY KEY (id, n))",
            )
    run(client, "CREATE TABLE placed (id bigint, n bigint, name text) PARTITION BY RANGE (n)")
    for name, bound in (("low", "(MINVALUE) TO (5)"), ("high", "(5) TO (MAXVALUE)")):
        run(
            client,
            f"CREATE FOREIGN TABLE {name} PARTITION OF placed FOR VALUES FROM {bound} SERVER s "
            f"OPTIONS (schema_name 'windows', table_name '{name}', key 'id,n')",
        )
    run(client, "INSERT INTO placed SELECT * FROM own")
    assert client.execute("SELECT count(*), min(n), max(n) FROM low").fetchall() == [(600, 0, 4)]
    tag = client.execute("UPDATE placed SET n = 9 - n").statusmessage  # all rows change places
    assert tag == "UPDATE 1200"
    run(client, "UPDATE own SET n = 9 - n")
    different = "(TABLE placed EXCEPT TABLE own) UNION ALL (TABLE own EXCEPT TABLE placed)"
    assert client.execute(different).fetchall() == []
    run(client, "UPDATE placed SET n = 4 - n WHERE n < 5")  # under another key, at the same place
    run(client, "UPDATE own SET n = 4 - n WHERE n < 5")
    assert client.execute(different).fetchall() == []
    run(client, "SET morph.ddl_mode = direct")
    run(client, "DROP TABLE placed")
