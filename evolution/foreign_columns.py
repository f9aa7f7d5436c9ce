"""Columns of a foreign table, and what follows from them: its key."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from backends.base import Description
from catalog.model import Column, Constraint, Native, Table
from catalog.naming import parse_path
from catalog.sqltext import quote_ident
from evolution.foreign_options import KEY, NAMINGS
from evolution.introspect import ScratchColumn


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
    """A column that ALTER FOREIGN TABLE adds: its own name says where its value lies."""
    words = {name for name, _ in table.options}
    documents = bool(words & set(NAMINGS["mongodb"].table[:1]))
    path = parse_path(column.name) if documents else (column.name,)
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
