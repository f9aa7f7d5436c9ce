"""The macros morph.lookup and morph.aggregate in an expression: found, read and tied to the model.

A macro is a call whose table, columns and child expression are literals, so that at ALTER time all
it reads is known by id. `expand` turns it into a correlated scalar sub-select; `shape` into a call
of a stub with the right type.

Limits that keep a macro deterministic: a lookup's key column is unique by declaration, and the
order of child rows cannot show in any of the aggregates (floating-point sums are ordered).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from pglast import ast, parse_sql

from catalog.model import Column, ParentKey, Table, Version
from core.errors import (
    FeatureNotSupported,
    InvalidObjectDefinition,
    InvalidParameterValue,
    MorphError,
    UndefinedColumn,
    UndefinedFunction,
    UndefinedTable,
)
from evolution.seeds.expressions import (
    Expression,
    call_arguments,
    column_use,
    column_uses,
    parse_expression,
)
from evolution.seeds.library.aggregate import AVG_TYPES, SUM_TYPES
from rewrite.tree import Node, walk

SCHEMA = "morph"
LOOKUP = "lookup"
AGGREGATE = "aggregate"

AGGREGATES = (
    "count",
    "count_distinct",
    "sum",
    "avg",
    "min",
    "max",
    "bool_and",
    "bool_or",
)
_FIXED_TYPES = {
    "count": "bigint",
    "count_distinct": "bigint",
    "bool_and": "boolean",
    "bool_or": "boolean",
}
_EXACT_TYPES = frozenset({"smallint", "integer", "bigint", "numeric"})
_EXACT_OPERATORS = frozenset({"+", "-", "*", "/", "%"})


@dataclass(frozen=True, slots=True)
class MacroCall:
    """A call as it stands in the text: its range, its literals, the range of a lookup's key."""

    name: str
    node: Node
    start: int
    end: int
    position: int
    literals: tuple[str | None, ...]
    key: tuple[int, int] = (0, 0)


@dataclass(frozen=True, slots=True)
class Lookup:
    """A lookup tied to the model."""

    table: Table
    value: Column
    key: Column


@dataclass(frozen=True, slots=True)
class Aggregate:
    """An aggregate tied to the model. `link` pairs columns of the child and of the parent; no
    `expression` is count(*).
    """

    child: Table
    link: tuple[tuple[Column, Column], ...]
    function: str
    expression: Expression | None
    filter: Expression | None


def generator_name(node: Node) -> str | None:
    """`x` for a call of morph.x, else None."""
    if not isinstance(node, ast.FuncCall):
        return None
    names = [part.sval for part in node.funcname or ()]
    return str(names[1]) if len(names) == 2 and names[0] == SCHEMA else None


def macro_calls(expression: Expression) -> Iterator[MacroCall]:
    """The macro calls of an expression, those inside a lookup's key too."""
    for node in walk(expression.node):
        name = generator_name(node)
        if name in (LOOKUP, AGGREGATE):
            yield _read_call(expression, node, name)


def _read_call(expression: Expression, node: Node, name: str) -> MacroCall:
    position = expression.position(node.location)
    ranges, end = call_arguments(expression, node)
    fewest, most = (4, 5) if name == LOOKUP else (3, 5)
    plain = not (
        node.agg_order
        or node.agg_filter
        or node.agg_distinct
        or node.agg_star
        or node.over
        or node.func_variadic
        or any(isinstance(a, ast.NamedArgExpr) for a in node.args or ())
    )
    if not plain or not fewest <= len(ranges) <= most:
        raise UndefinedFunction(
            f"generator {SCHEMA}.{name} cannot be called like this",
            hint=f"Call it as {_FORMS[name]}.",
            position=position,
        )
    count = 3 if name == LOOKUP else 4
    literals = tuple(
        _literal(argument, name, number, position)
        for number, argument in enumerate(node.args[:count], 1)
    )
    key = ranges[3] if name == LOOKUP else (0, 0)
    return MacroCall(name, node, node.location, end, position, literals, key)


