"""What can be said of a generator expression without a server: columns, macros, cycles, names.

`check_expression` raises what PostgreSQL would for a stored generated column, with its SQLSTATE,
words and position, and what only Morphgres knows: unknown generators, macros that do not fit the
model, cycles among virtual columns of one or several tables. Types, function signatures and
impurity are judged by PostgreSQL itself: see `probe`.

Source: CREATE TABLE, GENERATED ALWAYS AS, and check_agglevels_and_constraints(),
transformColumnRef() and check_nested_generated() of PostgreSQL 18.
"""

from __future__ import annotations

import difflib
import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace

from pglast import ast

from catalog.model import Column, ParentKey, Seed, Table, Version
from catalog.naming import SYSTEM_COLUMNS
from core.errors import (
    FeatureNotSupported,
    GroupingError,
    InvalidColumnReference,
    InvalidObjectDefinition,
    MorphError,
    UndefinedColumn,
    UndefinedFunction,
    UndefinedParameter,
    UndefinedTable,
    WindowingError,
)
from evolution.seeds.expressions import (
    ColumnUse,
    Expression,
    column_use,
    parse_expression,
)
from evolution.seeds.function_kinds import AGGREGATES, SET_RETURNING, WINDOW_FUNCTIONS
from evolution.seeds.library import GENERATOR_NAMES
from evolution.seeds.macros import (
    LOOKUP,
    MacroCall,
    aggregate_of,
    generator_name,
    lookup_of,
    macro_calls,
)
from rewrite.tree import Node, walk

_WHERE = "column generation expression"
_CANDIDATE_ID = -1
_NAMESPACE = re.compile(r"|public|v[1-9][0-9]*").fullmatch

ColumnAt = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Dependencies:
    """What an expression reads: ids of columns, of its own table first, and of other tables."""

    columns: tuple[int, ...]
    tables: frozenset[int]


def check_expression(
    expression_sql: str, version: Version, table: Table, column_name: str, *, at: int = 0
) -> Dependencies:
    """Check the expression of the virtual column `column_name` of `table`, new or not yet made.

    `at` is the character offset of the expression in the client's statement.
    """
    expression = parse_expression(expression_sql, at=at)
    # The column is in the model for the checks, so that reads of itself, also by way of other
    # tables, are found as what they are.
    table, column = _with_candidate(table, column_name, expression_sql)
    version = version.with_table(table)
    _check_names(expression, version, table)
    _check_cycles(expression, version, table, column)
    return dependencies(expression_sql, version, table)


def _with_candidate(table: Table, name: str, expression_sql: str) -> tuple[Table, Column]:
    old = table.column(name)
    if old is not None:
        column = replace(old, source=Seed(expression_sql))
        return table.with_column(column), column
    column = Column(_CANDIDATE_ID, name, "text", Seed(expression_sql))
    return replace(table, columns=(*table.columns, column)), column


def dependencies(expression_sql: str, version: Version, table: Table) -> Dependencies:
    """What a checked expression reads, for `Seed.depends` and the order of work."""
    expression = parse_expression(expression_sql)
    reads = list(dict.fromkeys(_reads(expression, version, table)))
    own = [c.id for t, c in reads if t.id == table.id]
    others = [c.id for t, c in reads if t.id != table.id]
    return Dependencies(tuple(own + others), frozenset(t.id for t, _ in reads) - {table.id})


def _check_names(expression: Expression, version: Version, table: Table) -> None:
    for node in walk(expression.node):
        _check_node(expression, node)
        if isinstance(node, ast.FuncCall):
            _check_call(expression, node)
        elif isinstance(node, ast.ColumnRef):
            _check_column(expression, column_use(expression, node), table)
    for call in macro_calls(expression):
        for nested, target in _nested(call, version, table):
            try:
                _check_names(nested, version, target)
            except MorphError as error:
                error.position = call.position
                raise


def _nested(call: MacroCall, version: Version, table: Table) -> Iterator[tuple[Expression, Table]]:
    """The expressions in a macro's literals, with the table they are over; ties the macro."""
    if call.name == LOOKUP:
        lookup_of(call, version)
        return
    aggregate = aggregate_of(call, version, table)
    for part in (aggregate.expression, aggregate.filter):
        if part is not None:
            yield part, aggregate.child


def _check_node(expression: Expression, node: Node) -> None:
    location = getattr(node, "location", None)
    position = expression.position(location if isinstance(location, int) else 0)
    if isinstance(node, ast.SubLink):
        raise FeatureNotSupported(
            f"cannot use subquery in {_WHERE}",
            hint="The generators morph.lookup and morph.aggregate read other rows.",
            position=position,
        )
    if isinstance(node, ast.ParamRef):
        raise UndefinedParameter(f"there is no parameter ${node.number}", position=position)
    if isinstance(node, ast.GroupingFunc):
        raise GroupingError(f"grouping operations are not allowed in {_WHERE}s", position=position)


