"""Bytes from a file or standard input, decompressed, with a count for the progress bar.

Compression is told from magic bytes (RFC 1952 gzip, RFC 8878 zstd), never from the name. Reading is
synchronous: callers run a reader in a thread.
"""

from __future__ import annotations

import gzip
import io
import os
import sys
import zlib
from collections.abc import Callable
from types import TracebackType
from typing import Any, BinaryIO, Final, Self, cast

import pyarrow as pa

from core.errors import BadCopyFormat, StoreIOError

STDIN: Final = "-"
HEAD_BYTES: Final = 64 * 1024
GZIP_MAGIC: Final = b"\x1f\x8b"
ZSTD_MAGIC: Final = b"\x28\xb5\x2f\xfd"


class _Counted(io.RawIOBase):
    """A raw stream that counts what was read from it."""

    def __init__(self, raw: BinaryIO) -> None:
        self._raw = raw
        self.count = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._raw.read(len(buffer))
        buffer[: len(data)] = data
        self.count += len(data)
        return len(data)


class ByteSource:
    """An open input. `size` is that of the file as stored, None if unknown (a pipe).

    `path` is the name of a plain seekable file (Parquet needs one), None otherwise. A context
    manager; `head` is what the input begins with and stays in it.
    """

    def __init__(self, raw: BinaryIO, *, name: str = "input", path: str | None = None) -> None:
        self.name = name
        self.size: int | None = None
        self._raw = raw
        self._counted = _Counted(raw)
        if path is not None:
            self.size = os.fstat(raw.fileno()).st_size
        buffered = io.BufferedReader(self._counted, HEAD_BYTES)
        magic = self._guarded(lambda: buffered.peek(4)[:4])
        self.compression = _compression(magic)
        self.path = path if self.compression is None else None
        self._stream = _decompressed(buffered, self.compression)
        self._ahead = b""
        self.head = self._ahead = self._fill(HEAD_BYTES)

    @classmethod
    def open(cls, path: str) -> ByteSource:
        """Open a file by name, or standard input as `-`; StoreIOError if that fails."""
        if path == STDIN:
            return cls(sys.stdin.buffer, name="standard input")
        try:
            raw = open(path, "rb", buffering=0)  # noqa: SIM115 — closed by close()
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else str(error)
            raise StoreIOError(f'could not open file "{path}" for reading: {reason}') from error
        try:
            return cls(cast("BinaryIO", raw), name=path, path=path)
        except BaseException:
            raw.close()
            raise

    @property
    def bytes_read(self) -> int:
        """How much of the input, as stored, was read so far."""
        return self._counted.count

    def read(self, size: int) -> bytes:
        """The next bytes, at most `size`; empty at the end."""
        if self._ahead:
            data, self._ahead = self._ahead[:size], self._ahead[size:]
            return data
        return self._next(size)

    def close(self) -> None:
        """Close the file; standard input stays open."""
        if self._raw is not sys.stdin.buffer:
            self._raw.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _next(self, size: int) -> bytes:
        return self._guarded(lambda: self._stream.read(size))

    def _fill(self, size: int) -> bytes:
        """The first `size` bytes, or all there are."""
        parts = []
        while size > 0 and (data := self._next(size)):
            parts.append(data)
            size -= len(data)
        return b"".join(parts)

    def _guarded(self, read: Callable[[], bytes]) -> bytes:
        try:
            return bytes(read())
        except (gzip.BadGzipFile, EOFError, zlib.error, pa.ArrowInvalid) as error:
            raise self._damaged(error) from error
        except OSError as error:
            if error.errno is None:  # Arrow's decompressor has no other class for bad data
                raise self._damaged(error) from error
            message = f'could not read file "{self.name}": {os.strerror(error.errno)}'
            raise StoreIOError(message) from error

    def _damaged(self, error: BaseException) -> BadCopyFormat:
        detail = f"The decompressor says: {error}."
        hint = "Everything before this place was read; the rest of the file is missing."
        return BadCopyFormat(
            f'the compressed data of "{self.name}" is damaged or ends early',
            detail=detail,
            hint=hint,
        )


def _compression(magic: bytes) -> str | None:
    if magic.startswith(GZIP_MAGIC):
        return "gzip"
    return "zstd" if magic == ZSTD_MAGIC else None


def _decompressed(buffered: Any, compression: str | None) -> Any:
    if compression == "gzip":
        return gzip.GzipFile(fileobj=buffered, mode="rb")
    if compression == "zstd":
        return pa.CompressedInputStream(pa.PythonFile(buffered, mode="r"), "zstd")
    return buffered
