"""Predicates as find filters that select exactly the rows where PostgreSQL answers true.

A find filter compares within a BSON type bracket and can use an index, unlike `$expr`. What it does
not know is that a value that the column cannot show is NULL, so each filter also says which values
it means: an array is no scalar (MongoDB would look into it), 2.5 is no integer, 2^53+1 no double.
Such guards filter what the index found.

Only truth is needed: NOT is pushed inwards to the comparisons, where it is their opposite over
values that are not NULL. MongoDB manual: "Comparison/Sort Order", "Query for Null", "$type",
"$bitsAllClear" (no bit asked: every integral number that a 64-bit integer holds).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, Final

from bson.binary import Binary
from bson.datetime_ms import DatetimeMS
from bson.int64 import Int64
from bson.objectid import ObjectId

from backends.mongodb.literals import (
    Instant,
    NotPushed,
    decimal128,
    first_object_id,
    is_object_id,
    literal_of,
    read_literal,
    spread_items,
)
from backends.mongodb.patterns import like_clauses
from backends.mongodb.types import (
    DOUBLE_EXACT_MAX,
    INSTANT_MS_MAX,
    INSTANT_MS_MIN,
    MongoType,
    shows_object_ids,
    type_row,
)
from core import expr as ir
from core.expr import Expr

Filter = dict[str, Any]

INTEGRAL: Final = {"$bitsAllClear": 0}
"""True for every number that is a 64-bit integer, 7.0 among them."""
NEVER: Final[Filter] = {"_id": {"$in": []}}
ALWAYS: Final[Filter] = {}
OPERATORS: Final = {"=": "$eq", "<": "$lt", "<=": "$lte", ">": "$gt", ">=": "$gte"}
_OPPOSITES: Final = {"=": "<>", "<>": "=", "<": ">=", ">=": "<", ">": "<=", "<=": ">"}
_MIRRORED: Final = {"=": "=", "<>": "<>", "<": ">", ">": "<", "<=": ">=", ">=": "<="}
_BOUNDS: Final = frozenset(("$gt", "$gte", "$lt", "$lte"))
_NAN: Final = math.nan
_NUL_PATTERN: Final = "\\x00"
DATE_MIN: Final = DatetimeMS(INSTANT_MS_MIN)
DATE_MAX: Final = DatetimeMS(INSTANT_MS_MAX)


@dataclass(frozen=True, slots=True)
class Field:
    """A column as filters see it: the dotted name of its path, and the paths above it, which must
    not be arrays.
    """

    name: str
    above: tuple[str, ...]
    row: MongoType
    scalar: bool = False
    """It is `_id`, which is never an array."""
    object_ids: bool = True
    """A text column that shows ObjectIds too."""
    loose: bool = False
    """Values that the column does not show may pass: the reader drops the rows where it is NULL."""

    @property
    def text_types(self) -> str | list[str]:
        """The BSON types that a text column shows."""
        return ["string", "objectId"] if self.object_ids else "string"


def conjunction(clauses: Sequence[Filter]) -> Filter:
    """All of the clauses, as one document where their keys allow it."""
    parts = [clause for clause in clauses if clause]
    if not parts:
        return {}
    merged: Filter = {}
    for part in parts:
        for key, condition in part.items():
            joined = condition if key not in merged else _both_conditions(merged[key], condition)
            if joined is None:
                return {"$and": parts}
            merged[key] = joined
    return merged


def _both_conditions(one: Any, other: Any) -> Filter | None:
    """Two conditions of one field as one: bounds of a range, say. None where they do not join."""
    if not (isinstance(one, dict) and isinstance(other, dict)) or one.keys() & other.keys():
        return one if one == other else None
    return {**one, **other} if {*one, *other} <= _BOUNDS else None


def disjunction(clauses: Sequence[Filter]) -> Filter:
    """Any of the clauses."""
    live = [clause for clause in clauses if clause != NEVER]
    if not live:
        return NEVER
    return live[0] if len(live) == 1 else {"$or": live}


def field_of(path: tuple[str, ...], sql_type: str, store_type: str) -> Field:
    """The field of a path. Raises NotPushed for one that no filter can name."""
    row = type_row(sql_type)
    if row is None:
        raise NotPushed(f"a column of type {sql_type}")
    check_path(path)
    above = tuple(".".join(path[:n]) for n in range(1, len(path)))
    object_ids = shows_object_ids(store_type)
    return Field(".".join(path), above, row, path == ("_id",), object_ids)


def check_path(path: tuple[str, ...]) -> None:
    """Raises NotPushed for a path with a key that a dotted name cannot hold."""
    if not path:
        raise NotPushed("the whole document")
    for key in path:
        if not key or "." in key or key.startswith("$") or "\0" in key:
            raise NotPushed(f"a field called {key!r}")


def where_true(expr: Expr, fields: Callable[[ir.ColumnRef], Field]) -> Filter:
    """The filter of the rows where the expression is true. Raises NotPushed."""
    return _true(expr, fields, negated=False)


def where_may_be_true(
    expr: Expr, fields: Callable[[ir.ColumnRef], Field]
) -> tuple[Filter, int] | None:
    """A plain filter for a comparison of one column, and the column: of the rows that it selects,
    the expression is true in those where the column is not NULL. None for other expressions.

    It has no guards, which some servers do not use an index beside.
    """
    if isinstance(expr, ir.Compare) and expr.op in OPERATORS:
        sides = [side for side in (expr.left, expr.right) if isinstance(side, ir.ColumnRef)]
    elif isinstance(expr, ir.In | ir.Like):
        sides = [expr.operand] if isinstance(expr.operand, ir.ColumnRef) else []
    else:
        return None
    if len(sides) != 1 or fields(sides[0]).row.family == "numeric":
        return None  # a double shows as another number than it is to the server

    def loose(reference: ir.ColumnRef) -> Field:
        return replace(fields(reference), loose=True)

    return _true(expr, loose, negated=False), sides[0].column_id


def _true(expr: Expr, fields: Callable[[ir.ColumnRef], Field], *, negated: bool) -> Filter:
    match expr:
        case ir.And() | ir.Or():
            parts = [_true(arg, fields, negated=negated) for arg in expr.args]
            both = isinstance(expr, ir.And) != negated
            return conjunction(parts) if both else disjunction(parts)
        case ir.Not():
            return _true(expr.arg, fields, negated=not negated)
        case ir.IsNull():
            fit = fit_filter(fields(_column(expr.arg)))
            return fit if negated else {"$nor": [fit]}
        case ir.ColumnRef():
            return _compare(fields(_column(expr)), "=", ir.FALSE if negated else ir.TRUE)
        case ir.Literal():
            return ALWAYS if expr.text == ("false" if negated else "true") else NEVER
        case ir.Compare():
            return _comparison(expr, fields, negated=negated)
        case ir.In():
            items = (
                spread_items(expr.items[0])
                if expr.spread
                else [literal_of(each) for each in expr.items]
            )
            return _membership(fields(_column(expr.operand)), items, negated=negated)
        case ir.Like():
            return _like(expr, fields, negated=negated)
        case _:
            raise NotPushed(f"MongoDB has no filter for {type(expr).__name__.lower()}")


def _column(expr: Expr) -> ir.ColumnRef:
    if not isinstance(expr, ir.ColumnRef) or expr.path:
        raise NotPushed("a comparison of something else than a column and a constant")
    return expr


def _comparison(
    expr: ir.Compare, fields: Callable[[ir.ColumnRef], Field], *, negated: bool
) -> Filter:
    left, right, op = expr.left, expr.right, expr.op
    if not isinstance(left, ir.ColumnRef) and isinstance(right, ir.ColumnRef):
        left, right, op = right, left, _MIRRORED.get(op, op)
    field, literal = fields(_column(left)), literal_of(right)
    if op in ir.DISTINCTIONS:
        distinct = (op == "is distinct from") != negated
        fit = fit_filter(field)
        if literal.text is None:
            return fit if distinct else {"$nor": [fit]}
        if not distinct:
            return _compare(field, "=", literal)
        return disjunction([{"$nor": [fit]}, _compare(field, "<>", literal)])
    if op not in _OPPOSITES:
        raise NotPushed(f"operator {op}")
    if literal.text is None:
        return NEVER
    return _compare(field, _OPPOSITES[op] if negated else op, literal)


def _compare(field: Field, op: str, literal: ir.Literal) -> Filter:
    return _COMPARERS[field.row.family](field, op, read_literal(literal))


def equal_to(field: Field, literal: ir.Literal) -> Filter:
    """The filter of `column = literal` for a literal that is not NULL. Raises NotPushed."""
    return _compare(field, "=", literal)


def _membership(field: Field, items: Sequence[ir.Literal], *, negated: bool) -> Filter:
    known = [item for item in items if item.text is not None]
    if not items:  # of an empty array, whatever the operand is
        return ALWAYS if negated else NEVER
    if negated:
        if len(known) != len(items):
            return NEVER
        return conjunction([_compare(field, "<>", item) for item in known])
    if not known:
        return NEVER
    return _merged([_compare(field, "=", item) for item in known], field)


def _merged(equalities: Sequence[Filter], field: Field) -> Filter:
    """Equalities of one field as one $in where they differ in the value only."""
    groups: dict[str, tuple[Filter, list[Any]]] = {}
    rest: list[Filter] = []
    for clause in equalities:
        for part in clause["$or"] if clause.keys() == {"$or"} else [clause]:
            condition = part.get(field.name)
            if field.loose and not isinstance(condition, dict):
                condition = {"$eq": condition}
            if part == NEVER or part.keys() - {field.name, *field.above} or condition is None:
                rest.append(part)
                continue
            guard = {k: v for k, v in condition.items() if k not in ("$eq", "$in")}
            values = condition.get("$in", [condition[key] for key in ("$eq",) if key in condition])
            groups.setdefault(repr(guard), ({**part, field.name: guard}, []))[1].extend(values)
    made = [
        {**part, field.name: {"$in": values, **part[field.name]}}
        for part, values in groups.values()
    ]
    return disjunction([*made, *rest])


def _like(expr: ir.Like, fields: Callable[[ir.ColumnRef], Field], *, negated: bool) -> Filter:
    field = fields(_column(expr.operand))
    pattern = literal_of(expr.pattern)
    if expr.insensitive:
        raise NotPushed("ILIKE folds case by other rules than PostgreSQL")
    if field.row.family != "text":
        raise NotPushed(f"LIKE of a column of type {field.row.name}")
    if pattern.text is None:
        return NEVER
    escape = "\\" if expr.escape is None else expr.escape
    clauses = like_clauses(pattern.text, escape)
    wanted = clauses.negative if negated else clauses.positive
    typed = wanted if field.loose else {"$type": "string", **wanted}
    strings = _guarded(field, typed, nul=True)
    if not field.object_ids:
        return strings
    if clauses.object_ids is None:
        raise NotPushed("LIKE with a pattern that the hex digits of an ObjectId may match")
    return disjunction([strings, _object_id_range(field, clauses.object_ids, negated=negated)])


def _object_id_range(field: Field, bounds: tuple[str, str], *, negated: bool) -> Filter:
    """The ObjectIds in (or not in) a range of hex digits; ("", "") is the empty one."""
    everything = _guarded(field, {"$type": "objectId"})
    if not bounds[0]:
        return everything if negated else NEVER
    first, last = map(ObjectId, bounds)
    if not negated:
        return _guarded(field, {"$gte": first, "$lte": last})
    below, above = _guarded(field, {"$lt": first}), _guarded(field, {"$gt": last})
    return disjunction([below, above])


# Guards


def _guarded(
    field: Field,
    condition: Filter,
    *extra: Filter,
    not_types: Sequence[str] = (),
    nul: bool = False,
) -> Filter:
    """The condition on the field, where neither it nor what is above it is an array."""
    if field.loose:
        plain = condition["$eq"] if condition.keys() == {"$eq"} else condition
        return {field.name: plain}
    types = [*(() if field.scalar else ("array",)), *not_types]
    nots: list[Filter] = [{"$type": types[0] if len(types) == 1 else types}] if types else []
    if nul:
        nots.append({"$regex": _NUL_PATTERN})
    own = dict(condition)
    clauses: list[Filter] = [{name: {"$not": {"$type": "array"}}} for name in field.above]
    if nots and "$not" not in own:
        own["$not"] = nots.pop(0)
    clauses.append({field.name: own})
    if nots:
        clauses.append({"$nor": [{field.name: each} for each in nots]})
    return conjunction([*clauses, *extra])


def of_type(field: Field, kind: str) -> Filter:
    """The rows where a text column shows a value of this BSON type."""
    return _guarded(field, {"$type": kind}, nul=kind == "string")


def fit_filter(field: Field) -> Filter:
    """The rows where the column is not NULL."""
    return _FITS[field.row.family](field)


def _fit_integer(field: Field) -> Filter:
    row = field.row
    bounds = {"$gte": Int64(row.low), "$lte": Int64(row.high)}
    return _guarded(field, bounds, _integral(field), not_types=("decimal",))


def _integral(field: Field) -> Filter:
    """Numbers that are integers: a double like 2.5 is none."""
    return {"$or": [{field.name: {"$type": ["int", "long"]}}, {field.name: INTEGRAL}]}


def _exact_longs(field: Field) -> Filter:
    """Leaves out integers that are no doubles."""
    limit = Int64(DOUBLE_EXACT_MAX)
    return {
        "$nor": [
            {field.name: {"$type": "long", "$gt": limit}},
            {field.name: {"$type": "long", "$lt": Int64(-DOUBLE_EXACT_MAX)}},
        ]
    }


def _fit_float(field: Field) -> Filter:
    return _guarded(field, {"$type": ["double", "int", "long"]}, _exact_longs(field))


def _fit_text(field: Field) -> Filter:
    return _guarded(field, {"$type": field.text_types}, nul=True)


def _fit_instant(field: Field) -> Filter:
    return _guarded(field, {"$gte": DATE_MIN, "$lte": DATE_MAX})


def _no_fit(field: Field) -> Filter:
    raise NotPushed(f"IS NULL of a column of type {field.row.name}")


def _fit_type(types: str) -> Callable[[Field], Filter]:
    return lambda field: _guarded(field, {"$type": types})


_FITS: Final[Mapping[str, Callable[[Field], Filter]]] = {
    "integer": _fit_integer,
    "float": _fit_float,
    "numeric": _fit_type("number"),
    "text": _fit_text,
    "boolean": _fit_type("bool"),
    "instant": _fit_instant,
    "uuid": _no_fit,
    "bytea": _fit_type("binData"),
    "json": _no_fit,
}


# Comparisons of one column and one value that is not NULL. `op` may be <>.


def _compare_integer(field: Field, op: str, value: Any) -> Filter:
    row = field.row
    if isinstance(value, Decimal):
        if value.is_nan() or not row.low <= value <= row.high:
            return _beyond(field, op, above=value.is_nan() or value > 0)
        whole = math.floor(value)
        if value != whole:  # between two integers
            if op == "=":
                return NEVER
            if op == "<>":
                return fit_filter(field)
            op, value = (">", whole) if op in (">", ">=") else ("<=", whole)
        else:
            value = whole
    if not isinstance(value, int) or isinstance(value, bool):
        raise NotPushed("an integer column compared as another type")
    if not row.low <= value <= row.high:
        return _beyond(field, op, above=value > row.high)
    if op == "=":
        return _guarded(field, {"$eq": _int_bson(value)}, not_types=("decimal",))
    if field.loose:
        return _guarded(field, {OPERATORS[op]: _int_bson(value)})
    bounds: Filter = {"$gte": Int64(row.low), "$lte": Int64(row.high)}
    if op in (">", ">="):
        bounds = {OPERATORS[op]: _int_bson(value), "$lte": Int64(row.high)}
    elif op in ("<", "<="):
        bounds = {OPERATORS[op]: _int_bson(value), "$gte": Int64(row.low)}
    else:
        bounds["$ne"] = _int_bson(value)
    return _guarded(field, bounds, _integral(field), not_types=("decimal",))


def _int_bson(value: int) -> int:
    return value if -(2**31) <= value < 2**31 else Int64(value)


def _beyond(field: Field, op: str, *, above: bool) -> Filter:
    """A comparison with a value that is above (or below) every value of the column's type."""
    everything = op == "<>" or op in (("<", "<=") if above else (">", ">="))
    return fit_filter(field) if everything else NEVER


