"""Generator expressions as SQL that runs: macros become correlated scalar sub-selects.

`expand` works on the text as the client wrote it and reads other tables through version views.
`seed_sql` makes what a version view holds for a virtual column: its columns read from the store's
row, virtual columns it reads put in their place, and other tables read from the store too. Reading
the store has two reasons. Views that read one another could not be created (a table that looks up
in itself, two tables that read each other's columns); this way only true cycles among columns are
errors, and the order of the views is free. And child rows of an array are taken from the row's own
document, with no join.

Aliases: the parent's row is `parent_alias`; every sub-select gets a fresh one, `_m1`, `_m2`, ….
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from pglast import ast

from catalog.model import Column, Seed, Table, Version
from catalog.readers import ELEMENT, ROW, json_at, part_condition, read_column
from catalog.sqltext import STORE_SCHEMA, quote_ident
from core.errors import InvalidObjectDefinition, UndefinedColumn
from evolution.seeds.expressions import (
    Expression,
    column_edits,
    parse_expression,
    qualified,
    splice,
)
from evolution.seeds.macros import (
    LOOKUP,
    Aggregate,
    MacroCall,
    aggregate_call,
    aggregate_of,
    aggregate_type,
    exact,
    generator_name,
    lookup_of,
    macro_calls,
    plain_column,
)
from rewrite.edits import Edit, Span, replace_text

Reader = Callable[[Column], str]


@dataclass(frozen=True, slots=True)
class Expanded:
    """`sql` in parentheses; the type when it is known without PostgreSQL, else ""; ids of the
    tables that it reads beside its own.
    """

    sql: str
    result_type_hint: str
    tables_read: frozenset[int]


class Rows(Protocol):
    """Where other rows come from."""

    def relation(self, table: Table, alias: str, columns: tuple[Column, ...]) -> str:
        """A FROM item called `alias` that shows at least these columns under their names."""
        ...

    def elements(self, child: Table, parent: Table) -> tuple[str, Reader] | None:
        """A FROM item with the child rows of the parent's row at hand, or None."""
        ...


@dataclass(frozen=True, slots=True)
class _Scope:
    """The row that an expression is over. `direct`: the store's own row is in scope; `leave`:
    columns outside macros stay as they are written.
    """

    table: Table
    read: Reader
    direct: bool = False
    leave: bool = False


class _Expander:
    def __init__(self, version: Version, rows: Rows) -> None:
        self._version = version
        self._rows = rows
        self._aliases = 0
        self.tables: set[int] = set()

    def text(self, expression: Expression, scope: _Scope) -> str:
        calls = list(macro_calls(expression))
        edits = column_edits(expression, lambda name: _read(scope, name))
        if scope.leave:
            inside = [(call.start, call.end) for call in calls]
            edits = [e for e in edits if any(start <= e.start < end for start, end in inside)]
        edits += [self._call(call, scope) for call in calls]
        return splice(expression, edits)

    def _call(self, call: MacroCall, scope: _Scope) -> Edit:
        self._aliases += 1
        alias = f"_m{self._aliases}"
        if call.name == LOOKUP:
            return self._lookup(call, alias)
        text = self._aggregate(aggregate_of(call, self._version, scope.table), alias, scope)
        return replace_text(call.start, call.end, text)

    def _lookup(self, call: MacroCall, alias: str) -> Edit:
        lookup = lookup_of(call, self._version)
        self.tables.add(lookup.table.id)
        columns = (lookup.value, lookup.key)
        origin = self._rows.relation(lookup.table, alias, columns)
        head = (
            f"(SELECT {qualified(alias, lookup.value.name)} FROM {origin} "
            f"WHERE {qualified(alias, lookup.key.name)} = ("
        )
        return Edit(call.start, call.end, (head, Span(*call.key), "))"))

    def _aggregate(self, aggregate: Aggregate, alias: str, scope: _Scope) -> str:
        child = aggregate.child
        self.tables.add(child.id)
        own = self._rows.elements(child, scope.table) if scope.direct else None
        if own is not None:
            origin, read = own
            return f"(SELECT {self._call_sql(aggregate, _Scope(child, read))} FROM {origin})"

        # Only the columns that are used: another one may read the very column that this is for.
        used: dict[int, Column] = {}

        def read_alias(column: Column) -> str:
            used[column.id] = column
            return qualified(alias, column.name)

        condition = " AND ".join(
            f"{read_alias(ours)} = {scope.read(theirs)}" for ours, theirs in aggregate.link
        )
        call = self._call_sql(aggregate, _Scope(child, read_alias))
        origin = self._rows.relation(child, alias, tuple(used.values()))
        return f"(SELECT {call} FROM {origin} WHERE {condition})"

    def _call_sql(self, aggregate: Aggregate, scope: _Scope) -> str:
        argument, order = "*", False
        if aggregate.expression is not None:
            argument = self.text(aggregate.expression, scope)
            order = aggregate.function in ("sum", "avg") and not exact(
                aggregate.expression, aggregate.child
            )
        call = aggregate_call(aggregate.function, argument, order=order)
        # Not in WHERE: there it might run, and fail, on rows of other parents.
        if aggregate.filter is not None:
            call += f" FILTER (WHERE {self.text(aggregate.filter, scope)})"
        return call