def _check_call(expression: Expression, node: Node) -> None:
    position = expression.position(node.location)
    parts = [part.sval for part in node.funcname]
    builtin = parts[-1] if len(parts) == 1 or parts[0] == "pg_catalog" else ""
    if node.over is not None or builtin in WINDOW_FUNCTIONS:
        raise WindowingError(f"window functions are not allowed in {_WHERE}s", position=position)
    if (
        node.agg_star
        or node.agg_distinct
        or node.agg_order
        or node.agg_filter
        or builtin in AGGREGATES
    ):
        raise GroupingError(
            f"aggregate functions are not allowed in {_WHERE}s",
            hint="The generator morph.aggregate reads child rows.",
            position=position,
        )
    if builtin in SET_RETURNING:
        raise FeatureNotSupported(
            f"set-returning functions are not allowed in {_WHERE}s", position=position
        )
    name = generator_name(node)
    if name is not None and name not in GENERATOR_NAMES:
        raise UndefinedFunction(
            f"generator morph.{name}(...) does not exist", hint=_near(name), position=position
        )


def _near(name: str) -> str:
    near = difflib.get_close_matches(name, sorted(GENERATOR_NAMES), n=3)
    if near:
        return f"Perhaps you meant {' or '.join(f'morph.{n}' for n in near)}."
    return f"There are {', '.join(sorted(GENERATOR_NAMES))}."


def _check_column(expression: Expression, use: ColumnUse, table: Table) -> None:
    position = expression.position(use.start)
    *qualifier, name = use.names
    if name == "*":
        raise FeatureNotSupported('row expansion via "*" is not supported here', position=position)
    if qualifier and (qualifier[-1] != table.name or not _NAMESPACE(".".join(qualifier[:-1]))):
        raise UndefinedTable(
            f'missing FROM-clause entry for table "{qualifier[-1]}"', position=position
        )
    if table.column(name) is not None:
        return
    if name in SYSTEM_COLUMNS:
        raise InvalidColumnReference(
            f'cannot use system column "{name}" in {_WHERE}', position=position
        )
    if name == table.name and not qualifier:
        raise InvalidObjectDefinition(
            f"cannot use whole-row variable in {_WHERE}",
            detail="This would cause the generated column to depend on its own value.",
            position=position,
        )
    shown = f"{table.name}.{name}" if qualifier else f'"{name}"'
    raise UndefinedColumn(f"column {shown} does not exist", position=position)


def _reads(
    expression: Expression, version: Version, table: Table
) -> Iterator[tuple[Table, Column]]:
    """Every column that the expression itself reads, here and in other tables."""
    for node in walk(expression.node):
        if isinstance(node, ast.ColumnRef):
            column = table.column(column_use(expression, node).names[-1])
            if column is not None:
                yield table, column
    for call in macro_calls(expression):
        if call.name == LOOKUP:
            lookup = lookup_of(call, version)
            yield lookup.table, lookup.key
            yield lookup.table, lookup.value
            continue
        aggregate = aggregate_of(call, version, table)
        for ours, theirs in aggregate.link:
            yield table, theirs
            yield aggregate.child, ours
        for nested, target in _nested(call, version, table):
            yield from _reads(nested, version, target)


def _column_reads(version: Version, table: Table, column: Column) -> Iterator[ColumnAt]:
    """What the value of any column is made from, as (table id, column id)."""
    if isinstance(column.source, Seed):
        expression = parse_expression(column.source.expression)
        for owner, read in _reads(expression, version, table):
            yield owner.id, read.id
    elif isinstance(column.source, ParentKey):
        yield table.parent_id, column.source.column_id


def _check_cycles(expression: Expression, version: Version, table: Table, column: Column) -> None:
    """All cycles go through the column at hand: the others were refused when they were made."""
    path = _path_back(version, (table.id, column.id))
    if path is None:
        return
    raise InvalidObjectDefinition(
        f'virtual column "{column.name}" of table "{table.name}" would depend on itself',
        detail=f"The cycle is {' -> '.join(_shown(version, step) for step in path)}.",
        position=expression.at + 1,
    )


def _path_back(version: Version, start: ColumnAt) -> list[ColumnAt] | None:
    """The shortest way from `start` along reads back to itself; None when there is none."""
    came_from: dict[ColumnAt, ColumnAt] = {}
    queue = deque([start])
    while queue:
        at = queue.popleft()
        owner = version.table_by_id(at[0])
        column = owner.column_by_id(at[1]) if owner else None
        if owner is None or column is None:
            continue
        for following in _column_reads(version, owner, column):
            if following == start:
                path = [start, at]
                while path[-1] != start:
                    path.append(came_from[path[-1]])
                return path[::-1] if len(path) > 2 or at != start else [start, start]
            if following not in came_from:
                came_from[following] = at
                queue.append(following)
    return None


def _shown(version: Version, step: ColumnAt) -> str:
    owner = version.table_by_id(step[0])
    column = owner.column_by_id(step[1]) if owner else None
    assert owner is not None
    assert column is not None
    return f"{owner.name}.{column.name}"
