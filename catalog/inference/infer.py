"""From statistics to a table: columns, child tables, the key, and what there is to tell.

A pure function of the statistics, so inference over parts equals inference over the whole. Columns
come in the order in which their fields were first seen; a sub-document's jsonb column comes before
the dotted columns of its fields.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from catalog.inference.events import EventKind, InferenceEvent, named_counts, type_events
from catalog.inference.kinds import Kind
from catalog.inference.rules import choose_type, holds_documents, holds_fields
from catalog.inference.statistics import KEY_FIELDS, InferenceLimits, PathStats, TableStats
from catalog.naming import (
    Path,
    assign_names,
    child_table_name,
    full_name,
    generated_key_name,
    ordinality_name,
    parent_key_name,
)

GENERATED_KEY_TYPE: Final = "bigint"
_SHOWN: Final = 200  # characters of names in a message


@dataclass(frozen=True, slots=True)
class InferredColumn:
    """One column. `path` is the document's (in a child table: the element's).

    `physical`: JSON has no form for the type; the value needs a column of its own. `clean`: every
    value seen fits `pg_type`, so a plain cast of the document's field cannot fail. `counts` are
    values by kind, `nulls` of them JSON nulls; `missing` is how often the parent lacked the field.
    """

    path: Path
    name: str
    pg_type: str
    physical: bool = False
    clean: bool = True
    known: bool = True
    counts: Mapping[str, int] = field(default_factory=dict)
    nulls: int = 0
    missing: int = 0
    first: int = 0
    last: int = 0


@dataclass(frozen=True, slots=True)
class InferredChild:
    """The child table of the array of documents at `path`."""

    path: Path
    name: str
    columns: tuple[InferredColumn, ...]
    parent_key: str
    ordinality: str


@dataclass(frozen=True, slots=True)
class KeyCandidate:
    """A possible key, in order of preference; `path` is empty for the generated one.

    The caller takes the first whose values are unique: inference does not see duplicates.
    """

    path: Path
    name: str
    pg_type: str


@dataclass(frozen=True, slots=True)
class InferredTable:
    """What the documents of one table look like as a table."""

    name: str
    documents: int
    columns: tuple[InferredColumn, ...]
    children: tuple[InferredChild, ...]
    keys: tuple[KeyCandidate, ...]
    events: tuple[InferenceEvent, ...]

    def column(self, path: Path) -> InferredColumn | None:
        """The column of `path`, or None."""
        return next((c for c in self.columns if c.path == path), None)

    def with_key(self, key: KeyCandidate) -> InferredTable:
        """The table with its child tables named for this key."""
        children = tuple(
            replace(
                child,
                parent_key=parent_key_name(self.name, key.name, {c.name for c in child.columns}),
            )
            for child in self.children
        )
        return replace(self, children=children, keys=(key,))


@dataclass(frozen=True, slots=True)
class _Found:
    """A path on its way to a column; `parents` is how many objects could have had it."""

    path: Path
    node: PathStats
    parents: int


def infer_table(name: str, stats: TableStats, *, taken: Collection[str] = ()) -> InferredTable:
    """The table `name` as its documents show it; `taken` are names of other tables."""
    events = list(_whole_events(stats))
    scan = _Scan(stats.limits, (), events, deep=not stats.truncated)
    found = list(scan.walk((), stats.root, stats.documents))
    columns = scan.columns(found)
    keys = _keys(stats, columns)
    if len(keys) == 1:
        message = "no field _id or id is in all documents and never null: a key is generated"
        events.append(InferenceEvent("key_generated", (), keys[0].name, message))
    children = _children(name, keys[0].name, found, scan, {name, *taken})
    return InferredTable(name, stats.documents, columns, children, keys, tuple(events))


def _whole_events(stats: TableStats) -> Iterator[InferenceEvent]:
    limits = stats.limits
    if stats.root.wide:
        message = f"more than {limits.fields_max} distinct fields: only the key is a column"
        yield InferenceEvent("too_wide", (), "", message)
    if stats.truncated:
        message = f"more than {limits.nodes_max} distinct paths: only top-level fields are columns"
        yield InferenceEvent("too_many_paths", (), "", message)


@dataclass(frozen=True, slots=True)
class _Scan:
    """One walk over a tree of paths; `base` is the path of the array whose elements it is in."""

    limits: InferenceLimits
    base: Path
    events: list[InferenceEvent]
    deep: bool = True

    def tell(self, kind: EventKind, path: Path, message: str) -> None:
        """Record an event about `path`, which is counted from the base."""
        column = full_name(path) if path else ""
        self.events.append(InferenceEvent(kind, (*self.base, *path), column, message))

    def walk(self, path: Path, node: PathStats, parents: int) -> Iterator[_Found]:
        """All column paths below `node`, in order, parents first."""
        ordered = sorted(node.fields.items(), key=lambda kv: (kv[1].first, kv[1].position, kv[0]))
        for key, child in ordered:
            here = (*path, key)
            yield _Found(here, child, parents)
            if not holds_fields(child):
                continue
            if child.wide:
                self.tell("too_wide", here, "its keys look like data: they stay in jsonb")
            elif child.room:
                yield from self.walk(here, child, child.counts[Kind.OBJECT])
            elif self.deep:
                self.tell("too_deep", here, "fields below this depth stay in jsonb")

    def columns(self, found: list[_Found]) -> tuple[InferredColumn, ...]:
        """The columns of the paths found; the rarest stay in jsonb if there are too many."""
        kept = self._within(found)
        names = assign_names(item.path for item in kept)
        return tuple(self._column(item, names[item.path]) for item in kept)

    def _column(self, item: _Found, name: str) -> InferredColumn:
        node = item.node
        choice = choose_type(node)
        self.events.extend(type_events((*self.base, *item.path), name, node, choice))
        if name != (full := full_name(item.path)):
            self.tell("name_cut", item.path, f"the name {full[:_SHOWN]!r} was cut to {name!r}")
        return InferredColumn(
            item.path,
            name,
            choice.pg_type,
            physical=choice.physical,
            known=choice.known,
            counts=named_counts(node),
            nulls=node.counts.get(Kind.NULL, 0) + node.counts.get(Kind.EMPTY, 0),
            missing=item.parents - node.total,
            first=node.first,
            last=node.last,
        )

    def _within(self, found: list[_Found]) -> list[_Found]:
        """At most `columns_max` paths: the key, then shallow before deep, frequent before rare."""
        most = self.limits.columns_max
        if len(found) <= most:
            return found
        keys = {(key,) for key in KEY_FIELDS}
        ranked = sorted(
            found,
            key=lambda f: (f.path not in keys, len(f.path), -f.node.total, f.node.first, f.path),
        )
        kept = {item.path for item in ranked[:most]}
        left = ", ".join(full_name(item.path) for item in ranked[most:])
        shown = left if len(left) <= _SHOWN else left[:_SHOWN] + " …"
        message = f"more than {most} columns: {len(found) - most} stay in jsonb: {shown}"
        self.tell("too_wide", (), message)
        return [item for item in found if item.path in kept]


def _keys(stats: TableStats, columns: tuple[InferredColumn, ...]) -> tuple[KeyCandidate, ...]:
    """`_id`, then `id`, where every document has one and none is null; last the generated key."""
    names = {column.path: column for column in columns}
    candidates = []
    for key in KEY_FIELDS:
        column = names.get((key,))
        if column and stats.documents and not column.missing and not column.nulls:
            candidates.append(KeyCandidate((key,), column.name, column.pg_type))
    generated = generated_key_name({column.name for column in columns})
    return (*candidates, KeyCandidate((), generated, GENERATED_KEY_TYPE))


def _children(
    table: str, key: str, found: list[_Found], scan: _Scan, taken: set[str]
) -> tuple[InferredChild, ...]:
    """A child table for every array of documents, up to the limit."""
    arrays = [item for item in found if holds_documents(item.node)]
    most = scan.limits.children_max
    for item in arrays[most:]:
        scan.tell("too_many_children", item.path, f"no child table: more than {most} of them")
    return tuple(_child(table, key, item, scan, taken) for item in arrays[:most])


def _child(table: str, key: str, item: _Found, scan: _Scan, taken: set[str]) -> InferredChild:
    element = item.node.element
    assert element is not None
    name = child_table_name(table, item.path, taken)
    taken.add(name)
    inside = replace(scan, base=item.path)
    if element.wide:
        inside.tell("too_wide", (), "the keys of its elements look like data: no columns")
    columns = inside.columns(list(inside.walk((), element, element.counts[Kind.OBJECT])))
    names = {column.name for column in columns}
    parent_key = parent_key_name(table, key, names)
    return InferredChild(item.path, name, columns, parent_key, ordinality_name(names))