def _compare_float(field: Field, op: str, value: Any) -> Filter:
    try:
        number = float(value)
    except OverflowError as error:
        raise NotPushed("a number beyond double precision") from error
    if isinstance(value, Decimal) and math.isinf(number) and value.is_finite():
        raise NotPushed("a number beyond double precision")
    if op == "<>":
        return conjunction([fit_filter(field), {"$nor": [{field.name: number}]}])
    guards = (_exact_longs(field),)
    if op == "=" or math.isnan(number):
        return (
            _compare_float_nan(field, op)
            if math.isnan(number)
            else _guarded(field, {"$eq": number}, *guards, not_types=("decimal",))
        )
    below = op in ("<", "<=")
    ordered = _guarded(field, {OPERATORS[op]: number}, *guards, not_types=("decimal",))
    return ordered if below else disjunction([ordered, _nan_filter(field)])


def _nan_filter(field: Field) -> Filter:
    return _guarded(field, {"$eq": _NAN}, not_types=("decimal",))


def _compare_float_nan(field: Field, op: str) -> Filter:
    """NaN equals itself and is above every other number."""
    if op in ("=", ">="):
        return _nan_filter(field)
    if op == ">":
        return NEVER
    if op == "<=":
        return fit_filter(field)
    return conjunction([fit_filter(field), {"$nor": [{field.name: _NAN}]}])


