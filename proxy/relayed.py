"""Rows of one scan on their way back as messages, undecoded, with bounded memory.

See engine/scan_relay.py. Few rows become binary arrays all the same: a temporary table costs more.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO

from core.encoding.rows import COPY_HEADER, COPY_TRAILER
from engine.merge import staged_columns
from engine.scan_relay import RelayLayout, array_of, read_cells
from proxy.piles import PIECE_BYTES, Limits
from proxy.protocol.framing import message
from proxy.protocol.message_types import ClientType


@dataclass(slots=True)
class RelayedPile:
    """The messages of one scan."""

    layout: RelayLayout
    number: int
    limits: Limits
    small_bytes: int
    rows: int = 0
    _size: int = 0
    _waiting: list[bytes] = field(default_factory=list)
    _cells: list[list[bytes]] | None = None
    _file: IO[bytes] | None = None

    @property
    def large(self) -> bool:
        """True when the rows go by COPY; known when all are here."""
        return self._cells is None

    def add(self, data: bytes) -> None:
        """Take bytes of messages."""
        self.limits.take(len(data))
        self._size += len(data)
        if self._file is None:
            self._waiting.append(data)
            if self._size <= self.small_bytes:
                return
            # It lives until the statement ends, longer than any block of this module.
            self._file = tempfile.SpooledTemporaryFile(max_size=self.limits.memory_max)  # noqa: SIM115
            data, self._waiting = b"".join(self._waiting), []
        self._file.write(data)

    def complete(self) -> None:
        """All rows are here."""
        if self._file is None:
            places = [each + self.layout.marked for each in self.layout.places[self.number]]
            data = b"".join(self._waiting)
            found = read_cells(data, places, self.limits.rows_max)
            if found is not None:
                self.rows, self._cells = found

    def frames(self) -> Iterator[bytes]:
        """The messages of COPY FROM; can be read once."""
        yield message(ClientType.COPY_DATA, COPY_HEADER)
        if self._file is None:
            yield from self._waiting
        else:
            self._file.seek(0)
            with self._file as file:
                while piece := file.read(PIECE_BYTES):
                    yield piece
        yield message(ClientType.COPY_DATA, COPY_TRAILER)

    def arrays(self) -> list[bytes]:
        """Each column as one array in binary format."""
        assert self._cells is not None
        columns = staged_columns(self.layout.scans[self.number])
        return [array_of(c, sql) for c, (_, sql) in zip(self._cells, columns, strict=True)]
