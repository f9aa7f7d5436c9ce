"""From a conjunct of a client's statement to the expression IR, or to the reason why not.

Pure: a pglast tree of a WHERE or ON condition, the tables of its statement level and the parameter
types go in. The statement was described by PostgreSQL before, so it is valid; what is to be found
here is what PostgreSQL resolved it to. The rule that keeps this right: an operator or function is
accepted only where the exactness table has an entry for exactly the types of its operands, and a
literal without type takes the type of the other operand, which is PostgreSQL's first rule (manual,
10.2 and 10.3). Everything else is refused; a refused conjunct stays in the statement that the
private PostgreSQL runs.

Invariants: the result names columns of one table only; its operands have the types they have in
the statement; no sub-select, volatile or setting-dependent expression, aggregate or whole row is
in it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from pglast import ast, enums

from backends.base import No
from catalog.model import Column, Seed, Table
from core import expr as ir
from core.expr import BOOLEAN, DEPTH_MAX, UNKNOWN, Expr, base_type, join_and, type_of
from engine.exactness import TABLE, TYPES, ExactnessTable, Kind, describe
from engine.lensed_columns import OTHER_FORM, as_stored

Tree = Any
"""A node of pglast: its stubs call every attribute optional, the parser sets the ones read here."""

ITEMS_MAX: Final = 10_000
"""Items an IN list may have; longer lists stay in the residual statement."""


@dataclass(frozen=True, slots=True)
class PlacedTable:
    """A store table as one version shows it, and the kind of the backend that holds it."""

    table: Table
    version: int
    backend: str = "embedded"


@dataclass(frozen=True, slots=True)
class NameScope:
    """The store tables that a condition's names may mean.

    `tables`: alias → table, of one statement level. `merged`: names that a USING merges, and None
    with `natural`, so that no bare name is safe. `parameters`: number → type. `shadowed`: names of
    functions, operators and types that the session's search_path finds outside pg_catalog; a
    conjunct with one of them is refused.
    """

    tables: Mapping[str, PlacedTable]
    parameters: Mapping[int, str] = field(default_factory=dict)
    merged: frozenset[str] = frozenset()
    natural: bool = False
    shadowed: frozenset[str] = frozenset()
    exactness: ExactnessTable = TABLE


@dataclass(frozen=True, slots=True)
class Pushable:
    """A conjunct over the one table `alias`; `may_raise` as the exactness table says."""

    alias: str
    expr: Expr
    may_raise: bool


@dataclass(frozen=True, slots=True)
class Refused:
    """A conjunct that stays in the statement; `reason` is a phrase."""

    reason: str


class _Refusal(Exception):
    """Ends the translation of a conjunct; the text is the reason."""


@dataclass(slots=True)
class _Context:
    """What one translation has seen so far."""

    scope: NameScope
    aliases: set[str] = field(default_factory=set)
    seeds: bool = False


def split_conjuncts(condition: ast.Node | None) -> tuple[ast.Node, ...]:
    """The conjuncts of a condition in the order of the text; without recursion."""
    result: list[ast.Node] = []
    stack: list[Tree] = [] if condition is None else [condition]
    while stack:
        node = stack.pop()
        if isinstance(node, ast.BoolExpr) and node.boolop == enums.BoolExprType.AND_EXPR:
            stack.extend(reversed(node.args or ()))
        else:
            result.append(node)
    return tuple(result)


def translate(condition: ast.Node, scope: NameScope) -> Pushable | Refused:
    """One conjunct as IR over one table, exact for that table's backend, or the reason why not.

    >>> translate(where, NameScope({"o": PlacedTable(orders, 2)}))
    Pushable(alias='o', expr=Compare(op='>', …), may_raise=False)
    """
    context = _Context(scope)
    try:
        expr = _expression(condition, context, 0)
    except _Refusal as refusal:
        return Refused(str(refusal))
    if len(context.aliases) != 1:
        return Refused("refers to two tables" if context.aliases else "refers to no store table")
    if type_of(expr) != BOOLEAN:
        return Refused("is not a boolean expression")
    alias = next(iter(context.aliases))
    verdict = scope.exactness.judge(expr, scope.tables[alias].backend)
    if isinstance(verdict, No):
        return Refused(verdict.reason)
    return Pushable(alias, expr, context.seeds or scope.exactness.may_raise(expr))


def _expression(node: Tree, context: _Context, depth: int) -> Expr:
    """The node as IR; a literal without a type has the type `unknown`."""
    if depth > DEPTH_MAX // 2:
        raise _Refusal(f"is nested deeper than {DEPTH_MAX // 2} levels")
    translator = _TRANSLATORS.get(type(node))
    if translator is None:
        raise _Refusal(_FORMS.get(type(node), f"{type(node).__name__} is not pushed down"))
    return translator(node, context, depth + 1)


def column_of(node: Tree, scope: NameScope) -> tuple[str, Column] | None:
    """(alias, column) that a plain reference means at its level; None for anything else."""
    if not isinstance(node, ast.ColumnRef):
        return None
    context = _Context(scope)
    try:
        found = _column(node, context, 0)
    except _Refusal:
        return None
    assert isinstance(found, ir.ColumnRef)
    [alias] = context.aliases
    column = scope.tables[alias].table.column_by_id(found.column_id)
    return None if column is None or isinstance(column.source, Seed) else (alias, column)


def _column(node: Tree, context: _Context, depth: int) -> Expr:
    del depth
    if not all(isinstance(part, ast.String) for part in node.fields):
        raise _Refusal("whole-row reference")
    names = [part.sval for part in node.fields]
    scope = context.scope
    if len(names) == 1:
        alias, column = _bare_column(names[0], scope)
    elif len(names) == 2 and names[0] in scope.tables:
        alias = names[0]
        found = scope.tables[alias].table.column(names[1])
        if found is None:
            raise _Refusal(f"{'.'.join(names)} is not a column")
        column = found
    else:
        raise _Refusal(f"{'.'.join(names)} is not a column of a store table at this level")
    if isinstance(column.source, Seed) and scope.tables[alias].table.kind == "foreign":
        raise _Refusal(f"{column.name} is a virtual column")
    table = scope.tables[alias].table
    if table.kind == "foreign" and not as_stored(table, column):
        raise _Refusal(f"{column.name} {OTHER_FORM}")
    context.aliases.add(alias)
    context.seeds |= isinstance(column.source, Seed)
    return ir.ColumnRef(column.id, column.type)


def _bare_column(name: str, scope: NameScope) -> tuple[str, Column]:
    """A name without a table. Valid SQL has it once at the level, so one store table is enough."""
    if scope.natural or name in scope.merged:
        raise _Refusal(f"{name} is merged by a join")
    found = [
        (alias, column)
        for alias, placed in scope.tables.items()
        if (column := placed.table.column(name)) is not None
    ]
    if len(found) != 1:
        reason = "is in two tables" if found else "is not a column of a store table at this level"
        raise _Refusal(f"{name} {reason}")
    return found[0]


_INT8_MAX: Final = 2**63 - 1


def _constant(node: Tree, context: _Context, depth: int) -> Expr:
    del context, depth
    if node.isnull:
        return ir.Literal(UNKNOWN, None)
    value: Tree = node.val
    match value:
        case ast.Integer():
            return ir.Literal("integer", str(value.ival))
        case ast.Boolean():
            return ir.TRUE if value.boolval else ir.FALSE
        case ast.String():
            return ir.Literal(UNKNOWN, value.sval)
        case ast.Float():
            return _number(str(value.fval))
        case _:
            raise _Refusal("bit string")


def _number(text: str) -> ir.Literal:
    """PostgreSQL's make_const: what fits is integer or bigint, the rest numeric."""
    if re.fullmatch(r"-?[0-9]+", text):
        value = int(text) if len(text) < 25 else _INT8_MAX + 1
        if -(2**31) <= value < 2**31:
            return ir.Literal("integer", str(value))
        if -_INT8_MAX - 1 <= value <= _INT8_MAX:
            return ir.Literal("bigint", text)
        return ir.Literal("numeric", text)
    if re.fullmatch(r"-?([0-9]+\.[0-9]*|\.[0-9]+|[0-9]+)([eE][+-]?[0-9]+)?", text):
        return ir.Literal("numeric", text)
    raise _Refusal("number with underscores or a base")