def _compare_numeric(field: Field, op: str, value: Any) -> Filter:
    number = Decimal(value) if isinstance(value, int) else value
    if not isinstance(number, Decimal):
        raise NotPushed("a numeric column compared as another type")
    fit = fit_filter(field)
    if op == "<>":
        return conjunction([fit, {"$nor": [_compare_numeric(field, "=", number)]}])
    if number.is_nan():
        nans = _guarded(field, {"$eq": _NAN})
        by_op = {"=": nans, ">=": nans, ">": NEVER, "<=": fit}
        return by_op.get(op, conjunction([fit, {"$nor": [{field.name: _NAN}]}]))
    exact = decimal128(number)
    near = float(number)
    if math.isinf(near) and number.is_finite():
        raise NotPushed("a number beyond double precision")
    # A double shows as the decimal of its shortest text, which grows with the double.
    shown = Decimal(repr(near))
    others = _guarded(field, {OPERATORS[op]: exact}, not_types=("double",))
    if op == "=":
        if shown != number:
            return others
        if number.is_infinite() or Decimal(near) == number:
            return _guarded(field, {"$eq": exact})
        return disjunction([others, _guarded(field, {"$eq": near, "$type": "double"})])
    double_op = op
    if shown < number:
        double_op = {">=": ">", "<": "<="}.get(op, op)
    elif shown > number:
        double_op = {">": ">=", "<=": "<"}.get(op, op)
    doubles = _guarded(field, {OPERATORS[double_op]: near, "$type": "double"})
    if op in ("<", "<="):
        return disjunction([others, doubles])
    return disjunction([others, doubles, _guarded(field, {"$eq": _NAN})])


