"""Checksums of rows: xxh3 over rows as they are encoded, in order and regardless of it.

Two kinds of input. *DataRow messages* (`encode_data_rows`) are hashed by the body: int16 number of
columns, then per column int32 length (-1 for NULL) and the value's bytes; the message's type byte
and length follow from it. *Lines* are rows that are cut already, such as the lines of COPY text. So
NULL differs from the empty value, and rows are comparable only when both sides are encoded with the
same column types in the same order and format.

* `MultisetChecksum`: count, and sums of xxh3_64 under two seeds, mod 2^64. It does not depend on
  the order and can be added, merged and subtracted. There is no xor: a pair of equal rows cancels
  itself there.
* `ChunkChecksum`, `chunk_hash`: xxh3_128 over encoded rows in order. It does not depend on how the
  rows are cut into chunks, and is much cheaper per row.

xxh3 is the published hash (xxhash 0.8 and later).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Final

import xxhash

from core.errors import InternalError

_MASK: Final = (1 << 64) - 1
_FRAME: Final = struct.Struct(">ci")
_HEAD: Final = _FRAME.size
_LENGTH_BYTES: Final = 4
SECOND_SEED: Final = 0x9E3779B97F4A7C15
"""Seed of the second sum; the first one's is 0."""

Bytes = bytes | bytearray | memoryview


def data_row_bodies(data_rows: Bytes) -> Iterator[memoryview]:
    """The body of each DataRow message.

    Raises InternalError (XX000) on bytes that are no DataRow messages.
    """
    view = memoryview(data_rows)
    unpack = _FRAME.unpack_from
    at, end = 0, len(view)
    while at < end:
        kind, length = unpack(view, at) if end - at >= _HEAD else (b"", 0)
        following = at + 1 + length
        if kind != b"D" or following > end or length < _LENGTH_BYTES:
            raise InternalError(f"no DataRow message at byte {at} of a checksum's input")
        yield view[at + _HEAD : following]
        at = following


def row_hashes(data_rows: Bytes, seed: int = 0) -> Iterator[int]:
    """The xxh3_64 of each DataRow's body.

    >>> [hex(h) for h in row_hashes(encode_data_rows(batch, fields, [1] * len(fields)))]
    """
    return map(xxhash.xxh3_64_intdigest, data_row_bodies(data_rows), repeat(seed))


@dataclass(slots=True)
class MultisetChecksum:
    """Equal for the same rows in any order and any batches."""

    count: int = 0
    sum1: int = 0
    sum2: int = 0

    def add(self, data_rows: Bytes) -> None:
        """Add all rows of an encoded batch."""
        self.add_rows(list(data_row_bodies(data_rows)))

    def remove(self, data_rows: Bytes) -> None:
        """Take rows out again that were added before (an update is remove old, add new)."""
        self.remove_rows(list(data_row_bodies(data_rows)))

    def add_rows(self, rows: Sequence[Bytes]) -> None:
        """Add rows that are cut already: lines, or bodies of DataRows."""
        one, two = sums(rows)
        self.count += len(rows)
        self.sum1 = (self.sum1 + one) & _MASK
        self.sum2 = (self.sum2 + two) & _MASK

    def remove_rows(self, rows: Sequence[Bytes]) -> None:
        """The opposite of `add_rows`."""
        one, two = sums(rows)
        self.count -= len(rows)
        self.sum1 = (self.sum1 - one) & _MASK
        self.sum2 = (self.sum2 - two) & _MASK

    def merge(self, other: MultisetChecksum) -> None:
        """Add all rows of another checksum."""
        self.count += other.count
        self.sum1 = (self.sum1 + other.sum1) & _MASK
        self.sum2 = (self.sum2 + other.sum2) & _MASK

    def without(self, other: MultisetChecksum) -> MultisetChecksum:
        """The checksum of the rows that are left when those of `other` are taken out."""
        return MultisetChecksum(
            self.count - other.count,
            (self.sum1 - other.sum1) & _MASK,
            (self.sum2 - other.sum2) & _MASK,
        )


def sums(rows: Iterable[Bytes]) -> tuple[int, int]:
    """The sums of the rows' xxh3_64 under both seeds, mod 2^64. `rows` is gone through twice."""
    digest = xxhash.xxh3_64_intdigest
    return sum(map(digest, rows)) & _MASK, sum(map(digest, rows, repeat(SECOND_SEED))) & _MASK


class ChunkChecksum:
    """xxh3_128 over encoded rows in their order, however they are cut into chunks."""

    def __init__(self, seed: int = 0) -> None:
        self._state = xxhash.xxh3_128(seed=seed)

    def add(self, rows: Bytes) -> None:
        """Continue with the next encoded rows."""
        self._state.update(rows)

    def value(self) -> int:
        """The hash of all rows so far."""
        return int(self._state.intdigest())


def chunk_hash(rows: Bytes, seed: int = 0) -> int:
    """The ordered hash of one chunk; the same as ChunkChecksum over its parts."""
    return int(xxhash.xxh3_128_intdigest(rows, seed))


def value_hash(value: Bytes) -> str:
    """The xxh3_64 of one value, as 16 hexadecimal digits."""
    return str(xxhash.xxh3_64_hexdigest(value))
