"""plan_scan of Cassandra: the ask as CQL that keys and indexes allow.

Pure: the table, the ask and the facts of the stored table go in. What CQL can do is little, so
there are three ways to reach rows: by *keys* (the whole partition key has candidates; one request
for each key, then clustering columns as far as they are restricted), by *index* (built SAI, or one
secondary index), or *full* (ranges of the token ring, in parallel). Anything else would need ALLOW
FILTERING and stays in the residual, unless the option `allow_filtering` asks for it; then the plan
has a notice.

A value that PostgreSQL's type cannot hold is NULL there, so no condition holds for it: columns that
conditions were taken on are `strict`, and the scan drops rows in which they are NULL.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

from backends.base import Exact, ExactWithRewrite, No, ScanAsk, ScanPlan
from backends.cassandra.conditions import (
    INTEGERS,
    Condition,
    NotWritten,
    column_of,
    is_same_type,
    merge,
    read_condition,
)
from backends.cassandra.facts import ColumnFacts, TableFacts, quote_cql, relation_cql
from catalog.model import Column, Native, Table
from core import expr as ir
from core.expr import Expr, base_type, join_and, split_and

KIND: Final = "cassandra"
KEYS_MAX: Final = 10_000
"""Keys that one scan looks up, each by a request of its own."""
CLUSTERING_ITEMS_MAX: Final = 100
"""Items of an IN over a clustering column."""
REWRITES: Final = frozenset(("prefix_range", "whole_units", "both_zeros"))
"""What conditions.py does: LIKE as a range, instants as whole milliseconds, -0.0 beside 0.0."""

_ORDERED: Final = frozenset((*INTEGERS, "varint", "text", "varchar", "ascii", "boolean"))
_ORDERED_TIMES: Final = frozenset(("timestamp", "date", "time", "blob"))
_SAI_EQUAL: Final = frozenset(
    (*INTEGERS, "text", "varchar", "ascii", "boolean", "uuid", "timeuuid")
)
_SAI_TIMES: Final = frozenset(("date", "time", "timestamp"))
_SECONDARY_EQUAL: Final = _SAI_EQUAL | _SAI_TIMES | {"blob"}
_COUNTED: Final = frozenset((*INTEGERS, "boolean", "uuid", "timeuuid", "blob", "float", "double"))
"""Types without values that are NULL in PostgreSQL: count(column) is Cassandra's."""

Access = Literal["keys", "index", "full", "empty"]


@dataclass(frozen=True, slots=True)
class NativeScan:
    """What is asked of Cassandra. `text` has a marker for each value of a row of `binds`; a full
    scan has `{tokens}` where the range goes. `selected` are the names of its result, the first
    `shown` of which (with their PostgreSQL types) are wanted; `strict` are positions that must not
    be NULL; `ordered` says that they come in an order. `limit` is kept by the scan itself.
    """

    access: Access
    text: str
    binds: tuple[tuple[Any, ...], ...] = ()
    selected: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    columns: tuple[int, ...] = ()
    shown: int = 0
    strict: tuple[int, ...] = ()
    ordered: tuple[int, ...] = ()
    limit: int | None = None
    partition: tuple[str, ...] = ()
    reducers: tuple[str, ...] = ()
    """Of a grouped scan: how each result is put together over the requests: sum, min, max."""
    table: Table | None = field(default=None, hash=False, compare=False)
    ask: ScanAsk | None = field(default=None, hash=False, compare=False)
    """What was asked, to plan again when the stored table became known only after planning."""
    known: bool = True
    relation: tuple[str, str] | None = None

    def __str__(self) -> str:
        if self.access == "empty":
            return "(no rows: a condition can never be true)"
        text = self.text.replace("{tokens}", self._tokens())
        if len(self.binds) > 1:
            text += f" -- {len(self.binds)} requests, first"
        elif self.binds and self.binds[0]:
            text += " --"
        if self.binds and self.binds[0]:
            text += f" [{', '.join(map(_shown_value, self.binds[0]))}]"
        return text + ("" if self.limit is None else f" -- at most {self.limit} rows")

    def _tokens(self) -> str:
        if self.access != "full" or not self.partition:
            return ""
        token = f"token({', '.join(map(quote_cql, self.partition))})"
        return f"{token} > ? AND {token} <= ?"


