"""One statement in two places: Morphgres, and a PostgreSQL that has the same rows as its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg import pq

from tests.integration.server_process import ServerProcess
from tests.services.federation.data import TABLES
from tests.services.federation.loading import fill_table

DATABASE = "federation_judge"
USER_TYPES = 16_384
Row = tuple[bytes | None, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a client sees of one statement; an error has a SQLSTATE and the primary message."""

    columns: tuple[tuple[str, int, int], ...] = ()
    rows: tuple[Row, ...] = ()
    tag: str = ""
    state: str = ""
    message: str = ""

    def sorted(self) -> Outcome:
        """The same with the rows in an order of their own: SQL promises none."""
        rows = tuple(sorted(self.rows, key=lambda row: [(v is None, v or b"") for v in row]))
        return Outcome(self.columns, rows, self.tag, self.state, self.message)


@dataclass(frozen=True, slots=True)
class Parameters:
    """Values of $n in the extended protocol: their types and forms, and the form of the result."""

    values: Sequence[bytes | None] = ()
    types: Sequence[int] = ()
    formats: Sequence[int] = ()
    result: int = 0


def outcome(connection: psycopg.Connection[Any], text: str) -> Outcome:
    """The statement by a simple query, values as they came; the last one of several."""
    return _outcome(connection.pgconn.exec_(text.encode()))


def outcome_with(connection: psycopg.Connection[Any], text: str, parameters: Parameters) -> Outcome:
    """The statement by the extended protocol."""
    result = connection.pgconn.exec_params(
        text.encode(),
        parameters.values,
        parameters.types or None,
        parameters.formats or None,
        parameters.result,
    )
    return _outcome(result)


def _outcome(result: pq.abc.PGresult) -> Outcome:
    if result.status in (pq.ExecStatus.FATAL_ERROR, pq.ExecStatus.BAD_RESPONSE):
        state = (result.error_field(pq.DiagnosticField.SQLSTATE) or b"").decode()
        primary = result.error_field(pq.DiagnosticField.MESSAGE_PRIMARY) or b""
        return Outcome(state=state, message=primary.decode())
    columns = tuple(
        ((result.fname(n) or b"").decode(), min(result.ftype(n), USER_TYPES), result.fmod(n))
        for n in range(result.nfields)
    )
    rows = tuple(
        tuple(result.get_value(row, n) for n in range(result.nfields))
        for row in range(result.ntuples)
    )
    return Outcome(columns, rows, (result.command_status or b"").decode())


@dataclass
class Judge:
    """PostgreSQL itself: a database of the private one with the rows in tables of its own."""

    connection: psycopg.Connection[Any]
    known: dict[str, list[Outcome]] = field(default_factory=dict)

    def answers(self, script: Sequence[str]) -> list[Outcome]:
        """What each statement of a script gives; remembered, the tables stay as they are."""
        key = ";".join(script)
        if key not in self.known:
            self.connection.execute("BEGIN")
            try:
                self.known[key] = [outcome(self.connection, text) for text in script]
            finally:
                self.connection.execute("ROLLBACK")
        return self.known[key]


@contextmanager
def open_judge(process: ServerProcess) -> Iterator[Judge]:
    """A judge with fresh tables in a database of its own."""
    with process.root() as root:
        root.execute(f"DROP DATABASE IF EXISTS {DATABASE}".encode())
        root.execute(f"CREATE DATABASE {DATABASE} TEMPLATE template0".encode())
    with psycopg.connect(
        host=str(process.socket_directory), user="morph_root", dbname=DATABASE, autocommit=True
    ) as connection:
        for table in TABLES.values():
            fill_table(connection, table, table.name)
        connection.execute("ANALYZE")
        yield Judge(connection)
