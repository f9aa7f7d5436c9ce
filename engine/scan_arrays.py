"""Several scans of one statement as one row of arrays, which go back as they came (pure).

Where the store is the private PostgreSQL itself and the tables are not large, a column of a scan
travels as one array in binary format: no message a row, no copy into a temporary table, and the
store may scan in parallel, which it does not for a COPY of rows:

    SELECT setting, s0.*, s1.* FROM
        (SELECT count(*), array_agg(a."id") FROM (native 0) AS a) AS s0,
        (SELECT count(*), array_agg(a."name") FROM (native 1) AS a) AS s1

The aggregates of one SELECT see the same rows in the same order, so the arrays of a scan are
aligned; all scans see the statement's snapshot.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from struct import Struct
from typing import Final

from catalog.sqltext import quote_ident
from core.encoding.rows import COPY_HEADER
from core.errors import InternalError
from core.types import type_by_name
from engine.scan_copy import ScanColumns

SCANS_MAX: Final = 2
"""Arrays bring no statistics: one join of two needs none, an order of joins does."""
SETTING: Final = "enable_mergejoin"
"""Without statistics a join is taken for one that multiplies rows, and sorting both sides for it
seems cheaper than hashing the small one.
"""
_int32: Final = Struct(">i")
_int64: Final = Struct(">q")
_HEAD_FIELDS: Final = 1


@dataclass(frozen=True, slots=True)
class ScanArrays:
    """The rows of one scan: each column as one array in binary format."""

    rows: int
    columns: tuple[bytes, ...]

    @property
    def large(self) -> bool:
        """Arrays always go as parameters."""
        return False

    def arrays(self) -> list[bytes]:
        """The parameters of the staged relation."""
        return list(self.columns)


@dataclass(frozen=True, slots=True)
class FetchedArrays:
    """The answer: `joins_by_merge` is the session's value of the setting."""

    scans: tuple[ScanArrays, ...]
    joins_by_merge: bool


def arrays_text(scans: Sequence[ScanColumns]) -> str:
    """The COPY statement."""
    parts = []
    for number, scan in enumerate(scans):
        values = [f"a.{quote_ident(name)}" for name in scan.names] or ["NULL::integer"]
        listed = ", ".join(f"pg_catalog.array_agg({value})" for value in values)
        parts.append(
            f"(SELECT pg_catalog.count(*), {listed} FROM ({scan.native}) AS a) AS s{number}"
        )
    setting = f"pg_catalog.current_setting('{SETTING}')"
    return f"COPY (SELECT {setting}, * FROM {', '.join(parts)}) TO STDOUT (FORMAT binary)"


def read_arrays(data: bytes, scans: Sequence[ScanColumns]) -> FetchedArrays:
    """The arrays in the bytes of that COPY."""
    fields = _read_fields(data)
    position, found = _HEAD_FIELDS, []
    for scan in scans:
        types = scan.types or ("integer",)
        count, *columns = fields[position : position + 1 + len(types)]
        position += 1 + len(types)
        (rows,) = _int64.unpack(count or b"")
        arrays = zip(columns, types, strict=True)
        found.append(ScanArrays(rows, tuple(each or _empty_array(sql) for each, sql in arrays)))
    return FetchedArrays(tuple(found), fields[0] == b"on")


def _read_fields(data: bytes) -> list[bytes | None]:
    """The values of the only row."""
    position = len(COPY_HEADER) + 2
    if not data.startswith(COPY_HEADER) or len(data) < position:
        raise InternalError("COPY of the arrays has another header")
    fields: list[bytes | None] = []
    for _ in range(int.from_bytes(data[position - 2 : position])):
        (length,) = _int32.unpack_from(data, position)
        position += 4
        fields.append(None if length < 0 else data[position : position + length])
        position += max(length, 0)
    return fields


def _empty_array(sql: str) -> bytes:
    return bytes(8) + type_by_name(sql).oid.to_bytes(4)
