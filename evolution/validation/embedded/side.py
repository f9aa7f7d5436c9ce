"""A side in the private PostgreSQL: rows come as COPY text and are hashed as they come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Final

import asyncpg

from core.errors import MorphError
from evolution.layouts.base import Chunk, Row, SideColumn
from evolution.validation.embedded.failures import BROKEN, as_morph_error
from evolution.validation.embedded.select import SETTINGS, SideQueries, SideSelect
from evolution.validation.lines import cut_lines, cut_row, key_text, key_values, last_key, unescape

CHUNK_BYTES: Final = 32 << 20
READ_DEADLINE_S: Final = 120.0
CLOSE_DEADLINE_S: Final = 5.0
_KEYS_A_QUERY: Final = 1_000
_SAVE: Final = "SAVEPOINT morph_read"
_UNDO: Final = "ROLLBACK TO SAVEPOINT morph_read"
_RELEASE: Final = "RELEASE SAVEPOINT morph_read"

Connect = Callable[[], Awaitable[asyncpg.Connection]]


@asynccontextmanager
async def opened(connect: Connect) -> AsyncIterator[asyncpg.Connection]:
    """A connection for a block; broken off when the block does not end well."""
    connection = await connect()
    try:
        yield connection
        await connection.close(timeout=CLOSE_DEADLINE_S)
    finally:
        if not connection.is_closed():
            connection.terminate()


@asynccontextmanager
async def read_together(connect: Connect) -> AsyncIterator[asyncpg.Connection]:
    """A connection on which everything is read as of one moment. It ends with its transaction: who
    is cut off while rows come could not roll back.
    """
    async with opened(connect) as connection:
        begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
        await connection.execute("; ".join((begin, *SETTINGS)), timeout=READ_DEADLINE_S)
        yield connection


@asynccontextmanager
async def read_inside(connection: asyncpg.Connection) -> AsyncIterator[asyncpg.Connection]:
    """The same inside of an open transaction that keeps the tables still; its settings come back
    at the end, and nothing that was written meanwhile stays.
    """
    await connection.execute("SAVEPOINT morph_read_inside")
    try:
        await connection.execute("; ".join(SETTINGS), timeout=READ_DEADLINE_S)
        yield connection
    finally:
        await connection.execute(
            "ROLLBACK TO SAVEPOINT morph_read_inside; RELEASE SAVEPOINT morph_read_inside"
        )


class _Lines:
    """Takes COPY data and keeps the first lines of it, up to a number of bytes, one at least.

    What comes after is dropped as it comes: a COPY that is broken off costs its connection, and
    the chunks that follow have fewer rows.
    """

    def __init__(self, bytes_max: int) -> None:
        self._parts: list[bytes] = []
        self._bytes = 0
        self._bytes_max = bytes_max
        self._newline = False
        self.full = False

    async def take(self, data: bytes) -> None:
        """For asyncpg."""
        if self._newline and self._bytes >= self._bytes_max:
            self.full = True
            return
        self._parts.append(data)
        self._bytes += len(data)
        self._newline = self._newline or b"\n" in data

    def kept(self) -> bytes:
        """The complete lines that were kept."""
        data = b"".join(self._parts)
        return data[: data.rfind(b"\n") + 1] if self.full else data


class EmbeddedSide:
    """See `Side`. `connection` comes from `read_together` or `read_inside`.

    Errors of PostgreSQL are raised as MorphError with their SQLSTATE; the transaction goes on.
    """

    snapshot = True

    def __init__(
        self, connection: asyncpg.Connection, select: SideSelect, bytes_max: int = CHUNK_BYTES
    ) -> None:
        self._connection = connection
        self._queries = SideQueries(select)
        self._select = select
        self._bytes_max = bytes_max
        self._pending: bool | None = None
        self.columns: tuple[SideColumn, ...] = tuple(c.column for c in select.columns)
        self._places = _places(select, self._queries)

    async def chunk(self, after: bytes | None, until: bytes | None, rows: int) -> Chunk:
        """See Side."""
        pending = await self._in_flight()
        data, full = await self._copy(self._queries.rows(after, until, rows, pending))
        count = data.count(b"\n")
        last = last_key(data, len(self._select.key))
        ended = not full and (not rows or count < rows)
        left_out: Sequence[bytes] = ()
        if pending:
            query = self._queries.in_flight(after, until if ended else last)
            left_out = cut_lines((await self._copy(query))[0])
        return Chunk(data, count, last, ended, partial(self._split, data), left_out, self._cut)

    async def keys(self, after: bytes | None, until: bytes | None, rows: int) -> Sequence[bytes]:
        """See Side."""
        query = self._queries.keys(after, until, rows, await self._in_flight())
        return cut_lines((await self._copy(query))[0])

    async def look_up(self, keys: Sequence[bytes]) -> Sequence[Row]:
        """See Side."""
        pending = await self._in_flight()
        found: list[Row] = []
        for at in range(0, len(keys), _KEYS_A_QUERY):
            query = self._queries.those(keys[at : at + _KEYS_A_QUERY], pending)
            data, full = await self._copy(query)
            found += self._split(data)
            if full:
                got = {row.key for row in found}
                rest = [key for key in keys[at : at + _KEYS_A_QUERY] if key not in got]
                found += await self.look_up(rest)
        return found

    async def in_flight(self, keys: Sequence[bytes]) -> Sequence[bytes]:
        """See Side."""
        if not keys or not await self._in_flight():
            return ()
        found: list[bytes] = []
        for at in range(0, len(keys), _KEYS_A_QUERY):
            query = self._queries.in_flight_of(keys[at : at + _KEYS_A_QUERY])
            found += cut_lines((await self._copy(query))[0])
        return found

    def values(self, row: Row) -> Sequence[bytes | None]:
        """See Side."""
        keys = key_values(row.key)
        data = row.data.split(b"\t")
        return [keys[at].encode() if of_key else unescape(data[at]) for of_key, at in self._places]

    def key_text(self, key: bytes) -> str:
        """See Side."""
        return key_text(key)

    def _split(self, data: bytes) -> list[Row]:
        return [self._cut(line) for line in cut_lines(data)]

    def _cut(self, line: bytes) -> Row:
        return cut_row(line, len(self._select.key))

    async def _in_flight(self) -> bool:
        if self._pending is None:
            self._pending = bool(await self._connection.fetchval(self._queries.any_in_flight()))
        return self._pending

    async def _copy(self, query: str) -> tuple[bytes, bool]:
        """What a query gives as complete lines, and whether it was cut at the limit of bytes."""
        lines = _Lines(self._bytes_max)
        await self._connection.execute(_SAVE)
        try:
            async with asyncio.timeout(READ_DEADLINE_S):
                await self._connection.copy_from_query(query, output=lines.take, format="text")
        except (asyncpg.PostgresError, *BROKEN, TimeoutError) as error:
            raise await self._undone(error) from error
        await self._connection.execute(_RELEASE)
        return lines.kept(), lines.full

    async def _undone(self, error: BaseException) -> MorphError:
        if isinstance(error, asyncpg.PostgresError) and not self._connection.is_closed():
            await self._connection.execute(_UNDO)
        return as_morph_error(error)


def _places(select: SideSelect, queries: SideQueries) -> list[tuple[bool, int]]:
    """Where the value of each column stands: (in the key, number of the field)."""
    keys = {c.column.id: n for n, c in enumerate(select.key)}
    shown = {c.column.id: n for n, c in enumerate(queries.shown)}
    return [
        (True, keys[c.column.id]) if c.column.id in keys else (False, shown[c.column.id])
        for c in select.columns
    ]
