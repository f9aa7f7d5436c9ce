"""From the scratch copy to a new version: every relation of the copy is compared with what it was.

What the store has to do is gathered in a `Reading`; nothing is written here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from catalog.model import Column, Constraint, Index, Seed, Stored, Table, Version
from catalog.sqltext import quote_ident
from core.errors import DependentObjectsStillExist, FeatureNotSupported
from evolution.columns import Reading, read_columns, store_table, with_lenses
from evolution.constraints import read_constraint, unqualified
from evolution.dependents import seed_reads, seeds, with_children
from evolution.foreign_columns import foreign_parts
from evolution.generated import stored_definition
from evolution.introspect import SCRATCH, ScratchConstraint, ScratchTable
from evolution.operators.calls import Reshape
from evolution.operators.change_type import Recipe
from evolution.operators.moved_constraints import renumbered
from evolution.request import DdlRequest
from evolution.scratch import ScratchCopy


@dataclass(frozen=True, slots=True)
class Command:
    """What of the client's statement cannot be read off the copy: the expressions of new generated
    columns and which are STORED, the constraints that it drops by name, whether it drops what
    depends, and by column id how it converts values.
    """

    expressions: Mapping[str, str]
    stored: frozenset[str] = frozenset()
    dropped_constraints: frozenset[str] = frozenset()
    cascade: bool = False
    recipes: Mapping[int, Recipe] = field(default_factory=dict)
    reshaping: Reshape | None = None


class Comparison:
    """Builds the version; `dropped` are the relations that are gone."""

    def __init__(self, request: DdlRequest, copy: ScratchCopy, command: Command) -> None:
        self._request = request
        self._copy = copy
        self._command = command
        versions = request.snapshot.versions
        self.reading = Reading(
            request.snapshot.next_id,
            direct=request.direct,
            several=bool(set(versions) - {request.pending}),
            seen=request.look.description if request.look else None,
            recipes=command.recipes,
            reshaping=command.reshaping,
            stored=command.stored,
        )
        self.dropped: list[Table] = []
        self.added: list[tuple[Table, Constraint]] = []
        self.removed: list[tuple[Table, Constraint]] = []
        self._numbers: dict[int, dict[int, Column]] = {}

    def version(self) -> Version:
        """The head as the statement left it, under the number of this change."""
        head = self._request.head
        version = head
        for oid, before in self._copy.before.items():
            table, after = self._copy.tables[oid], self._copy.after.get(oid)
            if after is None:
                version = self._without(version, table)
            elif table.kind == "view":
                version = version.with_table(self._view(table, before, after))
            else:
                version = version.with_table(self._columns(table, before, after))
        for oid, before in self._copy.before.items():
            after, old = self._copy.after.get(oid), self._copy.tables[oid]
            now = version.table_by_id(old.id)
            if after is not None and now is not None and now.kind != "view":
                version = version.with_table(self._parts(version, old, now, before, after))
        version = self._check_seeds(head, version)
        for table_id, ids in self.reading.converted.items():
            version = renumbered(version, table_id, ids)
        self._keep_generated(head, version)
        return replace(version, number=self._request.number, parent=self._request.parent)

    def _without(self, version: Version, table: Table) -> Version:
        for gone in sorted(with_children(version, {table.id})):
            item = version.table_by_id(gone)
            if item is not None:
                self.dropped.append(item)
                self.reading.touched |= {c.id for c in item.columns}
            version = version.without_table(gone)
        return version

    def _view(self, table: Table, before: ScratchTable, after: ScratchTable) -> Table:
        if after.name != before.name:
            self.reading.kinds.append("rename view")
        columns = tuple(
            replace(column, name=found.name, comment=found.comment)
            for column, found in zip(table.columns, after.columns, strict=True)
        )
        if columns != table.columns and before.columns != after.columns:
            self.reading.kinds.append("alter view")
        changed = after.definition != before.definition
        return replace(
            table,
            name=after.name,
            columns=columns,
            comment=after.comment,
            definition=after.definition if changed else table.definition,
        )

    def _columns(self, table: Table, before: ScratchTable, after: ScratchTable) -> Table:
        if after.name != before.name:
            self.reading.kinds.append("rename table")
        columns = read_columns(table, before, after, dict(self._command.expressions), self.reading)
        self._numbers[after.oid] = {
            found.number: column for found, column in zip(after.columns, columns, strict=True)
        }
        now = replace(table, name=after.name, columns=tuple(columns), comment=after.comment)
        return with_lenses(now, self.reading)

    # ------------------------------------------------------------------ constraints and indexes

    def _parts(
        self, version: Version, old: Table, now: Table, before: ScratchTable, after: ScratchTable
    ) -> Table:
        if old.kind == "foreign":
            return foreign_parts(now)
        constraints = self._constraints(version, old, now, before, after)
        return replace(now, constraints=constraints, indexes=_indexes(old, before, after))

    def _constraints(
        self, version: Version, old: Table, now: Table, before: ScratchTable, after: ScratchTable
    ) -> tuple[Constraint, ...]:
        known = {c.name: c for c in old.constraints}
        was = {c.oid: known[c.name] for c in before.constraints}
        outside = [c for c in old.constraints if c.kind == "f" and c not in was.values()]
        pairs = [(found, self._known(found, was, known)) for found in after.constraints]
        kept = [same for _, same in pairs if same is not None]
        ids = {c.store_name for c in (*kept, *outside)}
        for constraint in old.constraints:  # before others come: a table has one primary key
            if constraint.store_name not in ids:
                self._lost_constraint(old, constraint)
        numbers = self._numbers[after.oid]
        return tuple(
            same or self._new_constraint(version, now, found, numbers) for found, same in pairs
        ) + tuple(outside)

    def _known(
        self,
        found: ScratchConstraint,
        was: Mapping[int, Constraint],
        known: Mapping[str, Constraint],
    ) -> Constraint | None:
        """The constraint as it is called now, None for a new one. A change of type makes it again,
        under the name it had.
        """
        same = was.get(found.oid)
        if same is None and found.name not in self._command.dropped_constraints:
            same = known.get(found.name)
        if same is None:
            return None
        if same.name != found.name:
            self.reading.kinds.append("rename constraint")
        return replace(same, name=found.name, definition=unqualified(found.definition))

    def _new_constraint(
        self,
        version: Version,
        table: Table,
        found: ScratchConstraint,
        columns: Mapping[int, Column],
    ) -> Constraint:
        reading = self.reading
        other = self._referenced(version, found) if found.kind == "f" else None
        constraint, clause = read_constraint(table, columns, found, other, reading.new_id())
        reading.kinds.append("add constraint")
        reading.store.append(f"ALTER TABLE {store_table(table)} {clause}")
        self.added.append((table, constraint))
        return constraint

    def _referenced(
        self, version: Version, found: ScratchConstraint
    ) -> tuple[Table, Mapping[int, Column]] | None:
        if found.references_schema == SCRATCH:
            other = version.table(found.references_name)
            return (other, self._numbers[found.references]) if other else None
        return shape_columns(self._request, found)

    def _lost_constraint(self, table: Table, constraint: Constraint) -> None:
        self.reading.kinds.append("drop constraint")
        if constraint.name not in self._command.dropped_constraints:
            return  # it went with a column or table; older versions have it still
        if constraint.kind == "p" and table.has_doc:
            raise FeatureNotSupported(
                f'cannot drop the primary key of table "{table.name}"',
                hint="Documents need their key in every version.",
            )
        for other in self._request.head.tables:
            for key in other.constraints:
                if key.references == table.id and constraint.columns == key.foreign_columns:
                    raise FeatureNotSupported(
                        f'constraint "{key.name}" of table "{other.name}" references what '
                        f'"{constraint.name}" makes unique',
                        hint=f'Drop "{key.name}" first.',
                    )
        name = quote_ident(constraint.store_name)
        self.reading.store.append(f"ALTER TABLE {store_table(table)} DROP CONSTRAINT {name}")
        self.removed.append((table, constraint))

    # ------------------------------------------------------------------ virtual columns

    def _keep_generated(self, head: Version, version: Version) -> None:
        """The store gets the new generated columns that are STORED."""
        known = {column.id for _, column in seeds(head)}
        for table, column in seeds(version):
            if column.id not in known and isinstance(column.source, Seed) and column.source.column:
                self.reading.store.append(
                    f"ALTER TABLE {store_table(table)} ADD COLUMN "
                    f"{stored_definition(table, column)}"
                )

    def _check_seeds(self, head: Version, version: Version) -> Version:
        """Virtual columns read what they read before; dropped with CASCADE where they cannot."""
        version = _with_dependencies(head, version)
        while True:
            broken = [
                (table, column, reads)
                for table, column in seeds(version)
                if (reads := self._loses(head, version, table, column))
            ]
            if not broken:
                return version
            for table, column, lost in broken:
                if not self._command.cascade or lost == "renamed":
                    self._refuse(table, column, lost)
                now = version.table_by_id(table.id)
                assert now is not None
                kept = tuple(c for c in now.columns if c.id != column.id)
                version = version.with_table(replace(now, columns=kept))
                self.reading.touched.add(column.id)
                self.reading.kinds.append("drop column")

    def _loses(self, head: Version, version: Version, table: Table, column: Column) -> str:
        assert isinstance(column.source, Seed)
        if not set(column.source.depends) & self.reading.touched and not self.dropped:
            renamed = any(t.name != n.name for t in head.tables if (n := version.table_by_id(t.id)))
            if not renamed:
                return ""
        now = seed_reads(version, table, column)
        if now is not None and set(now) == set(column.source.depends):
            return ""
        left = {c.id for t in version.tables for c in t.columns}
        return "renamed" if set(column.source.depends) <= left else "dropped"

    def _refuse(self, table: Table, column: Column, lost: str) -> None:
        if lost == "renamed":
            raise FeatureNotSupported(
                f'virtual column "{column.name}" of table "{table.name}" reads by name what '
                "the statement renames",
                hint=f'Drop "{column.name}" first, and add it again with the new name.',
            )
        raise DependentObjectsStillExist(
            "cannot drop what the statement names because other objects depend on it",
            detail=f"virtual column {column.name} of table {table.name} reads it",
            hint="Use DROP ... CASCADE to drop the dependent objects too.",
        )


def shape_columns(
    request: DdlRequest, found: ScratchConstraint
) -> tuple[Table, Mapping[int, Column]] | None:
    """The table that a foreign key references outside the copy: a shape, whose attribute numbers
    are the positions of the model's columns.
    """
    resolved = request.namespaces.resolve(found.references_schema, found.references_name)
    if resolved is None and found.references_schema == f"v{request.head.number}":
        other = request.head.table(found.references_name)
    else:
        other = resolved.table if resolved else None
    return (other, dict(enumerate(other.columns, 1))) if other else None


def _with_dependencies(head: Version, version: Version) -> Version:
    """The version with what new virtual columns read."""
    for table, column in seeds(version):
        assert isinstance(column.source, Seed)
        old = head.table_by_id(table.id)
        if old is not None and old.column_by_id(column.id) is not None:
            continue
        reads = seed_reads(version, table, column) or ()
        now = version.table_by_id(table.id)
        assert now is not None
        fresh = replace(column, source=replace(column.source, depends=reads))
        version = version.with_table(now.with_column(fresh))
    return version


def _indexes(old: Table, before: ScratchTable, after: ScratchTable) -> tuple[Index, ...]:
    """The indexes under their names of now; those that lost a column are not shown any more."""
    known = {i.name: i for i in old.indexes}
    was = {i.oid: known[i.name] for i in before.indexes if i.name in known}
    kept = []
    for found in after.indexes:
        same = was.get(found.oid) or known.get(found.name)
        if same is not None:
            definition, predicate = found.definition, found.predicate
            if found.definition == _printed(before, found.oid):
                definition, predicate = same.definition, same.predicate
            kept.append(replace(same, name=found.name, definition=definition, predicate=predicate))
    return tuple(kept)


def _printed(before: ScratchTable, oid: int) -> str:
    return next((i.definition for i in before.indexes if i.oid == oid), "")


def share_with_others(
    request: DdlRequest, versions: dict[int, Version], comparison: Comparison
) -> list[str]:
    """Constraints and NOT NULL hold for all versions: those that have the columns under the same
    names show them. `versions` are changed, the statements change their shapes.
    """
    statements: list[str] = []
    for number in [n for n in versions if n != request.pending]:
        for table, constraint in comparison.removed:
            for seen in [t for t in versions[number].tables if t.rows_of == table.rows_of]:
                mine = _same(seen, constraint)
                if mine is None:
                    continue
                left = tuple(c for c in seen.constraints if c is not mine)
                versions[number] = versions[number].with_table(replace(seen, constraints=left))
                statements += request.on_shapes(
                    number, seen.name, f"DROP CONSTRAINT IF EXISTS {quote_ident(mine.name)} CASCADE"
                )
        for table, constraint in comparison.added:
            statements += _share_added(request, versions, number, table, constraint)
        for column_id, not_null in comparison.reading.nullable.items():
            statements += _share_null(request, versions, number, column_id, not_null)
    return statements


def _same(table: Table, constraint: Constraint) -> Constraint | None:
    return next((c for c in table.constraints if c.store_name == constraint.store_name), None)


def _share_added(
    request: DdlRequest,
    versions: dict[int, Version],
    number: int,
    table: Table,
    constraint: Constraint,
) -> list[str]:
    version = versions[number]
    seen = version.table_by_id(table.id)
    if seen is None or any(c.name == constraint.name for c in seen.constraints):
        return []
    wanted = [table.column_by_id(i) for i in constraint.columns]
    shown = [seen.column_by_id(i) for i in constraint.columns]
    if [(c.name, c.type) for c in wanted if c] != [(c.name, c.type) for c in shown if c]:
        return []
    if constraint.references or not wanted:
        return []  # the names of the other table may differ; the store enforces it all the same
    versions[number] = version.with_table(
        replace(seen, constraints=(*seen.constraints, constraint))
    )
    action = f"ADD CONSTRAINT {quote_ident(constraint.name)} {constraint.definition}"
    return request.on_shapes(number, seen.name, action)


def _share_null(
    request: DdlRequest,
    versions: dict[int, Version],
    number: int,
    column_id: int,
    not_null: bool,
) -> list[str]:
    statements: list[str] = []
    for table in versions[number].tables:
        column = table.column_by_id(column_id)
        if column is None or not isinstance(column.source, Stored):
            continue
        changed = table.with_column(replace(column, not_null=not_null))
        versions[number] = versions[number].with_table(changed)
        verb = "SET" if not_null else "DROP"
        action = f"ALTER COLUMN {quote_ident(column.name)} {verb} NOT NULL"
        statements += request.on_shapes(number, table.name, action)
    return statements