def _compare_text(field: Field, op: str, value: Any) -> Filter:
    if not isinstance(value, str):
        raise NotPushed("a text column compared as another type")
    same: list[Any] = [value]
    if field.object_ids and is_object_id(value):
        same = [ObjectId(value), value]
    if op == "=":
        return _guarded(field, {"$in": same} if len(same) > 1 else {"$eq": value})
    if op == "<>":
        return _guarded(field, {"$type": field.text_types, "$nin": same}, nul=True)
    strings = _guarded(field, {OPERATORS[op]: value}, nul=True)
    if not field.object_ids:
        return strings
    bound = first_object_id(value, above=op in (">", "<="))
    if op in (">", ">="):
        if bound is None:
            return strings
        return disjunction([strings, _guarded(field, {"$gte": ObjectId(bound)})])
    below = {"$type": "objectId"} if bound is None else {"$lt": ObjectId(bound)}
    return disjunction([strings, _guarded(field, below)])


def _compare_boolean(field: Field, op: str, value: Any) -> Filter:
    if not isinstance(value, bool):
        raise NotPushed("a boolean column compared as another type")
    passing = [each for each in (False, True) if _holds(each, op, value)]
    if len(passing) == 1:
        return _guarded(field, {"$eq": passing[0]})
    return _guarded(field, {"$in": passing}) if passing else NEVER


