"""DataRow messages of a few rows: the same bytes as `encode_data_rows`, without its fixed costs.

Arrow's functions cost some microseconds a call, whatever the rows; below ROWS_MAX a value at a time
is cheaper. Only forms that Python prints as PostgreSQL does are made here, the other columns go
through their family's encoder.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from struct import Struct
from typing import Any, Final

import pyarrow as pa

from core.encoding.family import encode_whole, is_text
from core.encoding.rows import encode_data_rows
from core.types import PgType

ROWS_MAX: Final = 16
_HEAD: Final = Struct(">cIH")
_LENGTH: Final = Struct(">i")
_NULL: Final = b"\xff\xff\xff\xff"
_INTS: Final = {"smallint": Struct(">h"), "integer": Struct(">i"), "bigint": Struct(">q")}

Printer = Callable[[Any], bytes]


def _integer(value: int) -> bytes:
    return b"%d" % value


_ARROW_INTS: Final[Mapping[pa.DataType, str]] = {
    pa.int16(): "smallint",
    pa.int32(): "integer",
    pa.int64(): "bigint",
}


def _printer(kind: pa.DataType, pg: PgType, form: int) -> Printer | None:
    """How a value of Arrow type `kind` is written; None for the family's encoder."""
    if pg.element is not None:
        return None
    if is_text(kind):
        plain = form == 0 or pg.name in ("text", "character varying")
        return str.encode if plain else None
    if _ARROW_INTS.get(kind) == pg.name:
        return _integer if form == 0 else _INTS[pg.name].pack
    if pa.types.is_boolean(kind) and pg.name == "boolean":
        pair = (b"f", b"t") if form == 0 else (b"\0", b"\1")
        return pair.__getitem__
    return None


def _cells(column: pa.Array, pg: PgType, form: int) -> list[bytes | None]:
    printer = _printer(column.type, pg, form)
    if printer is None:
        values: list[bytes | None] = encode_whole(column, pg, form == 1).to_pylist()
        return values
    return [None if value is None else printer(value) for value in column.to_pylist()]


def encode_few_rows(
    batch: pa.RecordBatch, fields: Sequence[PgType], formats: Sequence[int]
) -> bytes:
    """All rows of the batch as DataRow messages; see encode_data_rows, which takes the larger
    batches.
    """
    if batch.num_rows > ROWS_MAX:
        return bytes(encode_data_rows(batch, fields, formats))
    columns = [
        _cells(column, pg, form)
        for column, pg, form in zip(batch.columns, fields, formats, strict=True)
    ]
    parts = []
    for row in zip(*columns, strict=True):
        body = b"".join([_NULL if cell is None else _LENGTH.pack(len(cell)) + cell for cell in row])
        parts.append(_HEAD.pack(b"D", 6 + len(body), len(row)) + body)
    return b"".join(parts)
