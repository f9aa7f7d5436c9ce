"""Values of the other form: computed by PostgreSQL over arrays of texts, under fixed settings.

A row on which an expression fails is found by halving, in savepoints, and told of; the others are
as if it were not there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import asyncpg

from catalog.model import Column
from catalog.readers import fill

Texts = Sequence[str | None]
_ROW_FAULTS: Final = ("22", "23", "2F", "38", "39", "P0", "0A", "54")
"""Classes of SQLSTATE that say something about a row, not about the server."""


@dataclass(frozen=True, slots=True)
class Failed:
    """An expression failed on a row."""

    sqlstate: str
    message: str


async def computed(
    db: asyncpg.Connection,
    expressions: Sequence[str],
    inputs: Sequence[Column],
    rows: Sequence[Texts],
) -> list[tuple[str | None, ...] | Failed]:
    """For each row the expressions as text; `rows` are the values of `inputs`."""
    if not rows or not expressions:
        return [() for _ in rows]
    arrays = [[row[n] for row in rows] for n in range(len(inputs))]
    query = _query(expressions, inputs)
    try:
        async with db.transaction():
            found = await db.fetch(query, *(arrays or [[None] * len(rows)]))
    except asyncpg.PostgresError as error:
        if (error.sqlstate or "")[:2] not in _ROW_FAULTS:
            raise
        if len(rows) == 1:
            return [Failed(error.sqlstate or "", str(error.args[0]) if error.args else "")]
        half = len(rows) // 2
        first = await computed(db, expressions, inputs, rows[:half])
        return first + await computed(db, expressions, inputs, rows[half:])
    return [tuple(row) for row in found]


def _query(expressions: Sequence[str], inputs: Sequence[Column]) -> str:
    names = [f"a{n}" for n in range(max(len(inputs), 1))]
    values = [f"(a{n})::{column.type}" for n, column in enumerate(inputs)]
    listed = ", ".join(f"({fill(text, values)})::text" for text in expressions)
    arrays = ", ".join(f"pg_catalog.unnest(${n}::text[])" for n in range(1, len(names) + 1))
    return (
        f"SELECT {listed} FROM ROWS FROM ({arrays}) WITH ORDINALITY "
        f"AS u({', '.join(names)}, n) ORDER BY n"
    )
