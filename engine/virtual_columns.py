"""Columns of foreign tables that no store has: virtual ones, and those that a version shows in
another form (engine/lensed_columns.py). They are computed over what was fetched (pure).

A scan that wants one fetches the columns that it reads instead, and what is staged is shown with
it: `(SELECT a, ((a * 2)::bigint) AS x FROM staged AS _m)`. One that reads another holds its
expression.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from pglast.parser import parse_sql

from catalog.model import Column, Lensed, Seed, Table
from catalog.sqltext import quote_ident
from engine.lensed_columns import (
    document_text,
    is_under,
    is_whole_row,
    lensed_columns,
    unders_of,
    up_text,
    with_unders,
)
from engine.scans import Scan
from rewrite.edits import render, replace_text
from rewrite.tree import Tokens, ast, names_of, walk

_HEAD = "SELECT "


def computed(column: Column) -> bool:
    """Whether no store has the column as it is shown."""
    return isinstance(column.source, Seed | Lensed)


def stored_columns(table: Table) -> tuple[Column, ...]:
    """The columns that the store has, those below lenses too."""
    return tuple(column for column in with_unders(table).columns if not computed(column))


def assignable_columns(table: Table) -> tuple[Column, ...]:
    """The columns that a statement may give values to."""
    return tuple(c for c in table.columns if not isinstance(c.source, Seed) and not is_under(c))


def fetched(scan: Scan) -> Scan:
    """The scan with what its computed columns read in their place; `shown` keeps what is wanted."""
    table = scan.placed.table
    needed = needed_columns(table, scan.columns)
    stored = tuple(c.id for c in stored_columns(table) if c.id in needed)
    if needed == set(stored) == set(scan.columns):
        return scan
    placed = replace(scan.placed, table=with_unders(table))
    return replace(scan, placed=placed, columns=stored, shown=scan.columns)


def needed_columns(table: Table, wanted: Iterable[int]) -> set[int]:
    """The columns and all that they read, one by way of the other."""
    needed: set[int] = set()
    left = list(wanted)
    while left:
        column = table.column_by_id(left.pop())
        if column is None or column.id in needed:
            continue
        needed.add(column.id)
        if isinstance(column.source, Seed):
            left += column.source.depends
        for lensed in _lensed_in(table, column):
            needed |= unders_of(table, lensed)
    return needed


def _lensed_in(table: Table, column: Column) -> tuple[Column, ...]:
    """The lensed columns whose values a column shows: itself, or all in a whole row."""
    if isinstance(column.source, Lensed):
        return (column,)
    return lensed_columns(table) if is_whole_row(column) else ()


def shown_relation(scan: Scan, relation: str) -> str:
    """The staged relation with the computed columns that are wanted."""
    if not scan.shown:
        return relation
    table = scan.placed.table
    items = []
    for column in table.columns:
        if column.id in scan.shown:
            name, text = quote_ident(column.name), _shown_text(table, column)
            items.append(name if text is None else f"{text} AS {name}")
    return f"(SELECT {', '.join(items)} FROM {relation} AS _m)"


def _shown_text(table: Table, column: Column) -> str | None:
    """How a column is computed over what was fetched; None for one that was."""
    if computed(column):
        return value_of(table, column)
    return document_text(table, column) if table.lenses and is_whole_row(column) else None


def value_of(table: Table, column: Column, *, lensed: bool = True) -> str:
    """A computed column over the stored columns of its row, as SQL in parentheses; without `lensed`
    lensed columns are there under their names.
    """
    if isinstance(column.source, Lensed):
        return f"({up_text(table, column)})"
    assert isinstance(column.source, Seed)
    text = f"{_HEAD}({column.source.expression}\n)"
    tokens = Tokens(text)
    edits = []
    for node in walk(parse_sql(text)[0].stmt):
        if not isinstance(node, ast.ColumnRef):
            continue
        other = table.column((names_of(node) or [""])[-1])
        if other is None or not computed(other) or (isinstance(other.source, Lensed) > lensed):
            continue
        chain = tokens.name_chain(node.location)
        value = value_of(table, other, lensed=lensed)
        edits.append(replace_text(chain[0].start, chain[-1].end, value))
    return f"({render(text, edits).text[len(_HEAD) :]}::{column.type})"
