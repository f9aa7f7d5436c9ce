"""Several scans of one statement as one COPY BINARY that goes back undecoded (pure).

Where the store is the private PostgreSQL itself its rows need no Arrow: the messages of COPY TO are
those of COPY FROM. As in engine/scan_copy.py all scans are one UNION ALL, for one snapshot; here
columns of one type share a place, and a row with a random token stands between two scans:

    (SELECT NULL::uuid, a."id", NULL::text FROM (native 0) AS a LIMIT max)
    UNION ALL SELECT 'token'::uuid, NULL::bigint, NULL::text
    UNION ALL (SELECT NULL::uuid, NULL::bigint, a."name" FROM (native 1) AS a LIMIT max)

The LIMIT keeps the parts one behind the other: a subquery with one is never a child of a parallel
Append. PostgreSQL sends a message for each row, the header in front of the first one's data and the
trailer in a message of its own (src/backend/commands/copyto.c; manual, COPY, "Binary Format").
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from struct import Struct
from typing import Final

from catalog.sqltext import quote_ident
from core.encoding.rows import COPY_HEADER, COPY_TRAILER
from core.errors import InternalError
from core.types import type_by_name
from engine.merge import analyze_texts
from engine.scan_copy import ScanColumns

TOKEN_BYTES: Final = 16
_ALL: Final = (1 << 63) - 1
_HEAD: Final = Struct(">cI")
_NULL: Final = b"\xff\xff\xff\xff"
_DATA: Final = b"d"
_TRAILER: Final = _HEAD.pack(_DATA, 4 + len(COPY_TRAILER)) + COPY_TRAILER
_PREFIX_BYTES: Final = _HEAD.size + len(COPY_HEADER)
_int32: Final = Struct(">i")


@dataclass(frozen=True, slots=True)
class RelayLayout:
    """Where each scan's columns are in the rows: `types` of all places, the marker's not counted;
    `places[scan]` has the place of each of its columns.
    """

    scans: tuple[ScanColumns, ...]
    types: tuple[str, ...]
    places: tuple[tuple[int, ...], ...]
    token: bytes

    @property
    def marked(self) -> bool:
        """Whether rows start with the marker; one scan needs none."""
        return len(self.scans) > 1

    @property
    def names(self) -> tuple[str, ...]:
        """The columns of a staged table."""
        return (*(["m"] if self.marked else []), *(f"c{n}" for n in range(len(self.types))))

    def copy_text(self) -> str:
        """The COPY statement for all scans."""
        if not self.marked:
            [scan] = self.scans
            return f"COPY ({self._select(0)} FROM ({scan.native}) AS a) TO STDOUT (FORMAT binary)"
        nulls = "".join(f", NULL::{sql}" for sql in self.types)
        token = f" UNION ALL SELECT '{self.token.hex()}'::pg_catalog.uuid{nulls} UNION ALL "
        parts = (
            f"({self._select(number)} FROM ({scan.native}) AS a LIMIT {_ALL})"
            for number, scan in enumerate(self.scans)
        )
        return f"COPY ({token.join(parts)}) TO STDOUT (FORMAT binary)"

    def _select(self, number: int) -> str:
        values = [f"NULL::{sql}" for sql in self.types]
        for place, name in zip(self.places[number], self.scans[number].names, strict=False):
            values[place] = f"a.{quote_ident(name)}"
        marker = ["NULL::pg_catalog.uuid"] if self.marked else []
        return "SELECT " + ", ".join([*marker, *values])

    def create_text(self, name: str) -> str:
        """The temporary table for the rows of a scan, with the places of all."""
        types = ("pg_catalog.uuid", *self.types) if self.marked else self.types
        columns = ", ".join(f"{n} {sql}" for n, sql in zip(self.names, types, strict=True))
        return f"CREATE TEMPORARY TABLE {quote_ident(name)} ({columns}) ON COMMIT DROP"

    def analyze_texts(self, relation: str, number: int) -> tuple[str, str]:
        """What makes the planner know a filled table."""
        return analyze_texts(relation, (f"c{place}" for place in self.places[number]))

    def relation_text(self, relation: str, number: int) -> str:
        """The scan as it is read from a staged table."""
        names = self.scans[number].names
        listed = ", ".join(
            f"c{place} AS {quote_ident(name)}"
            for place, name in zip(self.places[number], names, strict=False)
        )
        return f"(SELECT {listed or 'c0'} FROM {relation})"

    def separator(self) -> bytes:
        """The message between two scans."""
        count = 1 + len(self.types)
        body = count.to_bytes(2) + len(self.token).to_bytes(4) + self.token
        body += _NULL * len(self.types)
        return _HEAD.pack(_DATA, 4 + len(body)) + body


def relay_layout(scans: Sequence[ScanColumns], token: bytes) -> RelayLayout:
    """The layout; columns of one type share places, a scan without columns has a NULL integer."""
    wanted = [scan.types or ("integer",) for scan in scans]
    most: Counter[str] = Counter()
    for types in wanted:
        most |= Counter(types)
    all_types = tuple(most.elements())
    places = []
    for types in wanted:
        free = {sql: all_types.index(sql) for sql in types}
        mine = []
        for sql in types:
            mine.append(free[sql])
            free[sql] += 1
        places.append(tuple(mine))
    return RelayLayout(tuple(scans), all_types, tuple(places), token)


class RelaySplitter:
    """The messages of that COPY in, (number of the scan, whole or cut messages) out; header,
    separators and trailer are taken away. Bytes may be cut anywhere.
    """

    def __init__(self, layout: RelayLayout) -> None:
        self._separator = layout.separator() if layout.marked else b""
        self._keep = max(len(self._separator) - 1, len(_TRAILER))
        self._held = b""
        self._begun = False
        self._number = 0

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """Take the next bytes; what is certain of them."""
        data = self._held + data
        if not self._begun:
            self._held = data
            if len(data) < _PREFIX_BYTES:
                return
            data = self._without_header(data)
        while self._separator and (at := data.find(self._separator)) >= 0:
            if at:
                yield self._number, data[:at]
            data = data[at + len(self._separator) :]
            self._number += 1
        self._held = data[-self._keep :]
        if len(data) > self._keep:
            yield self._number, data[: -self._keep]

    def finish(self) -> Iterator[tuple[int, bytes]]:
        """The rest."""
        if not (self._begun and self._held.endswith(_TRAILER)):
            raise InternalError("COPY of the scans has no trailer")
        rest = self._held[: -len(_TRAILER)]
        if rest:
            yield self._number, rest

    def _without_header(self, data: bytes) -> bytes:
        kind, length = _HEAD.unpack_from(data)
        if kind != _DATA or data[_HEAD.size : _PREFIX_BYTES] != COPY_HEADER:
            raise InternalError("COPY of the scans has another header")
        self._begun = True
        return _HEAD.pack(kind, length - len(COPY_HEADER)) + data[_PREFIX_BYTES:]


def read_cells(
    data: bytes, places: Sequence[int], rows_max: int
) -> tuple[int, list[list[bytes]]] | None:
    """(rows, for each place the values as they stand, length in front); None for more rows."""
    columns: list[list[bytes]] = [[] for _ in places]
    position = rows = 0
    while position < len(data):
        if rows == rows_max:
            return None
        rows += 1
        at = position + _HEAD.size + 2
        position += 1 + int.from_bytes(data[position + 1 : position + _HEAD.size])
        cells = []
        while at < position:
            (length,) = _int32.unpack_from(data, at)
            end = at + 4 + max(length, 0)
            cells.append(data[at:end])
            at = end
        for column, place in zip(columns, places, strict=True):
            column.append(cells[place])
    return rows, columns


def array_of(cells: Sequence[bytes], sql: str) -> bytes:
    """The values as one array in binary format (src/backend/utils/adt/arrayfuncs.c, array_send)."""
    oid = type_by_name(sql).oid.to_bytes(4)
    if not cells:
        return bytes(8) + oid
    head = b"".join((_int32.pack(1), _int32.pack(_NULL in cells), oid, _int32.pack(len(cells))))
    return b"".join((head, _int32.pack(1), *cells))
