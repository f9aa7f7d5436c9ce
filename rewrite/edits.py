"""Edits of a statement's text, and the way back from positions in the result.

An edit replaces a source range by parts: literal text, or spans of the source that are themselves
rendered with the edits inside them. What no edit touches stays as the client wrote it, so an error
position in the result maps back to the character the client typed. Offsets count characters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from core.errors import InternalError


@dataclass(frozen=True, slots=True)
class Span:
    """A range of the source, rendered in place with the edits that lie inside it."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Edit:
    """Replace source[start:end] by the parts; start == end inserts."""

    start: int
    end: int
    parts: tuple[str | Span, ...]

    def moved(self, by: int) -> Edit:
        """The same in a source that begins elsewhere."""
        parts = (
            part if isinstance(part, str) else Span(part.start + by, part.end + by)
            for part in self.parts
        )
        return Edit(self.start + by, self.end + by, tuple(parts))


def replace_text(start: int, end: int, text: str) -> Edit:
    """An edit with plain text."""
    return Edit(start, end, (text,))


def insert_text(at: int, text: str) -> Edit:
    """An insertion of plain text."""
    return Edit(at, at, (text,))


@dataclass(frozen=True, slots=True)
class Rendered:
    """The result and its pieces: (offset in result, offset in source, length, copied)."""

    text: str
    pieces: tuple[tuple[int, int, int, bool], ...]

    def source_offset(self, offset: int) -> int:
        """The source offset that stands for `offset` of the result (for error positions)."""
        best = 0
        for out, src, length, copied in self.pieces:
            if out > offset:
                break
            best = src + (min(offset - out, length) if copied else 0)
        return best


class _Renderer:
    def __init__(self, source: str, edits: Sequence[Edit]) -> None:
        self._source = source
        self._edits = sorted(edits, key=lambda e: (e.start, -e.end))
        self._out: list[str] = []
        self._length = 0
        self._pieces: list[tuple[int, int, int, bool]] = []

    def _emit(self, text: str, source: int, *, copied: bool) -> None:
        if text:
            self._pieces.append((self._length, source, len(text), copied))
            self._out.append(text)
            self._length += len(text)

    def range(self, start: int, end: int, edits: Sequence[Edit]) -> None:
        at = start
        index = 0
        while index < len(edits):
            edit = edits[index]
            inner = []
            index += 1
            while index < len(edits) and _contains(edit, edits[index]):
                inner.append(edits[index])
                index += 1
            if edit.start < at or edit.end > end:
                raise InternalError("edits of a statement overlap")
            self._emit(self._source[at : edit.start], at, copied=True)
            for part in edit.parts:
                if isinstance(part, str):
                    self._emit(part, edit.start, copied=False)
                else:
                    chosen = [e for e in inner if part.start <= e.start and e.end <= part.end]
                    self.range(part.start, part.end, chosen)
            at = edit.end
        self._emit(self._source[at:end], at, copied=True)

    def render(self) -> Rendered:
        self.range(0, len(self._source), self._edits)
        return Rendered("".join(self._out), tuple(self._pieces))


def _contains(outer: Edit, inner: Edit) -> bool:
    return outer.start <= inner.start and inner.end <= outer.end and outer.start < outer.end


def render(source: str, edits: Sequence[Edit]) -> Rendered:
    """Apply the edits; InternalError when two of them overlap without nesting."""
    if not edits:
        return Rendered(source, ((0, 0, len(source), True),))
    return _Renderer(source, edits).render()
