"""Errors of the store in the words of the session's version: no t<id>, c<id>, k<id> (DESIGN 9)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.integration.server_process import ServerProcess, running

INTERNAL = re.compile(r"\b[tck]\d+\b|\b[ki]\d+_|morph_store|_doc\b")


@pytest.fixture(scope="module")
def server(open_directory: Path) -> Iterator[ServerProcess]:
    """Documents and tables whose version 2 asks for more than version 1 has."""
    with running(open_directory / "names", "", "--sample", "shop") as process:
        with process.connect() as client:
            client.execute("CREATE TABLE plain (id int PRIMARY KEY, n int NOT NULL)")
            client.execute("CREATE TABLE owners (id int PRIMARY KEY)")
            client.execute("INSERT INTO owners VALUES (1)")
            client.execute("INSERT INTO plain VALUES (1, 1)")
            client.execute("ALTER TABLE events ADD COLUMN must int NOT NULL DEFAULT 5")
            client.execute("ALTER TABLE plain ADD COLUMN u int NOT NULL DEFAULT 5 UNIQUE")
            client.execute("CREATE TABLE parts (of_plain int REFERENCES plain)")
            client.execute(
                "CREATE TABLE owned (owner int NOT NULL REFERENCES owners ON DELETE SET NULL)"
            )
        yield process


def newest_schema(client: psycopg.Connection[Any]) -> str:
    """The schema of the newest version."""
    row = client.execute("SELECT max(version) FROM morph.versions").fetchone()
    assert row is not None
    return f"v{row[0]}"


def fault(server: ServerProcess, statement: str) -> dict[str, str | None]:
    """The report of a statement that fails; none of its fields has a name of the store."""
    with server.connect() as client, pytest.raises(psycopg.Error) as raised:
        client.execute(statement)
    diag = raised.value.diag
    fields = {
        "code": diag.sqlstate,
        "message": diag.message_primary,
        "detail": diag.message_detail,
        "hint": diag.message_hint,
        "schema": diag.schema_name,
        "table": diag.table_name,
        "column": diag.column_name,
        "constraint": diag.constraint_name,
        "context": diag.context,
    }
    assert not [text for text in fields.values() if text and INTERNAL.search(text)], fields
    return fields


def test_a_row_of_documents_is_not_shown_as_it_is_stored(server: ServerProcess) -> None:
    with server.connect() as client:
        newest = newest_schema(client)
    found = fault(server, f"INSERT INTO {newest}.events (_id, must) VALUES ('q', NULL)")
    assert (found["code"], found["column"], found["detail"]) == ("23502", "must", None)
    assert found["message"] == (
        'null value in column "must" of relation "events" violates not-null constraint'
    )
    found = fault(server, "INSERT INTO events (kind) VALUES ('x')")
    assert (found["code"], found["column"], found["detail"]) == ("23502", "_id", None)


def test_a_whole_row_is_shown(server: ServerProcess) -> None:
    with server.connect() as client:
        newest = newest_schema(client)
    found = fault(server, f"INSERT INTO {newest}.plain VALUES (2, NULL, 3)")
    assert (found["code"], found["column"]) == ("23502", "n")
    assert found["detail"] == "Failing row contains (2, null, 3)."


def test_a_row_with_columns_that_the_version_has_not(server: ServerProcess) -> None:
    found = fault(server, "INSERT INTO plain VALUES (2, NULL)")
    assert (found["code"], found["column"], found["detail"]) == ("23502", "n", None)


def test_a_column_that_only_a_newer_version_has(server: ServerProcess) -> None:
    with server.connect() as client:
        client.execute(f"INSERT INTO {newest_schema(client)}.owned VALUES (1)")
    found = fault(server, "DELETE FROM owners")
    assert (found["code"], found["table"], found["column"]) == ("23502", "owned", "owner")
    assert found["message"] == (
        'null value in column "owner" of relation "owned" violates not-null constraint'
    )
    assert found["detail"] == "Failing row contains (null)."
    assert found["context"] == (
        'SQL statement "UPDATE ONLY "public"."owned" SET "owner" = NULL '
        'WHERE $1 OPERATOR(pg_catalog.=) "owner""'
    )


def test_a_constraint_that_only_a_newer_version_has(server: ServerProcess) -> None:
    found = fault(server, "INSERT INTO plain VALUES (8, 8)")
    assert (found["code"], found["table"], found["constraint"]) == ("23505", "plain", "plain_u_key")
    assert found["message"] == ('duplicate key value violates unique constraint "plain_u_key"')
    assert found["detail"] == "Key (u)=(5) already exists."


def test_a_table_that_only_a_newer_version_has(server: ServerProcess) -> None:
    with server.connect() as client:
        client.execute(f"INSERT INTO {newest_schema(client)}.parts VALUES (1)")
    found = fault(server, "DELETE FROM plain")
    assert (found["code"], found["table"]) == ("23503", "parts")
    assert found["message"] == (
        'update or delete on table "plain" violates foreign key constraint '
        '"parts_of_plain_fkey" on table "parts"'
    )
    assert found["detail"] == 'Key (id)=(1) is still referenced from table "parts".'
