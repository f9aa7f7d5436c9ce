"""JSON files that are not lines: an array of documents, or documents one after the other.

The file is never held as a whole: a window of text moves over it, one document is parsed at a time.
A broken document inside of an array is skipped by its brackets; where brackets do not end (a lost
one), the rest of the file cannot be told apart and is reported as one reject.
"""

from __future__ import annotations

import codecs
import re
from typing import Any, Final

from backends.files.json_document import DocumentParser
from backends.files.records import (
    EXCERPT_CHARS,
    Batches,
    Collector,
    ReadOptions,
    RejectedRecord,
)
from backends.files.source import ByteSource

_SPACE: Final = re.compile(r"[ \t\r\n]*")
_OUTSIDE: Final = re.compile(r'["{}\[\],]')
_INSIDE: Final = re.compile(r'["\\]')


class ValueEnd:
    """Finds where a JSON value ends, over pieces of text, by strings and brackets alone."""

    def __init__(self) -> None:
        self._level = 0
        self._string = False
        self._escaped = False

    def feed(self, text: str, start: int) -> int:
        """The index behind the value if it ends in this piece, else -1."""
        at = start
        if self._escaped:
            self._escaped = False
            at += 1
        while match := (_INSIDE if self._string else _OUTSIDE).search(text, at):
            at = match.end()
            mark = match[0]
            if mark == '"':
                self._string = not self._string
            elif mark == "\\":
                self._escaped = at >= len(text)
                at += 1
            elif mark in "{[":
                self._level += 1
            elif self._level == 0:
                return match.start()  # a comma or bracket of the array around
            elif mark in "}]":
                self._level -= 1
                if self._level == 0:
                    return at
        return -1


class _Window:
    """The text around the current position; grows at its end, is cut at its beginning."""

    def __init__(self, source: ByteSource, chunk_bytes: int) -> None:
        self._source = source
        self._chunk_bytes = chunk_bytes
        # Bytes that are not UTF-8 become lone surrogates, so that one document is bad, not all.
        self._decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        self.text = ""
        self.at = 0
        self.line = 1
        self._counted = 0
        self.ended = False

    def more(self, *, keep: bool = True) -> bool:
        """Read on; False at the end of the file. Without `keep` the text so far is dropped."""
        self.line_here()
        if self.ended:
            return False
        chunk = self._source.read(self._chunk_bytes)
        self.ended = not chunk
        fresh = self._decoder.decode(chunk, final=not chunk)
        if not keep:
            self.line += self.text.count("\n", self.at)
            self.at = len(self.text)
        self.text = self.text[self.at :] + fresh
        self.at = self._counted = 0
        return bool(fresh) or not self.ended

    def peek(self) -> str:
        """The next character that is not white space, empty at the end; stands on it."""
        while True:
            match = _SPACE.match(self.text, self.at)
            self.at = match.end() if match else self.at
            if self.at < len(self.text):
                return self.text[self.at]
            if not self.more():
                return ""

    def line_here(self) -> int:
        """The line number of the current position."""
        self.line += self.text.count("\n", self._counted, self.at)
        self._counted = self.at
        return self.line


def read_json(source: ByteSource, options: ReadOptions) -> Batches:
    """The batches of a JSON array, or of JSON documents one after the other."""
    reader = _Reader(source, options)
    window = reader.window
    if window.peek() == "\ufeff":
        window.at += 1
    array = window.peek() == "["
    window.at += array
    going_on = True
    while going_on and window.peek():
        going_on = reader.step(array)
        if reader.collector.full:
            yield reader.collector.take(source.bytes_read)
    if array and going_on:
        reader.collector.reject(window.line_here(), "the array ends without ]", "")
    yield reader.collector.take(source.bytes_read)


class _Reader:
    """One pass over a file; every method stands on a character that is not white space."""

    def __init__(self, source: ByteSource, options: ReadOptions) -> None:
        self.window = _Window(source, options.chunk_bytes)
        self.collector = Collector(options)
        self._parser = DocumentParser(options)
        self._most = options.line_bytes_max
        self._after_value = False
        self._value: Any = None

    def step(self, array: bool) -> bool:
        """Take one document or mark; False if nothing behind it can be read."""
        window = self.window
        mark = window.text[window.at]
        if array and mark == "]":
            window.at += 1
            self._reject_trailing()
            return False
        if array and self._after_value:
            if mark != ",":
                return self._take("no comma before it")
            self._after_value = False
            window.at += 1
            return True
        if mark in ",]}":
            self.collector.reject(window.line_here(), "expected a document", mark)
            window.at += 1
            return True
        self._after_value = True
        return self._take()

    def _take(self, fault: str = "") -> bool:
        """Take the value at the current position, or reject it with `fault`."""
        line = self.window.line_here()
        text = self._slice(line)
        if not text:
            return text is not None
        try:
            text.encode()
            if fault:
                raise RejectedRecord(fault)
            parsed, value = self._parser.finish(text, self._value)
        except UnicodeEncodeError as error:
            self.collector.reject(line, f"invalid UTF-8 at character {error.start + 1}", text)
        except RejectedRecord as error:
            self.collector.reject(line, str(error), text)
        else:
            self.collector.add(line, parsed, value)
        return True

    def _slice(self, line: int) -> str | None:
        """The text of the value here, moving behind it; empty if skipped, None at the end."""
        window = self.window
        while True:
            start = window.at
            end = self._end()
            # A number at the end of the window may go on behind it, a bracket cannot.
            if end > start and (end < len(window.text) or window.ended or self._closed(end)):
                window.at = end
                return window.text[start:end]
            if len(window.text) - start > self._most:
                return self._skip_long(line)
            if not window.more():
                rest = window.text[window.at :]
                self.collector.reject(line, "the file ends inside of this document", rest)
                return None

    def _end(self) -> int:
        """Where the value here ends, -1 if not in this window; keeps the value if it is valid."""
        window = self.window
        self._value = None
        try:
            self._value, end = self._parser.parse_at(window.text, window.at)
        except ValueError:
            return ValueEnd().feed(window.text, window.at)
        return end

    def _closed(self, end: int) -> bool:
        return self.window.text[end - 1] in "}]"

    def _skip_long(self, line: int) -> str | None:
        """Pass over a value that is too long to hold: empty, or None at the file's end."""
        window = self.window
        begin = window.text[window.at : window.at + EXCERPT_CHARS]
        self.collector.reject(line, f"longer than {self._most} bytes", begin)
        scan = ValueEnd()
        while (end := scan.feed(window.text, window.at)) < 0:
            if not window.more(keep=False):
                return None
        window.at = end
        return ""

    def _reject_trailing(self) -> None:
        if self.window.peek():
            rest = self.window.text[self.window.at :]
            line = self.window.line_here()
            self.collector.reject(line, "text after the end of the array", rest)
