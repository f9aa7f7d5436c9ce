"""Layouts in memory: rows in order of their keys."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from evolution.layouts.base import Chunk, Row, SideColumn, Sides
from evolution.validation.lines import key_text, unescape

COLUMNS = (SideColumn(1, "id", "text"), SideColumn(2, "v", "text"))


class MemorySide:
    """A side of a store without snapshots: rows carry the LSN of their last write."""

    snapshot = False

    def __init__(self, rows: dict[str, tuple[int, str]]) -> None:
        self.rows = rows
        self.columns = COLUMNS

    def _range(self, after: bytes | None, until: bytes | None) -> list[Row]:
        found = [Row(k.encode(), lsn, v.encode()) for k, (lsn, v) in sorted(self.rows.items())]
        return [
            row
            for row in found
            if (after is None or row.key > after) and (until is None or row.key <= until)
        ]

    async def chunk(self, after: bytes | None, until: bytes | None, rows: int) -> Chunk:
        found = self._range(after, until)
        part = found[:rows] if rows else found
        data = b"".join(b"%b\t%d\t%b\n" % (r.key, r.lsn, r.data) for r in part)
        ended = len(part) == len(found)
        return Chunk(data, len(part), part[-1].key if part else None, ended, lambda: part)

    async def keys(self, after: bytes | None, until: bytes | None, rows: int) -> Sequence[bytes]:
        found = [row.key for row in self._range(after, until)]
        return found[:rows] if rows else found

    async def look_up(self, keys: Sequence[bytes]) -> Sequence[Row]:
        wanted = set(keys)
        return [row for row in self._range(None, None) if row.key in wanted]

    async def in_flight(self, keys: Sequence[bytes]) -> Sequence[bytes]:
        return ()

    def values(self, row: Row) -> Sequence[bytes | None]:
        return [row.key, unescape(row.data)]

    def key_text(self, key: bytes) -> str:
        return key_text(key)


class MemoryPair:
    """Two of them. `opened` is called each time that they are looked at: writes go on meanwhile."""

    def __init__(self, live: MemorySide, shadow: MemorySide) -> None:
        self.live = live
        self.shadow = shadow
        self.opened = 0
        self.writes: list[tuple[int, MemorySide, str, tuple[int, str] | None]] = []

    @asynccontextmanager
    async def sides(self) -> AsyncIterator[Sides]:
        self.opened += 1
        for at, side, key, row in self.writes:
            if at == self.opened and row is not None:
                side.rows[key] = row
            elif at == self.opened:
                side.rows.pop(key, None)
        yield self.live, self.shadow
