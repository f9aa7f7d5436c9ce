"""CSV (RFC 4180): a header, then records; quoted cells may hold delimiters, quotes and line ends.

Cells stay strings in the document, and inference gives a column a type other than text only if all
of its cells are that type's canonical text (catalog.inference.csv_text). An empty cell is null, a
quoted empty cell is the empty string, as in PostgreSQL's COPY.
"""

from __future__ import annotations

import codecs
import re
from collections import Counter, deque
from collections.abc import Iterator
from json.encoder import encode_basestring
from typing import Final

from backends.files.ndjson import TOO_LONG, read_lines
from backends.files.records import Batches, Collector, ReadOptions, RejectedRecord
from backends.files.source import ByteSource
from catalog.inference.kinds import CsvCell
from core.errors import BadCopyFormat

DELIMITERS: Final = ",;\t|"
_EMPTY: Final = CsvCell()

Record = tuple[int, bytes, str]  # line number, raw text, reason if it cannot be read


def find_delimiter(header: str) -> str:
    """The delimiter that is most frequent in the header outside of quotes; a comma if none is."""
    bare = re.sub(r'"[^"]*"', "", header)
    return max(DELIMITERS, key=lambda mark: (bare.count(mark), -DELIMITERS.index(mark)))


def read_csv(source: ByteSource, options: ReadOptions) -> Batches:
    """The batches of a CSV file; BadCopyFormat if the header cannot be used."""
    collector = Collector(options)
    records = _records(source, options)
    header = _header(records, source.name, options)
    if header is None:
        yield collector.take(source.bytes_read)
        return
    split, columns = header
    opening = [f"{encode_basestring(column)}:" for column in columns]
    for number, raw, fault in records:
        try:
            if fault:
                raise RejectedRecord(fault)
            cells = split(raw)
            if len(cells) != len(columns):
                raise RejectedRecord(f"{len(cells)} cells where the header has {len(columns)}")
        except RejectedRecord as error:
            collector.reject(number, str(error), raw)
        else:
            texts = [_cell_json(cell) for cell in cells]
            text = ",".join(map(str.__add__, opening, texts))
            collector.add(number, f"{{{text}}}", dict(zip(columns, cells, strict=True)))
        if collector.full:
            yield collector.take(source.bytes_read)
    yield collector.take(source.bytes_read)


def _cell_json(cell: str) -> str:
    return "null" if cell is _EMPTY else encode_basestring(cell)


class Splitter:
    """Splits the raw text of a record into cells; RejectedRecord says what is wrong."""

    def __init__(self, delimiter: str) -> None:
        mark = re.escape(delimiter)
        self._delimiter = delimiter
        self._cell = re.compile(rf'(?:"((?:[^"]|"")*)"|([^"{mark}][^{mark}]*)?)({mark}|$)')

    def __call__(self, raw: bytes) -> list[str]:
        try:
            text = raw.decode()
        except UnicodeDecodeError as error:
            raise RejectedRecord(f"invalid UTF-8 at byte {error.start + 1}") from None
        if "\0" in text:
            raise RejectedRecord("the character U+0000 cannot be stored in jsonb")
        if '"' not in text:
            return [CsvCell(cell) if cell else _EMPTY for cell in text.split(self._delimiter)]
        return self._quoted(text)

    def _quoted(self, text: str) -> list[str]:
        cells: list[str] = []
        at = 0
        while True:
            match = self._cell.match(text, at)
            if match is None:
                raise RejectedRecord(f"stray quote in cell {len(cells) + 1}")
            quoted, plain, end = match.groups()
            if quoted is not None:
                # A quoted empty cell is a real empty string, so not a CsvCell (which is null).
                cells.append(CsvCell(quoted.replace('""', '"')) if quoted else "")
            else:
                cells.append(CsvCell(plain) if plain else _EMPTY)
            at = match.end()
            if not end:
                return cells


def _header(
    records: Iterator[Record], name: str, options: ReadOptions
) -> tuple[Splitter, list[str]] | None:
    """The splitter and the column names, None for an empty file."""
    for _number, raw, fault in records:
        if fault:
            raise BadCopyFormat(f'the header of "{name}" cannot be read: {fault}')
        try:
            split = Splitter(options.delimiter or find_delimiter(raw.decode()))
            columns = [str(cell) for cell in split(raw)]
        except (UnicodeDecodeError, RejectedRecord) as error:
            raise BadCopyFormat(f'the header of "{name}" cannot be read: {error}') from error
        twice = [column for column, count in Counter(columns).items() if count > 1]
        if twice:
            raise BadCopyFormat(
                f'column "{twice[0]}" appears more than once in the header of "{name}"',
                hint="Rename one of the columns in the file.",
            )
        return split, columns
    return None


def _records(source: ByteSource, options: ReadOptions) -> Iterator[Record]:
    """Lines joined to records: a record ends where its quotes are even.

    A quote that never closes would swallow the file, so a record is bounded in lines and bytes;
    beyond that its first line alone is bad and the next one starts over.
    """
    lines = read_lines(source, options)
    waiting: deque[tuple[int, bytes, bool]] = deque()
    while True:
        line = waiting.popleft() if waiting else next(lines, None)
        if line is None:
            return
        number, raw, too_long = line
        if number == 1:
            raw = raw.removeprefix(codecs.BOM_UTF8)
        if too_long:
            yield number, raw, TOO_LONG.format(options.line_bytes_max)
        elif raw.count(b'"') % 2:
            joined = _join(raw, waiting, lines, options)
            yield number, raw if joined is None else joined, "" if joined else "unclosed quote"
        elif raw.strip(b"\r"):
            yield number, raw.removesuffix(b"\r"), ""


def _join(
    first: bytes,
    waiting: deque[tuple[int, bytes, bool]],
    lines: Iterator[tuple[int, bytes, bool]],
    options: ReadOptions,
) -> bytes | None:
    """The record that begins with `first`; None if its quote does not close within the limits."""
    parts = [first]
    size = len(first)
    for index in range(options.record_lines_max):
        if index == len(waiting):
            line = next(lines, None)
            if line is None:
                return None
            waiting.append(line)
        _, raw, too_long = waiting[index]
        size += len(raw) + 1
        if too_long or size > options.line_bytes_max:
            return None
        parts.append(raw)
        if raw.count(b'"') % 2:
            for _ in range(index + 1):
                waiting.popleft()
            return b"\n".join(parts).removesuffix(b"\r")
    return None