_FORMS = {
    LOOKUP: "morph.lookup('table', 'value_column', 'key_column', key)",
    AGGREGATE: "morph.aggregate('child_table', 'aggregate', 'expression' [, 'filter'])",
}


def _literal(node: Node, name: str, number: int, position: int) -> str | None:
    """A text literal, also as pg_get_expr() prints it: 'x'::text. NULL for an optional filter."""
    if isinstance(node, ast.TypeCast):
        node = node.arg
    if isinstance(node, ast.A_Const):
        if isinstance(node.val, ast.String):
            return str(node.val.sval)
        if node.isnull and number == 4:
            return None
    raise InvalidParameterValue(
        f"argument {number} of {SCHEMA}.{name} must be a text literal",
        hint=f"Call it as {_FORMS[name]}.",
        position=position,
    )


def lookup_of(call: MacroCall, version: Version) -> Lookup:
    """The lookup tied to the model; 42P01, 42703 or 42P17 when it cannot be."""
    table_name, value_name, key_name = (str(text) for text in call.literals)
    table = _read_table(call, version, table_name)
    value = _read_column(call, table, value_name)
    key = _read_column(call, table, key_name)
    if not unique_alone(table, key):
        raise InvalidObjectDefinition(
            f'key column "{key_name}" of {SCHEMA}.{LOOKUP} is not unique in table "{table_name}"',
            detail="More than one row could have the key.",
            hint="Look up by the primary key, or add a UNIQUE constraint on this column alone.",
            position=call.position,
        )
    return Lookup(table, value, key)


def _read_table(call: MacroCall, version: Version, name: str) -> Table:
    table = version.table(name)
    if table is None:
        raise UndefinedTable(f'relation "{name}" does not exist', position=call.position)
    if table.kind == "view":
        raise FeatureNotSupported(
            f'{SCHEMA}.{call.name} cannot read view "{name}"',
            hint="Name the table that the view reads.",
            position=call.position,
        )
    return table


def _read_column(call: MacroCall, table: Table, name: str) -> Column:
    column = table.column(name)
    if column is None:
        raise UndefinedColumn(
            f'column "{name}" of relation "{table.name}" does not exist', position=call.position
        )
    return column


def unique_alone(table: Table, column: Column) -> bool:
    """True when a constraint or a whole unique index says that the column has no duplicates."""
    if any(c.kind in "pu" and c.columns == (column.id,) for c in table.constraints):
        return True
    return any(
        index.unique and not index.predicate and _index_columns(index.definition) == [column.name]
        for index in table.indexes
    )


def _index_columns(definition: str) -> list[str | None]:
    statement: Node = parse_sql(f"CREATE INDEX ON t {definition}")[0].stmt
    return [element.name for element in statement.indexParams]


def aggregate_of(call: MacroCall, version: Version, table: Table) -> Aggregate:
    """The aggregate tied to the model, its texts parsed."""
    child_name, function, source, condition = (*call.literals, None)[:4]
    child = _read_table(call, version, str(child_name))
    function = str(function).lower()
    if function not in AGGREGATES:
        raise InvalidParameterValue(
            f'{SCHEMA}.{AGGREGATE} has no aggregate "{function}"',
            hint=f"There are {', '.join(AGGREGATES)}.",
            position=call.position,
        )
    star = str(source).strip() == "*"
    if star and function != "count":
        raise InvalidParameterValue(
            f'{SCHEMA}.{AGGREGATE} takes "*" for count only', position=call.position
        )
    return Aggregate(
        child,
        _link(call, version, child, table),
        function,
        None if star else parse_nested(str(source), call),
        None if condition is None else parse_nested(condition, call),
    )


def parse_nested(source: str, call: MacroCall) -> Expression:
    """An expression inside a literal; errors point at the call."""
    try:
        return parse_expression(source, at=call.position - 1)
    except MorphError as error:
        error.position = call.position
        raise