def _parameter(node: Tree, context: _Context, depth: int) -> Expr:
    del depth
    type_name = context.scope.parameters.get(node.number)
    if type_name is None:
        raise _Refusal(f"the type of parameter ${node.number} is not known")
    return ir.Param(node.number, base_type(type_name))


# Types of literals


_ISO_LITERALS: Final = {
    "date": r"\d{4}-\d\d-\d\d",
    "timestamp without time zone": r"\d{4}-\d\d-\d\d([ T]\d\d:\d\d(:\d\d(\.\d{1,6})?)?)?",
    "timestamp with time zone": r"\d{4}-\d\d-\d\d([ T]\d\d:\d\d(:\d\d(\.\d{1,6})?)?)?"
    r"(Z|[+-]\d\d(:?\d\d)?)?",
    "time without time zone": r"\d\d:\d\d(:\d\d(\.\d{1,6})?)?",
    "time with time zone": r"\d\d:\d\d(:\d\d(\.\d{1,6})?)?(Z|[+-]\d\d(:?\d\d)?)",
}


def _typed(literal: Expr, type_name: str) -> Expr:
    """An `unknown` literal as a literal of the type; other expressions as they are."""
    if not isinstance(literal, ir.Literal) or literal.type != UNKNOWN:
        return literal
    base = base_type(type_name)
    if base.removesuffix("[]") not in _CANONICAL:
        raise _Refusal(f"literal of type {type_name}")
    if base == BOOLEAN and literal.text is not None:
        value = _BOOLEANS.get(literal.text.strip().lower())
        return ir.Literal(BOOLEAN, value) if value else _refuse(f"literal {literal.text!r}")
    if literal.text is None:
        return ir.Literal(base, None)
    if base.endswith("[]") and base[:4] in ("date", "time"):
        raise _Refusal("literal array of dates or times")
    pattern = _ISO_LITERALS.get(base)
    special = base[:4] in ("date", "time") and literal.text in ("infinity", "-infinity")
    if pattern and not special and re.fullmatch(pattern, literal.text, re.ASCII) is None:
        # Texts such as 'now' or '1/2/2020' depend on the clock or on DateStyle.
        raise _Refusal(f"literal of type {type_name} that is not in ISO form")
    return ir.Literal(type_name, literal.text)