def _read(scope: _Scope, name: str) -> str:
    column = scope.table.column(name)
    if column is None:
        raise UndefinedColumn(f'column "{name}" does not exist')
    return scope.read(column)


@dataclass(frozen=True, slots=True)
class ViewRows:
    """Rows of the version views in `schema`."""

    schema: str

    def relation(self, table: Table, alias: str, columns: tuple[Column, ...]) -> str:
        """The version view itself; PostgreSQL computes no column of it that is not used."""
        return f"{self.schema}.{quote_ident(table.name)} AS {alias}"

    def elements(self, child: Table, parent: Table) -> tuple[str, Reader] | None:
        """A view does not show the document."""
        return None


def expand(
    expression_sql: str,
    *,
    version_schema: str,
    model: Version,
    table: Table,
    parent_alias: str,
) -> Expanded:
    """The expression with its macros expanded over the version views of `version_schema`.

    Columns inside macros are read from `parent_alias`; all other text stays.
    """
    expression = parse_expression(expression_sql)
    expander = _Expander(model, ViewRows(version_schema))
    scope = _Scope(table, lambda c: qualified(parent_alias, c.name), leave=True)
    sql = expander.text(expression, scope)
    return Expanded(sql, type_hint(expression, model, table), frozenset(expander.tables))


def type_hint(expression: Expression, version: Version, table: Table) -> str:
    """The type of an expression that is one macro or one column, else ""."""
    column = plain_column(expression, table)
    if column is not None:
        return column.type
    if not isinstance(expression.node, ast.FuncCall) or not generator_name(expression.node):
        return ""
    for call in macro_calls(expression):
        if call.node is expression.node:
            if call.name == LOOKUP:
                return lookup_of(call, version).value.type
            return aggregate_type(aggregate_of(call, version, table))
    return ""


class _StoreRows:
    """Rows of the store's tables, read as the version views read them."""

    def __init__(self, version: Version) -> None:
        self._version = version
        self._active: list[int] = []

    def relation(self, table: Table, alias: str, columns: tuple[Column, ...]) -> str:
        read = self.reader(table)
        shown = ", ".join(f"{read(c)} AS {quote_ident(c.name)}" for c in dict.fromkeys(columns))
        return f"(SELECT {shown} FROM {self._origin(table)}) AS {alias}"

    def elements(self, child: Table, parent: Table) -> tuple[str, Reader] | None:
        if child.kind != "child" or child.parent_id != parent.id:
            return None
        return _elements(child), self.reader(child)

    def reader(self, table: Table) -> Reader:
        parent = self._version.table_by_id(table.parent_id)

        def read(column: Column) -> str:
            if isinstance(column.source, Seed):
                return f"({self.seed(table, column)}::{column.type})"
            return f"({read_column(table, column, parent)})"

        return read

    def seed(self, table: Table, column: Column) -> str:
        assert isinstance(column.source, Seed)
        if column.id in self._active:
            raise InvalidObjectDefinition(
                f'virtual column "{column.name}" of table "{table.name}" depends on itself'
            )
        self._active.append(column.id)
        try:
            scope = _Scope(table, self.reader(table), direct=table.kind == "table")
            expression = parse_expression(column.source.expression)
            return _Expander(self._version, self).text(expression, scope)
        finally:
            self._active.pop()

    def _origin(self, table: Table) -> str:
        if table.kind == "table":
            store = f"{STORE_SCHEMA}.{quote_ident(table.store)}"
            condition = part_condition(table)
            if condition:
                return f"(SELECT * FROM {store} {ROW} WHERE {condition}) {ROW}"
            return f"{store} {ROW}"
        parent = self._version.table_by_id(table.parent_id)
        assert parent is not None
        return f"{STORE_SCHEMA}.{quote_ident(parent.store)} {ROW}, LATERAL {_elements(table)}"


def _elements(child: Table) -> str:
    """The FROM item with the elements of the array in the row's document (see catalog.shapes)."""
    array = json_at(f"{ROW}._doc", child.parent_path)
    return (
        f"pg_catalog.jsonb_array_elements(CASE WHEN pg_catalog.jsonb_typeof({array}) = 'array' "
        f"THEN {array} END) WITH ORDINALITY {ELEMENT}(value, ordinality)"
    )


def seed_sql(version: Version, table: Table, column: Column) -> str:
    """What the version view of `table` selects for a virtual column (a `SeedReader`)."""
    return _StoreRows(version).seed(table, column)
