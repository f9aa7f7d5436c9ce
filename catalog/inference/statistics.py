"""Statistics per path over documents, counted in one pass and mergeable.

`Observer.observe` is the hot loop: one call per document, one dictionary step per field. A path's
statistics are a tree of `PathStats`; an array has the statistics of its elements below it.

Laws (tests/property/test_inference.py):
- `merge` is associative and commutative, and `merge(observe(A), observe(B)) = observe(A + B)`;
- an object with more keys than its limit is *wide*: its keys are forgotten for good. The union of
  two sets outgrows the limit no matter in which order it is formed, so the law holds for it too;
- `nodes_max` guards the memory against documents made to exhaust it. Beyond it only the top-level
  fields are kept (`truncated`), and only here the order of merging can show.
Ordinals must rise within one observer; parts may overlap in any way.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from catalog.inference.csv_text import cell_mask
from catalog.inference.kinds import (
    DOUBLE_EXACT_MAX,
    PYTHON_KINDS,
    CsvCell,
    Kind,
    Typed,
    int_kind,
)
from core.errors import InternalError

K = TypeVar("K", bound=int)

KEY_FIELDS: Final = ("_id", "id")  # never forgotten, however wide the documents are


@dataclass(frozen=True, slots=True)
class InferenceLimits:
    """How far inference looks; what lies beyond stays in jsonb only, with an event.

    `depth_max`: keys in a column's path. `element_depth_max`: the same inside an array element.
    `fields_max`: distinct top-level fields tracked. `width_max`: distinct keys of one object below
    (more means that the keys are data). `columns_max`: columns of one table; the most frequent stay
    (PostgreSQL allows 1,600). `children_max`: child tables of one table. `nodes_max`: paths in all.
    """

    depth_max: int = 5
    element_depth_max: int = 2
    fields_max: int = 4_096
    width_max: int = 256
    columns_max: int = 1_000
    children_max: int = 64
    nodes_max: int = 100_000


DEFAULT_LIMITS: Final = InferenceLimits()


@dataclass(slots=True)
class PathStats:
    """What was seen at one path: `counts` by kind, and the first ordinal of each kind.

    `first` and `position` (the index of the key in that first document) order the columns.
    `cells` counts CSV cells by candidate mask. `room` is how many levels of keys below are tracked,
    `arrays` whether array elements are.
    """

    room: int
    arrays: bool = True
    first: int = 0
    position: int = 0
    last: int = 0
    counts: dict[Kind, int] = field(default_factory=dict)
    firsts: dict[Kind, int] = field(default_factory=dict)
    fields: dict[str, PathStats] = field(default_factory=dict)
    element: PathStats | None = None
    cells: dict[int, int] = field(default_factory=dict)
    wide: bool = False

    @property
    def total(self) -> int:
        """How many values were seen here, nulls included."""
        return sum(self.counts.values())

    def nodes(self) -> int:
        """How many paths this tree holds, itself included."""
        below = sum(child.nodes() for child in self.fields.values())
        return 1 + below + (self.element.nodes() if self.element else 0)

    def close(self) -> None:
        """Forget all that is below, for good."""
        self.fields = {}
        self.element = None
        self.room = 0
        self.arrays = False


@dataclass(slots=True)
class TableStats:
    """The statistics of one table: `documents` and the tree of paths below `root`."""

    root: PathStats
    limits: InferenceLimits = DEFAULT_LIMITS
    documents: int = 0
    truncated: bool = False

    @classmethod
    def empty(cls, limits: InferenceLimits = DEFAULT_LIMITS) -> TableStats:
        """Statistics of no document; the neutral element of `merge`."""
        return cls(PathStats(limits.depth_max), limits)

    def path(self, path: tuple[str, ...]) -> PathStats | None:
        """What was seen at `path`, or None."""
        node: PathStats | None = self.root
        for key in path:
            node = node.fields.get(key) if node else None
        return node


class Observer:
    """Counts documents into `stats`."""

    def __init__(self, limits: InferenceLimits = DEFAULT_LIMITS) -> None:
        self.stats = TableStats.empty(limits)
        self._limits = limits
        self._nodes = 1

    def observe(self, document: dict[str, Any], ordinal: int) -> None:
        """Count one document; ordinals rise from call to call."""
        self.stats.documents += 1
        if document:
            self._fields(self.stats.root, document, ordinal)
        if self._nodes > self._limits.nodes_max:
            self._nodes = _truncate(self.stats)

    def _fields(self, node: PathStats, document: dict[str, Any], ordinal: int) -> None:
        """Count the fields of an object. Written for speed: no calls for ordinary values."""
        fields = node.fields
        kinds = PYTHON_KINDS
        for key, value in document.items():
            child = fields.get(key)
            if child is None:
                child = self._grow(node, key, document, ordinal)
                fields = node.fields
                if child is None:
                    continue
            kind = kinds.get(type(value))
            if kind is None:
                kind = _carrier_kind(child, value)
            elif kind is Kind.INT and not -DOUBLE_EXACT_MAX <= value <= DOUBLE_EXACT_MAX:
                kind = int_kind(value)
            try:
                child.counts[kind] += 1
            except KeyError:
                child.counts[kind] = 1
                child.firsts[kind] = ordinal
            child.last = ordinal
            if kind is Kind.OBJECT:
                if value and child.room:
                    self._fields(child, value, ordinal)
            elif kind is Kind.ARRAY and value and child.arrays:
                self._elements(child, value, ordinal)

    def _elements(self, node: PathStats, values: list[Any], ordinal: int) -> None:
        """Count the elements of an array; what is inside of nested arrays stays unseen."""
        element = node.element
        if element is None:
            room = self._limits.element_depth_max
            element = node.element = PathStats(room, arrays=False, first=ordinal)
            self._nodes += 1
        counts = element.counts
        for value in values:
            kind = PYTHON_KINDS.get(type(value))
            if kind is None:
                kind = _carrier_kind(element, value)
            elif kind is Kind.INT and not -DOUBLE_EXACT_MAX <= value <= DOUBLE_EXACT_MAX:
                kind = int_kind(value)
            try:
                counts[kind] += 1
            except KeyError:
                counts[kind] = 1
                element.firsts[kind] = ordinal
            if kind is Kind.OBJECT and value and element.room:
                self._fields(element, value, ordinal)
        element.last = ordinal

    def _grow(
        self, node: PathStats, key: str, document: dict[str, Any], ordinal: int
    ) -> PathStats | None:
        """The new path `key` below `node`, or None if the object is too wide to have paths."""
        root = node is self.stats.root
        if node.wide and not (root and key in KEY_FIELDS):
            return None
        arrays = node.arrays and not self.stats.truncated
        room = 0 if self.stats.truncated else node.room - 1
        position = list(document).index(key)
        node.fields[key] = PathStats(room, arrays, first=ordinal, position=position)
        self._nodes += 1
        if not node.wide and len(node.fields) > _width(self._limits, root):
            before = node.nodes()
            _forget_keys(node, root)
            self._nodes += node.nodes() - before
        return node.fields.get(key)


def _carrier_kind(node: PathStats, value: Any) -> Kind:
    """The kind of a value that is not of an ordinary Python type."""
    if type(value) is Typed:
        return value.kind
    if type(value) is CsvCell:
        if not value:
            return Kind.EMPTY
        mask = cell_mask(value)
        node.cells[mask] = node.cells.get(mask, 0) + 1
        return Kind.CSV
    raise InternalError(f"inference met a value of Python type {type(value).__name__}")


def _width(limits: InferenceLimits, root: bool) -> int:
    return limits.fields_max if root else limits.width_max


def _forget_keys(node: PathStats, root: bool) -> None:
    """Make an object wide: its keys are data, or too many to be columns."""
    if root:
        node.fields = {key: node.fields[key] for key in KEY_FIELDS if key in node.fields}
    else:
        node.close()
    node.wide = True


def _truncate(stats: TableStats) -> int:
    """Keep the top-level fields only, for good; how many paths are left."""
    stats.truncated = True
    for child in stats.root.fields.values():
        child.close()
    return stats.root.nodes()


def merge(a: TableStats, b: TableStats) -> TableStats:
    """The statistics of both parts together; neither is changed. Both need the same limits."""
    if a.limits != b.limits:
        raise InternalError("statistics with different limits were merged")
    root = _merge_paths(a.root, b.root, a.limits, root=True)
    merged = TableStats(root, a.limits, a.documents + b.documents)
    if a.truncated or b.truncated or root.nodes() > a.limits.nodes_max:
        _truncate(merged)
    return merged


def _merge_paths(
    a: PathStats | None, b: PathStats | None, limits: InferenceLimits, *, root: bool = False
) -> PathStats:
    """Join two trees of one path; a missing one counts as nothing. The result shares no node."""
    one = a or b
    assert one is not None
    other = b if a and b else PathStats(one.room, one.arrays, one.first, one.position, one.last)
    assert other is not None
    first, position = min((one.first, one.position), (other.first, other.position))
    merged = PathStats(
        room=min(one.room, other.room),
        arrays=one.arrays and other.arrays,
        first=first,
        position=position,
        last=max(one.last, other.last),
        counts=_add(one.counts, other.counts),
        firsts=_least(one.firsts, other.firsts),
        cells=_add(one.cells, other.cells),
    )
    keys = one.fields.keys() | other.fields.keys()
    merged.fields = {
        key: _merge_paths(one.fields.get(key), other.fields.get(key), limits)
        for key in sorted(keys)
    }
    if one.element or other.element:
        merged.element = _merge_paths(one.element, other.element, limits)
    if one.wide or other.wide or len(merged.fields) > _width(limits, root):
        _forget_keys(merged, root)
    return merged


def _add(a: dict[K, int], b: dict[K, int]) -> dict[K, int]:
    return {key: a.get(key, 0) + b.get(key, 0) for key in a.keys() | b.keys()}


def _least(a: dict[Kind, int], b: dict[Kind, int]) -> dict[Kind, int]:
    return {key: min(a.get(key, b.get(key, 0)), b.get(key, a.get(key, 0))) for key in a | b}
