"""The shape of documents in raw BSON, as a regular expression that finds all values of a batch.

Documents of one collection mostly have the same fields in the same order. Their shape (fields,
order, BSON types, with alternatives and missing fields as far as some were seen) is compiled to one
pattern; `findall` over a whole batch then takes the values apart, in C.

Why a match is a parse: at the beginning of an element its type and name say which alternative it
is, and every alternative has its length: fixed, or a string's, which is compared with what was
matched. So one boundary follows from the other. That nothing was skipped between two documents is
seen from the lengths: all matches together are as long as the batch (`Matched.whole`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from backends.mongodb.reply import elements

DOCUMENT: Final = 0x03
STRING: Final = 0x02
NULL: Final = 0x0A
BOOLEAN: Final = 0x08
INT32: Final = 0x10
INT64: Final = 0x12
DOUBLE: Final = 0x01
DATE: Final = 0x09
OBJECT_ID: Final = 0x07
DECIMAL: Final = 0x13
BINARY: Final = 0x05

WIDTHS: Final = {DOUBLE: 8, OBJECT_ID: 12, DATE: 8, INT32: 4, INT64: 8, DECIMAL: 16, BOOLEAN: 1}
_UUID_BYTES: Final = 16
FIELDS_MAX: Final = 90
"""Fields of a shape: beyond, a document at a time is not slower."""


class NoShape(Exception):
    """The documents have values or an order that no pattern tells; they are decoded one by one."""


@dataclass
class Leaf:
    """A field of a shape: the BSON types that were seen, whether some documents lack it, and the
    fields inside where it is a document.
    """

    name: bytes
    kinds: list[int] = field(default_factory=list)
    optional: bool = False
    inside: list[Leaf] = field(default_factory=list)


def shape_of(raw: bytes, start: int) -> list[Leaf]:
    """The shape of the document that starts there. Raises NoShape."""
    shape: list[Leaf] = []
    for element in elements(raw, start):
        leaf = Leaf(element.name, [element.kind])
        if element.kind == DOCUMENT:
            leaf.inside = shape_of(raw, element.start)
        elif element.kind == BINARY:
            length = int.from_bytes(raw[element.start : element.start + 4], "little")
            if length != _UUID_BYTES or raw[element.start + 4] not in (3, 4):
                raise NoShape
        elif element.kind not in WIDTHS and element.kind not in (STRING, NULL):
            raise NoShape
        shape.append(leaf)
    if len(shape) > FIELDS_MAX:
        raise NoShape
    return shape


def joined(one: Sequence[Leaf], other: Sequence[Leaf]) -> list[Leaf]:
    """A shape for the documents of both. Raises NoShape when their fields come in other orders."""
    places = {leaf.name: at for at, leaf in enumerate(one)}
    made: list[Leaf] = []
    done = 0
    for leaf in other:
        at = places.get(leaf.name)
        if at is None:
            made.append(Leaf(leaf.name, leaf.kinds, True, leaf.inside))
            continue
        if at < done:
            raise NoShape
        made += [_optional(each) for each in one[done:at]]
        made.append(_both(one[at], leaf))
        done = at + 1
    return [*made, *(_optional(each) for each in one[done:])]


def _optional(leaf: Leaf) -> Leaf:
    return Leaf(leaf.name, leaf.kinds, True, leaf.inside)


def _both(one: Leaf, other: Leaf) -> Leaf:
    kinds = list(dict.fromkeys([*one.kinds, *other.kinds]))
    inside = one.inside or other.inside
    if one.inside and other.inside:
        inside = joined(one.inside, other.inside)
    return Leaf(one.name, kinds, one.optional or other.optional, inside)


@dataclass(frozen=True, slots=True)
class Value:
    """Where a kind of value of a path is among the groups of a match; for strings `group` is the
    length and the text comes behind. `always`: every document has it.
    """

    path: tuple[str, ...]
    kind: int
    group: int
    always: bool


@dataclass(frozen=True, slots=True)
class Matched:
    """What was found in a batch: its rows, and the groups as columns."""

    rows: int
    groups: tuple[Sequence[bytes], ...]


class Pattern:
    """The compiled pattern of a shape."""

    def __init__(self, shape: Sequence[Leaf]) -> None:
        self.values: list[Value] = []
        # (group that tells of its presence or -1 for always, bytes but for the texts)
        self._fixed: list[tuple[int, int]] = []
        self._texts: list[int] = []
        self._groups = 0
        body = self._fields(shape, (), always=True)
        # An array's element: its type, its number, the document's length; the end of the document.
        self._regex = re.compile(rb"\x03\d+\x00(?s:.{4})" + body + rb"\x00", re.DOTALL)
        self._fixed.append((-1, 1 + 1 + 4 + 1))

    def _fields(self, shape: Sequence[Leaf], path: tuple[str, ...], *, always: bool) -> bytes:
        parts = []
        for leaf in shape:
            sole = always and not leaf.optional and len(leaf.kinds) == 1
            options = [self._option(leaf, kind, path, sole=sole) for kind in leaf.kinds]
            text = options[0] if len(options) == 1 else b"(?:" + b"|".join(options) + b")"
            parts.append(b"(?:" + text + b")?" if leaf.optional else text)
        return b"".join(parts)

    def _option(self, leaf: Leaf, kind: int, path: tuple[str, ...], *, sole: bool) -> bytes:
        here = (*path, leaf.name.decode(errors="surrogateescape"))
        name = re.escape(leaf.name) + rb"\x00"
        head = re.escape(bytes([kind])) + name
        size = 1 + len(leaf.name) + 1
        group = self._groups
        self.values.append(Value(here, kind, group, sole))
        known = -1 if sole else group
        if kind == DOCUMENT:
            self._groups += 1
            self._fixed.append((known, size + 5))
            inside = self._fields(leaf.inside, here, always=sole)
            return head + b"(.{4})" + inside + rb"\x00"
        if kind == STRING:
            self._groups += 2
            self._texts.append(group + 1)
            self._fixed.append((known, size + 5))
            return head + rb"(.{4})([^\x00]*)\x00"
        if kind == NULL:
            self._groups += 1
            self._fixed.append((known, size))
            return b"(" + re.escape(bytes([kind])) + b")" + name
        self._groups += 1
        if kind == BINARY:
            self._fixed.append((known, size + 5 + _UUID_BYTES))
            return head + rb"\x10\x00\x00\x00[\x03\x04](.{16})"
        self._fixed.append((known, size + WIDTHS[kind]))
        return head + b"(.{%d})" % WIDTHS[kind]

    def fits(self, raw: bytes, start: int, end: int) -> bool:
        """Whether the element between these bytes is a document of the shape."""
        return self._regex.fullmatch(raw, start, end) is not None

    def match(self, raw: bytes, start: int, end: int) -> Matched | None:
        """The groups of the batch between these bytes; None when it has other documents too."""
        found = self._regex.findall(raw, start, end)
        if not found:
            return None
        columns: tuple[Sequence[bytes], ...] = (
            tuple(zip(*found, strict=True)) if self._groups > 1 else (found,)
        )
        rows = len(found)
        if self._groups == 0:
            columns = ()
        matched = Matched(rows, columns)
        return matched if self._length(matched) == end - start else None

    def _length(self, matched: Matched) -> int:
        """The bytes of all matches together."""
        length = _digits(matched.rows)
        length += sum(sum(map(len, matched.groups[group])) for group in self._texts)
        for group, size in self._fixed:
            count = matched.rows
            if group >= 0:
                count = matched.rows - matched.groups[group].count(b"")
            length += count * size
        return length


def _digits(rows: int) -> int:
    """How long the numbers from 0 to rows - 1 are together."""
    total, power, width = 0, 10, 1
    first = 0
    while first < rows:
        last = min(rows, power)
        total += (last - first) * width
        first, power, width = last, power * 10, width + 1
    return total
