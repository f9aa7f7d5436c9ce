"""COPY TO STDOUT as an iterator of bytes, with backpressure and cancellation.

asyncpg pushes the bytes into a coroutine; here that coroutine waits until its piece was taken, so
no more than one is ahead of the reader, and the rest waits in the server.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Final

import asyncpg
import pyarrow as pa

from backends.postgres.connection import alive
from backends.postgres.faults import translated
from core.encoding.copy_csv import BLOCK_BYTES, decode_copy_csv
from core.encoding.family import from_text_carrier
from core.types import PgType

FEW_BYTES: Final = 8192
"""Up to so many bytes are read without the machinery for many."""


class _Handoff:
    """One piece at a time from the driver's task to the reader."""

    def __init__(self) -> None:
        self._piece: bytes | None = None
        self._there = asyncio.Event()
        self._taken = asyncio.Event()

    async def put(self, piece: bytes) -> None:
        """Hand a piece over; returns when it was taken."""
        self._piece = piece
        self._there.set()
        await self._taken.wait()
        self._taken.clear()

    def end(self, _: object) -> None:
        """Nothing more will come."""
        self._there.set()

    async def get(self) -> bytes | None:
        """The next piece, None at the end."""
        await self._there.wait()
        self._there.clear()
        piece, self._piece = self._piece, None
        self._taken.set()
        return piece


async def copied(
    connection: asyncpg.Connection, query: str, instance: str, deadline: float | None
) -> AsyncGenerator[bytes, None]:
    """The bytes of COPY (query) TO STDOUT in CSV; closing the iterator cancels the query.

    Raises what `translated` does: it never ends short.
    """
    handoff = _Handoff()

    async def produce() -> None:
        try:
            await connection.copy_from_query(
                query, output=handoff.put, format="csv", encoding="UTF8"
            )
        except AttributeError as error:
            # What asyncpg makes of a connection that was terminated under it.
            if not alive(connection):
                raise ConnectionAbortedError("the connection was closed") from error
            raise

    task = asyncio.get_running_loop().create_task(produce(), name=f"copy-{instance}")
    task.add_done_callback(handoff.end)
    try:
        while True:
            with translated(instance):
                # Not around the yield: a deadline must not hit what the reader does meanwhile.
                async with asyncio.timeout_at(deadline):
                    piece = await handoff.get()
                    if piece is None:
                        await task
                        return
            yield piece
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait([task])
        if not task.cancelled():
            task.exception()  # it was raised above, or nobody wants it any more


class RowReader:
    """The bytes of a COPY to batches: few bytes as texts, more by the CSV reader.

    `small` is False for what must come in the Arrow carrier.
    """

    def __init__(self, fields: Sequence[PgType], bytes_max: int, *, small: bool) -> None:
        block = max(min(BLOCK_BYTES, bytes_max), 1)
        self._decoder = decode_copy_csv(fields, block_bytes=block)
        self._fields = fields
        self._few: bytes | None = b"" if small else None

    def feed(self, chunk: bytes) -> list[pa.RecordBatch]:
        """Take the next bytes; the batches that became full."""
        if self._few is not None:
            self._few += chunk
            if len(self._few) <= FEW_BYTES:
                return []
            chunk, self._few = self._few, None
        return self._decoder.feed(chunk)

    def finish(self) -> list[pa.RecordBatch]:
        """The batches of what is left."""
        if self._few is not None:
            few = read_few(self._few, self._fields)
            if few is not None:
                return [few]
            return [*self._decoder.feed(self._few), *self._decoder.finish()]
        return self._decoder.finish()


def read_few(data: bytes, fields: Sequence[PgType]) -> pa.RecordBatch | None:
    """A few rows as texts, None where quotes ask for the whole reader.

    A point read spends its time on what surrounds the row; texts are what a client wants anyway.
    """
    if b'"' in data or not fields or not data:
        return None
    rows = [line.split(",") for line in data.decode().split("\n")[:-1]]
    columns = [[value or None for value in column] for column in zip(*rows, strict=True)]
    return text_batch(columns, fields)


def text_batch(columns: Sequence[Sequence[str | None]], fields: Sequence[PgType]) -> pa.RecordBatch:
    """Rows in the text carrier; arrays as lists, for a list cannot be compared with a text."""
    arrays = [pa.array(column, pa.string()) for column in columns]
    arrays = [
        array if pg.element is None else from_text_carrier(array, pg)
        for array, pg in zip(arrays, fields, strict=True)
    ]
    return pa.RecordBatch.from_arrays(arrays, [f"c{n}" for n in range(len(arrays))])
