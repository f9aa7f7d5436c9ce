"""A configuration file as values with places, and every fault of its syntax.

Each assignment is parsed alone, so one bad line hides no other. When the whole text is good TOML
for `tomllib`, its value is taken; a fault that only tomllib sees is reported as it says it.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from config.problem import Problem
from config.scan import KeyPath, Scanner, Statement

FILE_BYTES_MAX = 4 << 20
_VALUE_PREFIX = "x = "
_TOMLLIB_PLACE = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")


@dataclass(slots=True)
class Document:
    """The values of a file, the place of every key and table, and the problems of its syntax."""

    source: str
    values: dict[str, Any] = field(default_factory=dict)
    places: dict[KeyPath, tuple[int, int]] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def place(self, path: KeyPath) -> tuple[int, int]:
        """Line and column of a key, or of the nearest table around it; (0, 0) if unknown."""
        for end in range(len(path), 0, -1):
            if (found := self.places.get(path[:end])) is not None:
                return found
        return 0, 0

    def complain(self, place: tuple[int, int], key: str, message: str, hint: str = "") -> None:
        """Add a problem at a place."""
        self.problems.append(Problem(*place, key, message, hint, self.source))


def read_document(path: Path) -> Document:
    """Read and parse a file; a file that cannot be read is a problem as well."""
    source = str(path)
    try:
        with path.open("rb") as file:
            data = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        reason = (error.strerror or "unknown error").lower()
        return Document(
            source, problems=[Problem(0, 0, "", f"could not read: {reason}", "", source)]
        )
    if len(data) > FILE_BYTES_MAX:
        message = f"is larger than {FILE_BYTES_MAX} bytes"
        return Document(source, problems=[Problem(0, 0, "", message, "", source)])
    try:
        return parse_document(data.decode("utf-8-sig"), source)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = error.start - (data.rfind(b"\n", 0, error.start) + 1) + 1
        problem = Problem(line, column, "", "is not UTF-8 text", "", source)
        return Document(source, problems=[problem])


def parse_document(text: str, source: str) -> Document:
    """Parse a text. Never raises: faults are in `problems`, and what could be read in `values`."""
    text = text.replace("\r\n", "\n")
    scanner = Scanner(text)
    statements = scanner.statements()
    document = Document(source)
    for fault in scanner.faults:
        document.complain(scanner.place(fault.offset), "", f"syntax error: {fault.message}")
    builder = _Builder(document, scanner)
    for statement in statements:
        builder.add(statement)
    _confirm(document, text)
    return document


def _confirm(document: Document, text: str) -> None:
    """Let tomllib judge the whole."""
    if document.problems:
        return
    try:
        document.values = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        message, line, column = _split_error(error, text.count("\n") + 1)
        document.complain((line, column), "", f"syntax error: {message}")


def _split_error(error: Exception, last_line: int) -> tuple[str, int, int]:
    """The message of a tomllib error, starting in lower case, and its line and column."""
    message = str(error) if isinstance(error, tomllib.TOMLDecodeError) else "nested too deeply"
    match = _TOMLLIB_PLACE.search(message)
    line, column = last_line, 0
    if match is not None:
        message = message[: match.start()]
        if match[1]:
            line, column = int(match[1]), int(match[2])
    return message[:1].lower() + message[1:], line, column


@dataclass(slots=True)
class _Builder:
    """Puts statements together into nested tables and notices what is defined twice."""

    document: Document
    scanner: Scanner
    table: dict[str, Any] = field(init=False)
    base: KeyPath = ()
    headers: dict[KeyPath, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.table = self.document.values

    def add(self, statement: Statement) -> None:
        if statement.kind == "assign":
            self._assign(statement)
        else:
            self._open(statement)

    def _open(self, statement: Statement) -> None:
        self.table, self.base = self.document.values, ()
        place = self.scanner.place(statement.offset)
        *parents, last = statement.path
        if not self._descend(parents, place):
            return
        path: KeyPath = (*self.base, last)
        if statement.kind == "array":
            items = self.table.setdefault(last, [])
            if not isinstance(items, list):
                return self._conflict(path, place)
            items.append({})
            self.table, self.base = items[-1], (*path, len(items) - 1)
            self.document.places.setdefault(path, place)
        else:
            if path in self.headers:
                first = f"it begins on line {self.headers[path]} already"
                self.document.complain(place, dotted(path), "table is defined twice", first)
            if not isinstance(self.table.setdefault(last, {}), dict):
                return self._conflict(path, place)
            self.table, self.base = self.table[last], path
            self.headers.setdefault(path, place[0])
        self.document.places.setdefault(self.base, place)
        return None

    def _assign(self, statement: Statement) -> None:
        place = self.scanner.place(statement.offset)
        outer = self.table, self.base
        *parents, last = statement.path
        if self._descend(parents, place):
            path: KeyPath = (*self.base, last)
            if last in self.table:
                first = f"first given on line {self.document.place(path)[0]}"
                self.document.complain(place, dotted(path), "duplicate key", first)
            else:
                self._put(statement, path, place)
        self.table, self.base = outer

    def _put(self, statement: Statement, path: KeyPath, place: tuple[int, int]) -> None:
        try:
            value = tomllib.loads(_VALUE_PREFIX + statement.value)["x"]
        except (tomllib.TOMLDecodeError, RecursionError) as error:
            lines = statement.value.count("\n") + 1
            message, line, column = _split_error(error, lines)
            start, indent = self.scanner.place(statement.value_offset)
            column = column - len(_VALUE_PREFIX) + indent - 1 if line == 1 and column else column
            spot = (start + line - 1, column)
            self.document.complain(spot, dotted(path), f"syntax error: {message}")
            return
        self.table[str(path[-1])] = value
        self.document.places[path] = place
        for inner, offset in statement.inner:
            self.document.places.setdefault((*path, *inner), self.scanner.place(offset))

    def _descend(self, parents: list[str], place: tuple[int, int]) -> bool:
        for part in parents:
            path: KeyPath = (*self.base, part)
            found = self.table.setdefault(part, {})
            self.document.places.setdefault(path, place)
            if isinstance(found, list) and found and isinstance(found[-1], dict):
                found, path = found[-1], (*path, len(found) - 1)
            if not isinstance(found, dict):
                self._conflict(path, place)
                return False
            self.table, self.base = found, path
        return True

    def _conflict(self, path: KeyPath, place: tuple[int, int]) -> None:
        line = self.document.place(path)[0]
        hint = f"line {line} gives it another form"
        self.document.complain(place, dotted(path), "is a value and a table at once", hint)
        self.table, self.base = {}, ("",)


def dotted(path: KeyPath) -> str:
    """("auth", "rule", 0, "user") → auth.rule[1].user"""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part + 1}]"
        else:
            text += f".{part}" if text else part
    return text
