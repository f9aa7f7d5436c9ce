"""COPY (...) TO STDOUT (FORMAT csv) back to Arrow batches, column-wise and streaming.

Bytes may be cut anywhere. Whole records are collected until a block is full; a newline ends a
record when the number of quotes before it is even (a doubled quote keeps the parity). pyarrow.csv
splits the block into text columns, an unquoted empty value is NULL and a quoted one is '', and each
family parses its column into the Arrow carrier if every value of the block fits it; otherwise the
column of this batch keeps the text carrier. So the schema may change between batches;
`carriers="text"` keeps it fixed, `carriers="arrow"` refuses values that do not fit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

import pyarrow as pa
import pyarrow.csv as pa_csv

from core.encoding.family import from_text_carrier
from core.errors import BadCopyFormat, DatatypeMismatch
from core.types import PgType

BLOCK_BYTES: Final = 1024 * 1024
# Arrow's reader counts a block in int32.
RECORD_BYTES_MAX: Final = 1 << 30

Carriers = Literal["auto", "arrow", "text"]


class CopyCsvDecoder:
    """Feed bytes, get batches; `finish` returns the rest and refuses an unfinished record."""

    def __init__(
        self, fields: Sequence[PgType], carriers: Carriers = "auto", block_bytes: int = BLOCK_BYTES
    ) -> None:
        self._fields = tuple(fields)
        self._names = [f"c{k}" for k in range(len(fields))]
        self._carriers = carriers
        self._block_bytes = block_bytes
        self._whole: list[bytes] = []
        self._whole_bytes = 0
        self._rest: list[bytes] = []
        self._rest_bytes = 0
        self._odd_quotes = False

    def feed(self, data: bytes | bytearray | memoryview) -> list[pa.RecordBatch]:
        """Take the next bytes; the batches that became full."""
        chunk = bytes(data)
        end = self._last_record_end(chunk)
        if end:
            self._whole += [*self._rest, chunk[:end]]
            self._whole_bytes += self._rest_bytes + end
            self._rest, self._rest_bytes = [], 0
            chunk = chunk[end:]
        if chunk:
            self._rest.append(chunk)
            self._rest_bytes += len(chunk)
        if self._rest_bytes > RECORD_BYTES_MAX:
            raise BadCopyFormat(f"CSV record is longer than {RECORD_BYTES_MAX} bytes")
        return self._take() if self._whole_bytes >= self._block_bytes else []

    def finish(self) -> list[pa.RecordBatch]:
        """The batches of what is left."""
        if self._rest:
            raise BadCopyFormat("unterminated CSV record at the end of the data")
        return self._take() if self._whole else []

    def _last_record_end(self, chunk: bytes) -> int:
        """One past the last newline of `chunk` outside quotes, or 0."""
        odd = self._odd_quotes ^ bool(chunk.count(b'"') & 1)
        self._odd_quotes = odd
        end = len(chunk)
        while True:
            newline = chunk.rfind(b"\n", 0, end)
            odd ^= bool(chunk.count(b'"', newline + 1, end) & 1)
            if newline < 0:
                return 0
            if not odd:
                return newline + 1
            end = newline

    def _take(self) -> list[pa.RecordBatch]:
        block = b"".join(self._whole)
        self._whole, self._whole_bytes = [], 0
        if not self._fields:
            empty = pa.table({"n": pa.nulls(block.count(b"\n"))}).select([])
            return list(empty.to_batches())
        table = pa_csv.read_csv(
            pa.BufferReader(block),
            pa_csv.ReadOptions(
                use_threads=False, block_size=len(block) + 1, column_names=self._names
            ),
            pa_csv.ParseOptions(newlines_in_values=True, ignore_empty_lines=False),
            pa_csv.ConvertOptions(
                column_types=dict.fromkeys(self._names, pa.string()),
                null_values=[""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
            ),
        )
        return [self._converted(batch) for batch in table.combine_chunks().to_batches()]

    def _converted(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        columns = batch.columns
        if self._carriers != "text":
            columns = [
                from_text_carrier(column, pg)
                for column, pg in zip(columns, self._fields, strict=True)
            ]
        if self._carriers == "arrow":
            for column, pg in zip(columns, self._fields, strict=True):
                if not column.type.equals(pg.arrow):
                    raise DatatypeMismatch(f"a value of type {pg.sql} does not fit {pg.arrow}")
        return pa.RecordBatch.from_arrays(columns, names=self._names)


def decode_copy_csv(
    fields: Sequence[PgType], carriers: Carriers = "auto", block_bytes: int = BLOCK_BYTES
) -> CopyCsvDecoder:
    """A decoder for rows of these types, as COPY TO STDOUT (FORMAT csv) of any session sends them.

    >>> decoder = decode_copy_csv([type_by_oid(23), type_by_oid(25)])
    >>> decoder.feed(b'1,""\\n2,') + decoder.feed(b"\\n") + decoder.finish()  # ('' and NULL)
    """
    return CopyCsvDecoder(fields, carriers, block_bytes)
