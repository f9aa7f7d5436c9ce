"""Arrow batches to COPY text format: tabs, newlines, \\N for null, backslash escapes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from core.encoding.buffers import joined
from core.encoding.family import to_text_carrier
from core.types import PgType

_ESCAPES: Final = (
    ("\\", "\\\\"),  # first: the others add backslashes
    ("\b", "\\b"),
    ("\f", "\\f"),
    ("\n", "\\n"),
    ("\r", "\\r"),
    ("\t", "\\t"),
    ("\v", "\\v"),
)
_SPECIAL: Final = r"[\\\x08\f\n\r\t\v]"
_NEVER_ESCAPED: Final = frozenset("NBDT")


def copy_text_rows(batch: pa.RecordBatch, fields: Sequence[PgType]) -> memoryview:
    """All rows of the batch as COPY ... TO STDOUT (FORMAT text) sends them."""
    if batch.num_rows == 0:
        return memoryview(b"")
    if not fields:
        return memoryview(b"\n" * batch.num_rows)
    parts: list[pa.Array | bytes] = []
    for column, pg in zip(batch.columns, fields, strict=True):
        parts += [_escaped(to_text_carrier(column, pg), pg), b"\t"]
    parts[-1] = b"\n"
    rows = joined(*parts)
    ends = memoryview(rows.buffers()[1]).cast("i")
    return memoryview(rows.buffers()[2])[: ends[batch.num_rows]]


def _escaped(text: pa.Array, pg: PgType) -> pa.Array:
    if pg.category not in _NEVER_ESCAPED:
        special = pc.match_substring_regex(text, _SPECIAL)
        if pc.any(special).as_py():
            for plain, escape in _ESCAPES:
                text = pc.replace_substring(text, plain, escape)
    return pc.fill_null(text, "\\N")
