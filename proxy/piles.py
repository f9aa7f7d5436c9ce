"""Rows of one scan on their way into the private PostgreSQL, with bounded memory.

A pile keeps its batches while they are few. When they outgrow `small_rows_max` they are encoded to
COPY BINARY, in memory first and then in a temporary file without a name.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO

import pyarrow as pa

from config.merge import MergeSettings
from core.encoding.family import encode_whole, to_text_carrier
from core.encoding.rows import COPY_HEADER, COPY_TRAILER, encode_copy_rows
from core.errors import ConfigurationLimitExceeded, OutOfMemory
from core.types import PgType, type_by_name
from engine.merge import staged_columns
from engine.scan_copy import ScanColumns

PIECE_BYTES = 256 * 1024
_TEXT = type_by_name("text")


@dataclass(slots=True)
class Limits:
    """The limits of one statement, shared by its piles; `used` counts bytes of rows."""

    rows_max: int
    memory_max: int
    spill_max: int
    used: int = 0

    @classmethod
    def of(cls, settings: MergeSettings, *, read_only: bool) -> Limits:
        """In a read-only transaction no table can be made: all rows go as parameters."""
        if read_only:
            return cls(1 << 62, settings.memory_max, 0)
        return cls(settings.small_rows_max, settings.memory_max, settings.spill_max)

    def take(self, size: int) -> None:
        """Count bytes; 53200 or 53400 when they are too many."""
        self.used += size
        if self.used <= self.memory_max + self.spill_max:
            return
        if self.spill_max == 0:
            raise OutOfMemory(
                "rows of the statement need more memory than merge.memory_max",
                hint="Raise merge.memory_max, or let fewer rows be scanned.",
            )
        raise ConfigurationLimitExceeded(
            "rows of the statement need more disk than merge.spill_max",
            hint="Raise merge.spill_max, or let fewer rows be scanned.",
        )


@dataclass(slots=True)
class Pile:
    """The rows of one scan."""

    columns: ScanColumns
    limits: Limits
    rows: int = 0
    _batches: list[pa.RecordBatch] = field(default_factory=list)
    _file: IO[bytes] | None = None

    @property
    def large(self) -> bool:
        """True when the rows go by COPY."""
        return self._file is not None

    @property
    def fields(self) -> tuple[PgType, ...]:
        """The types of the staged columns."""
        return tuple(type_by_name(sql) for _, sql in staged_columns(self.columns))

    def add(self, batch: pa.RecordBatch) -> None:
        """Take a batch of the scan."""
        self.rows += batch.num_rows
        if self._file is None and self.rows <= self.limits.rows_max:
            self.limits.take(batch.nbytes)
            self._batches.append(batch)
            return
        if self._file is None:
            # It lives until the statement ends, longer than any block of this module.
            self._file = tempfile.SpooledTemporaryFile(max_size=self.limits.memory_max)  # noqa: SIM115
            self._file.write(COPY_HEADER)
        waiting, self._batches = [*self._batches, batch], []
        for each in waiting:
            encoded = encode_copy_rows(each, self.fields)
            self.limits.take(len(encoded))
            self._file.write(encoded)

    def pieces(self) -> Iterator[bytes]:
        """The COPY BINARY stream; can be read once."""
        assert self._file is not None
        self._file.write(COPY_TRAILER)
        self._file.seek(0)
        with self._file as file:
            while piece := file.read(PIECE_BYTES):
                yield piece

    def arrays(self) -> list[bytes]:
        """Each column as one array in binary format."""
        return [self._array(n, pg) for n, pg in enumerate(self.fields)]

    def _array(self, number: int, pg: PgType) -> bytes:
        parts = [batch.column(number) for batch in self._batches]
        if pg.element is not None:
            parts, pg = [to_text_carrier(part, pg) for part in parts], _TEXT
        elif len({str(part.type) for part in parts}) > 1:
            parts = [to_text_carrier(part, pg) for part in parts]
        values = pa.concat_arrays(parts) if parts else pa.array([], pg.arrow)
        ends = pa.array([0, len(values)], pa.int32())
        encoded = encode_whole(pa.ListArray.from_arrays(ends, values), pg.array(), binary=True)
        return bytes(encoded[0].as_py())
