"""Bytes in: compression by magic, progress, damage."""

from __future__ import annotations

import gzip
import io
from pathlib import Path

import pyarrow as pa
import pytest

from backends.files.reader import read_batches
from backends.files.source import HEAD_BYTES, ByteSource
from core.errors import BadCopyFormat, StoreIOError
from tests.unit.backends.files.reading import read

LINES = b"".join(b'{"a":%d}\n' % number for number in range(20_000))


def zstd(data: bytes) -> bytes:
    return bytes(pa.Codec("zstd").compress(data, asbytes=True))


# R0.4: gzip and zstd, also in several members, whatever the name says
@pytest.mark.parametrize(
    ("stored", "compression"),
    [
        (LINES, None),
        (gzip.compress(LINES), "gzip"),
        (gzip.compress(LINES[:100]) + gzip.compress(LINES[100:]), "gzip"),
        (zstd(LINES), "zstd"),
        (zstd(LINES[:80_000]) + zstd(LINES[80_000:]), "zstd"),
    ],
)
def test_compression(tmp_path: Path, stored: bytes, compression: str | None) -> None:
    path = tmp_path / "data"
    path.write_bytes(stored)
    with ByteSource.open(str(path)) as source:
        assert source.compression == compression
        assert source.size == len(stored)
        assert source.head == LINES[:HEAD_BYTES]
        batches = list(read_batches(source))
        assert sum(len(batch.documents) for batch in batches) == 20_000
        counts = [batch.bytes_read for batch in batches]
        assert counts == sorted(counts)
        assert counts[-1] == len(stored)


# R0.4: a file that ends early is an error, never a short table.
@pytest.mark.parametrize("stored", [gzip.compress(LINES), zstd(LINES)])
def test_damage(stored: bytes) -> None:
    with pytest.raises(BadCopyFormat, match="damaged or ends early"):
        read(stored[: len(stored) // 2])
    broken = bytearray(stored)
    broken[len(stored) // 2] ^= 0xFF
    broken[len(stored) // 2 + 7] ^= 0xFF
    with pytest.raises(BadCopyFormat, match="damaged"):
        read(bytes(broken), "ndjson")


def test_files_that_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(StoreIOError, match="No such file"):
        ByteSource.open(str(tmp_path / "none"))
    with pytest.raises(StoreIOError, match="directory"):
        ByteSource.open(str(tmp_path))


# R0.4: standard input
def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    class Stdin:
        buffer = io.BytesIO(b'{"a":1}\n')

    monkeypatch.setattr("sys.stdin", Stdin)
    with ByteSource.open("-") as source:
        assert source.size is None
        assert [d.value for batch in read_batches(source) for d in batch.documents] == [{"a": 1}]
    assert not Stdin.buffer.closed
