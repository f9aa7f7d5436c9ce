"""Columns of a foreign table, and what follows from them: its key."""

from __future__ import annotations

from dataclasses import replace

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


def foreign_column(table: Table, column_id: int, column: ScratchColumn) -> Column:
    """A column that ALTER FOREIGN TABLE adds: its own name says where its value lies. What the
    store calls its type is not known, so it is not compared there.
    """
    words = {name for name, _ in table.options}
    documents = bool(words & set(NAMINGS["mongodb"].table[:1]))
    path = parse_path(column.name) if documents else (column.name,)
    return Column(
        column_id,
        column.name,
        column.type,
        Native(path, "", clean=False),
        not_null=column.not_null,
        default=column.default,
        comment=column.comment,
    )
