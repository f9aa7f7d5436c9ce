"""ALTER FOREIGN TABLE: the forms that there are, and OPTIONS, which say where the rows lie. A place
is no part of what a version shows: it changes at once, in every version.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from catalog.instances import Instance, option_pairs
from catalog.model import Column, Native, Table, Version
from catalog.naming import Path
from catalog.shapes import column_options, option_changes
from catalog.sqltext import quote_ident
from core.errors import (
    DuplicateObject,
    FeatureNotSupported,
    ObjectNotInPrerequisiteState,
    UndefinedColumn,
    UndefinedObject,
)
from evolution.changes.in_flight import require_no_change
from evolution.foreign_columns import columns_by_path, foreign_parts, source_of
from evolution.foreign_options import KEY, Placement, column_path, kept_options, placement
from evolution.publish import Operation, publish_in_place
from evolution.request import DdlRequest, Outcome
from evolution.servers import find_instance
from rewrite.tree import Node

_OPTIONS = frozenset(("AT_GenericOptions", "AT_AlterColumnGenericOptions"))
_ALLOWED = _OPTIONS | {
    "AT_AddColumn", "AT_DropColumn", "AT_AlterColumnType", "AT_ColumnDefault", "AT_SetNotNull",
    "AT_DropNotNull",
}  # fmt: skip


def check_foreign_commands(commands: Iterable[Node]) -> None:
    """FeatureNotSupported (0A000) for what a foreign table cannot become."""
    for command in commands:
        kind = command.subtype.name
        if kind not in _ALLOWED:
            words = kind.removeprefix("AT_")
            words = "".join(f" {c}" if c.isupper() and n else c for n, c in enumerate(words))
            raise FeatureNotSupported(
                f"ALTER FOREIGN TABLE {words.upper()} is not supported",
                hint="A foreign table changes by ADD, DROP and ALTER COLUMN, RENAME and OPTIONS; "
                "or drop it and make it again.",
            )
        if kind == "AT_AddColumn" and (_stored_parts(command.def_) or command.def_.fdwoptions):
            raise FeatureNotSupported(
                f'column "{command.def_.colname}" can only be added with its type',
                hint="ALTER COLUMN … OPTIONS (ADD path '…') says afterwards where it lies.",
            )


def _stored_parts(column: Node) -> bool:
    """Whether there is more of it than a type and, of a virtual column, its expression."""
    constraints = column.constraints or ()
    return any(c.contype.name != "CONSTR_GENERATED" for c in constraints)


def check_partitions(version: Version, table: Table) -> None:
    """FeatureNotSupported (0A000) for other columns of a partitioned table or of a partition: they
    belong together by their names.
    """
    above = any(p.table_id == table.id for each in version.tables for p in each.partitions)
    if table.partitioned or above:
        raise FeatureNotSupported(
            f'the columns of {"partition" if above else "partitioned table"} "{table.name}" cannot '
            "be changed",
            hint="Drop the tables and make them again; the rows stay where they are.",
        )


def changes_options(commands: Iterable[Node]) -> bool:
    """Whether the statement is about OPTIONS; FeatureNotSupported when about other things too."""
    kinds = {command.subtype.name for command in commands}
    if kinds & _OPTIONS and kinds - _OPTIONS:
        raise FeatureNotSupported("OPTIONS and columns cannot be changed in one statement")
    return bool(kinds & _OPTIONS)


def place_after(table: Table, instance: Instance, commands: Iterable[Node]) -> Placement:
    """Where the table lies after the OPTIONS among the commands."""
    options = dict(table.options)
    for command in commands:
        if command.subtype.name == "AT_GenericOptions":
            options = _changed(options, command.def_)
    return placement(instance, options, table.native[-1])


async def alter_options(request: DdlRequest, table: Table, tag: str) -> Outcome:
    """ALTER FOREIGN TABLE … OPTIONS (…) and ALTER COLUMN … OPTIONS (…)."""
    if table.parent_id or table.partitioned:
        place = "its partitions lie" if table.partitioned else "its parent lies"
        raise ObjectNotInPrerequisiteState(f'"{table.name}" lies where {place}')
    await require_no_change(request.tx, table)
    instance = await find_instance(request.tx, table.instance)
    changed = table
    for command in request.node.cmds:
        if command.subtype.name == "AT_GenericOptions":
            changed = _placed(changed, instance, command.def_)
        else:
            changed = _column(changed, instance.kind, command)
    known = columns_by_path(request.look.description if request.look else None)
    versions: dict[int, Version] = {}
    statements: list[str] = []
    for number, version in request.snapshot.versions.items():
        for seen in version.tables:
            if table.id in (seen.id, seen.parent_id):
                fresh = _like(seen, changed, known)
                versions[number] = versions.get(number, version).with_table(fresh)
                statements += _shape_statements(request, number, seen, fresh)
    operation = Operation("alter foreign table", table.name, request.statement, actor=request.actor)
    done = await publish_in_place(
        request.tx,
        request.snapshot,
        versions,
        statements,
        [operation],
        next_id=request.snapshot.next_id,
    )
    return Outcome(done, tag)


def _placed(table: Table, instance: Instance, elements: Iterable[Node]) -> Table:
    options = _changed(dict(table.options), elements)
    place = placement(instance, options, table.native[-1])
    names = place.key or ()
    for name in names:
        if table.column(name) is None:
            raise UndefinedColumn(f'column "{name}" named in key does not exist')
    key = tuple(c.id for name in names for c in table.columns if c.name == name)
    kept = option_pairs(kept_options(instance.kind, place.native))
    return foreign_parts(replace(table, native=place.native, key=key, options=kept))


def _changed(options: dict[str, str], elements: Iterable[Node]) -> dict[str, str]:
    for element in elements:
        name, action = element.defname.lower(), element.defaction.name
        if action in ("DEFELEM_DROP", "DEFELEM_SET") and name not in options:
            raise UndefinedObject(f'option "{element.defname}" not found')
        if action in ("DEFELEM_ADD", "DEFELEM_UNSPEC") and name in options:
            raise DuplicateObject(f'option "{element.defname}" provided more than once')
        if action == "DEFELEM_DROP":
            del options[name]
        else:
            options[name] = element.arg.sval
    return options


def _column(table: Table, kind: str, command: Node) -> Table:
    column = table.column(command.name)
    if column is None or not isinstance(column.source, Native):
        raise UndefinedColumn(
            f'column "{command.name}" of relation "{table.name}" does not exist'
            if column is None
            else f'column "{command.name}" of relation "{table.name}" has no options'
        )
    left = [e for e in command.def_ if e.defaction.name != "DEFELEM_DROP"]
    path = column_path(kind, column.name, left)
    if path == column.source.path:
        return table
    return table.with_column(replace(column, source=Native(path, "", clean=False)))


def _like(seen: Table, changed: Table, known: Mapping[Path, Column]) -> Table:
    """The table of one version, or one of its arrays, where `changed` lies now; with what the store
    says there of its types, for comparisons rest on that.
    """
    if seen.id != changed.id:
        place = [p for p in changed.options if p[0] != KEY]
        return foreign_parts(replace(seen, native=changed.native, options=tuple(place)))
    sources = {c.id: c.source for c in changed.columns}

    def moved(column: Column) -> Column:
        return _where(replace(column, source=sources.get(column.id, column.source)), known)

    lenses = tuple(replace(lens, under=tuple(map(moved, lens.under))) for lens in seen.lenses)
    return foreign_parts(
        replace(
            seen,
            columns=tuple(map(moved, seen.columns)),
            lenses=lenses,
            native=changed.native,
            key=changed.key,
            options=changed.options,
        )
    )


def _where(column: Column, known: Mapping[Path, Column]) -> Column:
    if not isinstance(column.source, Native):
        return column
    return replace(column, source=source_of(column.source.path, column.type, known))


def _shape_statements(request: DdlRequest, number: int, old: Table, new: Table) -> list[str]:
    statements = []
    if changes := option_changes(old.options, new.options):
        statements += request.on_shapes(number, old.name, f"OPTIONS ({changes})")
    for before, after in zip(old.columns, new.columns, strict=True):
        if changes := option_changes(column_options(before), column_options(after)):
            action = f"ALTER COLUMN {quote_ident(before.name)} OPTIONS ({changes})"
            statements += request.on_shapes(number, old.name, action)
    return statements
