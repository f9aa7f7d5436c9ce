"""A server with the shop sample, one for all tests, which leave it as they found it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

from tests.integration.server_process import ServerProcess, running

SCHEMA = """
CREATE TABLE books (
  id bigint PRIMARY KEY, title text NOT NULL, price numeric(8,2) CHECK (price >= 0),
  added date DEFAULT '2024-02-29', tags text[])
"""


@contextmanager
def shop_server(directory: Path) -> Iterator[ServerProcess]:
    """The sample's tables, and one that DDL made."""
    with running(directory / "shop", "", "--sample", "shop") as process:
        with process.connect() as connection:
            connection.execute(SCHEMA)
        yield process


@contextmanager
def rolled_back(server: ServerProcess, **parameters: Any) -> Iterator[psycopg.Connection[Any]]:
    """A connection in a transaction that is rolled back at the end."""
    with server.connect(**parameters) as connection:
        connection.execute("BEGIN")
        try:
            yield connection
        finally:
            connection.execute("ROLLBACK")
