"""Undoes what changes did to the rows of all versions, newest first, and does it again
(catalog/shared.py has the kinds). The versions that stay show it afterwards as they did before.

What cannot be put back because of rows that were written meanwhile is refused with PostgreSQL's own
error and the keys of these rows; nothing is ever removed. Who accepts it goes back without it: then
it stays as the change made it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from catalog import shapes
from catalog.model import CatalogSnapshot, Column, Constraint, Lensed, Stored, Table, Version
from catalog.shared import Shared, SharedConstraint, SharedNull, SharedType, shared_statement
from catalog.sqltext import quote_ident, shape_schema
from catalog.store import version_statement
from core.errors import FeatureNotSupported
from evolution.operators.moved_constraints import store_clause
from evolution.publish import rebuild_view_statements
from evolution.request import Note
from evolution.shared.record import constraint_of, read_shared
from evolution.shared.store_tables import drop_constraint, drop_not_null, has_constraint
from evolution.shared.violations import (
    Against,
    Look,
    against,
    look_for,
    look_for_nulls,
    look_for_type,
    store,
)
from evolution.transaction import Transaction

ROLL_BACK_HINT: Final = (
    "CALL morph.rollback({0}, accept => true) rolls back all the same and leaves it out."
)
DISCARD_HINT: Final = "Change these rows, and discard change {0} then."
PROMOTE_HINT: Final = "Change these rows, and promote version {0} then."


def descendants(snapshot: CatalogSnapshot, number: int) -> list[int]:
    """The version and all that were made on it, newest first."""
    found = {number}
    for other in sorted(snapshot.versions):
        if snapshot.versions[other].parent in found:
            found.add(other)
    return sorted(found, reverse=True)


@dataclass(slots=True)
class Plan:
    """What has to be done: `versions` are all versions afterwards, `statements` make it so.
    `standing` is what stands in the way, each with the version that it belongs to; `told` is for
    who asked.
    """

    versions: dict[int, Version]
    statements: list[str] = field(default_factory=list)
    standing: list[tuple[int, Against]] = field(default_factory=list)
    told: list[Note] = field(default_factory=list)


async def undo_plan(tx: Transaction, snapshot: CatalogSnapshot, number: int, target: int) -> Plan:
    """Take back what `number` and the versions made on it did; `target` will be current."""
    builder = _Builder(tx, snapshot, target, forward=False)
    shared = await read_shared(tx, descendants(snapshot, number))
    for each in sorted(shared, reverse=True):
        await builder.change(each, shared[each])
    return builder.plan()


async def redo_plan(tx: Transaction, snapshot: CatalogSnapshot, numbers: Sequence[int]) -> Plan:
    """Do again what was taken back of these versions, which become current."""
    builder = _Builder(tx, snapshot, max(numbers, default=0), forward=True)
    shared = await read_shared(tx, numbers)
    for each in sorted(shared):
        await builder.change(each, shared[each])
    return builder.plan()


class _Builder:
    """Gathers statements over `versions`, which it changes as it goes on."""

    def __init__(
        self, tx: Transaction, snapshot: CatalogSnapshot, target: int, *, forward: bool
    ) -> None:
        self._tx = tx
        self._snapshot = snapshot
        self._target = target
        self._forward = forward
        self._plan = Plan(dict(snapshot.versions))
        self._store: list[str] = []
        self._shapes: list[str] = []
        self._retyped: set[int] = set()
        self._missing: list[tuple[int, tuple[int, ...]]] = []  # unique keys that could not be

    def plan(self) -> Plan:
        """All of it, with the statements in their order."""
        plan = self._plan
        changed = [v for n, v in plan.versions.items() if v is not self._snapshot.versions[n]]
        snapshot = replace(self._snapshot, versions=plan.versions)
        views = [plan.versions[n] for n in sorted(self._retyped)]
        made = [s for v in views for s in rebuild_view_statements(snapshot, v)]
        plan.statements = [
            *(s for v in views for s in shapes.drop_view_statements(v)),
            *self._store,
            *(s for s in made if not s.startswith("DROP SCHEMA")),
            *self._shapes,
            *(version_statement(v) for v in changed),
            *plan.statements,
        ]
        return plan

    async def change(self, number: int, shared: tuple[Shared, ...]) -> None:
        """All that one version did: what is in force, or what is not."""
        done = {
            each: await self._one(number, each)
            for each in (shared if self._forward else reversed(shared))
            if each.in_force is not self._forward
        }
        fresh = tuple(done.get(each) or each for each in shared)
        if fresh != shared:
            self._plan.statements.append(shared_statement(number, fresh))

    async def _one(self, number: int, each: Shared) -> Shared | None:
        """What is kept of it when it is done, None when it cannot be."""
        others = [n for n in self._plan.versions if n not in descendants(self._snapshot, number)]
        try:
            match each:
                case SharedConstraint():
                    done = await self._constraint(number, each, others)
                case SharedNull():
                    done = await self._null(number, each, others)
                case SharedType():
                    done = await self._type(number, each)
        except (FeatureNotSupported, KeyError):
            # In the layout of now its columns are computed: nothing could hold it there.
            note = Note(
                f"what change {number} did to columns that are kept in another form now stays",
                hint="morph.ddl_mode = auto or shadow keeps the old layout for a rollback.",
            )
            if all(other.primary != note.primary for other in self._plan.told):
                self._plan.told.append(note)
            return None
        return replace(each, in_force=self._forward) if done else None

    async def _stands(self, number: int, look: Look | None) -> bool:
        found = await against(self._tx, look) if look is not None else None
        if found is not None:
            self._plan.standing.append((number, found))
        return found is not None

    # ------------------------------------------------------------------ constraints

    async def _constraint(self, number: int, each: SharedConstraint, others: list[int]) -> bool:
        if each.added is not self._forward:
            await self._drop_constraint(each, others)
            return True
        home, constraint = self._home(number, each)
        version = self._plan.versions[home]
        table = version.table_by_id(each.table_id)
        assert table is not None, constraint.name
        if (constraint.references, constraint.foreign_columns) in self._missing:
            return False  # what it references is not unique any more
        look = look_for(version, table, constraint)
        clause = store_clause(version, table, constraint)
        if await self._stands(number, look):
            self._missing.append((each.table_id, constraint.columns))
            return False
        if not await has_constraint(self._tx, store(table), each.store_name):
            name = quote_ident(each.store_name)
            self._store.append(f"ALTER TABLE {store(table)} ADD CONSTRAINT {name} {clause}")
        for n, shown in each.shown:
            if n in others and n in self._plan.versions:
                self._show(n, each.table_id, shown)
        return True

    def _home(self, number: int, each: SharedConstraint) -> tuple[int, Constraint]:
        """The version by whose names the store's constraint is written."""
        shown = {n: c for n, c in each.shown if n in self._plan.versions}
        for n in (self._target, number, *shown):
            if n in shown and self._plan.versions[n].table_by_id(each.table_id) is not None:
                return n, shown[n]
        raise KeyError(number)

    async def _drop_constraint(self, each: SharedConstraint, others: list[int]) -> None:
        self._store += await drop_constraint(self._tx, each.table_id, each.store_name)
        for n in others:
            version = self._plan.versions[n]
            mine = constraint_of(version, each.table_id, each.store_name)
            table = version.table_by_id(each.table_id)
            if mine is None or table is None:
                continue
            left = tuple(c for c in table.constraints if c is not mine)
            self._plan.versions[n] = version.with_table(replace(table, constraints=left))
            self._alter_shape(n, table, f"DROP CONSTRAINT IF EXISTS {quote_ident(mine.name)}")

    def _show(self, number: int, table_id: int, constraint: Constraint) -> None:
        version = self._plan.versions[number]
        table = version.table_by_id(table_id)
        if table is None or any(c.name == constraint.name for c in table.constraints):
            return
        fresh = replace(table, constraints=(*table.constraints, constraint))
        self._plan.versions[number] = version.with_table(fresh)
        action = f"ADD CONSTRAINT {quote_ident(constraint.name)} {constraint.definition}"
        self._alter_shape(number, table, action)

    def _alter_shape(self, number: int, table: Table, action: str) -> None:
        """In the version's own schema; `public` is made anew by the pointer's move."""
        schema = quote_ident(shape_schema(number))
        self._shapes += [
            f"SET LOCAL search_path = {schema}, pg_temp",
            f"ALTER TABLE {schema}.{quote_ident(table.name)} {action}",
            "SET LOCAL search_path = pg_catalog, pg_temp",
        ]

    # ------------------------------------------------------------------ columns

    def _column(self, table_id: int, column_id: int) -> tuple[Table, Column, str]:
        """A table and column that the store has as it is, with its name there: as the target shows
        it if it does. KeyError when it is computed now.
        """
        versions = self._plan.versions
        order = [self._target, *(n for n in versions if n != self._target)]
        for number in order:
            table = versions[number].table_by_id(table_id) if number in versions else None
            column = table.column_by_id(column_id) if table is not None else None
            if table is None or column is None:
                continue
            if isinstance(column.source, Lensed):
                break
            if isinstance(column.source, Stored):
                return table, column, column.source.column
        raise KeyError(column_id)

    async def _null(self, number: int, each: SharedNull, others: list[int]) -> bool:
        table, column, name = self._column(each.table_id, each.column_id)
        wanted = each.not_null is self._forward
        if wanted and await self._stands(number, look_for_nulls(table, column.name, name)):
            return False
        verb = "SET" if wanted else "DROP"
        target = f"ALTER TABLE {store(table)} ALTER COLUMN {quote_ident(name)}"
        self._store += (
            [f"{target} SET NOT NULL"]
            if wanted
            else await drop_not_null(self._tx, each.table_id, name)
        )
        for n in each.versions:
            if n not in others:
                continue
            version = self._plan.versions[n]
            shown = version.table_by_id(each.table_id)
            mine = shown.column_by_id(each.column_id) if shown is not None else None
            if shown is None or mine is None or mine.not_null is wanted:
                continue
            fresh = shown.with_column(replace(mine, not_null=wanted))
            self._plan.versions[n] = version.with_table(fresh)
            self._alter_shape(n, shown, f"ALTER COLUMN {quote_ident(mine.name)} {verb} NOT NULL")
        return True

    async def _type(self, number: int, each: SharedType) -> bool:
        table, column, name = self._column(each.table_id, each.column_id)
        wanted = each.new if self._forward else each.old
        now = each.old if self._forward else each.new
        assert isinstance(column.source, Stored)
        if column.source.type != now:
            return True  # it has the type already
        if not self._forward and await self._stands(
            number, look_for_type(table, name, wanted, now)
        ):
            return False
        target = f"ALTER TABLE {store(table)} ALTER COLUMN {quote_ident(name)}"
        self._store.append(f"{target} TYPE {wanted}")
        if column.default is not None and column.type == wanted:
            self._store.append(f"{target} SET DEFAULT {column.default}")
        for n, version in self._plan.versions.items():
            shown = version.table_by_id(each.table_id)
            fresh = _retyped(shown, each.column_id, wanted) if shown is not None else None
            if fresh is not None and fresh != shown:
                self._plan.versions[n] = version.with_table(fresh)
                self._retyped.add(n)
        return True


def _retyped(table: Table, column_id: int, wanted: str) -> Table:
    """The table over a column that has another type in the store now."""

    def over(column: Column, *, shown: bool) -> Column:
        source = column.source
        if column.id != column_id or not isinstance(source, Stored):
            return column
        if shown:
            plain = column.type != wanted
            return replace(column, source=replace(source, type=wanted, plain=plain))
        return replace(column, type=wanted, source=replace(source, type=wanted, plain=False))

    lenses = tuple(
        replace(lens, under=tuple(over(c, shown=False) for c in lens.under))
        for lens in table.lenses
    )
    return replace(table, columns=tuple(over(c, shown=True) for c in table.columns), lenses=lenses)
