"""Virtual columns of foreign tables: no store has them, so they are computed over what was fetched
(pure).

A scan that wants one fetches the columns that it reads instead, and what is staged is shown with
it: `(SELECT a, ((a * 2)::bigint) AS x FROM staged AS _m)`. One that reads another holds its
expression.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from pglast.parser import parse_sql

from catalog.model import Column, Seed, Table
from catalog.sqltext import quote_ident
from engine.scans import Scan
from rewrite.edits import render, replace_text
from rewrite.tree import Tokens, ast, names_of, walk

_HEAD = "SELECT "


def stored_columns(table: Table) -> tuple[Column, ...]:
    """The columns that the store has."""
    return tuple(column for column in table.columns if not isinstance(column.source, Seed))


def fetched(scan: Scan) -> Scan:
    """The scan with what its virtual columns read in their place; `shown` keeps what is wanted."""
    table = scan.placed.table
    needed = _needed(table, scan.columns)
    stored = tuple(c.id for c in stored_columns(table) if c.id in needed)
    if needed == set(stored):
        return scan
    return replace(scan, columns=stored, shown=scan.columns)


def _needed(table: Table, wanted: Iterable[int]) -> set[int]:
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
    return needed


def shown_relation(scan: Scan, relation: str) -> str:
    """The staged relation with the virtual columns that are wanted."""
    if not scan.shown:
        return relation
    table = scan.placed.table
    items = []
    for column in table.columns:
        if column.id in scan.shown:
            name = quote_ident(column.name)
            virtual = isinstance(column.source, Seed)
            items.append(f"{value_of(table, column)} AS {name}" if virtual else name)
    return f"(SELECT {', '.join(items)} FROM {relation} AS _m)"


def value_of(table: Table, column: Column) -> str:
    """A virtual column over the stored columns of its row, as SQL in parentheses."""
    assert isinstance(column.source, Seed)
    text = f"{_HEAD}({column.source.expression}\n)"
    tokens = Tokens(text)
    edits = []
    for node in walk(parse_sql(text)[0].stmt):
        if not isinstance(node, ast.ColumnRef):
            continue
        other = table.column((names_of(node) or [""])[-1])
        if other is not None and isinstance(other.source, Seed):
            chain = tokens.name_chain(node.location)
            edits.append(replace_text(chain[0].start, chain[-1].end, value_of(table, other)))
    return f"({render(text, edits).text[len(_HEAD) :]}::{column.type})"
