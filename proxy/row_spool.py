"""Rows that a statement may change, as they were read: they are needed twice, for the staged copy
and for the difference. Few stay in memory, many wait in a temporary file without a name.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from typing import IO

import pyarrow as pa

from proxy.piles import Limits


class Spool:
    """Batches in the order in which they came; `limits` are the statement's."""

    def __init__(self, limits: Limits, memory_max: int) -> None:
        self.rows = 0
        self.nbytes = 0
        self._limits = limits
        self._memory_max = memory_max
        self._batches: list[pa.RecordBatch] = []
        self._file: IO[bytes] | None = None
        self._places: list[tuple[int, int]] = []

    def add(self, batch: pa.RecordBatch) -> None:
        """Take a batch; 53400 when there are more than memory and disk may hold."""
        if not batch.num_rows:
            return
        self.rows += batch.num_rows
        self.nbytes += batch.nbytes
        self._limits.take(batch.nbytes)
        if self._file is None and self.nbytes <= self._memory_max:
            self._batches.append(batch)
            return
        waiting, self._batches = [*self._batches, batch], []
        for each in waiting:
            self._write(each)

    def _write(self, batch: pa.RecordBatch) -> None:
        if self._file is None:
            # It lives until the statement ends, longer than any block of this module.
            self._file = tempfile.TemporaryFile()  # noqa: SIM115
        # Each by itself: batches of one scan may have different carriers.
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, batch.schema) as writer:
            writer.write_batch(batch)
        data = sink.getvalue()
        self._places.append((self._file.seek(0, 2), data.size))
        self._file.write(data)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """All of them, as often as asked."""
        yield from self._batches
        for start, size in self._places:
            assert self._file is not None
            self._file.seek(start)
            yield pa.ipc.open_stream(self._file.read(size)).read_next_batch()

    def windows(self, bytes_max: int) -> Iterator[list[pa.RecordBatch]]:
        """Runs of batches of about so many bytes; at least one, which may be empty."""
        window: list[pa.RecordBatch] = []
        size = 0
        for batch in self.batches():
            if window and size + batch.nbytes > bytes_max:
                yield window
                window, size = [], 0
            window.append(batch)
            size += batch.nbytes
        yield window

    def close(self) -> None:
        """Give up the file."""
        self._batches.clear()
        if self._file is not None:
            self._file.close()
