"""GROUP BY and aggregates in the store, exactly as PostgreSQL answers (pure).

The server groups by the BSON values and their types; which of these are one value to PostgreSQL is
decided here, where groups are folded: 7 and 7.0 of an integer column, a missing field and null and
a misfit. Aggregates skip what the column does not show (`shown`), answer NULL over nothing, and
over no rows there is one row without keys. Exact because: sums of 32-bit integers fit 64 bits,
those of 64-bit ones the 34 digits of Decimal128; texts, instants and integers have PostgreSQL's
order. Not pushed: sums of doubles and decimals (rounded), the order of numbers with NaN.

Conditions for each document are dear, and nearly always true. So the plain accumulators are asked
first (`quick`): the type of what they answer says whether every value was one that the column
shows. A sum that is an integer had only integers, which $min and $max bound; a largest text that is
a string has nothing above it. What they do not settle (Unsettled) is asked again with conditions.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Context, Decimal
from typing import Any, Final

import pyarrow as pa
from bson.datetime_ms import DatetimeMS
from bson.decimal128 import Decimal128
from bson.int64 import Int64

from backends.base import Aggregate, Grouping
from backends.mongodb.decode import ColumnSpec, MisfitCounter, decode_column
from backends.mongodb.documents import is_text, milliseconds
from backends.mongodb.filters import DATE_MAX, DATE_MIN, check_path
from backends.mongodb.literals import NotPushed
from backends.mongodb.types import (
    DOUBLE_EXACT_MAX,
    INSTANT_MS_MAX,
    INSTANT_MS_MIN,
    MongoType,
    shows_object_ids,
    type_row,
)
from core import expr as ir
from core.encoding import to_text_carrier
from core.errors import OutOfMemory
from core.types import type_by_name

GROUPS_MAX: Final = 1_000_000
"""Groups that one grouped scan may hold."""
_EXACT: Final = Context(prec=200)
_DIV_DIGITS: Final = 16  # NUMERIC_MIN_SIG_DIGITS
_INTS: Final = frozenset((int, Int64))
Stage = dict[str, Any]


class Unsettled(Exception):
    """The quick accumulators do not tell: the store has to be asked with conditions."""


Settle = Callable[[Sequence[Any]], tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class Member:
    """One aggregate: its accumulators in $group, how two partial answers fold, and the answer's
    text; each of these sees the values of its accumulators. `quick` are accumulators to try first,
    `settle` turns their values into those of the others, or raises Unsettled.
    """

    accumulators: tuple[Stage, ...]
    fold: Callable[[Sequence[Any], Sequence[Any]], tuple[Any, ...]]
    text: Callable[[Sequence[Any]], str | None]
    quick: tuple[Stage, ...] = ()
    settle: Settle = tuple

    def stages(self, *, quick: bool) -> tuple[Stage, ...]:
        """The accumulators to ask for."""
        return self.quick if quick and self.quick else self.accumulators

    def parts(self, values: Sequence[Any], *, quick: bool) -> tuple[Any, ...]:
        """The accumulators' values, of what was asked. Raises Unsettled."""
        return self.settle(values) if quick and self.quick else tuple(values)


@dataclass(frozen=True, slots=True)
class GroupedQuery:
    """What a grouped scan asks for and answers: `keys` are specs whose path is in the answers."""

    keys: tuple[ColumnSpec, ...]
    members: tuple[Member, ...]

    def stage(self, names: Sequence[str], *, quick: bool = False) -> Stage:
        """The $group stage; `names` are the dotted names of the keys."""
        parts: Stage = {}
        for number, (name, key) in enumerate(zip(names, self.keys, strict=True)):
            parts[f"k{number}"] = f"${name}" if quick else {"$ifNull": [f"${name}", None]}
            if not (quick and is_told_by_value(key)):
                parts[f"t{number}"] = {"$type": f"${name}"}
        group: Stage = {"_id": parts or None}
        for number, member in enumerate(self.members):
            for part, accumulator in enumerate(member.stages(quick=quick)):
                group[f"a{number}_{part}"] = accumulator
        return {"$group": group}

    @property
    def has_quick(self) -> bool:
        """Whether there is a quicker way to ask."""
        return any(each.quick for each in self.members) or any(map(is_told_by_value, self.keys))


