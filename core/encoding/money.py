"""money: text as lc_monetary = C prints it (`-$1,234.56`), int64 of cents."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from core.encoding.buffers import big_endian, fixed_binary
from core.encoding.family import Family
from core.types import PgType


def _text_binary(column: pa.Array, _pg: PgType) -> pa.Array:
    cents = pc.replace_substring_regex(column, "[$,.]", "").cast(pa.int64())
    return fixed_binary(big_endian(cents, 8), 8, column)


MONEY = Family(text_binary=_text_binary)
