"""Checksums of rows: xxh3_64 over DataRow bodies, order-independent and ordered.

**Canonical form.** A row is hashed as the body of its DataRow message in *binary* format: int16
number of columns, then per column int32 length (-1 for NULL) and the bytes of the type's send
function (`encode_data_rows` with format 1 for all columns). So NULL differs from the empty value,
-0 from 0, and rows are comparable only when both sides are encoded with the same column types in
the same order. Known by design: numeric carries its display scale (1.0 and 1.00 differ; give both
sides the same declared type), floats keep their NaN bits, json is compared as text (jsonb is
canonical already). The message's type byte and length are left out of row hashes; they follow from
the body.

* `MultisetChecksum`: count, sum and xor of the row hashes mod 2^64. It does not depend on the order
  and can be added, merged and subtracted. Equal means equal count and sum: the xor is a second
  opinion and never enough alone, since a row that is there twice cancels itself.
* `ChunkChecksum`: xxh3_64 over whole encoded chunks, in order. It does not depend on how the rows
  are cut into chunks, and is much cheaper per row.

xxh3_64 is the published hash (xxhash 0.8 and later); the same seed must be used on both sides.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import xxhash

from core.errors import InternalError

_MASK: Final = (1 << 64) - 1
_FRAME: Final = struct.Struct(">ci")
_HEAD: Final = _FRAME.size
_LENGTH_BYTES: Final = 4


def row_hashes(data_rows: bytes | bytearray | memoryview, seed: int = 0) -> Iterator[int]:
    """The xxh3_64 of each DataRow's body.

    >>> [hex(h) for h in row_hashes(encode_data_rows(batch, fields, [1] * len(fields)))]
    """
    view = memoryview(data_rows)
    unpack = _FRAME.unpack_from
    digest = xxhash.xxh3_64_intdigest
    at, end = 0, len(view)
    while at < end:
        kind, length = unpack(view, at) if end - at >= _HEAD else (b"", 0)
        following = at + 1 + length
        if kind != b"D" or following > end or length < _LENGTH_BYTES:
            raise InternalError(f"no DataRow message at byte {at} of a checksum's input")
        yield digest(view[at + _HEAD : following], seed)
        at = following


@dataclass(slots=True)
class MultisetChecksum:
    """Count, sum and xor of row hashes: equal for the same rows in any order and any batches."""

    seed: int = 0
    count: int = 0
    total: int = 0
    xor: int = 0

    def add(self, data_rows: bytes | bytearray | memoryview) -> None:
        """Add all rows of an encoded batch."""
        for value in row_hashes(data_rows, self.seed):
            self.count += 1
            self.total += value
            self.xor ^= value
        self.total &= _MASK

    def remove(self, data_rows: bytes | bytearray | memoryview) -> None:
        """Take rows out again that were added before (an update is remove old, add new)."""
        for value in row_hashes(data_rows, self.seed):
            self.count -= 1
            self.total -= value
            self.xor ^= value
        self.total &= _MASK

    def merge(self, other: MultisetChecksum) -> None:
        """Add all rows of another checksum of the same seed."""
        if other.seed != self.seed:
            raise InternalError(f"checksums of seeds {self.seed} and {other.seed} do not merge")
        self.count += other.count
        self.total = (self.total + other.total) & _MASK
        self.xor ^= other.xor


class ChunkChecksum:
    """xxh3_64 over encoded rows in their order, however they are cut into chunks."""

    def __init__(self, seed: int = 0) -> None:
        self._state = xxhash.xxh3_64(seed=seed)

    def add(self, data_rows: bytes | bytearray | memoryview) -> None:
        """Continue with the next encoded rows."""
        self._state.update(data_rows)

    def value(self) -> int:
        """The hash of all rows so far."""
        return int(self._state.intdigest())


def chunk_hash(data_rows: bytes | bytearray | memoryview, seed: int = 0) -> int:
    """The ordered hash of one chunk; the same as ChunkChecksum over its parts."""
    return int(xxhash.xxh3_64_intdigest(data_rows, seed))