def _shown_value(value: Any) -> str:
    if isinstance(value, bytes):
        return "0x" + value.hex()
    return repr(value)


@dataclass(slots=True)
class _Split:
    """The conjuncts, as far as they are conditions on columns."""

    by_column: dict[str, list[Condition]] = field(default_factory=dict)
    residual: list[Expr] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _Where:
    """A WHERE in the making: conditions with their markers, and the values of each request."""

    access: Access
    terms: list[str] = field(default_factory=list)
    binds: list[tuple[Any, ...]] = field(default_factory=lambda: [()])
    taken: list[Condition] = field(default_factory=list)
    fixed: set[str] = field(default_factory=set)
    single: bool = False
    filters: bool = False

    def add(self, condition: Condition, term: str, *values: Any) -> None:
        """A condition with the same values in every request."""
        self.terms.append(term)
        self.binds = [(*bind, *values) for bind in self.binds]
        self.taken.append(condition)


def plan_scan(
    table: Table, ask: ScanAsk, facts: TableFacts | None, *, allow_filtering: bool = False
) -> ScanPlan:
    """The CQL for the ask; without facts a full scan that plans again when it runs."""
    if facts is None:
        return _unknown(table, ask)
    split = _split_predicate(table, ask, facts)
    merged: dict[str, Condition] = {}
    for name, conditions in split.by_column.items():
        merged[name], left = merge(conditions)
        split.residual += left
        if left:
            split.reasons.append(f"column {name} has candidates, its bounds are checked after")
    if any(each.candidates == () for each in merged.values()):
        return _finish(table, ask, facts, _Where("empty", taken=list(merged.values())), split)
    where = _reach(facts, merged)
    _further(where, facts, merged, allow_filtering)
    for condition in merged.values():
        if condition not in where.taken:
            split.residual += split_and(condition.source)
            split.reasons.append(f"column {condition.column} is not in a key or index that applies")
    if ask.whole and split.residual and where.taken:
        split.reasons.append("the predicate may raise and is taken whole or not at all")
        split.residual = list(split_and(ask.predicate))
        where = _Where("full")
    return _finish(table, ask, facts, where, split)


def _unknown(table: Table, ask: ScanAsk) -> ScanPlan:
    reason = ("the stored table is not known yet; the scan plans again when it runs",)
    native = NativeScan("full", "", table=table, ask=ask, known=False)
    types = tuple(each.type for each in map(table.column_by_id, ask.columns) if each is not None)
    return ScanPlan(
        replace(native, types=types, columns=ask.columns),
        ask.columns,
        None,
        ask.predicate,
        reasons=reason,
    )


def stored_name(column: Column) -> str | None:
    """The name of a column in Cassandra; None for one that is not stored there."""
    source = column.source
    return source.path[0] if isinstance(source, Native) and len(source.path) == 1 else None


def _split_predicate(table: Table, ask: ScanAsk, facts: TableFacts) -> _Split:
    split = _Split()
    for part in split_and(ask.predicate):
        try:
            condition = _condition(table, part, ask, facts)
        except NotWritten as error:
            split.residual.append(part)
            split.reasons.append(str(error))
        else:
            split.by_column.setdefault(condition.column, []).append(condition)
    return split