_CANONICAL: Final = frozenset(TYPES.values())
_BOOLEANS: Final = {
    **dict.fromkeys(("t", "true", "y", "yes", "on", "1"), "true"),
    **dict.fromkeys(("f", "false", "n", "no", "off", "0"), "false"),
}


def _refuse(reason: str) -> Expr:
    raise _Refusal(reason)


def _base(expr: Expr) -> str:
    return base_type(type_of(expr))


def _known(expr: Expr) -> bool:
    return type_of(expr) != UNKNOWN


def _unify(parts: Sequence[Expr], what: str) -> tuple[list[Expr], str]:
    """Parts of one type, `unknown` literals given that type; refuses a mixture."""
    kinds = {_base(part) for part in parts if _known(part)}
    if len(kinds) != 1:
        raise _Refusal(f"{what} over {'several types' if kinds else 'literals only'}")
    kind = kinds.pop()
    return [_typed(part, kind) for part in parts], kind


# Operators


_OPERATOR_KINDS = enums.A_Expr_Kind
_TEXT_ON_THE_RIGHT: Final = frozenset(("?", "->", "->>"))


def _operator(node: Tree, context: _Context, depth: int) -> Expr:
    handler = _A_EXPRS.get(node.kind)
    if handler is None:
        raise _Refusal(f"{node.kind.name.removeprefix('AEXPR_')} is not pushed down")
    return handler(node, context, depth)


