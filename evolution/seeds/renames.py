"""A generator expression carried over to a version where columns or tables have other names."""

from __future__ import annotations

from catalog.model import Column, Table, Version
from catalog.sqltext import quote_ident, quote_literal
from core.errors import UndefinedColumn, UndefinedTable
from evolution.seeds.expressions import (
    Expression,
    column_uses,
    parse_expression,
    splice,
)
from evolution.seeds.macros import (
    AGGREGATE,
    LOOKUP,
    SCHEMA,
    MacroCall,
    aggregate_of,
    lookup_of,
    macro_calls,
)
from rewrite.edits import Edit, Span, replace_text


def renamed(expression_sql: str, old: Version, table: Table, new: Version) -> str:
    """The expression over `table` of `old`, with the names that `new` has for the same ids.

    The same text when no name changed; 42703 or 42P01 when `new` lacks what it reads.
    """
    expression = parse_expression(expression_sql)
    edits = _edits(expression, old, table, new)
    if not edits:
        return expression_sql
    return splice(expression, edits)[1:-1].strip()


def _edits(expression: Expression, old: Version, table: Table, new: Version) -> list[Edit]:
    edits = []
    for use in column_uses(expression):
        name = use.names[-1]
        column = table.column(name)
        if column is None:
            continue
        changed = _column(new, _table(new, table), column).name
        if changed != name or len(use.names) > 1:
            edits.append(replace_text(use.start, use.end, quote_ident(changed)))
    for call in macro_calls(expression):
        edit = _macro(call, old, table, new)
        if edit is not None:
            edits.append(edit)
    return edits


def _macro(call: MacroCall, old: Version, table: Table, new: Version) -> Edit | None:
    if call.name == LOOKUP:
        lookup = lookup_of(call, old)
        target = _table(new, lookup.table)
        names = (
            target.name,
            _column(new, target, lookup.value).name,
            _column(new, target, lookup.key).name,
        )
        if names == call.literals:
            return None
        head = f"{SCHEMA}.{LOOKUP}({', '.join(map(quote_literal, names))}, "
        return Edit(call.start, call.end, (head, Span(*call.key), ")"))
    aggregate = aggregate_of(call, old, table)
    child, function, expression, condition = (*call.literals, None)[:4]
    texts = [_table(new, aggregate.child).name, str(function)]
    for text in (expression, condition):
        if text is not None:
            star = text.strip() == "*"
            texts.append(text if star else renamed(text, old, aggregate.child, new))
    if texts == [child, function, *(t for t in (expression, condition) if t is not None)]:
        return None
    literals = ", ".join(map(quote_literal, texts))
    return replace_text(call.start, call.end, f"{SCHEMA}.{AGGREGATE}({literals})")


def _table(version: Version, table: Table) -> Table:
    found = version.table_by_id(table.id)
    if found is None:
        raise UndefinedTable(f'relation "{table.name}" does not exist')
    return found


def _column(version: Version, table: Table, column: Column) -> Column:
    found = table.column_by_id(column.id)
    if found is None:
        raise UndefinedColumn(f'column "{column.name}" of relation "{table.name}" does not exist')
    return found
