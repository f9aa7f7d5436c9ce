"""What documents bring that a table does not have yet: new fields, and values that do not fit.

Pure: models and statistics in, models out. Old versions keep their columns; a column that met a
misfit is read with a guard from then on. New fields and wider types are a new version's.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from backends.embedded.fitting import FLOATS, Value, reader_raises, reads
from backends.embedded.layout import child_table, nested_type
from catalog.inference.infer import InferredChild, InferredColumn, InferredTable
from catalog.inference.kinds import CELLS, SPECIALS, TEXTS
from catalog.inference.statistics import PathStats, TableStats
from catalog.inference.widen import widen
from catalog.model import (
    Column,
    DocPath,
    Element,
    Stored,
    Table,
    Version,
)
from catalog.naming import Path, child_table_name, free_name, full_name, parent_key_name
from catalog.readers import field_of, json_at
from catalog.sqltext import STORE_SCHEMA, quote_ident

JSONB: Final = "jsonb"
Test = Callable[[Value], str]
_FLOATING: Final = frozenset({*FLOATS, "numeric"})


@dataclass(frozen=True, slots=True)
class Reading:
    """One way in which some version reads a path; `array` is that of a child table, else ()."""

    array: Path
    path: Path
    type: str
    clean: bool
    specials: bool = False

    @property
    def name(self) -> str:
        """The path as messages call it."""
        return full_name((*self.array, *self.path)) if (*self.array, *self.path) else ""

    @property
    def misfit(self) -> str:
        """A condition on a staged row (alias s): it has a value that this reading does not show."""
        return self._anywhere("NOT {}", lambda v: reads(v, self.type, clean=self.clean))

    @property
    def raises(self) -> str:
        """A condition on a staged row: not even the guarded reading can bear it."""
        return self._anywhere("{}", lambda v: reader_raises(v, self.type))

    def _anywhere(self, form: str, test: Test) -> str:
        if not self.array:
            value = Value(f"({json_at('s.doc', self.path)})", specials=self.specials)
            if (condition := test(value)) in ("true", "false"):
                return form.format(condition)
            return f"(NOT ({value.is_null}) AND {form.format(condition)})"
        array = json_at("s.doc", self.array)
        value = Value(f"({json_at('e.value', self.path)})", specials=self.specials)
        return (
            "EXISTS (SELECT FROM pg_catalog.jsonb_array_elements("
            f"CASE WHEN pg_catalog.jsonb_typeof({array}) = 'array' THEN {array} END) e(value) "
            f"WHERE NOT ({value.is_null}) AND {form.format(test(value))})"
        )


@dataclass(frozen=True, slots=True)
class Family:
    """A table with its child tables, as each version that has it shows them."""

    table_id: int
    versions: Mapping[int, Version]

    def members(self, version: Version) -> list[Table]:
        """The table and its child tables in one version."""
        return [
            t
            for t in version.tables
            if t.id == self.table_id or (t.kind == "child" and t.parent_id == self.table_id)
        ]

    def all_members(self) -> Iterable[Table]:
        """The same over all versions."""
        for version in self.versions.values():
            yield from self.members(version)

    @property
    def stored_fields(self) -> set[str]:
        """Fields that some version keeps in a store column."""
        return {
            field_of(c)
            for t in self.all_members()
            for c in t.columns
            if isinstance(c.source, Stored)
        }

    def known_paths(self, array: Path) -> set[Path]:
        """Paths that some version has a column for, in the document or in the elements."""
        return {
            c.source.path
            for t in self.all_members()
            if t.parent_path == array
            for c in t.columns
            if isinstance(c.source, DocPath | Element)
        }

    @property
    def arrays(self) -> set[Path]:
        """Arrays that some version shows as a child table."""
        return {t.parent_path for t in self.all_members() if t.kind == "child"}

    def readings(self) -> set[Reading]:
        """How the versions read the documents."""
        return {
            Reading(t.parent_path, c.source.path, c.type, c.source.clean)
            for t in self.all_members()
            for c in t.columns
            if isinstance(c.source, DocPath | Element)
        }


def suspects(family: Family, stats: TableStats) -> list[Reading]:
    """The readings for which inference does not know that every new value fits."""
    found = []
    for reading in family.readings():
        hidden, node = node_at(stats, reading.array, reading.path)
        floating = reading.type in _FLOATING and reading.clean
        if hidden:
            found.append(reading)
        elif node is not None and not _surely_fits(reading.type, node, physical=floating):
            found.append(replace(reading, specials=floating and _only_specials(node)))
    return sorted(found, key=lambda r: (r.array, r.path, r.type, r.clean))


def _surely_fits(pg_type: str, node: PathStats, *, physical: bool) -> bool:
    if pg_type.endswith("[]") and not node.arrays:
        return False  # nobody looked at the elements
    verdict = widen(pg_type, node, physical=physical)
    return verdict.outcome == "fits" and verdict.certain


def _only_specials(node: PathStats) -> bool:
    kinds = node.counts.keys()
    return bool(kinds & SPECIALS) and not kinds & (TEXTS | CELLS)


def node_at(stats: TableStats, array: Path, path: Path) -> tuple[bool, PathStats | None]:
    """What was seen at a path; the first item is True if inference did not look there."""
    node: PathStats | None = stats.root
    if array:
        hidden, node = _walk(stats.root, array, stats)
        if node is None:
            return hidden, None
        if node.element is None:
            return not node.arrays and node.total > 0, None
        node = node.element
    assert node is not None
    return _walk(node, path, stats)


def _walk(node: PathStats, path: Path, stats: TableStats) -> tuple[bool, PathStats | None]:
    for key in path:
        child = node.fields.get(key)
        if child is None:
            return stats.truncated or node.wide or not node.room, None
        node = child
    return False, node


def flipped(family: Family, misfits: Collection[Reading]) -> dict[int, tuple[Version, list[Table]]]:
    """The versions in which a column needs a guard from now on, with the tables changed."""
    wrong = {(r.array, r.path, r.type) for r in misfits}
    result = {}
    for number, version in family.versions.items():
        changed = []
        for table in family.members(version):
            columns = tuple(
                replace(c, source=replace(c.source, clean=False))
                if isinstance(c.source, DocPath | Element)
                and c.source.clean
                and (table.parent_path, c.source.path, c.type) in wrong
                else c
                for c in table.columns
            )
            if columns != table.columns:
                changed.append(replace(table, columns=columns))
        if changed:
            for table in changed:
                version = version.with_table(table)
            result[number] = (version, changed)
    return result


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that a new version has over the one before."""

    kind: str  # as in morph_catalog.changes
    table_id: int
    relation: str
    path: Path
    column: str
    type: str
    ddl: str


