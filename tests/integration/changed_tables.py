"""A session that makes versions of its tables to look at them: no rows are moved."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

from tests.integration.fresh_catalog import empty_catalog
from tests.integration.server_process import ServerProcess

Connection = psycopg.Connection[Any]


@contextmanager
def looking(server: ServerProcess, *statements: str) -> Iterator[Connection]:
    """A session on version 1, which is what the statements make; changes are virtual."""
    empty_catalog(server)
    with server.connect() as connection:
        for statement in statements:
            connection.execute(statement)
        connection.execute("SET morph.ddl_mode = virtual")
        yield connection


def rows(client: Connection, text: str) -> list[Any]:
    """What a query gives."""
    return client.execute(text).fetchall()
