"""The sqllogictest format: files to records, and back with results filled in.

The format is that of sqlite.org/sqllogictest (about.wiki) with what sqllogictest-rs added
(`include`, `connection`, error patterns). Ours: `params`, `differs`, a `-- oracle` line in front of
the SQL for the oracle, and `statement ok` with `----` for the lines that COPY FROM STDIN reads. See
docs/testing.md.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ENGINES = ("morphgres", "merge", "postgresql")
SORTS = ("nosort", "rowsort", "valuesort")
SEPARATOR = "----"
ORACLE_LINE = "-- oracle"
_SQLSTATE = re.compile(r"[0-9A-Z]{5}")
_HASHED = re.compile(r"(\d+) values hashing to ([0-9a-f]{32})")


class FormatError(Exception):
    """A file is not in the format; the text says where."""


@dataclass(frozen=True, slots=True)
class Condition:
    """`skipif engine # reason` or `onlyif engine`."""

    only: bool
    engine: str
    reason: str


@dataclass(slots=True)
class Record:
    """One statement or query; `head_line` and `result_lines` are places in its file, from 0."""

    path: Path
    head_line: int
    kind: str  # ok, error, count, query
    sql: str
    oracle_sql: str
    pattern: str = ""
    count: int = 0
    types: str = ""
    sort: str = "nosort"
    label: str = ""
    results: list[str] = field(default_factory=list)
    result_lines: tuple[int, int] = (0, 0)
    conditions: tuple[Condition, ...] = ()
    connection: str = "default"
    params: tuple[str | None, ...] | None = None
    differs: frozenset[str] = frozenset()
    hash_threshold: int = 0

    @property
    def where(self) -> str:
        """The place for messages, as editors understand it."""
        return f"{self.path.name}:{self.head_line + 1}"

    @property
    def hashed(self) -> tuple[int, str] | None:
        """(values, md5) when the results are a hash."""
        match = _HASHED.fullmatch(self.results[0]) if len(self.results) == 1 else None
        return (int(match[1]), match[2]) if match else None

    def runs_on(self, engine: str) -> bool:
        """True when no `onlyif` names other engines only."""
        only = [c.engine for c in self.conditions if c.only]
        return not only or engine in only

    def skipped_on(self, engine: str) -> Condition | None:
        """The `skipif` for this engine."""
        return next((c for c in self.conditions if not c.only and c.engine == engine), None)


@dataclass(slots=True)
class _State:
    conditions: list[Condition] = field(default_factory=list)
    connection: str = "default"
    params: tuple[str | None, ...] | None = None
    differs: frozenset[str] = frozenset()


class _Parser:
    def __init__(self, path: Path, seen: tuple[Path, ...]) -> None:
        self.path = path
        self.seen = (*seen, path.resolve())
        self.lines = path.read_text(encoding="utf-8").split("\n")
        self.at = 0
        self.hash_threshold = 0
        self.state = _State()

    def fault(self, text: str) -> FormatError:
        return FormatError(f"{self.path.name}:{self.at + 1}: {text}")

    def records(self) -> Iterator[Record]:
        while self.at < len(self.lines):
            line = self.lines[self.at].rstrip()
            if not line or line.startswith("#"):
                self.at += 1
                continue
            word, _, rest = line.partition(" ")
            if word == "halt":
                if self.state.conditions:
                    raise self.fault("halt cannot have a condition")
                return
            if word == "include":
                yield from self._include(rest.strip())
            elif word in ("statement", "query"):
                yield self._record(word, rest)
            else:
                self._control(word, rest)
        if self.state != _State():
            raise self.fault("the file ends after a control line")

    def _include(self, pattern: str) -> Iterator[Record]:
        paths = sorted(self.path.parent.glob(pattern))
        if not paths:
            raise self.fault(f"include finds no file: {pattern}")
        for path in paths:
            if path.resolve() in self.seen:
                raise self.fault(f"include of itself: {pattern}")
            yield from _Parser(path, self.seen).records()
        self.at += 1

    def _control(self, word: str, rest: str) -> None:
        text, _, reason = rest.partition("#")
        text = text.strip()
        if word in ("skipif", "onlyif"):
            if text not in ENGINES:
                raise self.fault(f"unknown engine: {text}")
            if word == "skipif" and not reason.strip():
                raise self.fault("skipif needs a reason: skipif engine # reason")
            self.state.conditions.append(Condition(word == "onlyif", text, reason.strip()))
        elif word == "connection":
            self.state.connection = text
        elif word == "params":
            cells = rest.split("|")
            self.state.params = tuple(None if c == "NULL" else _unescape(c) for c in cells)
        elif word == "differs":
            if not text or not reason.strip():
                raise self.fault("differs needs fields and a reason: differs detail # reason")
            self.state.differs = frozenset(text.split())
        elif word == "hash-threshold":
            self.hash_threshold = int(text)
        else:
            raise self.fault(f"unknown record: {word}")
        self.at += 1

    def _record(self, word: str, rest: str) -> Record:
        head = self.at
        sql, oracle_sql = self._sql()
        record = Record(self.path, head, "query", sql, oracle_sql or sql)
        try:
            (_query_head if word == "query" else _statement_head)(record, rest.strip())
        except ValueError as error:
            self.at = head
            raise self.fault(str(error)) from None
        record.hash_threshold = self.hash_threshold
        record.conditions = tuple(self.state.conditions)
        record.connection, record.params = self.state.connection, self.state.params
        record.differs = self.state.differs
        self.state = _State()
        start = self.at
        if self.at < len(self.lines) and self.lines[self.at] == SEPARATOR:
            self.at += 1
            while self.at < len(self.lines) and self.lines[self.at]:
                record.results.append(self.lines[self.at])
                self.at += 1
        record.result_lines = (start, self.at)
        return record

    def _sql(self) -> tuple[str, str]:
        parts: list[list[str]] = [[]]
        self.at += 1
        while self.at < len(self.lines) and self.lines[self.at].rstrip():
            line = self.lines[self.at]
            if line == SEPARATOR:
                break
            if line == ORACLE_LINE:
                parts.append([])
            else:
                parts[-1].append(line)
            self.at += 1
        if len(parts) > 2 or not parts[0]:
            raise self.fault("a record needs SQL, and at most one for the oracle")
        texts = ["\n".join(part) for part in parts]
        return texts[0], texts[1] if len(texts) == 2 else ""


def _unescape(cell: str) -> str:
    return "" if cell == "(empty)" else cell


def _statement_head(record: Record, rest: str) -> None:
    expect, _, tail = rest.partition(" ")
    if expect not in ("ok", "error", "count"):
        raise ValueError(f"statement ok, error or count, not {expect!r}")
    record.kind = expect
    if expect == "count":
        record.count = int(tail)
    elif expect == "error":
        record.pattern = tail.strip()
    elif tail:
        raise ValueError(f"nothing can follow statement ok: {tail!r}")


def _query_head(record: Record, rest: str) -> None:
    words = rest.split()
    if words[:1] == ["error"]:
        record.kind, record.pattern = "error", rest[len("error") :].strip()
        return
    if words and words[0] not in SORTS:
        record.types = words.pop(0)
        if not re.fullmatch(r"[ITRB?]+", record.types):
            raise ValueError(f"types are letters of I, T, R, B and ?: {record.types!r}")
    if words and words[0] in SORTS:
        record.sort = words.pop(0)
    if words:
        record.label = words.pop(0)
    if words:
        raise ValueError(f"too many words: {words}")


def pattern_matches(pattern: str, sqlstate: str, message: str) -> bool:
    """True when an error is the expected one: any, a SQLSTATE, or a regular expression."""
    if not pattern:
        return True
    if _SQLSTATE.fullmatch(pattern):
        return pattern == sqlstate
    return re.search(pattern, message) is not None


def read_records(path: Path) -> list[Record]:
    """All records of a file in order; FormatError when it is not in the format."""
    return list(_Parser(path, ()).records())


def complete_text(text: str, filled: list[Record]) -> str:
    """The file's text with the heads and results of these records (all of this file)."""
    lines = text.split("\n")
    for record in sorted(filled, key=lambda r: r.head_line, reverse=True):
        start, end = record.result_lines
        if record.kind == "query" or record.results:
            lines[start:end] = [SEPARATOR, *record.results]
        elif record.kind == "error":
            lines[start:end] = []
        lines[record.head_line] = _head(record)
    return "\n".join(lines)


def _head(record: Record) -> str:
    if record.kind == "query":
        words = ["query", record.types, record.sort, record.label]
    elif record.kind == "count":
        words = ["statement", "count", str(record.count)]
    else:
        words = ["statement", record.kind, record.pattern]
    return " ".join(word for word in words if word)