def _condition(table: Table, part: Expr, ask: ScanAsk, facts: TableFacts) -> Condition:
    verdict = ask.judge(part)
    if isinstance(verdict, No):
        raise NotWritten(verdict.reason)
    if isinstance(verdict, ExactWithRewrite) and verdict.rewrite not in REWRITES:
        raise NotWritten(f"Cassandra has no rewrite {verdict.rewrite}")
    column = table.column_by_id(column_of(part) or 0)
    found = None if column is None else facts.column(stored_name(column) or "")
    if column is None or found is None:
        raise NotWritten("CQL has no such condition")
    if not is_same_type(column.type, found):
        raise NotWritten(f"column {column.name} is shown as {column.type}, stored as {found.type}")
    condition = read_condition(part, found)
    if found.role == "partition_key" and len(facts.partition) == 1:
        # A partition key of one column is never empty, and Cassandra refuses to look for one.
        kept = tuple(v for v in condition.candidates or () if v not in ("", b""))
        if condition.candidates is not None:
            return replace(condition, candidates=kept)
    return condition


# Ways to the rows


def _reach(facts: TableFacts, conditions: Mapping[str, Condition]) -> _Where:
    keys = [conditions.get(each.name) for each in facts.partition]
    candidates = [each.candidates for each in keys if each is not None and each.candidates]
    if len(candidates) == len(keys) and math.prod(map(len, candidates)) <= KEYS_MAX:
        return _by_keys(facts, conditions, [each for each in keys if each is not None])
    where = _Where("index")
    for index in facts.indexes:
        condition = conditions.get(index.column)
        column = facts.column(index.column)
        if condition is None or column is None or (index.kind == "secondary" and where.taken):
            continue
        if index.kind == "sai" and all(_is_sai(facts, each) for each in where.taken):
            _add_indexed(where, condition, column, _SAI_EQUAL)
        elif index.kind == "secondary":
            _add_equal(where, condition, column, _SECONDARY_EQUAL)
    return where if where.taken else _Where("full")


def _is_sai(facts: TableFacts, condition: Condition) -> bool:
    return any(i.column == condition.column and i.kind == "sai" for i in facts.indexes)


def _by_keys(
    facts: TableFacts, conditions: Mapping[str, Condition], keys: Sequence[Condition]
) -> _Where:
    where = _Where("keys")
    where.terms = [f"{quote_cql(each.name)} = ?" for each in facts.partition]
    where.binds = list(itertools.product(*(each.candidates or () for each in keys)))
    where.taken = list(keys)
    where.fixed = {each.name for each in facts.partition}
    where.single = len(where.binds) == 1
    for column in facts.clustering:
        condition = conditions.get(column.name)
        if condition is None:
            break
        name = quote_cql(column.name)
        candidates = condition.candidates
        if candidates is not None and len(candidates) == 1:
            where.add(condition, f"{name} = ?", candidates[0])
            where.fixed.add(column.name)
            continue
        if candidates is not None and len(candidates) <= CLUSTERING_ITEMS_MAX:
            where.add(condition, f"{name} IN ?", list(candidates))
        elif candidates is None:
            _add_range(where, condition)
        break
    return where


def _add_range(where: _Where, condition: Condition) -> None:
    name = quote_cql(condition.column)
    terms, values = [], []
    for bound, sign in ((condition.low, ">"), (condition.high, "<")):
        if bound is not None:
            terms.append(f"{name} {sign}{'=' if bound.inclusive else ''} ?")
            values.append(bound.value)
    where.add(condition, " AND ".join(terms), *values)


def _add_indexed(
    where: _Where, condition: Condition, column: ColumnFacts, equal: frozenset[str]
) -> None:
    if condition.candidates is not None:
        _add_equal(where, condition, column, equal | _SAI_TIMES)
    elif column.type in INTEGERS or column.type in _SAI_TIMES:
        _add_range(where, condition)


def _add_equal(
    where: _Where, condition: Condition, column: ColumnFacts, types: frozenset[str]
) -> None:
    candidates = condition.candidates or ()
    if len(candidates) == 1 and column.type in types:
        where.add(condition, f"{quote_cql(column.name)} = ?", candidates[0])