def _operator_name(node: Tree, context: _Context) -> str:
    names = [part.sval for part in node.name]
    if len(names) == 2 and names[0] == "pg_catalog":
        return str(names[1])
    if len(names) != 1 or names[0] in context.scope.shadowed:
        raise _Refusal(f"operator {'.'.join(names)} is not PostgreSQL's own")
    return "<>" if names[0] == "!=" else str(names[0])


def _plain(node: Tree, context: _Context, depth: int) -> Expr:
    op = _operator_name(node, context)
    right = _expression(node.rexpr, context, depth)
    if node.lexpr is None:
        return _unary(op, right, context)
    return _binary(op, _expression(node.lexpr, context, depth), right, context)


def _unary(op: str, right: Expr, context: _Context) -> Expr:
    if op == "-" and _known(right):
        return _arithmetic(op, (right,), context)
    raise _Refusal(f"operator {op} is not pushed down")


def _binary(op: str, left: Expr, right: Expr, context: _Context) -> Expr:
    if op in _TEXT_ON_THE_RIGHT:
        right = _typed(right, "text")
    if not _known(left) and not _known(right):
        raise _Refusal("operator over literals only")
    left, right = _typed(left, _base(right)), _typed(right, _base(left))
    if op in ("->", "->>"):
        return _json_step(op, left, right)
    if op in ir.COMPARE_OPS:
        return ir.Compare(op, left, right)
    return _arithmetic(op, (left, right), context)


def _arithmetic(op: str, parts: tuple[Expr, ...], context: _Context) -> Expr:
    types = [type_of(part) for part in parts]
    entry = context.scope.exactness.find("operator", op, types)
    if entry is None or op not in ir.ARITHMETIC_OPS:
        raise _Refusal(f"{describe('operator', op, types)} is not in the exactness table")
    return ir.Arithmetic(op, parts, entry.result)


def _json_step(op: str, left: Expr, right: Expr) -> Expr:
    """`column -> 'a' ->> 'b'` as a path; a number as key counts in an array and is refused."""
    if (
        isinstance(left, ir.ColumnRef)
        and base_type(left.type) == "jsonb"
        and isinstance(right, ir.Literal)
        and right.type == "text"
        and right.text is not None
    ):
        target = "jsonb" if op == "->" else "text"
        return ir.ColumnRef(left.column_id, target, (*left.path, right.text))
    raise _Refusal(f"operator {op} with something else than a jsonb column and a constant key")


def _distinct(node: Tree, context: _Context, depth: int) -> Expr:
    _operator_name(node, context)
    left, right = (_expression(each, context, depth) for each in (node.lexpr, node.rexpr))
    same = node.kind == _OPERATOR_KINDS.AEXPR_NOT_DISTINCT
    return _binary("is not distinct from" if same else "is distinct from", left, right, context)


def _between(node: Tree, context: _Context, depth: int) -> Expr:
    if context.scope.shadowed & {"<", ">", "<=", ">="}:
        raise _Refusal("operator of BETWEEN is not PostgreSQL's own")
    operand, low, high = (_expression(each, context, depth) for each in (node.lexpr, *node.rexpr))
    if node.kind == _OPERATOR_KINDS.AEXPR_BETWEEN:
        above, below = (_binary(">=", operand, low, context), _binary("<=", operand, high, context))
        return ir.And((above, below))
    return ir.Or((_binary("<", operand, low, context), _binary(">", operand, high, context)))


def _in_list(node: Tree, context: _Context, depth: int) -> Expr:
    op = _operator_name(node, context)
    if len(node.rexpr) > ITEMS_MAX:
        raise _Refusal(f"IN list has more than {ITEMS_MAX} items")
    operand = _expression(node.lexpr, context, depth)
    items = [_expression(item, context, depth) for item in node.rexpr]
    return _membership(operand, items, negated=op == "<>")


def _membership(operand: Expr, items: Sequence[Expr], *, negated: bool) -> Expr:
    """PostgreSQL gives the list one common type; a literal takes it only if it is the operand's."""
    if not _known(operand):
        raise _Refusal("IN of a literal")
    base = _base(operand)
    if any(not _known(item) for item in items) and any(
        _known(item) and _base(item) != base for item in items
    ):
        raise _Refusal("IN over items of several types is not in the exactness table")
    typed = tuple(_typed(item, base) for item in items)
    member = ir.In(operand, typed)
    return ir.Not(member) if negated else member


