"""Column-wise encoding between Arrow batches and PostgreSQL's wire forms.

Out: `encode_data_rows` (DataRow), `encode_copy_rows` (COPY BINARY), `copy_text_rows` (COPY text).
In: `decode_copy_csv` (COPY csv). Carriers: see core.types.
"""

from __future__ import annotations

from core.encoding import registry as _registry  # fills the registry of families
from core.encoding.copy_csv import BLOCK_BYTES, CopyCsvDecoder, decode_copy_csv
from core.encoding.copy_text import copy_text_rows
from core.encoding.family import from_text_carrier, to_text_carrier
from core.encoding.rows import (
    BINARY_FORMAT,
    COPY_HEADER,
    COPY_TRAILER,
    ENCODE_BYTES_MAX,
    TEXT_FORMAT,
    encode_copy_rows,
    encode_data_rows,
)

__all__ = [
    "BINARY_FORMAT",
    "BLOCK_BYTES",
    "COPY_HEADER",
    "COPY_TRAILER",
    "ENCODE_BYTES_MAX",
    "TEXT_FORMAT",
    "CopyCsvDecoder",
    "copy_text_rows",
    "decode_copy_csv",
    "encode_copy_rows",
    "encode_data_rows",
    "from_text_carrier",
    "to_text_carrier",
]
del _registry
