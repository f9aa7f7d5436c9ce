"""PostgreSQL as the judge: the bytes it sends for given values, and rows built by a plain loop."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

import psycopg
import pyarrow as pa

Values = list[bytes | None]

SESSION = "-c TimeZone=UTC -c lc_monetary=C -c DateStyle=ISO -c IntervalStyle=postgres"


@dataclass(frozen=True, slots=True)
class Sent:
    """What PostgreSQL sent for a column of values."""

    text: Values
    binary: Values

    def text_column(self) -> pa.Array:
        """The text carrier."""
        return pa.array([None if v is None else v.decode() for v in self.text], pa.string())


def raw(cursor: psycopg.Cursor[tuple[object, ...]], column: int = 0) -> Values:
    """One column of the last result as the bytes on the wire."""
    result = cursor.pgresult
    assert result is not None
    return [result.get_value(row, column) for row in range(result.ntuples)]


def sent(
    connection: psycopg.Connection[tuple[object, ...]],
    sql_type: str,
    literals: Sequence[str | None],
) -> Sent:
    """The bytes for the literals (None is NULL) cast to the type, in their order."""
    query = f"SELECT x::{sql_type} FROM unnest(%s::text[]) WITH ORDINALITY AS u(x, n) ORDER BY n"
    columns = []
    for binary in (False, True):
        with connection.cursor(binary=binary) as cursor:
            cursor.execute(query, [list(literals)])
            columns.append(raw(cursor))
    assert [v is None for v in columns[0]] == [v is None for v in literals]
    return Sent(*columns)


def data_rows(columns: Sequence[Values]) -> bytes:
    """DataRow messages by a loop over values."""
    out = []
    for row in zip(*columns, strict=True):
        body = struct.pack(">h", len(row)) + cells(row)
        out.append(b"D" + struct.pack(">i", len(body) + 4) + body)
    return b"".join(out)


def copy_rows(columns: Sequence[Values]) -> bytes:
    """COPY BINARY tuples by a loop over values."""
    return b"".join(struct.pack(">h", len(row)) + cells(row) for row in zip(*columns, strict=True))


def cells(row: Sequence[bytes | None]) -> bytes:
    """Lengths and values of a row."""
    return b"".join(
        struct.pack(">i", -1) if v is None else struct.pack(">i", len(v)) + v for v in row
    )