def is_told_by_value(key: ColumnSpec) -> bool:
    """Whether values of the key that MongoDB calls equal are of one type; numbers need not be."""
    row = type_row(key.sql_type)
    return row is not None and row.family != "integer"


def shown(name: str, row: MongoType, store_type: str) -> Stage:
    """The expression that is true for values that the column shows. Raises NotPushed."""
    value, kind = f"${name}", {"$type": f"${name}"}
    match row.family:
        case "integer":
            low, high = Int64(row.low), Int64(row.high)
            return {
                "$and": [
                    {"$in": [kind, ["int", "long", "double"]]},
                    {"$gte": [value, low]},
                    {"$lte": [value, high]},
                    {"$eq": [value, {"$trunc": value}]},
                ]
            }
        case "float":
            limit = Int64(DOUBLE_EXACT_MAX)
            exact = [{"$gte": [value, Int64(-DOUBLE_EXACT_MAX)]}, {"$lte": [value, limit]}]
            long = {"$and": [{"$eq": [kind, "long"]}, *exact]}
            return {"$or": [{"$in": [kind, ["int", "double"]]}, long]}
        case "text":
            whole = {"$eq": [{"$indexOfCP": [value, "\0"]}, -1]}
            string = {"$and": [{"$eq": [kind, "string"]}, whole]}
            if not shows_object_ids(store_type):
                return string
            return {"$or": [{"$eq": [kind, "objectId"]}, string]}
        case "instant":
            bounds = [{"$gte": [value, DATE_MIN]}, {"$lte": [value, DATE_MAX]}]
            return {"$and": [{"$eq": [kind, "date"]}, *bounds]}
        case "numeric" | "boolean" | "bytea":
            return {"$in": [kind, list(row.bson)]}
        case _:
            raise NotPushed(f"an aggregate of a column of type {row.name}")


def member_of(aggregate: Aggregate, spec: ColumnSpec | None) -> Member:
    """How the store computes an aggregate of a column (None: of rows). Raises NotPushed."""
    if aggregate.distinct:
        raise NotPushed(f"{aggregate.name}(DISTINCT …)")
    if spec is None:
        if aggregate.name != "count":
            raise NotPushed(f"{aggregate.name}(*)")
        return _count(1)
    check_path(spec.path)
    row = type_row(spec.sql_type)
    if row is None:
        raise NotPushed(f"an aggregate of a column of type {spec.sql_type}")
    name = ".".join(spec.path)
    condition = shown(name, row, spec.store_type)
    if aggregate.name == "count":
        return _count({"$cond": [condition, 1, 0]})
    maker = _MAKERS.get((aggregate.name, row.family))
    if maker is None:
        raise NotPushed(f"aggregate {aggregate.name} of type {row.name}")
    return maker(aggregate, spec, row, condition)


def _count(counted: Any) -> Member:
    return Member(({"$sum": counted},), _sums, lambda parts: str(int(parts[0])))


def _sums(one: Sequence[Any], other: Sequence[Any]) -> tuple[Any, ...]:
    return tuple(a + b for a, b in zip(map(_number, one), map(_number, other), strict=True))


def _number(value: Any) -> Any:
    return int(value.to_decimal()) if isinstance(value, Decimal128) else value


def _sum(aggregate: Aggregate, spec: ColumnSpec, row: MongoType, condition: Stage) -> Member:
    """Sum and count; the sum of nothing is NULL, the quotient of both is avg."""
    value = f"${'.'.join(spec.path)}"
    wide = {"$toDecimal": value} if row.name == "bigint" else {"$toLong": value}
    parts = (
        {"$sum": {"$cond": [condition, wide, 0]}},
        {"$sum": {"$cond": [condition, 1, 0]}},
    )
    quick: tuple[Stage, ...] = ({"$sum": value}, {"$min": value}, {"$max": value})
    if aggregate.name == "avg":
        quick = (*quick, {"$sum": {"$cond": [{"$gt": [value, None]}, 1, 0]}})
        return Member(parts, _sums, _average_text, quick, _settle_sum(row))
    return Member(parts, _sums, _sum_text, quick, _settle_sum(row))


