"""Columns of a foreign table, and what follows from them: its key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from backends.base import Description
from catalog.model import Column, Constraint, Lensed, Native, Table, Version
from catalog.naming import parse_path
from catalog.sqltext import quote_ident
from core.errors import FeatureNotSupported
from evolution.foreign_options import KEY, NAMINGS
from evolution.introspect import ScratchColumn

_VIRTUAL_HINT = "Add a virtual column that converts it."


def foreign_parts(table: Table) -> Table:
    """The table with its key under the names that its columns have now; without one when a column
    of it is gone.

    The constraint is what statements are described with; rows come from the store, which has its
    own. The shape cannot show it: PostgreSQL has no primary keys on foreign tables.
    """
    columns = [c for each in table.key if (c := table.column_by_id(each)) is not None]
    options = tuple(pair for pair in table.options if pair[0] != KEY)
    if not columns or len(columns) < len(table.key):
        return replace(table, key=(), constraints=(), options=options)
    names = ", ".join(quote_ident(c.name) for c in columns)
    text = ",".join(c.name for c in columns)
    return replace(
        table,
        options=(*options, (KEY, text)),
        constraints=(Constraint(f"{table.name}_pkey", "p", table.key, f"PRIMARY KEY ({names})"),),
    )


def foreign_column(
    table: Table, column_id: int, column: ScratchColumn, seen: Description | None
) -> Column:
    """A column that ALTER FOREIGN TABLE adds: its own name says where its value lies.
    FeatureNotSupported (0A000) where another column shows that value in another form.
    """
    words = {name for name, _ in table.options}
    documents = bool(words & set(NAMINGS["mongodb"].table[:1]))
    path = parse_path(column.name) if documents else (column.name,)
    converted = {stored_path(c) for lens in table.lenses for c in lens.under}
    if any(_below(path, other) or _below(other, path) for other in converted if other):
        raise FeatureNotSupported(
            f'cannot add column "{column.name}" to foreign table "{table.name}": its value is '
            "shown in another form by other columns",
        )
    return Column(
        column_id,
        column.name,
        column.type,
        source_of(path, column.type, columns_by_path(seen)),
        not_null=column.not_null,
        default=column.default,
        comment=column.comment,
    )


def columns_by_path(seen: Description | None) -> dict[tuple[str, ...], Column]:
    """What was seen of a table, by where the values lie."""
    columns = seen.columns if seen is not None else ()
    return {c.source.path: c for c in columns if isinstance(c.source, Native)}


def source_of(
    path: tuple[str, ...], sql_type: str, known: Mapping[tuple[str, ...], Column]
) -> Native:
    """Where the value lies; what the store calls its type, as far as one could look."""
    there = known.get(path)
    if there is None:
        return Native(path, "", clean=False)
    assert isinstance(there.source, Native)
    return replace(there.source, clean=there.source.clean and there.type == sql_type)


def default_of(
    path: tuple[str, ...], column: ScratchColumn, known: Mapping[tuple[str, ...], Column]
) -> str | None:
    """The column's own default, else the one by which rows of the store get their value: it is made
    here, so that RETURNING shows what the store will hold.
    """
    there = known.get(path)
    if column.default is not None or there is None or there.type != column.type:
        return column.default
    return there.default


def stored_path(column: Column) -> tuple[str, ...]:
    """Where a column's value lies in the store, or would in a layout that has what it shows."""
    source = column.source
    return source.path if isinstance(source, Native | Lensed) else ()


def free_path(table: Table, name: str, column_id: int) -> tuple[str, ...]:
    """Where a new column of this name may lie in another layout of the table."""
    taken = {stored_path(c)[:1] for c in table.columns}
    taken |= {stored_path(c)[:1] for lens in table.lenses for c in (*lens.under, *lens.over)}
    return (name,) if (name,) not in taken else (f"{name}_{column_id}",)


def require_foreign_convertible(
    versions: Sequence[Version], table: Table, column: Column, what: str, *, direct: bool
) -> None:
    """FeatureNotSupported (0A000) for a column of a foreign table whose form cannot change: of a
    key, the whole row, what has others inside of it or lies in one; and for a direct change.
    """
    if direct:
        raise FeatureNotSupported(
            f"{what} in this transaction: the rows lie in another store",
            hint="SET morph.ddl_mode = auto makes a version that shows them in the new form.",
        )
    path = stored_path(column)
    if not path:
        raise FeatureNotSupported(f"{what}: it is no single value", hint=_VIRTUAL_HINT)
    for version in versions:
        shown = version.table_by_id(table.id)
        if shown is not None and column.id in shown.key:
            raise FeatureNotSupported(f"{what}: it is part of the table's key")
        other = next((c for c in (shown.columns if shown else ()) if _overlap(path, c)), None)
        children = [t for t in version.tables if t.parent_id == table.id]
        child = next((t for t in children if _below(path, t.parent_path)), None)
        if other is not None or child is not None:
            name = getattr(other or child, "name", "")
            raise FeatureNotSupported(
                f'{what}: "{name}" shows values of it, too', hint=_VIRTUAL_HINT
            )


def _overlap(path: tuple[str, ...], column: Column) -> bool:
    """Whether one of two values lies inside of the other."""
    other = stored_path(column)
    return bool(other) and other != path and (_below(path, other) or _below(other, path))


def _below(path: tuple[str, ...], inner: tuple[str, ...]) -> bool:
    return inner[: len(path)] == path
