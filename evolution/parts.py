"""Tables that show some rows of a store table which others share with them: what DDL may do to
them, and what stands against making them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from catalog.model import Column, Constraint, Index, Part, Table, Version
from catalog.naming import NAME_BYTES_MAX
from catalog.readers import part_condition
from catalog.sqltext import STORE_SCHEMA, quote_ident
from core.errors import (
    DependentObjectsStillExist,
    DuplicateTable,
    FeatureNotSupported,
    MorphError,
    ObjectNotInPrerequisiteState,
    ReservedName,
    WrongObjectType,
)
from evolution.changes.records import load_records
from evolution.dependents import dependent_views, seed_reads, seeds
from evolution.indexes import relation_names
from evolution.lifecycle import line
from evolution.request import DdlRequest
from rewrite.tree import Node

_ALLOWED = frozenset({"AT_AddColumn", "AT_DropColumn", "AT_ColumnDefault"})
_PLAIN = frozenset({"CONSTR_DEFAULT", "CONSTR_NOTNULL", "CONSTR_NULL", "CONSTR_GENERATED"})
_COUNTED = "morph.rows_outside"
_HINT = "Do it before the split, or merge the tables first (CALL morph.merge_tables)."


def check_part(head: Version, table: Table, commands: Sequence[Node]) -> None:
    """FeatureNotSupported (0A000) for what an ALTER TABLE would do to the rows of other parts."""
    if table.part is None:
        _check_key(head, table, commands)
        return
    what = f'"{table.name}" shows some of the rows of a table that was split'
    if table.part.keyed:
        what = f'"{table.name}" shows columns of a table that was decomposed'
    for command in commands:
        kind = command.subtype.name
        added = (command.def_.constraints or ()) if kind == "AT_AddColumn" else ()
        column = table.column(command.name) if kind == "AT_DropColumn" else None
        if kind not in _ALLOWED or any(c.contype.name not in _PLAIN for c in added):
            raise FeatureNotSupported(
                f"{what}: it takes ADD, DROP and RENAME COLUMN and defaults", hint=_HINT
            )
        names = {c.contype.name for c in added}
        if "CONSTR_NOTNULL" in names and not names & {"CONSTR_DEFAULT", "CONSTR_GENERATED"}:
            raise FeatureNotSupported(f"{what}: the others could not insert any more", hint=_HINT)
        if column is not None and column.not_null and column.default is None:
            raise FeatureNotSupported(
                f'{what}: column "{column.name}" is NOT NULL for all of them', hint=_HINT
            )


def _check_key(head: Version, table: Table, commands: Iterable[Node]) -> None:
    """A key that another table shows, too, keeps its type."""
    key = table.primary_key
    parts = [t for t in head.tables if t.part is not None and t.part.of == table.id]
    for command in commands:
        column = table.column(command.name or "")
        if command.subtype.name != "AT_AlterColumnType" or column is None or not parts:
            continue
        if key is not None and column.id in key.columns:
            raise FeatureNotSupported(
                f'cannot alter the type of column "{column.name}" of table "{table.name}": '
                f'"{parts[0].name}" has the same key',
                hint="Join the tables first (CALL morph.join_tables).",
            )


async def check_divisible(request: DdlRequest, table: Table, verb: str) -> None:
    """What a table must be whose rows are to be shown by several: WrongObjectType (42809),
    FeatureNotSupported (0A000), ObjectNotInPrerequisiteState (55000) while it has two layouts,
    DependentObjectsStillExist (2BP01) where others read it.
    """
    if table.kind in ("view", "child"):
        raise WrongObjectType(f'"{table.name}" is not a table of the store')
    what = f'cannot {verb} "{table.name}"'
    if table.kind == "foreign":
        raise FeatureNotSupported(f"{what}: its rows lie in another store")
    if table.has_doc:
        raise FeatureNotSupported(
            f"{what}: its rows are documents", hint="Use views with a WHERE clause."
        )
    if table.part is not None:
        raise FeatureNotSupported(f"{what}: it was split off itself", hint=_HINT)
    for other in request.head.tables:
        if other.part is not None and other.part.of == table.id:
            raise FeatureNotSupported(
                f'{what}: "{other.name}" was split off it', hint="Join them first."
            )
    shown = (v.table_by_id(table.id) for v in request.snapshot.versions.values())
    if any(t is not None and t.lenses for t in shown):
        raise FeatureNotSupported(
            f"{what}: a version shows its values in another form than the store",
            hint="Divide it first, or make a table of its own with CREATE TABLE … AS.",
        )
    for record in await load_records(request.tx):
        if not record.over and any(t.table_id == table.id for t in record.tables):
            raise ObjectNotInPrerequisiteState(
                f"{what}: change {record.change_id} is in flight over it",
                hint="Try again when it is over.",
            )
    check_dependents(request, table, verb)


def check_dependents(
    request: DdlRequest, table: Table, verb: str, *, but: Table | None = None
) -> None:
    """Nothing reads the table, `but` one: DependentObjectsStillExist (2BP01)."""
    head = request.head
    for view in dependent_views(request.snapshot, head, {table.id}, transitive=False):
        raise _depends(verb, table, f"view {view.name} depends on table {table.name}")
    for other in head.tables:
        for constraint in other.constraints:
            if constraint.references == table.id and (but is None or other.id != but.id):
                detail = f"constraint {constraint.name} on table {other.name} depends on "
                raise _depends(verb, table, f"{detail}table {table.name}")
    own = {c.id for c in table.columns}
    for other, seed in seeds(head):
        if other.id not in (table.id, but.id if but else 0) and own & set(
            getattr(seed.source, "depends", ())
        ):
            detail = f"virtual column {seed.name} of table {other.name} reads it"
            raise _depends(verb, table, detail)


def _depends(verb: str, table: Table, detail: str) -> MorphError:
    return DependentObjectsStillExist(
        f"cannot {verb} {table.name} because other objects depend on it",
        detail=detail,
        hint="Drop them first, and make them again over the new tables.",
    )


def check_names(request: DdlRequest, gone: Sequence[Table], names: Sequence[str]) -> None:
    """The names are free once `gone` are: DuplicateTable (42P07), ReservedName (42939)."""
    left = request.head
    for table in gone:
        left = left.without_table(table.id)
    taken = relation_names(left)
    for number, name in enumerate(names):
        if not name or len(name.encode()) > NAME_BYTES_MAX or name.startswith("pg_"):
            raise ReservedName(f'"{name}" cannot be the name of a table')
        if name in taken or name in names[:number]:
            raise DuplicateTable(f'relation "{name}" already exists')


def made_part(
    table: Table, number: int, name: str, part: Part | None, columns: Sequence[Column]
) -> Table:
    """A table over the rows of another one; constraints and indexes over its columns are the
    store's, under names of its own.
    """
    ids = {c.id for c in columns}
    names = {c.name for c in columns}
    old = {c.name for c in table.columns} - names
    return replace(
        table,
        id=number,
        name=name,
        columns=tuple(columns),
        constraints=tuple(
            _renamed(table, name, c) for c in table.constraints if set(c.columns) <= ids
        ),
        indexes=tuple(
            _renamed_index(table, name, i)
            for i in table.indexes
            if not any(f'"{n}"' in i.definition or n in i.definition for n in old)
        ),
        part=part,
    )


def _renamed(table: Table, name: str, constraint: Constraint) -> Constraint:
    if constraint.kind not in ("p", "u"):
        return constraint
    return replace(constraint, name=_own_name(table.name, name, constraint.name))


def _renamed_index(table: Table, name: str, index: Index) -> Index:
    return replace(index, name=_own_name(table.name, name, index.name))


def _own_name(old: str, new: str, name: str) -> str:
    """The name of an index as PostgreSQL makes it for a table called `new`."""
    if old == new:
        return name
    tail = name.removeprefix(f"{old}_")
    return f"{new}_{tail}".encode()[:NAME_BYTES_MAX].decode(errors="ignore")


async def count_outside(request: DdlRequest, tables: Sequence[Table]) -> int:
    """How many rows of their store table none of the tables shows."""
    nowhere = " AND ".join(f"({part_condition(t)}) IS NOT TRUE" for t in tables)
    store = f"{STORE_SCHEMA}.{quote_ident(tables[0].store)}"
    count = f"SELECT count(*)::text FROM {store} t WHERE {nowhere}"
    await request.tx.apply([f"SELECT set_config('{_COUNTED}', ({count}), true)"])
    ((found,),) = await request.tx.fetch(f"SELECT current_setting('{_COUNTED}')")
    return int(found or 0)


def named_as_before(request: DdlRequest, table: Table) -> Table:
    """The table whose rows are together again, constraints and indexes under their old names when
    it has its own.
    """
    snapshot = request.snapshot
    found = (
        snapshot.versions[number].table_by_id(table.id)
        for number in line(snapshot, request.head.number)
    )
    whole = [t for t in found if t is not None and t.name == table.name]
    names = {c.store_name: c.name for t in whole for c in t.constraints if c.store_name}
    names |= {i.store_name: i.name for t in whole for i in t.indexes}
    return replace(
        table,
        constraints=tuple(
            replace(c, name=names.get(c.store_name, c.name)) for c in table.constraints
        ),
        indexes=tuple(replace(i, name=names.get(i.store_name, i.name)) for i in table.indexes),
    )


def instead_of(version: Version, gone: Iterable[Table], made: Sequence[Table]) -> Version:
    """The version with tables in the place of others."""
    ids = {t.id for t in gone}
    tables: list[Table] = []
    put = False
    for table in version.tables:
        if table.id not in ids:
            tables.append(table)
        elif not put:
            tables += made
            put = True
    return replace(version, tables=tuple(tables))


def check_seeds(version: Version, made: Iterable[Table]) -> None:
    """Virtual columns read what they read before: DependentObjectsStillExist (2BP01)."""
    for table, column in _own_seeds(version, {t.id for t in made}):
        found = seed_reads(version, table, column)
        if found is None or set(found) != set(getattr(column.source, "depends", ())):
            raise DependentObjectsStillExist(
                f'virtual column "{column.name}" of table "{table.name}" reads what would be '
                "somewhere else",
                hint="Drop it, and make it again afterwards.",
            )


def _own_seeds(version: Version, ids: set[int]) -> Iterator[tuple[Table, Column]]:
    return ((table, column) for table, column in seeds(version) if table.id in ids)