def _any(node: Tree, context: _Context, depth: int) -> Expr:
    """x = ANY (array) and x <> ALL (array)."""
    op = _operator_name(node, context)
    positive = node.kind == _OPERATOR_KINDS.AEXPR_OP_ANY
    if op != ("=" if positive else "<>"):
        raise _Refusal(f"operator {op} over an array is not pushed down")
    operand = _expression(node.lexpr, context, depth)
    if not _known(operand):
        raise _Refusal("ANY of a literal")
    if isinstance(node.rexpr, ast.A_ArrayExpr):
        return _any_constructed(operand, node.rexpr, context, depth, negated=not positive)
    array = _typed(_expression(node.rexpr, context, depth), _base(operand) + "[]")
    if not isinstance(array, ir.Literal | ir.Param) or not array.type.endswith("[]"):
        raise _Refusal("ANY of something else than a constant array or a parameter")
    member = ir.In(operand, (array,), spread=True)
    return member if positive else ir.Not(member)


def _any_constructed(
    operand: Expr, array: Tree, context: _Context, depth: int, *, negated: bool
) -> Expr:
    """ARRAY[…] has one type of its own, text for literals, so only the same type is taken."""
    base = _base(operand)
    if not array.elements or len(array.elements) > ITEMS_MAX:
        raise _Refusal(f"array is empty or has more than {ITEMS_MAX} items")
    items = [_expression(item, context, depth) for item in array.elements]
    allowed = {base, UNKNOWN} if base in ("text", "character varying") else {base}
    if {_base(item) for item in items} - allowed:
        raise _Refusal("ANY over items of another type")
    return _membership(operand, items, negated=negated)


def _like(node: Tree, context: _Context, depth: int) -> Expr:
    op = _operator_name(node, context)
    insensitive = node.kind == _OPERATOR_KINDS.AEXPR_ILIKE
    operand = _expression(node.lexpr, context, depth)
    pattern_node, escape = node.rexpr, None
    if isinstance(pattern_node, ast.FuncCall):
        pattern_node, escape = _like_escape(pattern_node)
    pattern = _expression(pattern_node, context, depth)
    if not _known(operand):
        raise _Refusal("LIKE of a literal")
    like = ir.Like(operand, _typed(pattern, "text"), escape, insensitive)
    return ir.Not(like) if op.startswith("!") else like


def _like_escape(call: Tree) -> tuple[Tree, str]:
    if [part.sval for part in call.funcname] != ["pg_catalog", "like_escape"]:
        raise _Refusal("LIKE of a function")
    pattern, escape = call.args
    value: Tree = escape.val if isinstance(escape, ast.A_Const) else None
    if not isinstance(value, ast.String) or len(str(value.sval)) > 1:
        raise _Refusal("ESCAPE that is not one character")
    return pattern, str(value.sval)


def _nullif(node: Tree, context: _Context, depth: int) -> Expr:
    _operator_name(node, context)
    parts = [_expression(each, context, depth) for each in (node.lexpr, node.rexpr)]
    typed, kind = _unify(parts, "nullif")
    entry = context.scope.exactness.find("predicate", "nullif", (kind, kind))
    if entry is None:
        raise _Refusal(f"{describe('predicate', 'nullif', (kind, kind))} is not in the table")
    return ir.Call("nullif", tuple(typed), entry.result)


_A_EXPRS: Final[Mapping[int, Callable[[Tree, _Context, int], Expr]]] = {
    _OPERATOR_KINDS.AEXPR_OP: _plain,
    _OPERATOR_KINDS.AEXPR_DISTINCT: _distinct,
    _OPERATOR_KINDS.AEXPR_NOT_DISTINCT: _distinct,
    _OPERATOR_KINDS.AEXPR_BETWEEN: _between,
    _OPERATOR_KINDS.AEXPR_NOT_BETWEEN: _between,
    _OPERATOR_KINDS.AEXPR_IN: _in_list,
    _OPERATOR_KINDS.AEXPR_OP_ANY: _any,
    _OPERATOR_KINDS.AEXPR_OP_ALL: _any,
    _OPERATOR_KINDS.AEXPR_LIKE: _like,
    _OPERATOR_KINDS.AEXPR_ILIKE: _like,
    _OPERATOR_KINDS.AEXPR_NULLIF: _nullif,
}


