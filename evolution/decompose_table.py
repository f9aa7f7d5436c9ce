"""CALL morph.decompose_table and morph.join_tables: some columns of a table as a table of their
own, with the same key, and back (EVOLUTION 2, decompose and join).

No row moves: both tables are the old one's store table. A row of the new table is there when one of
its columns is not NULL; it references its row of the other one and goes with it (ON DELETE
CASCADE), so what it can say is what older versions can show.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from catalog.model import Column, Constraint, Part, Stored, Table
from catalog.sqltext import quote_ident
from core.errors import (
    DuplicateColumn,
    FeatureNotSupported,
    InvalidParameterValue,
    UndefinedColumn,
)
from evolution.constraints import fit_foreign_keys
from evolution.operators.calls import call_arguments, read_names
from evolution.parts import (
    check_dependents,
    check_divisible,
    check_names,
    check_seeds,
    instead_of,
    made_part,
    named_as_before,
)
from evolution.publish import Operation, add_version
from evolution.request import DdlRequest, Outcome

_FOREIGN = "ON UPDATE CASCADE ON DELETE CASCADE"


async def decompose_table(request: DdlRequest) -> Outcome:
    """CALL morph.decompose_table(relation, part, columns)."""
    _, values = call_arguments(request.node)
    table = request.on_head(request.resolve(None, values["relation"]))
    await check_divisible(request, table, "decompose table")
    check_names(request, [], [values["part"]])
    moved = [_movable(table, name) for name in read_names(values["columns"], "columns")]
    key = _key_columns(table, moved)
    _check_constraints(table, moved, key)
    number = request.snapshot.next_id
    left = [c for c in table.columns if c not in moved]
    if not [c for c in left if c not in key]:
        raise InvalidParameterValue(f'no column but the key would stay in "{table.name}"')
    rest = made_part(table, table.id, table.name, None, left)
    part = _made(table, number, values["part"], key, moved)
    version = instead_of(request.head, [table], [rest, part])
    version = replace(version, number=request.number, parent=request.parent)
    version = fit_foreign_keys(version)
    check_seeds(version, [rest, part])
    operation = Operation("decompose table", table.name, request.statement, actor=request.actor)
    fresh = await add_version(
        request.tx, request.snapshot, version, [operation], next_id=number + 1
    )
    return Outcome(fresh, "CALL")


def _movable(table: Table, name: str) -> Column:
    """A column that can be one of the new table. UndefinedColumn (42703), FeatureNotSupported."""
    column = table.column(name)
    if column is None:
        raise UndefinedColumn(f'column "{name}" of relation "{table.name}" does not exist')
    what = f'cannot move column "{name}" of table "{table.name}" to a table of its own'
    if not isinstance(column.source, Stored) or column.source.converts(column.type):
        raise FeatureNotSupported(f"{what}: it is computed", hint="Drop it first.")
    if column.not_null or column.default is not None or column.identity:
        raise FeatureNotSupported(
            f"{what}: it is NOT NULL or has a default, so every row would have one of the new "
            "table, too",
            hint="DROP NOT NULL and DROP DEFAULT first.",
        )
    return column


def _key_columns(table: Table, moved: Sequence[Column]) -> list[Column]:
    primary = table.primary_key
    if primary is None:
        raise FeatureNotSupported(
            f'cannot decompose table "{table.name}": it has no primary key',
            hint="Rows of two tables are told to belong together by a key.",
        )
    return [c for c in table.columns if c.id in primary.columns]


def _check_constraints(table: Table, moved: Sequence[Column], key: Sequence[Column]) -> None:
    """No constraint reads columns of both tables."""
    there = {c.id for c in moved}
    for constraint in table.constraints:
        used = set(constraint.columns)
        if used & there and not used <= there | {c.id for c in key}:
            raise FeatureNotSupported(
                f'constraint "{constraint.name}" uses columns of both tables',
                hint="Drop it first.",
            )


def _made(
    table: Table, number: int, name: str, key: Sequence[Column], moved: Sequence[Column]
) -> Table:
    """The new table: the key, the columns, and the foreign key that it has in the model alone."""
    stored = tuple(c.source.column for c in moved if isinstance(c.source, Stored))
    places = ", ".join(f'"${n}"' for n in range(1, len(stored) + 1))
    told = " OR ".join(f"{quote_ident(c.name)} IS NOT NULL" for c in moved)
    part = Part(table.id, f"pg_catalog.num_nonnulls({places}) > 0", stored, told, keyed=True)
    plain = [replace(c, default=None, identity="", comment=None) for c in key]
    made = made_part(table, number, name, part, [*plain, *moved])
    names = ", ".join(quote_ident(c.name) for c in key)
    ids = tuple(c.id for c in key)
    reference = Constraint(
        f"{name}_{'_'.join(c.name for c in key)}_fkey",
        "f",
        ids,
        f"FOREIGN KEY ({names}) REFERENCES {quote_ident(table.name)}({names}) {_FOREIGN}",
        references=table.id,
        foreign_columns=ids,
    )
    return replace(made, constraints=(*made.constraints, reference), comment=None)


async def join_tables(request: DdlRequest) -> Outcome:
    """CALL morph.join_tables(relation, other, result)."""
    _, values = call_arguments(request.node)
    table, part = (
        request.on_head(request.resolve(None, values[key])) for key in ("relation", "other")
    )
    if part.part is None or not part.part.keyed or part.part.of != table.id:
        raise FeatureNotSupported(
            f'cannot join "{table.name}" and "{part.name}": the second was not split off the '
            "first by CALL morph.decompose_table",
            hint="A view with JOIN shows both.",
        )
    check_dependents(request, part, "join table")
    check_dependents(request, table, "join table", but=part)
    check_names(request, [table, part], [values["result"]])
    shown = {c.id for c in table.columns}
    columns = [*table.columns, *(c for c in part.columns if c.id not in shown)]
    names = [c.name for c in columns]
    if len(set(names)) < len(names):
        twice = next(n for number, n in enumerate(names) if n in names[:number])
        raise DuplicateColumn(
            f'column "{twice}" exists in both tables and is not the same column',
            hint="Rename one of them.",
        )
    known = {c.store_name for c in table.constraints} | {i.store_name for i in table.indexes}
    whole = replace(
        table,
        columns=tuple(columns),
        constraints=(
            *table.constraints,
            *(c for c in part.constraints if c.store_name and c.store_name not in known),
        ),
        indexes=(*table.indexes, *(i for i in part.indexes if i.store_name not in known)),
    )
    result = named_as_before(request, replace(whole, name=values["result"]))
    version = instead_of(request.head, [table, part], [result])
    version = replace(version, number=request.number, parent=request.parent)
    version = fit_foreign_keys(version)
    check_seeds(version, [result])
    operation = Operation("join tables", values["result"], request.statement, actor=request.actor)
    fresh = await add_version(
        request.tx, request.snapshot, version, [operation], next_id=request.snapshot.next_id
    )
    return Outcome(fresh, "CALL")
