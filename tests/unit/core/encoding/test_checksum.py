"""R0.6: checksums over encoded rows, in any order or in sequence."""

from __future__ import annotations

import random
import struct

import pyarrow as pa
import pytest
import xxhash

from core.checksum import (
    SECOND_SEED,
    ChunkChecksum,
    MultisetChecksum,
    chunk_hash,
    row_hashes,
    value_hash,
)
from core.encoding import encode_data_rows
from core.errors import InternalError
from core.types import type_by_name

FIELDS = [type_by_name("int4"), type_by_name("text")]


def encoded(rows: list[tuple[int | None, str | None]]) -> memoryview:
    numbers, texts = zip(*rows, strict=True)
    batch = pa.record_batch(
        [pa.array(numbers, pa.int32()), pa.array(texts, pa.string())], names=["n", "t"]
    )
    return encode_data_rows(batch, FIELDS, [1, 1])


ROWS: list[tuple[int | None, str | None]] = [
    (k % 7 or None, None if k % 5 == 0 else "x" * (k % 9)) for k in range(200)
]


def test_row_hash_is_xxh3_of_the_body() -> None:
    body = struct.pack(">hii", 2, 4, 7) + struct.pack(">i", 1) + b"a"
    assert list(row_hashes(encoded([(7, "a")]))) == [xxhash.xxh3_64_intdigest(body)]
    assert list(row_hashes(encoded([(7, "a")]), 9)) == [xxhash.xxh3_64_intdigest(body, 9)]


def test_order_and_batches_do_not_matter() -> None:
    whole, parts, left = MultisetChecksum(), MultisetChecksum(), MultisetChecksum()
    whole.add(encoded(ROWS))
    shuffled = random.Random(1).sample(ROWS, len(ROWS))
    left.add(encoded(shuffled[:50]))
    parts.add(encoded(shuffled[50:]))
    parts.merge(left)
    assert parts == whole
    assert whole.count == len(ROWS)
    assert whole.sum1 == sum(row_hashes(encoded(ROWS))) % 2**64
    assert whole.sum2 == sum(row_hashes(encoded(ROWS), SECOND_SEED)) % 2**64
    assert whole.sum1 != whole.sum2


def test_a_changed_doubled_or_missing_row_shows() -> None:
    whole = MultisetChecksum()
    whole.add(encoded(ROWS))
    variants = (
        [*ROWS[1:], (1, "other")],
        ROWS[1:],
        [*ROWS, ROWS[0], ROWS[0]],
        [*ROWS[1:], (None, "")],
        [*ROWS[1:], (0, None)],
    )
    for rows in variants:
        other = MultisetChecksum()
        other.add(encoded(rows))
        assert other != whole
        assert (other.sum1, other.sum2) != (whole.sum1, whole.sum2)


def test_a_pair_of_equal_rows_does_not_cancel_itself() -> None:
    doubled = MultisetChecksum()
    doubled.add(encoded([*ROWS, (5, "twice"), (5, "twice")]))
    other = MultisetChecksum()
    other.add(encoded([*ROWS, (6, "other"), (6, "other")]))
    assert (doubled.sum1, doubled.sum2) != (other.sum1, other.sum2)


def test_remove_undoes_add() -> None:
    kept, changed = MultisetChecksum(), MultisetChecksum()
    kept.add(encoded(ROWS))
    changed.add(encoded(ROWS))
    changed.add(encoded([(1, "new")]))
    assert changed != kept
    changed.remove(encoded([(1, "new")]))
    assert changed == kept


def test_what_is_without_a_part_is_the_rest() -> None:
    whole, part, rest = MultisetChecksum(), MultisetChecksum(), MultisetChecksum()
    whole.add(encoded(ROWS))
    part.add(encoded(ROWS[:70]))
    rest.add(encoded(ROWS[70:]))
    assert whole.without(part) == rest


def test_lines_are_rows_too() -> None:
    lines = [b"1\ta", b"2\tb", b"2\tb"]
    one, other = MultisetChecksum(), MultisetChecksum()
    one.add_rows(lines)
    other.add_rows(lines[::-1])
    assert one == other
    assert one.sum1 == sum(xxhash.xxh3_64_intdigest(line) for line in lines) % 2**64
    other.remove_rows(lines[1:2])
    assert (one.count, other.count) == (3, 2)
    assert one != other


def test_value_hash_is_xxh3_in_hexadecimal() -> None:
    assert value_hash(b"abc") == f"{xxhash.xxh3_64_intdigest(b'abc'):016x}"


def test_chunks_are_ordered_and_cut_free() -> None:
    checksum = ChunkChecksum()
    for at in range(0, len(ROWS), 13):
        checksum.add(encoded(ROWS[at : at + 13]))
    assert checksum.value() == chunk_hash(encoded(ROWS))
    assert chunk_hash(b"rows") == xxhash.xxh3_128_intdigest(b"rows")
    assert checksum.value() != chunk_hash(encoded(ROWS[::-1]))
    assert chunk_hash(b"", 1) != chunk_hash(b"", 2)


@pytest.mark.parametrize("data", [b"C\0\0\0\4", b"D\0\0\0", b"D\0\0\0\x09ab", b"D\0\0\0\0"])
def test_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(InternalError):
        list(row_hashes(data))