# Logic, tests, casts, calls


def _boolean(node: Tree, context: _Context, depth: int) -> Expr:
    expr = _typed(_expression(node, context, depth), BOOLEAN)
    if type_of(expr) != BOOLEAN:
        raise _Refusal("is not a boolean expression")
    return expr


def _logic(node: Tree, context: _Context, depth: int) -> Expr:
    parts = tuple(_boolean(arg, context, depth) for arg in node.args)
    if node.boolop == enums.BoolExprType.NOT_EXPR:
        return ir.Not(parts[0])
    if node.boolop == enums.BoolExprType.OR_EXPR:
        return ir.Or(parts)
    joined = join_and(parts)
    assert joined is not None
    return joined


def _null_test(node: Tree, context: _Context, depth: int) -> Expr:
    arg = _expression(node.arg, context, depth)
    if not _known(arg):
        raise _Refusal("IS NULL of a literal")
    test = ir.IsNull(arg)
    return test if node.nulltesttype == enums.NullTestType.IS_NULL else ir.Not(test)


_BOOL_TESTS: Final = {
    enums.BoolTestType.IS_TRUE: ("is not distinct from", ir.TRUE),
    enums.BoolTestType.IS_NOT_TRUE: ("is distinct from", ir.TRUE),
    enums.BoolTestType.IS_FALSE: ("is not distinct from", ir.FALSE),
    enums.BoolTestType.IS_NOT_FALSE: ("is distinct from", ir.FALSE),
}


def _boolean_test(node: Tree, context: _Context, depth: int) -> Expr:
    arg = _boolean(node.arg, context, depth)
    if node.booltesttype in _BOOL_TESTS:
        op, value = _BOOL_TESTS[node.booltesttype]
        return ir.Compare(op, arg, value)
    test = ir.IsNull(arg)
    return test if node.booltesttype == enums.BoolTestType.IS_UNKNOWN else ir.Not(test)


def type_name(node: Tree, shadowed: frozenset[str] = frozenset()) -> str | None:
    """A type of the exactness table as format_type() prints it, with its modifier, or None."""
    names = [part.sval for part in node.names]
    internal = names[-1]
    if names[:-1] not in ([], ["pg_catalog"]) or (len(names) == 1 and internal in shadowed):
        return None
    if internal not in TYPES or node.setof or node.pct_type or len(node.arrayBounds or ()) > 1:
        return None
    name = TYPES[internal]
    modifiers = [
        str(each.val.ival)
        for each in node.typmods or ()
        if isinstance(each, ast.A_Const) and isinstance(each.val, ast.Integer)
    ]
    if len(modifiers) != len(node.typmods or ()) or (modifiers and internal == "interval"):
        return None
    if modifiers:
        name = {"bpchar": "character"}.get(name, name)
        first, _, rest = name.partition(" with")
        name = f"{first}({','.join(modifiers)})" + (f" with{rest}" if rest else "")
    return name + ("[]" if node.arrayBounds else "")


def _cast(node: Tree, context: _Context, depth: int) -> Expr:
    target = type_name(node.typeName, context.scope.shadowed)
    if target is None:
        raise _Refusal("cast to a type that is not in the exactness table")
    arg = _expression(node.arg, context, depth)
    if not _known(arg):
        return _typed(arg, target)
    if target == base_type(target) and _base(arg) == target:
        # A column keeps its modifier under such a cast, so nothing is left of it.
        return arg
    if target.endswith("[]"):
        raise _Refusal("cast to an array")
    return ir.Cast(arg, target)