def _settle_sum(row: MongoType) -> Settle:
    """Sum, least, largest (and count, where it matters): integers only, and all of them shown."""

    def settle(values: Sequence[Any]) -> tuple[Any, ...]:
        total, least, largest = values[:3]
        count = values[3] if len(values) > 3 else 1
        if least is None and largest is None:
            return 0, 0
        if not all(type(each) in _INTS for each in (total, least, largest)):
            raise Unsettled
        if not row.low <= least <= largest <= row.high:
            raise Unsettled
        return total, count

    return settle


def _sum_text(parts: Sequence[Any]) -> str | None:
    total, count = map(_number, parts)
    return str(int(total)) if count else None


def _average_text(parts: Sequence[Any]) -> str | None:
    total, count = (int(_number(part)) for part in parts)
    return divided(total, count) if count else None


def divided(total: int, count: int) -> str:
    """total / count as numeric_div prints it: select_div_scale of numeric.c."""
    (weight, first), (by_weight, by_first) = _leading(abs(total)), _leading(count)
    weight -= by_weight + (first <= by_first)
    scale = max(_DIV_DIGITS - weight * 4, 0)
    quotient = _EXACT.divide(Decimal(total), Decimal(count))
    rounded = quotient.quantize(Decimal(1).scaleb(-scale), ROUND_HALF_UP, _EXACT)
    return format(abs(rounded) if rounded.is_zero() else rounded, "f")


def _leading(value: int) -> tuple[int, int]:
    """Weight and first digit in base 10000."""
    weight = 0
    while value >= 10_000:
        value, weight = value // 10_000, weight + 1
    return weight, value


def _extreme(aggregate: Aggregate, spec: ColumnSpec, row: MongoType, condition: Stage) -> Member:
    largest = aggregate.name == "max"
    value: Any = f"${'.'.join(spec.path)}"
    if row.family == "text" and shows_object_ids(spec.store_type):
        value = {"$toString": value}
    if row.family == "instant":
        value = {"$toLong": value}
    choose = {"$cond": [condition, value, None]}

    def fold(one: Sequence[Any], other: Sequence[Any]) -> tuple[Any, ...]:
        found = [each for each in (one[0], other[0]) if each is not None]
        if not found:
            return (None,)
        return (max(found) if largest else min(found),)

    def text(parts: Sequence[Any]) -> str | None:
        value = parts[0]
        if row.family == "instant" and value is not None:
            value = DatetimeMS(int(value))
        return _texts([value], spec)[0]

    name = "$max" if largest else "$min"
    quick: tuple[Stage, ...] = ({name: f"${'.'.join(spec.path)}"},)
    if row.family == "text" and shows_object_ids(spec.store_type):
        quick = ()  # their digits sort among the texts, their values do not
    return Member(({name: choose},), fold, text, quick, _settle_extreme(row))


def _settle_extreme(row: MongoType) -> Settle:
    """The least or largest of all values of whatever type: it is the answer if it is shown."""

    def settle(values: Sequence[Any]) -> tuple[Any, ...]:
        [value] = values
        kind = type(value)
        if value is None or (row.family == "boolean" and kind is bool):
            return (value,)
        if row.family == "integer" and kind in _INTS and row.low <= value <= row.high:
            return (value,)
        if row.family == "text" and kind is str and is_text(value):
            return (value,)
        if row.family == "instant" and kind in (dt.datetime, DatetimeMS):
            ms = milliseconds(value)
            if INSTANT_MS_MIN <= ms <= INSTANT_MS_MAX:
                return (Int64(ms),)
        raise Unsettled

    return settle


def _logical(aggregate: Aggregate, spec: ColumnSpec, row: MongoType, condition: Stage) -> Member:
    every = aggregate.name != "bool_or"
    name = "min" if every else "max"
    return _extreme(Aggregate(name, aggregate.argument, aggregate.type), spec, row, condition)