def _link(
    call: MacroCall, version: Version, child: Table, parent: Table
) -> tuple[tuple[Column, Column], ...]:
    links = list(_links(version, child, parent))
    if len(links) == 1:
        return links[0]
    if not links:
        raise InvalidObjectDefinition(
            f'table "{child.name}" is no child of table "{parent.name}"',
            detail="It is neither made from an array of its documents nor has it a foreign key "
            "to it.",
            position=call.position,
        )
    raise InvalidObjectDefinition(
        f'table "{child.name}" has more than one foreign key to table "{parent.name}"',
        position=call.position,
    )


def _links(
    version: Version, child: Table, parent: Table
) -> Iterator[tuple[tuple[Column, Column], ...]]:
    if child.kind == "child":
        if child.parent_id == parent.id:
            for column in child.columns:
                if isinstance(column.source, ParentKey):
                    key = parent.column_by_id(column.source.column_id)
                    if key is not None:
                        yield ((column, key),)
        return
    for constraint in child.constraints:
        if constraint.kind == "f":
            own = [child.column_by_id(number) for number in constraint.columns]
            other = _referenced(version, constraint.definition, parent)
            if other and len(own) == len(other):
                yield tuple((a, b) for a, b in zip(own, other, strict=True) if a and b)


def _referenced(version: Version, definition: str, parent: Table) -> list[Column | None]:
    """The parent's columns that a foreign key names; [] when it goes to another table."""
    statement: Node = parse_sql(f"ALTER TABLE t ADD {definition}")[0].stmt
    constraint = statement.cmds[0].def_
    target = version.table(constraint.pktable.relname)
    if target is None or target.id != parent.id:
        return []
    if constraint.pk_attrs:
        return [parent.column(name.sval) for name in constraint.pk_attrs]
    key = parent.primary_key
    return [parent.column_by_id(number) for number in key.columns] if key else []


def base_type(sql_type: str) -> str:
    """The type without its modifier."""
    return re.sub(r"\(.*?\)", "", sql_type).strip()


def exact(expression: Expression, table: Table) -> bool:
    """True when sum() of the expression cannot depend on the order of its terms: whole numbers
    and numeric under + - * / %.
    """
    columns = [table.column(use.names[-1]) for use in column_uses(expression)]
    if not all(c is not None and base_type(c.type) in _EXACT_TYPES for c in columns):
        return False
    return all(map(_exact_node, walk(expression.node)))


def _exact_node(node: Node) -> bool:
    if isinstance(node, ast.A_Expr):
        operator: Node = node
        return operator.kind.name == "AEXPR_OP" and operator.name[-1].sval in _EXACT_OPERATORS
    return isinstance(node, (ast.ColumnRef, ast.A_Const, ast.Integer, ast.Float, ast.String))


def plain_column(expression: Expression | None, table: Table) -> Column | None:
    """The column, when the expression is nothing else."""
    if expression is None or not isinstance(expression.node, ast.ColumnRef):
        return None
    return table.column(column_use(expression, expression.node).names[-1])


def aggregate_call(function: str, argument: str, *, order: bool = False) -> str:
    """SQL for one of AGGREGATES over an argument."""
    if function == "count_distinct":
        return f"pg_catalog.count(DISTINCT {argument})"
    ordered = f" ORDER BY {argument}" if order else ""
    return f"pg_catalog.{function}({argument}{ordered})"


def aggregate_type(aggregate: Aggregate) -> str:
    """The type of the aggregate, "" when only PostgreSQL can tell."""
    fixed = _FIXED_TYPES.get(aggregate.function)
    if fixed:
        return fixed
    column = plain_column(aggregate.expression, aggregate.child)
    if column is None:
        return ""
    base = base_type(column.type)
    if aggregate.function in ("min", "max"):
        return "text" if base == "character varying" else base
    return (SUM_TYPES if aggregate.function == "sum" else AVG_TYPES).get(base, "")
