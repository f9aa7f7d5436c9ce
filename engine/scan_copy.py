"""Several scans of one statement as one COPY, and its rows apart again (pure).

All scans of a statement must see one snapshot, under READ COMMITTED too and with the transaction's
own changes, and a session has one connection: so the native queries are put into one UNION ALL.
Each has columns of its own there, NULL in the rows of the others, and a number in front:

    SELECT 0, a."id", NULL::text FROM (native 0) AS a
    UNION ALL SELECT 1, NULL::bigint, a."name" FROM (native 1) AS a

Values keep their types, so COPY writes what it would write for each alone. PostgreSQL answers the
parts one behind the other; nothing depends on it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from catalog.sqltext import quote_ident
from core.encoding.copy_csv import BLOCK_BYTES, CopyCsvDecoder, decode_copy_csv
from core.types import PgType, type_by_name

NUMBER = type_by_name("integer")


@dataclass(frozen=True, slots=True)
class ScanColumns:
    """One native query and its columns as the COPY needs them: names, and types as SQL."""

    native: str
    names: tuple[str, ...]
    types: tuple[str, ...]

    @property
    def fields(self) -> tuple[PgType, ...]:
        """The types; UndefinedObject for one that the type table does not have."""
        return tuple(type_by_name(each) for each in self.types)


def copy_text(scans: Sequence[ScanColumns]) -> str:
    """The COPY statement for all scans."""
    parts = []
    for number, scan in enumerate(scans):
        columns = [str(number)]
        for other, each in enumerate(scans):
            if other == number:
                columns += [f"a.{quote_ident(name)}" for name in each.names]
            else:
                columns += [f"NULL::{sql}" for sql in each.types]
        parts.append(f"SELECT {', '.join(columns)} FROM ({scan.native}) AS a")
    return f"COPY ({' UNION ALL '.join(parts)}) TO STDOUT (FORMAT csv, ENCODING 'UTF8')"


class ScanReader:
    """Bytes of that COPY in, (number of the scan, batch) out; a batch has the scan's columns, and
    the number itself as only column where the scan wants none.
    """

    def __init__(self, scans: Sequence[ScanColumns], block_bytes: int = BLOCK_BYTES) -> None:
        self._widths = [len(scan.names) for scan in scans]
        self._starts = [1 + sum(self._widths[:n]) for n in range(len(scans))]
        fields = [NUMBER, *(field for scan in scans for field in scan.fields)]
        self._decoder: CopyCsvDecoder = decode_copy_csv(fields, "auto", block_bytes)

    def feed(self, data: bytes) -> Iterator[tuple[int, pa.RecordBatch]]:
        """Take the next bytes; the batches that became full."""
        return self._apart(self._decoder.feed(data))

    def finish(self) -> Iterator[tuple[int, pa.RecordBatch]]:
        """The batches of what is left."""
        return self._apart(self._decoder.finish())

    def _apart(self, batches: Iterable[pa.RecordBatch]) -> Iterator[tuple[int, pa.RecordBatch]]:
        for batch in batches:
            numbers = batch.column(0)
            present = sorted(pc.unique(numbers).to_pylist())
            for number in present:
                part = batch
                if len(present) > 1:
                    part = batch.filter(pc.equal(numbers, pa.scalar(number, numbers.type)))
                yield number, self._columns(part, number)

    def _columns(self, batch: pa.RecordBatch, number: int) -> pa.RecordBatch:
        start, width = self._starts[number], self._widths[number]
        wanted = list(range(start, start + width)) or [0]
        return batch.select(wanted)