def _holds(left: bool, op: str, right: bool) -> bool:
    outcomes = {
        "=": left == right,
        "<>": left != right,
        "<": left < right,
        "<=": left <= right,
        ">": left > right,
        ">=": left >= right,
    }
    return outcomes[op]


def _compare_instant(field: Field, op: str, value: Any) -> Filter:
    if not isinstance(value, Instant):
        raise NotPushed("a timestamp column compared as another type")
    if value.infinite:
        return _beyond(field, op, above=value.infinite > 0)
    ms, rest = divmod(value.us, 1_000)
    if rest:  # between two milliseconds
        if op == "=":
            return NEVER
        if op == "<>":
            return fit_filter(field)
        op = ">" if op in (">", ">=") else "<="
    moment = DatetimeMS(ms)
    if op == "=" or (field.loose and op != "<>"):
        return _guarded(field, {OPERATORS[op]: moment})
    if op == "<>":
        return conjunction([fit_filter(field), {"$nor": [{field.name: moment}]}])
    other = {"$lte": DATE_MAX} if op in (">", ">=") else {"$gte": DATE_MIN}
    return _guarded(field, {OPERATORS[op]: moment, **other})


def _compare_uuid(field: Field, op: str, value: Any) -> Filter:
    if not isinstance(value, bytes):
        raise NotPushed("a uuid column compared as another type")
    if op != "=":
        # Servers differ in how they order BinData of several subtypes.
        raise NotPushed("a comparison of uuids other than =")
    return _guarded(field, {"$in": [Binary(value, 4), Binary(value, 3)]})


def _no_comparison(field: Field, op: str, value: Any) -> Filter:
    del op, value
    raise NotPushed(f"a comparison of type {field.row.name}")


_COMPARERS: Final[Mapping[str, Callable[[Field, str, Any], Filter]]] = {
    "integer": _compare_integer,
    "float": _compare_float,
    "numeric": _compare_numeric,
    "text": _compare_text,
    "boolean": _compare_boolean,
    "instant": _compare_instant,
    "uuid": _compare_uuid,
    "bytea": _no_comparison,
    "json": _no_comparison,
}
