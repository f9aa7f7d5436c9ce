"""Generator expressions as the empty shape tables show them: typed, but never run.

In a shape a virtual column is a generated column that PostgreSQL checks (decision 0001). Two things
in a client's expression it would not take, and `shape_expression` replaces them:

- *A virtual column that reads another one* ("cannot use generated column in column generation
  expression"): the other's expression stands in its place, cast to its type.
- *A macro*, whose result type depends on the model. Its call becomes one of a stub with one more
  argument, a NULL that has the right type, and the stub returns `anyelement`:
  `morph.lookup('plans', 'price', 'id', plan_id, NULL::numeric)`. So `lookup(…) * 2` resolves as it
  will in the version view. For an aggregate whose type only PostgreSQL can tell, the argument is
  the child's expression over NULLs of the child's types, in morph._sum_of() or morph._avg_of(),
  which map an argument's type to the aggregate's.

The stubs are IMMUTABLE and raise when they run. PostgreSQL plans a generation expression when the
table is made, and would run a call whose arguments are all constant; so such a call takes a column
of the row into its last argument: `CASE WHEN id IS NULL THEN NULL::bigint END`.

The result may be given back by a client (from `\\d` or pg_dump): the last argument is dropped and
made anew, so both functions here give the same for their own output.
"""

from __future__ import annotations

from catalog.model import Column, Seed, Table, Version
from catalog.sqltext import quote_ident, quote_literal
from core.errors import InvalidObjectDefinition
from evolution.seeds.expressions import (
    Expression,
    column_edits,
    column_uses,
    parse_expression,
    splice,
)
from evolution.seeds.macros import (
    AGGREGATE,
    LOOKUP,
    SCHEMA,
    Aggregate,
    MacroCall,
    aggregate_of,
    aggregate_type,
    lookup_of,
    macro_calls,
)
from rewrite.edits import Edit, Span, replace_text


def shape_expression(expression_sql: str, version: Version, table: Table) -> str:
    """The expression for a shape of `table`, in parentheses."""
    return _Shaper(version, table).text(expression_sql)


def shape_seed_sql(version: Version, table: Table, column: Column) -> str:
    """`shape_expression` of a virtual column, cast to the column's type."""
    assert isinstance(column.source, Seed)
    return f"{shape_expression(column.source.expression, version, table)}::{column.type}"


class _Shaper:
    def __init__(self, version: Version, table: Table) -> None:
        self._version = version
        self._table = table
        self._active: list[int] = []

    def text(self, source: str) -> str:
        expression = parse_expression(source)
        edits = column_edits(expression, self._column)
        edits += [self._macro(expression, call) for call in macro_calls(expression)]
        return splice(expression, edits)

    def _column(self, name: str) -> str:
        # Also drops a qualifier: the table may have another name in another version.
        column = self._table.column(name)
        if column is None or not isinstance(column.source, Seed):
            return quote_ident(name)
        if column.id in self._active:
            raise InvalidObjectDefinition(
                f'virtual column "{name}" of table "{self._table.name}" depends on itself'
            )
        self._active.append(column.id)
        text = f"({self.text(column.source.expression)}::{column.type})"
        self._active.pop()
        return text

    def _macro(self, expression: Expression, call: MacroCall) -> Edit:
        if call.name == LOOKUP:
            lookup = lookup_of(call, self._version)
            names = (lookup.table.name, lookup.value.name, lookup.key.name)
            head = f"{SCHEMA}.{LOOKUP}({', '.join(map(quote_literal, names))}, "
            typed = f"NULL::{lookup.value.type}"
            if not _reads_row(expression, call):
                typed = self._anchored(typed)
            return Edit(call.start, call.end, (head, Span(*call.key), f", {typed})"))
        aggregate = aggregate_of(call, self._version, self._table)
        literals = (*call.literals, None)[:4]
        head = ", ".join("NULL" if text is None else quote_literal(text) for text in literals)
        typed = self._anchored(_typed(aggregate, self._version))
        return replace_text(call.start, call.end, f"{SCHEMA}.{AGGREGATE}({head}, {typed})")

    def _anchored(self, typed: str) -> str:
        column = next((c for c in self._table.columns if not isinstance(c.source, Seed)), None)
        if column is None:
            raise InvalidObjectDefinition(
                f'table "{self._table.name}" has no column that is not virtual'
            )
        return f"CASE WHEN {quote_ident(column.name)} IS NULL THEN {typed} END"


def _reads_row(expression: Expression, call: MacroCall) -> bool:
    start, end = call.key
    return any(start <= use.start < end for use in column_uses(expression))


def _typed(aggregate: Aggregate, version: Version) -> str:
    """An expression of the aggregate's type that reads nothing."""
    known = aggregate_type(aggregate)
    if known:
        return f"NULL::{known}"
    assert aggregate.expression is not None
    value = over_nulls(aggregate.expression, version, aggregate.child)
    if aggregate.function in ("min", "max"):
        return value
    return f"{SCHEMA}._{aggregate.function}_of({value})"


def over_nulls(expression: Expression, version: Version, table: Table) -> str:
    """The expression with NULLs for what it reads: the same type, and nothing to read."""

    def null_of(name: str) -> str:
        column = table.column(name)
        return f"(NULL::{column.type})" if column else quote_ident(name)

    edits = column_edits(expression, null_of)
    for call in macro_calls(expression):
        if call.name == LOOKUP:
            typed = f"NULL::{lookup_of(call, version).value.type}"
        else:
            typed = _typed(aggregate_of(call, version, table), version)
        edits.append(replace_text(call.start, call.end, f"({typed})"))
    return splice(expression, edits)
