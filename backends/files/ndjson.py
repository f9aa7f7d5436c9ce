"""NDJSON: one document a line (LF or CRLF; empty lines are skipped; a BOM is allowed)."""

from __future__ import annotations

import codecs
from collections.abc import Iterator

from backends.files.json_document import DocumentParser
from backends.files.records import Batches, Collector, ReadOptions, RejectedRecord
from backends.files.source import ByteSource

TOO_LONG = "longer than {} bytes"


def read_lines(source: ByteSource, options: ReadOptions) -> Iterator[tuple[int, bytes, bool]]:
    """Lines without their ends, as (line number, bytes, too long).

    Memory is bounded: of a line beyond the limit only the beginning is kept.
    """
    most = options.line_bytes_max
    number = 1
    rest = b""
    cut = False  # `rest` is the beginning of a line that is too long already
    while chunk := source.read(options.chunk_bytes):
        lines = chunk.split(b"\n")
        if len(lines) == 1:
            if not cut:
                rest += chunk
                cut = len(rest) > most
                rest = rest[:most] if cut else rest
            continue
        lines[0] = rest if cut else rest + lines[0]
        rest = lines.pop()
        for line in lines:
            yield number, line, cut or len(line) > most
            cut = False
            number += 1
        cut = len(rest) > most
    if rest:
        yield number, rest, cut


def read_ndjson(source: ByteSource, options: ReadOptions) -> Batches:
    """The batches of an NDJSON file."""
    collector = Collector(options)
    parse = DocumentParser(options).parse
    for number, line, too_long in read_lines(source, options):
        if number == 1:
            line = line.removeprefix(codecs.BOM_UTF8)
        if too_long:
            collector.reject(number, TOO_LONG.format(options.line_bytes_max), line)
        elif line and not line.isspace():
            try:
                text, value = parse(line.decode().strip())
            except UnicodeDecodeError as error:
                collector.reject(number, f"invalid UTF-8 at byte {error.start + 1}", line)
            except RejectedRecord as error:
                collector.reject(number, str(error), line)
            else:
                collector.add(number, text, value)
        if collector.full:
            yield collector.take(source.bytes_read)
    yield collector.take(source.bytes_read)