Maker = Callable[[Aggregate, ColumnSpec, MongoType, Stage], Member]
_MAKERS: Final[Mapping[tuple[str, str], Maker]] = {
    ("sum", "integer"): _sum,
    ("avg", "integer"): _sum,
    **{
        (name, kind): _extreme for name in ("min", "max") for kind in ("integer", "text", "instant")
    },
    **{(name, "boolean"): _logical for name in ("bool_and", "bool_or", "every")},
}


def _texts(values: Sequence[Any], spec: ColumnSpec) -> list[str | None]:
    column = decode_column(values, spec, MisfitCounter())
    made: list[str | None] = to_text_carrier(column, type_by_name(spec.sql_type)).to_pylist()
    return made


def grouped_query(
    grouping: Grouping, spec_of: Callable[[ir.ColumnRef], ColumnSpec]
) -> GroupedQuery:
    """The query of a grouping over columns. Raises NotPushed."""
    keys = tuple(spec_of(_column(key)) for key in grouping.keys)
    for key in keys:
        check_path(key.path)
        row = type_row(key.sql_type)
        if row is None or row.family in ("json", "float", "numeric"):
            # Equal numbers of those types may show differently: 0 and -0, 1.5 and 1.50.
            raise NotPushed(f"GROUP BY of a column of type {key.sql_type}")
    members = tuple(
        member_of(each, None if each.argument is None else spec_of(_column(each.argument)))
        for each in grouping.aggregates
    )
    return GroupedQuery(keys, members)


def _column(expr: ir.Expr) -> ir.ColumnRef:
    if not isinstance(expr, ir.ColumnRef) or expr.path:
        raise NotPushed("a grouping of something else than columns")
    return expr


class Folding:
    """The groups of the server on their way to be the groups of PostgreSQL; `quick`: they were
    asked for so, and may be Unsettled.
    """

    def __init__(self, query: GroupedQuery, *, quick: bool = False) -> None:
        self._query = query
        self._quick = quick
        self._groups: dict[tuple[str | None, ...], list[tuple[Any, ...]]] = {}

    def add(self, documents: Sequence[Mapping[str, Any]]) -> None:
        """Some of the server's groups."""
        quick = self._quick
        columns = [
            _texts([document["_id"].get(f"k{n}") for document in documents], spec)
            for n, spec in enumerate(self._query.keys)
        ]
        keys = zip(*columns, strict=True) if columns else [()] * len(documents)
        for key, document in zip(keys, documents, strict=True):
            parts = [
                member.parts(
                    [document[f"a{n}_{p}"] for p in range(len(member.stages(quick=quick)))],
                    quick=quick,
                )
                for n, member in enumerate(self._query.members)
            ]
            known = self._groups.get(key)
            if known is not None:
                members = zip(self._query.members, known, parts, strict=True)
                parts = [member.fold(one, other) for member, one, other in members]
            self._groups[key] = parts
        if len(self._groups) > GROUPS_MAX:
            raise OutOfMemory(
                f"a grouped scan has more than {GROUPS_MAX} groups",
                hint="SET morph.pushdown = scan lets PostgreSQL group.",
            )

    def batch(self) -> pa.RecordBatch:
        """The groups, keys first; one row without keys also where there was nothing."""
        query = self._query
        if not query.keys and not self._groups:
            nothing = [_nothing(member) for member in query.members]
            self._groups[()] = nothing
        rows = list(self._groups.items())
        columns: list[list[str | None]] = [
            [key[n] for key, _ in rows] for n in range(len(query.keys))
        ]
        for n, member in enumerate(query.members):
            columns.append([member.text(parts[n]) for _, parts in rows])
        names = [f"g{n}" for n in range(len(columns))]
        if not columns:
            return pa.RecordBatch.from_struct_array(pa.array([{}] * len(rows), pa.struct([])))
        return pa.RecordBatch.from_arrays([pa.array(c, pa.string()) for c in columns], names)


def _nothing(member: Member) -> tuple[Any, ...]:
    """The accumulators over no rows."""
    return tuple(0 if "$sum" in each else None for each in member.accumulators)