def _further(
    where: _Where, facts: TableFacts, conditions: Mapping[str, Condition], allow_filtering: bool
) -> None:
    """What ALLOW FILTERING lets Cassandra check on the way, if it was asked for."""
    if not allow_filtering:
        return
    for condition in conditions.values():
        column = facts.column(condition.column)
        if condition in where.taken or column is None or column.role == "static":
            continue
        if condition.candidates is None:
            _add_range(where, condition)
        elif len(condition.candidates) == 1:
            where.add(condition, f"{quote_cql(column.name)} = ?", condition.candidates[0])
        else:
            continue
        where.filters = True


# The plan


def _finish(
    table: Table, ask: ScanAsk, facts: TableFacts, where: _Where, split: _Split
) -> ScanPlan:
    grouped = _grouped(table, ask, facts, where, split)
    if grouped is not None:
        return grouped
    order, order_reasons = _order(table, ask, facts, where)
    order_exact = bool(ask.order) and order is not None
    limit_exact = ask.limit is not None and not split.residual and (order_exact or not ask.order)
    names, types = _selection(table, ask, facts)
    shown = len(names)
    strict = _positions(names, [each.column for each in where.taken if not _fits(facts, each)])
    ordered = _positions(names, _order_names(table, ask) if order_exact else [])
    _show_rows(facts, names)
    clauses = _clauses(facts, names, where, order or "")
    native = NativeScan(
        where.access,
        clauses,
        tuple(where.binds) if where.access in ("keys", "index") or where.terms else ((),),
        tuple(names),
        types,
        ask.columns,
        shown if ask.columns else 0,
        strict,
        ordered,
        ask.limit if limit_exact else None,
        tuple(each.name for each in facts.partition),
        relation=(facts.keyspace, facts.name),
    )
    return ScanPlan(
        native,
        ask.columns,
        _taken(where),
        join_and(split.residual),
        limit_exact,
        order_exact,
        tuple(dict.fromkeys(split.reasons + order_reasons)),
        notices=_notices(facts, where),
    )


def _taken(where: _Where) -> Expr | None:
    return join_and([part for each in where.taken for part in split_and(each.source)])


def _fits(facts: TableFacts, condition: Condition) -> bool:
    """No row that meets the condition holds a value that is NULL in PostgreSQL."""
    column = facts.column(condition.column)
    scalar = None if column is None else column.cql.scalar
    return condition.candidates is not None or (scalar is not None and scalar.fits)


def _positions(names: list[str], wanted: Sequence[str]) -> tuple[int, ...]:
    """Where the columns are in the result; those that are not yet in it are added."""
    names += [name for name in dict.fromkeys(wanted) if name not in names]
    return tuple(dict.fromkeys(names.index(name) for name in wanted))


def _selection(table: Table, ask: ScanAsk, facts: TableFacts) -> tuple[list[str], tuple[str, ...]]:
    names, types = [], []
    for each in map(table.column_by_id, ask.columns):
        name = None if each is None else stored_name(each)
        assert each is not None, ask.columns
        assert name is not None, each
        names.append(name)
        types.append(each.type)
    if not names:
        names.append(facts.partition[0].name)
    return names, tuple(types)


def _show_rows(facts: TableFacts, names: list[str]) -> None:
    """Selecting static columns only would answer a row for each partition: a column more."""
    roles = {each.name: each.role for each in facts.columns}
    shown = {roles[name] for name in names}
    if facts.clustering and "static" in shown <= {"static", "partition_key"}:
        names.append(facts.clustering[0].name)


def _clauses(facts: TableFacts, names: Sequence[str], where: _Where, order: str) -> str:
    selected = ", ".join(quote_cql(name) for name in names)
    text = f"SELECT {selected} FROM {relation_cql(facts.keyspace, facts.name)}"
    terms = (["{tokens}"] if where.access == "full" else []) + where.terms
    if terms:
        text += f" WHERE {' AND '.join(terms)}"
    return text + order + (" ALLOW FILTERING" if where.filters else "")