def _case(node: Tree, context: _Context, depth: int) -> Expr:
    conditions = [_case_condition(node, when, context, depth) for when in node.args]
    results = [_expression(when.result, context, depth) for when in node.args]
    if node.defresult is not None:
        results.append(_expression(node.defresult, context, depth))
    typed, kind = _unify(results, "CASE")
    otherwise = typed[-1] if node.defresult is not None else None
    whens = tuple(zip(conditions, typed[: len(conditions)], strict=True))
    return ir.Case(whens, otherwise, kind)


def _case_condition(node: Tree, when: Tree, context: _Context, depth: int) -> Expr:
    if node.arg is None:
        return _boolean(when.expr, context, depth)
    if "=" in context.scope.shadowed:
        raise _Refusal("operator = is not PostgreSQL's own")
    operand = _expression(node.arg, context, depth)
    return _binary("=", operand, _expression(when.expr, context, depth), context)


def _coalesce(node: Tree, context: _Context, depth: int) -> Expr:
    typed, kind = _unify([_expression(arg, context, depth) for arg in node.args], "coalesce")
    return ir.Call("coalesce", tuple(typed), kind)


def _extreme(node: Tree, context: _Context, depth: int) -> Expr:
    name = "greatest" if node.op == enums.MinMaxOp.IS_GREATEST else "least"
    typed, kind = _unify([_expression(arg, context, depth) for arg in node.args], name)
    return ir.Call(name, tuple(typed), kind)


def _call(node: Tree, context: _Context, depth: int) -> Expr:
    names = [part.sval for part in node.funcname]
    name = names[-1]
    foreign = len(names) > 2 or (len(names) == 2 and names[0] != "pg_catalog")
    if foreign or (len(names) == 1 and name in context.scope.shadowed):
        raise _Refusal(f"function {'.'.join(names)} is not PostgreSQL's own")
    if not context.scope.exactness.named("function", name):
        raise _Refusal(f"function {name} is not in the exactness table")
    decorated = node.agg_order or node.agg_filter or node.over or node.agg_within_group
    if decorated or node.agg_star or node.agg_distinct or node.func_variadic:
        raise _Refusal(f"function {name} is called as an aggregate")
    parts = [_expression(arg, context, depth) for arg in node.args or ()]
    return _resolve_call(name, parts, context.scope.exactness)


def _resolve_call(name: str, parts: Sequence[Expr], table: ExactnessTable) -> Expr:
    """The one entry that fits the known types; an `unknown` literal takes its type from there."""
    types = [_base(part) for part in parts]
    kind: Kind = "function"
    fitting = [
        entry
        for entry in table.named(kind, name)
        if len(entry.arguments) == len(types)
        and all(has in (UNKNOWN, wants) for has, wants in zip(types, entry.arguments, strict=True))
    ]
    if len(fitting) != 1 or all(each == UNKNOWN for each in types):
        raise _Refusal(f"{describe(kind, name, types)} is not in the exactness table")
    entry = fitting[0]
    typed = (_typed(part, wants) for part, wants in zip(parts, entry.arguments, strict=True))
    return ir.Call(name, tuple(typed), entry.result)


_TRANSLATORS: Final[Mapping[type, Callable[..., Expr]]] = {
    ast.ColumnRef: _column,
    ast.A_Const: _constant,
    ast.ParamRef: _parameter,
    ast.A_Expr: _operator,
    ast.BoolExpr: _logic,
    ast.NullTest: _null_test,
    ast.BooleanTest: _boolean_test,
    ast.TypeCast: _cast,
    ast.CaseExpr: _case,
    ast.CoalesceExpr: _coalesce,
    ast.MinMaxExpr: _extreme,
    ast.FuncCall: _call,
}

_FORMS: Final[Mapping[type, str]] = {
    ast.SubLink: "sub-select",
    ast.RowExpr: "row comparison",
    ast.A_Indirection: "subscript or field of a composite value",
    ast.A_ArrayExpr: "array",
    ast.CollateClause: "collation",
    ast.SQLValueFunction: "value of the session or the clock",
    ast.NamedArgExpr: "named argument",
}
"""Nodes that are refused with a reason of their own."""
