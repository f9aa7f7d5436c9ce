"""pglast's tree and tokens with the few questions the rules ask of them. Offsets are characters."""

from __future__ import annotations

import bisect
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pglast import ast as _ast
from pglast.parser import scan

Node = Any
# Fields of the tree are optional by type but present by grammar: rules read them untyped.
ast: Any = _ast

_OPEN = {"ASCII_40", "ASCII_91"}
_CLOSE = {"ASCII_41", "ASCII_93"}
COMMA = "ASCII_44"
DOT = "ASCII_46"
OPEN_PAREN = "ASCII_40"
OPEN_BRACKET = "ASCII_91"
CLOSE_PAREN = "ASCII_41"
STAR = "ASCII_42"
SEMICOLON = "ASCII_59"
_COMMENTS = {"SQL_COMMENT", "C_COMMENT"}


@dataclass(frozen=True, slots=True)
class Token:
    """One token: [start, end) in characters, and its grammar name."""

    start: int
    end: int
    name: str


class Tokens:
    """The tokens of a text, comments left out."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.items = [
            Token(t.start, t.end + 1, t.name) for t in scan(text) if t.name not in _COMMENTS
        ]
        self._starts = [t.start for t in self.items]

    def index_at(self, offset: int) -> int:
        """Index of the first token that starts at or after `offset`."""
        return bisect.bisect_left(self._starts, offset)

    def name(self, index: int) -> str:
        """Grammar name of the token, "" past the end."""
        return self.items[index].name if 0 <= index < len(self.items) else ""

    def name_chain(self, offset: int) -> list[Token]:
        """The identifiers of a dotted name that starts at `offset`."""
        index = self.index_at(offset)
        chain = [self.items[index]]
        while self.name(index + 1) == DOT and index + 2 < len(self.items):
            chain.append(self.items[index + 2])
            index += 2
        return chain

    def list_items(self, index: int, stop: frozenset[str]) -> tuple[list[tuple[int, int]], int]:
        """Split at top-level commas from token `index` until a stop token, a closing bracket or
        the end. Returns character ranges and the index of the token that ended the list.
        """
        items: list[tuple[int, int]] = []
        depth = 0
        start = index
        while index < len(self.items):
            name = self.items[index].name
            if depth == 0 and (
                name in _CLOSE or name == SEMICOLON or self._stops(index, start, stop)
            ):
                break
            if name in _OPEN or name == "CASE":
                depth += 1
            elif name in _CLOSE or (name == "END_P" and depth):
                depth -= 1
            elif name == COMMA and depth == 0:
                items.append(self._range(start, index))
                start = index + 1
            index += 1
        if index > start:
            items.append(self._range(start, index))
        return items, index

    def _stops(self, index: int, start: int, stop: frozenset[str]) -> bool:
        name = self.items[index].name
        if name not in stop or index == start:
            return False
        return not (name == "FROM" and self.name(index - 1) == "DISTINCT")

    def _range(self, first: int, after: int) -> tuple[int, int]:
        return self.items[first].start, self.items[after - 1].end

    def matching_close(self, index: int) -> int:
        """Index of the bracket that closes the one at `index`."""
        depth = 0
        for at in range(index, len(self.items)):
            name = self.items[at].name
            if name in _OPEN:
                depth += 1
            elif name in _CLOSE:
                depth -= 1
                if depth == 0:
                    return at
        return len(self.items) - 1

    def after_brackets(self, index: int) -> int:
        """The index after this token, or after the brackets that it opens."""
        return (self.matching_close(index) if self.name(index) in _OPEN else index) + 1

    def target_end(self, index: int) -> int:
        """Offset where the target of an assignment ends: a name with fields and subscripts."""
        at = index + 1
        while self.name(at) in (DOT, OPEN_BRACKET):
            at = at + 2 if self.name(at) == DOT else self.matching_close(at) + 1
        return self.items[at - 1].end

    def group_by(self, offset: int) -> int:
        """Index of the first token of the GROUP BY list that belongs to the SELECT in whose FROM
        clause `offset` lies: the first one that is not deeper in brackets.
        """
        depth = lowest = 0
        for index in range(self.index_at(offset), len(self.items)):
            name = self.items[index].name
            if name in _OPEN:
                depth += 1
            elif name in _CLOSE:
                depth -= 1
                lowest = min(lowest, depth)
            elif depth == lowest and name == "GROUP_P" and self.name(index + 1) == "BY":
                return index + 2
        return len(self.items)

    def find_top(self, index: int, names: frozenset[str], end: int) -> int:
        """Index of the first token outside brackets, before offset `end`, with such a name; else
        the index of the first token at or past `end`.
        """
        depth = 0
        while index < len(self.items) and self.items[index].start < end:
            name = self.items[index].name
            if name in _OPEN:
                depth += 1
            elif name in _CLOSE:
                depth -= 1
            elif depth == 0 and name in names:
                return index
            index += 1
        return index


def children(node: Node) -> Iterator[Node]:
    """The child nodes, lists flattened."""
    for name in node:
        value = getattr(node, name)
        if isinstance(value, ast.Node):
            yield value
        elif isinstance(value, tuple):
            yield from _flatten(value)


def _flatten(values: tuple[Any, ...]) -> Iterator[Node]:
    for value in values:
        if isinstance(value, ast.Node):
            yield value
        elif isinstance(value, tuple):
            yield from _flatten(value)


def walk(node: Node) -> Iterator[Node]:
    """The node and everything below it, in source order of the grammar; not recursive."""
    stack = [node]
    while stack:
        current = stack.pop()
        yield current
        stack.extend(reversed(list(children(current))))


def names_of(column_ref: Node) -> list[str] | None:
    """The names of a ColumnRef, None when it holds a star."""
    names = []
    for field in column_ref.fields:
        if not isinstance(field, ast.String):
            return None
        names.append(field.sval)
    return names
