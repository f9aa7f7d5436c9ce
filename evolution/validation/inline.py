"""Inline comparison of two results of one query, over the encoded rows that go by (V1).

A result in a given order is summed in chunks of 256 rows; besides, and for results without an
order, there is the multiset sum. The rows are hashed as they were encoded for the wire.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from config.validation import Category
from core.checksum import ChunkChecksum, MultisetChecksum, data_row_bodies

CHUNK_ROWS: Final = 256


@dataclass(slots=True)
class ResultSum:
    """Sums of one result, fed as it comes."""

    multiset: MultisetChecksum = field(default_factory=MultisetChecksum)
    chunks: list[int] = field(default_factory=list)
    _open: ChunkChecksum = field(default_factory=ChunkChecksum)
    _rows: int = 0

    def add_data_rows(self, data: bytes | bytearray | memoryview) -> None:
        """Encoded DataRow messages."""
        self.add_rows(data_row_bodies(data))

    def add_rows(self, rows: Iterable[bytes | bytearray | memoryview]) -> None:
        """Rows that are cut already: bodies of DataRows, or lines."""
        members = list(rows)
        self.multiset.add_rows(members)
        at = 0
        while at < len(members):
            part = members[at : at + CHUNK_ROWS - self._rows]
            for row in part:
                self._open.add(len(row).to_bytes(4, "big"))
                self._open.add(row)
            at += len(part)
            self._rows += len(part)
            if self._rows == CHUNK_ROWS:
                self._close()

    def end(self) -> None:
        """The result has no more rows."""
        if self._rows:
            self._close()

    def _close(self) -> None:
        self.chunks.append(self._open.value())
        self._open, self._rows = ChunkChecksum(), 0


def compare_results(
    live: ResultSum, shadow: ResultSum, *, ordered: bool
) -> tuple[Category, str] | None:
    """What is wrong with two results that have ended, None when they are the same."""
    if live.multiset == shadow.multiset:
        if not ordered or live.chunks == shadow.chunks:
            return None
        return "ORDER_MISMATCH", f"the same rows in another order, {_where(live, shadow)}"
    one, other = live.multiset.count, shadow.multiset.count
    if one != other:
        return "VALUE_MISMATCH", f"{one} rows from the live table, {other} from the shadow"
    where = f", {_where(live, shadow)}" if ordered else ""
    return "VALUE_MISMATCH", f"{one} rows from both, and they are not the same{where}"


def _where(live: ResultSum, shadow: ResultSum) -> str:
    pairs = zip(live.chunks, shadow.chunks, strict=False)
    first = next((n for n, (one, other) in enumerate(pairs) if one != other), 0)
    return f"from row {first * CHUNK_ROWS + 1} on at the earliest"