def _notices(facts: TableFacts, where: _Where) -> tuple[str, ...]:
    if not where.filters:
        return ()
    what = "the rows of the partition" if where.access == "keys" else "every row"
    return (
        f"Cassandra reads {what} of {facts.keyspace}.{facts.name} to filter them (ALLOW FILTERING)",
    )


def _order_names(table: Table, ask: ScanAsk) -> list[str]:
    columns = (table.column_by_id(key.column_id) for key in ask.order)
    return [stored_name(each) or "" for each in columns if each is not None]


def _order(
    table: Table, ask: ScanAsk, facts: TableFacts, where: _Where
) -> tuple[str | None, list[str]]:
    """ORDER BY of the asked order, "" where it is the table's own, None where it cannot be."""
    if not ask.order:
        return "", []
    if where.access == "empty":
        return "", []
    if not where.single:
        return None, ["Cassandra orders the rows of one partition only"]
    clustering = [each for each in facts.clustering if each.name not in where.fixed]
    keys = [
        key
        for key, name in zip(ask.order, _order_names(table, ask), strict=True)
        if name not in where.fixed
    ]
    if len(keys) > len(clustering):
        return None, ["the order is not that of the clustering columns"]
    turned = set()
    for key, column in zip(keys, clustering, strict=False):
        shown = table.column_by_id(key.column_id)
        assert shown is not None, key
        reference = ir.ColumnRef(shown.id, shown.type)
        verdict = ask.judge(ir.Compare("<", reference, reference))
        exact = isinstance(verdict, Exact | ExactWithRewrite)
        known = column.type in _ORDERED or column.type in _ORDERED_TIMES
        if stored_name(shown) != column.name or not exact or not known:
            return None, ["the order is not that of the clustering columns"]
        turned.add(key.descending != column.descending)
    if len(turned) > 1:
        return None, ["the directions are not those of the clustering columns"]
    if turned != {True}:
        return "", []
    return f" ORDER BY {_reversed(facts)}", []


def _reversed(facts: TableFacts) -> str:
    return ", ".join(
        f"{quote_cql(each.name)} {'ASC' if each.descending else 'DESC'}"
        for each in facts.clustering
    )


# Aggregates


def _grouped(
    table: Table, ask: ScanAsk, facts: TableFacts, where: _Where, split: _Split
) -> ScanPlan | None:
    """count, min and max over whole keys: exact, and bounded by the partitions they name."""
    grouping = ask.grouping
    if grouping is None or grouping.keys or split.residual or where.access != "keys":
        return None
    if where.filters or not all(_fits(facts, each) for each in where.taken):
        return None
    calls, reducers = [], []
    for each in grouping.aggregates:
        call = _aggregate_call(table, facts, each.name, each.argument)
        if call is None or each.distinct:
            return None
        calls.append(call)
        reducers.append("sum" if each.name == "count" else each.name)
    if not calls:
        return None
    text = f"SELECT {', '.join(calls)} FROM {relation_cql(facts.keyspace, facts.name)}"
    types = tuple(each.type for each in grouping.aggregates)
    native = NativeScan(
        "keys",
        f"{text} WHERE {' AND '.join(where.terms)}",
        tuple(where.binds),
        tuple(calls),
        types,
        shown=len(calls),
        reducers=tuple(reducers),
    )
    return ScanPlan(native, (), _taken(where), None, grouped=True, types=types)


def _aggregate_call(
    table: Table, facts: TableFacts, name: str, argument: Expr | None
) -> str | None:
    if argument is None:
        return "count(*)" if name == "count" else None
    if not isinstance(argument, ir.ColumnRef) or argument.path:
        return None
    shown = table.column_by_id(argument.column_id)
    column = None if shown is None else facts.column(stored_name(shown) or "")
    if shown is None or column is None or not is_same_type(shown.type, column):
        return None
    if name == "count" and column.type in _COUNTED:
        return f"count({quote_cql(column.name)})"
    if name in ("min", "max") and column.type in INTEGERS:
        whole = base_type(shown.type)
        return f"{name}({quote_cql(column.name)})" if whole == shown.type else None
    return None
