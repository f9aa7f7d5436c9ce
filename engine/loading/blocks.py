"""NDJSON cut into blocks of whole lines, for several processes to parse.

Cutting is cheap (it looks for line ends only), parsing is not. A line that is longer than the limit
is cut off, so memory stays bounded; the reader of the block rejects what is left of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from backends.files.records import ReadOptions
from backends.files.source import ByteSource

BLOCK_BYTES = 512 * 1024


class Block(NamedTuple):
    """Whole lines; `first_line` is the number of the first, `stored` how far the file was read."""

    data: bytes
    first_line: int
    lines: int
    stored: int


def cut_blocks(source: ByteSource, options: ReadOptions) -> Iterator[Block]:
    """All blocks of a source, in order."""
    rest = b""
    line = 1
    skipping = False  # inside of a line whose beginning was a block already
    while chunk := source.read(BLOCK_BYTES):
        if skipping:
            _, end, chunk = chunk.partition(b"\n")
            skipping = not end
            if skipping:
                continue
        at = chunk.rfind(b"\n") + 1
        if at:
            data = rest + chunk[:at]
            count = data.count(b"\n")
            yield Block(data, line, count, source.bytes_read)
            line += count
            rest = chunk[at:]
        else:
            rest += chunk
            if len(rest) > options.line_bytes_max:
                yield Block(rest[: options.line_bytes_max + 1], line, 1, source.bytes_read)
                line += 1
                rest = b""
                skipping = True
    if rest:
        yield Block(rest, line, 1, source.bytes_read)
