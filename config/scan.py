"""Where each key of a TOML text stands: its statements with line, column and raw value.

`tomllib` tells neither the position of a value nor more than the first fault. So the text is cut
into statements here (headers and assignments), and each value is parsed by tomllib on its own
(config/document.py). The scanner knows just enough of TOML 1.0 to find where keys and values begin
and end; it never judges a value. Positions count from 1.
"""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_right
from dataclasses import dataclass, field

KeyPath = tuple[str | int, ...]

_KEY_PART = re.compile(r"""[ \t]*(?:([A-Za-z0-9_-]+)|("(?:[^"\\\n]|\\[^\n])*"|'[^'\n]*'))[ \t]*""")
_BLANK = re.compile(r"(?:[ \t\n]|#[^\n]*)*")
_SPACE = re.compile(r"[ \t]*")
_BARE = re.compile(r"[^,\]}#\n]*")
_REST = re.compile(r"[^\n]*")
_LINE_END = re.compile(r"[ \t]*(?:#[^\n]*)?(?=\n|\Z)")
_STRINGS = (
    re.compile(r'"""(?:[^\\]|\\.)*?"{3,5}', re.DOTALL),
    re.compile(r"'''.*?'{3,5}", re.DOTALL),
    re.compile(r'"(?!"")(?:[^"\\\n]|\\[^\n])*"'),
    re.compile(r"'(?!'')[^'\n]*'"),
)
NESTING_MAX = 100


class ScanError(ValueError):
    """The text at `offset` is not TOML."""

    def __init__(self, message: str, offset: int) -> None:
        super().__init__(message)
        self.offset = offset


@dataclass(frozen=True, slots=True)
class Statement:
    """One header or assignment. `inner` places inline tables and their keys below the value."""

    kind: str  # "table", "array" (of tables) or "assign"
    path: tuple[str, ...]
    offset: int
    value_offset: int = 0
    value: str = ""
    inner: tuple[tuple[KeyPath, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Fault:
    """A place where the text is not TOML."""

    offset: int
    message: str


@dataclass(slots=True)
class Scanner:
    """One pass over a text whose line ends are newlines."""

    text: str
    position: int = 0
    faults: list[Fault] = field(default_factory=list)
    _inner: list[tuple[KeyPath, int]] = field(default_factory=list)
    _lines: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._lines = [0, *(match.end() for match in re.finditer("\n", self.text))]

    def place(self, offset: int) -> tuple[int, int]:
        """Line and column of an offset, counted from 1."""
        line = bisect_right(self._lines, offset)
        return line, offset - self._lines[line - 1] + 1

    def statements(self) -> list[Statement]:
        """Every statement; what is no statement goes to `faults`, and its line is skipped."""
        found: list[Statement] = []
        while True:
            self._skip(_BLANK)
            start = self.position
            if start >= len(self.text):
                return found
            try:
                found.append(self._statement())
            except ScanError as error:
                self.faults.append(Fault(error.offset, str(error)))
                self.position = start
                self._skip(_REST)

    def _statement(self) -> Statement:
        if self.text[self.position] == "[":
            return self._header()
        start = self.position
        path = self._key()
        if not self._take("="):
            raise ScanError('expected "=" after the key', self.position)
        self._skip(_SPACE)
        value_offset = self.position
        self._inner = []
        try:
            self._value((), 0)
            self._skip(_REST)
        except ScanError:
            # the value never ends: tomllib says why when it is given the first line alone
            self.position = value_offset
            self._skip(_REST)
        value = self.text[value_offset : self.position]
        return Statement("assign", path, start, value_offset, value, tuple(self._inner))

    def _header(self) -> Statement:
        start = self.position
        array = self._take("[[")
        if not array:
            self._take("[")
        path = self._key()
        if not self._take("]]" if array else "]"):
            raise ScanError(f'expected "{"]]" if array else "]"}" after the name', self.position)
        if not _LINE_END.match(self.text, self.position):
            raise ScanError("expected the end of the line after a table's name", self.position)
        return Statement("array" if array else "table", path, start)

    def _key(self) -> tuple[str, ...]:
        parts = []
        while True:
            match = _KEY_PART.match(self.text, self.position)
            if match is None:
                raise ScanError("expected a key", self.position)
            parts.append(match[1] or self._unquote(match[2]))
            self.position = match.end()
            if not self._take("."):
                return tuple(parts)

    def _unquote(self, quoted: str) -> str:
        try:
            return str(tomllib.loads(f"x = {quoted}")["x"])
        except tomllib.TOMLDecodeError:
            raise ScanError("bad quoted key", self.position) from None

    def _value(self, path: KeyPath, depth: int) -> None:
        if depth > NESTING_MAX:
            raise ScanError("value is nested too deeply", self.position)
        first = self.text[self.position : self.position + 1]
        if first == "[":
            self._array(path, depth)
        elif first == "{":
            self._inline_table(path, depth)
        elif first and first in "\"'":
            match = next((m for s in _STRINGS if (m := s.match(self.text, self.position))), None)
            if match is None:
                raise ScanError("string does not end", self.position)
            self.position = match.end()
        else:
            self._skip(_BARE)

    def _array(self, path: KeyPath, depth: int) -> None:
        start = self.position
        self._take("[")
        index = 0
        while True:
            self._skip(_BLANK)
            if self._take("]"):
                return
            if self.text.startswith("{", self.position):
                self._inner.append(((*path, index), self.position))
            self._value((*path, index), depth + 1)
            index += 1
            self._skip(_BLANK)
            if not self._take(",") and not self.text.startswith("]", self.position):
                raise ScanError('expected "," or "]"', start)

    def _inline_table(self, path: KeyPath, depth: int) -> None:
        self._take("{")
        while True:
            self._skip(_BLANK)
            if self._take("}"):
                return
            start = self.position
            key = self._key()
            self._inner.append(((*path, *key), start))
            if not self._take("="):
                raise ScanError('expected "=" after the key', self.position)
            self._skip(_SPACE)
            self._value((*path, *key), depth + 1)
            self._skip(_BLANK)
            if not self._take(",") and not self.text.startswith("}", self.position):
                raise ScanError('expected "," or "}"', start)

    def _skip(self, pattern: re.Pattern[str]) -> None:
        match = pattern.match(self.text, self.position)
        if match is not None:
            self.position = match.end()

    def _take(self, token: str) -> bool:
        if not self.text.startswith(token, self.position):
            return False
        self.position += len(token)
        return True
