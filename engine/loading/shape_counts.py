"""Counts documents by shape: those that inference cannot tell apart are looked at once.

The shape of a document is what `catalog.inference.statistics` sees of it: its keys in order and the
kind of every value. Telling shapes apart is cheaper than counting every value, and most files hold
few. `stats()` equals what one Observer has after all documents (tests/property/test_shapes.py).

Bounded: beyond SHAPES_MAX shapes or LAYOUTS_MAX lists of keys, with long arrays, or when most
documents have a shape of their own, documents are counted one by one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from catalog.inference.kinds import DOUBLE_EXACT_MAX, PYTHON_KINDS, Typed, int_kind
from catalog.inference.statistics import InferenceLimits, Observer, PathStats, TableStats, merge

SHAPES_MAX: Final = 512
LAYOUTS_MAX: Final = 2_048
ELEMENTS_MAX: Final = 64  # of an array whose kinds are part of a shape
MISSES_MAX: Final = 2_000  # more than hits, before shapes are given up

_KNOWN: Final = frozenset({*PYTHON_KINDS, Typed})
_LOOKED_INTO: Final = frozenset({int, dict, list, Typed})

Shape = tuple[Any, ...]
# The number of a list of keys with types, and the fields whose values must be looked into.
_Layout = tuple[int, tuple[tuple[str, type], ...]]


class _Unshaped(Exception):
    """The document is not worth a shape."""


@dataclass(slots=True)
class _Seen:
    """Documents of one shape: what one of them looks like, how many, the ordinal of the last."""

    stats: TableStats
    count: int
    last: int


class ShapeCounter:
    """An Observer that looks at equal shapes once."""

    def __init__(self, limits: InferenceLimits) -> None:
        self._limits = limits
        self._observer = Observer(limits)
        self._layouts: dict[tuple[tuple[str, ...], tuple[type, ...]], _Layout] = {}
        self._seen: dict[Shape, _Seen] = {}
        self._misses = 0  # less hits

    def observe(self, document: dict[str, Any], ordinal: int) -> None:
        """Count one document; ordinals rise from call to call."""
        if self._misses > MISSES_MAX:
            self._observer.observe(document, ordinal)
            return
        try:
            shape = self._shape(document, self._limits.depth_max)
        except _Unshaped:
            self._misses += 1
            self._observer.observe(document, ordinal)
            return
        seen = self._seen.get(shape)
        if seen is not None:
            seen.count += 1
            seen.last = ordinal
            self._misses -= 1
        elif len(self._seen) < SHAPES_MAX:
            one = Observer(self._limits)
            one.observe(document, ordinal)
            self._seen[shape] = _Seen(one.stats, 1, ordinal)
        else:
            self._misses += 1
            self._observer.observe(document, ordinal)

    def stats(self) -> TableStats:
        """What all documents looked like."""
        stats = self._observer.stats
        for seen in self._seen.values():
            seen.stats.documents = seen.count
            _repeat(seen.stats.root.fields.values(), seen.count, seen.last)
            stats = merge(stats, seen.stats)
        self._seen.clear()
        self._observer.stats = stats
        return stats

    def _shape(self, document: dict[str, Any], depth: int) -> Shape:
        keys = tuple(document)
        layout = self._layouts.get((keys, types := tuple(map(type, document.values()))))
        if layout is None:
            layout = self._new_layout(keys, types)
        number, inside = layout
        parts: list[Any] = [number]
        for key, kind in inside:
            value = document[key]
            if kind is int:
                if not -DOUBLE_EXACT_MAX <= value <= DOUBLE_EXACT_MAX:
                    parts += (key, int_kind(value))
            elif kind is dict:
                if depth > 1:
                    parts.append(self._shape(value, depth - 1))
            elif kind is list:
                parts.append(self._elements(value))
            else:
                parts.append(value.kind)
        return tuple(parts)

    def _new_layout(self, keys: tuple[str, ...], types: tuple[type, ...]) -> _Layout:
        if len(self._layouts) >= LAYOUTS_MAX or not _KNOWN.issuperset(types):
            raise _Unshaped
        inside = tuple(
            (key, kind) for key, kind in zip(keys, types, strict=True) if kind in _LOOKED_INTO
        )
        layout = self._layouts[keys, types] = (len(self._layouts), inside)
        return layout

    def _elements(self, values: list[Any]) -> Shape:
        if len(values) > ELEMENTS_MAX:
            raise _Unshaped
        types = tuple(map(type, values))
        if _LOOKED_INTO.isdisjoint(types):
            return types
        parts: list[Any] = [types]
        for value, kind in zip(values, types, strict=True):
            if kind is dict:
                parts.append(self._shape(value, self._limits.element_depth_max))
            elif kind is int:
                if not -DOUBLE_EXACT_MAX <= value <= DOUBLE_EXACT_MAX:
                    parts.append(int_kind(value))
            elif kind is Typed:
                parts.append(value.kind)
        return tuple(parts)


def _repeat(nodes: Iterable[PathStats], count: int, last: int) -> None:
    """Make the statistics of one document those of `count` of them."""
    for node in nodes:
        node.last = last
        for counts in (node.counts, node.cells):
            for key in counts:
                counts[key] *= count  # type: ignore[index]
        _repeat(node.fields.values(), count, last)
        if node.element is not None:
            _repeat((node.element,), count, last)
