"""What the views of schema morph tell, and that psql's commands find versions (R0.2, R6.2)."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from catalog.system_views import SYSTEM_VIEWS
from private_pg.binaries import find_binaries
from tests.integration.fresh_catalog import empty_catalog
from tests.integration.server_process import ServerProcess, running

Connection = psycopg.Connection[Any]


@pytest.fixture(scope="module")
def shared(open_directory: Path) -> Iterator[ServerProcess]:
    with running(open_directory / "views") as process:
        empty_catalog(process)
        with process.connect() as client:
            client.execute("CREATE TABLE c (id int PRIMARY KEY, name text DEFAULT 'x', n int)")
            client.execute("CREATE INDEX c_name ON c (name)")
            client.execute("ALTER TABLE c ADD COLUMN v int GENERATED ALWAYS AS (n + 1) VIRTUAL")
            client.execute("ALTER TABLE c RENAME COLUMN name TO full_name")
            client.execute("COMMENT ON TABLE c IS 'the customers'")
            client.execute("COMMENT ON COLUMN c.id IS 'their number'")
            client.execute("CREATE VIEW w AS SELECT id FROM c")
            client.execute("CALL morph.promote(3)")
        yield process


def rows(server: ServerProcess, text: str) -> list[Any]:
    with server.connect() as client:
        return client.execute(text).fetchall()


def psql(server: ServerProcess, command: str) -> str:
    binary = find_binaries().directory / "psql"
    done = subprocess.run(
        [
            *(str(binary), "-X", "-h", server.host, "-p", str(server.port)),
            *("-U", "morph", "morph", "-c", command),
        ],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert done.stderr == ""
    return done.stdout


def test_columns_and_comments_are_those_of_the_registry(shared: ServerProcess) -> None:  # R6.2
    for view in SYSTEM_VIEWS:
        found = rows(
            shared,
            "SELECT a.attname, col_description(a.attrelid, a.attnum) FROM pg_attribute a "
            f"WHERE a.attrelid = 'morph.{view.name}'::regclass AND attnum > 0 ORDER BY attnum",
        )
        assert found == [tuple(c) for c in view.columns]
        assert rows(shared, f"SELECT obj_description('morph.{view.name}'::regclass)") == [
            (view.about,)
        ]
        rows(shared, f"SELECT * FROM morph.{view.name}")


def test_versions_columns_seeds(shared: ServerProcess) -> None:  # R1.5 R3.1
    assert rows(shared, "SELECT version, parent, current, head FROM morph.versions") == [
        (1, None, False, False),
        (2, 1, False, False),
        (3, 2, True, True),
    ]
    old = "SELECT deprecated, successor FROM morph.columns WHERE version = 1 AND name = 'name'"
    assert rows(shared, old) == [(True, "full_name")]
    seeds = "SELECT column_name, generator, depends_on FROM morph.seeds WHERE version = 3"
    assert rows(shared, seeds) == [("v", "n + 1", ["n"])]
    kinds = (
        "SELECT version, kind, actor FROM morph.changes WHERE version > 1 AND state = 'promoted'"
    )
    assert rows(shared, kinds) == [
        (2, "add virtual column", "morph"),
        (3, "rename column", "morph"),
    ]


def test_statements_and_sessions_are_counted(shared: ServerProcess) -> None:  # R6.2
    with shared.connect(application_name="counted") as client:
        for number in range(3):
            client.execute(f"SELECT id AS counted_{number % 1} FROM c WHERE id = {number}")
        with pytest.raises(psycopg.Error):
            client.execute("SELECT 1 / (id - id) AS wrong FROM c, (SELECT 1) x WHERE 1 / 0 = 1")
        client.execute("INSERT INTO c (id) VALUES (1), (2)")
        seen = "SELECT calls, errors FROM morph.statements WHERE query LIKE '%counted_0%' "
        assert client.execute(seen + "AND query NOT LIKE '%statements%'").fetchall() == [(3, 0)]
        wrong = "SELECT calls, errors FROM morph.statements WHERE query LIKE '%wrong%' "
        assert client.execute(wrong + "AND query NOT LIKE '%statements%'").fetchall() == [(1, 1)]
        long = "SELECT '" + "x" * 5000 + "'"
        client.execute(long)
        cut = "SELECT max(length(query)) FROM morph.statements"
        assert client.execute(cut).fetchall() == [(1000,)]
        mine = "SELECT state, version FROM morph.sessions WHERE application_name = 'counted'"
        assert client.execute(mine).fetchall() in ([("active", 3)], [("idle", 3)])


def test_psql_describes_versions(shared: ServerProcess) -> None:  # R0.2
    shown = psql(shared, r"\d v3.c")
    assert 'Table "v3.c"' in shown
    assert "generated always as (n + 1)" in shown
    assert '"c_pkey" PRIMARY KEY, btree (id)' in shown
    assert '"c_name" btree (full_name)' in shown
    assert "'x'::text" in shown
    assert "their number" in psql(shared, r"\d+ c")
    assert "the customers" in psql(shared, r"\dt+ v2.c")
    assert " v2 " in psql(shared, r"\dn")
    assert "c_name" in psql(shared, r"\di")
    assert " w " in psql(shared, r"\dv")
    assert "hash_int" in psql(shared, r"\df morph.*")
    assert "The versions of the model" in psql(shared, r"\dv+ morph.versions")


def test_information_schema(shared: ServerProcess) -> None:  # R0.2
    text = (
        "SELECT column_name, is_generated, is_nullable, column_default "
        "FROM information_schema.columns WHERE table_schema = '{}' AND table_name = 'c' "
        "ORDER BY ordinal_position"
    )
    expected = [
        ("id", "NEVER", "NO", None),
        ("full_name", "NEVER", "YES", "'x'::text"),
        ("n", "NEVER", "YES", None),
        ("v", "ALWAYS", "YES", None),
    ]
    for schema in ("public", "v3"):
        assert rows(shared, text.format(schema)) == expected