@dataclass(frozen=True, slots=True)
class Growth:
    """A new version for what documents brought. `store` are statements for the store's table."""

    version: Version
    next_id: int
    changes: tuple[Change, ...]
    store: tuple[str, ...] = ()


def present(base: str, array: Path, path: Path) -> str:
    """A condition: the document `base` has something at the path."""
    if not array:
        return f"({json_at(base, path)}) IS NOT NULL"
    elements = json_at(base, array)
    return (
        "EXISTS (SELECT FROM pg_catalog.jsonb_array_elements("
        f"CASE WHEN pg_catalog.jsonb_typeof({elements}) = 'array' THEN {elements} END) e(value) "
        f"WHERE ({json_at('e.value', path)}) IS NOT NULL)"
    )


class Grower:
    """Builds the next version of one table.

    `found` is the table as the new documents alone show it. `occupied` are new paths (with their
    array) at which older documents hold something: what it is nobody knows, so they become jsonb.
    """

    def __init__(
        self,
        family: Family,
        head: Version,
        found: InferredTable,
        stats: TableStats,
        next_id: int,
    ) -> None:
        self._family = family
        self._head = head
        self._found = found
        self._stats = stats
        self._next_id = next_id
        self._changes: list[Change] = []
        self._store: list[str] = []
        table = head.table_by_id(family.table_id)
        assert table is not None
        self._table = table

    def new_columns(self) -> list[InferredColumn]:
        """Fields of the document that no version has a column for."""
        known = self._family.known_paths(())
        fields = self._family.stored_fields
        new = [c for c in self._found.columns if c.path not in known and c.path[0] not in fields]
        shown = new if self._table.has_doc else [c for c in new if len(c.path) == 1]
        # PostgreSQL bounds the columns of a table; fields beyond that are in the document only.
        return shown[: max(0, self._stats.limits.columns_max - len(self._table.columns))]

    def new_elements(self) -> list[tuple[InferredChild, list[InferredColumn]]]:
        """The same for the elements of arrays that are child tables already."""
        result = []
        for child in self._found.children:
            if child.path in self._family.arrays:
                known = self._family.known_paths(child.path)
                result.append((child, [c for c in child.columns if c.path not in known]))
        return result

    def new_children(self) -> list[InferredChild]:
        """Arrays of documents that no version shows as a child table."""
        fields = self._family.stored_fields
        known = self._family.arrays
        return [
            c
            for c in self._found.children
            if self._table.has_doc and c.path not in known and c.path[0] not in fields
        ]

    def new_paths(self) -> list[tuple[Path, Path]]:
        """Every new path, with the array that it is inside of."""
        paths: list[tuple[Path, Path]] = [((), c.path) for c in self.new_columns()]
        for child, columns in self.new_elements():
            paths += [(child.path, c.path) for c in columns]
        for child in self.new_children():
            paths += [(child.path, c.path) for c in child.columns]
        return paths if self._table.has_doc else []

    def grow(
        self,
        number: int,
        misfits: Collection[Reading],
        occupied: Collection[tuple[Path, Path]],
        taken: Collection[str],
        unknown: Collection[Path] = (),
    ) -> Growth | None:
        """The new version, None if there is nothing new."""
        version = replace(self._head, number=number, parent=self._head.number, created_at="")
        for table in self._family.members(self._head):
            table = self._retyped(table, misfits, unknown)
            if table.id == self._table.id:
                table = self._table = self._widened(table, occupied)
            else:
                table = self._longer(table, occupied)
            version = version.with_table(table)
        for table in self._children(occupied, set(taken)):
            version = version.with_table(table)
        if not self._changes:
            return None
        return Growth(version, self._next_id, tuple(self._changes), tuple(self._store))

    def _retyped(
        self, table: Table, misfits: Collection[Reading], unknown: Collection[Path]
    ) -> Table:
        wrong = {(r.path, r.type) for r in misfits if r.array == table.parent_path}
        columns = []
        for column in table.columns:
            source = column.source
            if isinstance(source, DocPath | Element):
                pg_type = column.type
                if (source.path, column.type) in wrong:
                    pg_type = self._wider(table.parent_path, column, clean=source.clean)
                elif column.type == JSONB and source.path in unknown and not table.parent_path:
                    item = self._found.column(source.path)
                    pg_type = nested_type(item) if item and item.known else JSONB
                if pg_type != column.type:
                    column = replace(column, type=pg_type, source=replace(source, clean=True))
                    self._tell("change type", table, column, source.path)
            columns.append(column)
        return replace(table, columns=tuple(columns))

    def _wider(self, array: Path, column: Column, *, clean: bool) -> str:
        assert isinstance(column.source, DocPath | Element)
        _, node = node_at(self._stats, array, column.source.path)
        if node is None or not clean:
            return JSONB
        verdict = widen(column.type, node)
        special = bool(node.counts.keys() & SPECIALS)
        if verdict.outcome != "widened" or verdict.pg_type.endswith("[]"):
            return JSONB
        return verdict.pg_type if not special or _only_specials(node) else JSONB

    def _widened(self, table: Table, occupied: Collection[tuple[Path, Path]]) -> Table:
        names = {c.name for c in table.columns}
        columns = list(table.columns)
        for item in self.new_columns():
            name = free_name(full_name(item.path), names)
            names.add(name)
            if table.has_doc:
                pg_type = JSONB if ((), item.path) in occupied else nested_type(item)
                column = Column(self._id(), name, pg_type, DocPath(item.path))
            else:
                column = self._stored(table, name, item)
            columns.append(column)
            self._tell("add column", table, column, item.path)
        return replace(table, columns=tuple(columns))

    def _stored(self, table: Table, name: str, item: InferredColumn) -> Column:
        column_id = self._id()
        source = Stored(f"c{column_id}", item.pg_type, item.path[0])
        self._store.append(
            f"ALTER TABLE {STORE_SCHEMA}.{quote_ident(table.store)} "
            f"ADD COLUMN {quote_ident(source.column)} {item.pg_type}"
        )
        return Column(column_id, name, item.pg_type, source)

    def _longer(self, table: Table, occupied: Collection[tuple[Path, Path]]) -> Table:
        names = {c.name for c in table.columns}
        columns = list(table.columns)
        for child, items in self.new_elements():
            for item in items if child.path == table.parent_path else ():
                name = free_name(full_name(item.path), names)
                names.add(name)
                pg_type = JSONB if (child.path, item.path) in occupied else nested_type(item)
                columns.append(Column(self._id(), name, pg_type, Element(item.path)))
                self._tell("add column", table, columns[-1], (*child.path, *item.path))
        return replace(table, columns=tuple(columns))

    def _children(
        self, occupied: Collection[tuple[Path, Path]], taken: set[str]
    ) -> Iterable[Table]:
        primary = self._table.primary_key
        if primary is None or len(primary.columns) != 1:
            return
        key = self._table.column_by_id(primary.columns[0])
        assert key is not None
        for child in self.new_children():
            names = {c.name for c in child.columns}
            child = replace(
                child,
                name=child_table_name(self._table.name, child.path, taken),
                parent_key=parent_key_name(self._table.name, key.name, names),
                columns=tuple(
                    replace(c, pg_type=JSONB, physical=False)
                    if (child.path, c.path) in occupied
                    else c
                    for c in child.columns
                ),
            )
            taken.add(child.name)
            table = child_table(self._next_id, self._table, key.id, child)
            self._next_id = table.columns[-1].id + 1
            ddl = f"CREATE TABLE {quote_ident(table.name)}"
            self._changes.append(
                Change("create table", table.id, table.name, child.path, "", "", ddl)
            )
            yield table

    def _id(self) -> int:
        self._next_id += 1
        return self._next_id - 1

    def _tell(self, kind: str, table: Table, column: Column, path: Path) -> None:
        verb = "ADD COLUMN" if kind == "add column" else "ALTER COLUMN"
        of_type = column.type if kind == "add column" else f"TYPE {column.type}"
        ddl = f"ALTER TABLE {quote_ident(table.name)} {verb} {quote_ident(column.name)} {of_type}"
        self._changes.append(
            Change(kind, table.id, table.name, path, column.name, column.type, ddl)
        )
