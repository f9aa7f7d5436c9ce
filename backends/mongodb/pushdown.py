"""plan_scan of MongoDB: the ask as a find, or as a pipeline for child tables and counts (pure)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from backends.base import Exact, ExactWithRewrite, Grouping, No, ScanAsk, ScanPlan
from backends.mongodb.decode import ColumnSpec
from backends.mongodb.filters import (
    NEVER,
    Field,
    Filter,
    conjunction,
    field_of,
    where_may_be_true,
    where_true,
)
from backends.mongodb.grouping import grouped_query
from backends.mongodb.literals import NotPushed
from backends.mongodb.ordering import segments, texts_and_object_ids
from backends.mongodb.partners import partner_stages
from backends.mongodb.query import COUNT, ORDINALITY, MongoQuery, Segment
from backends.mongodb.types import shows_object_ids
from catalog.model import Column, Native, Ordinality, ParentKey, Table
from core import expr as ir
from core.expr import Expr, check_depth, column_ids, join_and, split_and

KIND: Final = "mongodb"
KEY_PATH: Final = ("_id",)
MERGED_ROWS_MAX: Final = 10_000
"""Rows that are held to merge two sorted finds."""


@dataclass(frozen=True, slots=True)
class _Split:
    """The predicate apart: conjuncts taken with their filters, and what is left.

    `plain` are the filters without guards, for a reader that drops the rows in which a `required`
    column is NULL.
    """

    table: Table
    taken: tuple[Expr, ...]
    plain: tuple[Filter, ...]
    required: tuple[int, ...]
    residual: tuple[Expr, ...]
    reasons: tuple[str, ...]
    nothing: bool = False
    """No row at all is wanted."""
    guards: tuple[Filter, ...] = ()
    """What else must hold for a row."""

    @property
    def filters(self) -> tuple[Filter, ...]:
        """The filters with all guards, for what the store must do alone: counts, orders, groups."""
        if self.nothing:
            return (NEVER,)
        fields = fields_of(self.table)
        return (*(where_true(part, fields) for part in self.taken), *self.guards)


def plan_scan(
    table: Table, ask: ScanAsk, *, expressions: bool = True, lookups: bool = True
) -> ScanPlan:
    """The query for the ask; what the judge does not call exact is left as residual.

    `expressions`: the server has those that groupings need; `lookups`: it has $lookup.
    """
    split = _split(table, ask)
    partners: tuple[Mapping[str, Any], ...] = ()
    if ask.partner is not None and ask.limit:
        try:
            guard, partners = _partners(table, ask, split, expressions, lookups)
            split = replace(split, guards=(guard,))
        except NotPushed as reason:
            split = replace(split, reasons=(*split.reasons, str(reason)))
            ask = replace(ask, limit=None, order=(), partner=None)
    if ask.grouping is not None and expressions:
        try:
            return _grouped(table, ask, ask.grouping, split)
        except NotPushed as reason:
            split = replace(split, reasons=(*split.reasons, str(reason)))
    ordered = _ordered(table, ask, split)
    if isinstance(ordered, str):
        split = replace(split, reasons=(*split.reasons, ordered))
        ordered = ()
    limit_exact = ask.limit is not None and not split.residual and not (ask.order and not ordered)
    limit = ask.limit if limit_exact and ask.limit is not None else 0
    if limit_exact and ask.limit == 0:
        split = replace(split, plain=(NEVER,), nothing=True)
    query = _query(table, ask, split, limit)
    if partners and limit_exact and limit:
        everything = (Segment(conjunction(split.filters)),)
        query = replace(query, partners=partners, segments=everything, required=(), by_key=False)
    if ordered:
        query = replace(query, segments=ordered, required=(), by_key=False)
        if _is_merged(table, ask):
            key = ask.order[0]
            query = replace(query, merged_by=(key.column_id, key.descending))
    return ScanPlan(
        query,
        ask.columns,
        join_and(split.taken),
        join_and(split.residual),
        limit_exact,
        bool(ordered),
        split.reasons,
    )


def _partners(
    table: Table, ask: ScanAsk, split: _Split, expressions: bool, lookups: bool
) -> tuple[Filter, tuple[Mapping[str, Any], ...]]:
    """A filter and the stages that leave the rows with a partner. Raises NotPushed."""
    assert ask.partner is not None
    if not lookups:
        raise NotPushed("the server is not known to have $lookup")
    if split.residual or table.parent_path or not ask.columns:
        raise NotPushed("partners are looked for by whole documents with the whole predicate")

    def field_of_key(owner: Table, column_id: int) -> Field:
        column = owner.column_by_id(column_id)
        assert column is not None
        return fields_of(owner)(ir.ColumnRef(column.id, column.type))

    column = field_of_key(table, ask.partner.column_id)
    key = field_of_key(ask.partner.table, ask.partner.key_id)
    collection = ask.partner.table.native[-1]
    return partner_stages(collection, column, key, expressions=expressions)


def _ordered(table: Table, ask: ScanAsk, split: _Split) -> tuple[Segment, ...] | str:
    """The finds that answer in the asked order, () where none is asked, or why there are none.

    Without a limit PostgreSQL sorts as well.
    """
    if not ask.order:
        return ()
    if not ask.limit or split.residual or table.parent_path or not ask.columns:
        return "an order is taken with a limit, of whole documents and with the whole predicate"

    def field_of_column(column_id: int) -> Field:
        column = table.column_by_id(column_id)
        assert column is not None
        reference = ir.ColumnRef(column.id, column.type)
        verdict = ask.judge(ir.Compare("<", reference, reference))
        if isinstance(verdict, No):
            raise NotPushed(verdict.reason)
        return fields_of(table)(reference)

    known = set(split.required)  # the filters with guards select no row where one is NULL
    try:
        if _is_merged(table, ask):
            [key] = ask.order
            return texts_and_object_ids(key, field_of_column(key.column_id), split.filters)
        return segments(ask.order, field_of_column, known, split.filters)
    except NotPushed as reason:
        return str(reason)


def _is_merged(table: Table, ask: ScanAsk) -> bool:
    """Whether the order is that of `_id` as text: two sorted finds, put together here."""
    if len(ask.order) != 1 or not 0 < (ask.limit or 0) <= MERGED_ROWS_MAX:
        return False
    column = table.column_by_id(ask.order[0].column_id)
    if column is None or column.id not in ask.columns or column.type != "text":
        return False
    source = column.source
    return (
        isinstance(source, Native)
        and source.path == KEY_PATH
        and shows_object_ids(source.store_type)
    )


def _grouped(table: Table, ask: ScanAsk, grouping: Grouping, split: _Split) -> ScanPlan:
    """The plan whose rows are groups. Raises NotPushed."""
    if split.residual:
        raise NotPushed("a grouping of rows that the predicate is left for")

    def spec_of(reference: ir.ColumnRef) -> ColumnSpec:
        column = table.column_by_id(reference.column_id)
        if column is None or not isinstance(column.source, Native | ParentKey):
            raise NotPushed(f"column {reference.column_id} is not a field of the documents")
        return column_spec(table, column)

    query = grouped_query(grouping, spec_of)
    stages: list[Mapping[str, Any]] = [{"$match": conjunction(split.filters)}]
    if table.parent_path:
        stages = _elements(table, split)
    names = [".".join(key.path) for key in query.keys]
    database, collection = table.native
    native = MongoQuery(
        database,
        collection,
        (),
        pipeline=(*stages, query.stage(names)),
        quick=(*stages, query.stage(names, quick=True)) if query.has_quick else None,
        answers="groups",
        grouped=query,
    )
    types = (*map(ir.type_of, grouping.keys), *(each.type for each in grouping.aggregates))
    return ScanPlan(
        native, (), join_and(split.taken), None, reasons=split.reasons, grouped=True, types=types
    )


def _split(table: Table, ask: ScanAsk) -> _Split:
    taken: list[Expr] = []
    plain: list[Filter] = []
    required: list[int] = []
    residual: list[Expr] = []
    reasons: list[str] = []
    fields = fields_of(table)
    for part in split_and(ask.predicate):
        try:
            found, column_id = _filter(part, ask, fields)
        except NotPushed as reason:
            residual.append(part)
            reasons.append(str(reason))
            continue
        taken.append(part)
        plain.append(found)
        required += [] if column_id is None else [column_id]
    if ask.whole and residual and taken:
        reasons.append("the predicate may raise and is taken whole or not at all")
        return _Split(table, (), (), (), split_and(ask.predicate), tuple(reasons))
    return _Split(
        table,
        tuple(taken),
        tuple(plain),
        tuple(dict.fromkeys(required)),
        tuple(residual),
        tuple(reasons),
    )


def _filter(
    part: Expr, ask: ScanAsk, fields: Callable[[ir.ColumnRef], Field]
) -> tuple[Filter, int | None]:
    """The filter of a conjunct, and the column that the reader looks at. Raises NotPushed."""
    verdict = ask.judge(part)
    if isinstance(verdict, No):
        raise NotPushed(verdict.reason)
    if isinstance(verdict, ExactWithRewrite):
        raise NotPushed(f"MongoDB has no rewrite {verdict.rewrite}")
    assert isinstance(verdict, Exact)
    found = where_may_be_true(check_depth(part), fields)
    return (where_true(part, fields), None) if found is None else found


def fields_of(table: Table) -> Callable[[ir.ColumnRef], Field]:
    """How the columns of a table are named in its filters."""

    def find(reference: ir.ColumnRef) -> Field:
        column = table.column_by_id(reference.column_id)
        if column is None:
            raise NotPushed(f"column {reference.column_id} is not in this version of the table")
        source = column.source
        if isinstance(source, ParentKey):
            return field_of(KEY_PATH, column.type, "")
        if not isinstance(source, Native):
            raise NotPushed(f"column {column.name} is not a field of the documents")
        return field_of(table.parent_path + source.path, column.type, source.store_type)

    return find


def column_spec(table: Table, column: Column) -> ColumnSpec:
    """Where the column's values lie in a document that the query answers."""
    source = column.source
    if isinstance(source, ParentKey):
        return ColumnSpec(column.id, KEY_PATH, column.type)
    if isinstance(source, Ordinality):
        return ColumnSpec(column.id, (ORDINALITY,), column.type)
    assert isinstance(source, Native), column
    return ColumnSpec(column.id, table.parent_path + source.path, column.type, source.store_type)


def _query(table: Table, ask: ScanAsk, split: _Split, limit: int) -> MongoQuery:
    by_id = {column.id: column for column in table.columns}
    specs = tuple(column_spec(table, by_id[each]) for each in ask.columns)
    database, collection = table.native
    query = MongoQuery(database, collection, specs, limit=limit)
    if table.parent_path:
        answers: Literal["rows", "count"] = "rows" if specs else "count"
        return replace(query, pipeline=_unwound(table, query, split), answers=answers)
    if not specs:
        stages: list[Mapping[str, Any]] = [{"$match": conjunction(split.filters)}]
        return replace(query, pipeline=_counted(stages, limit), answers="count")
    extra = tuple(column_spec(table, by_id[i]) for i in split.required if i not in ask.columns)
    return replace(
        query,
        specs=specs + extra,
        segments=(Segment(conjunction(split.plain)),),
        projection=projection(spec.path for spec in specs + extra),
        required=split.required,
        width=len(specs) if extra else None,
        by_key=any(_names_keys(table, part) for part in split.taken),
    )


def _names_keys(table: Table, part: Expr) -> bool:
    """Whether a conjunct says which documents by their `_id`."""
    if isinstance(part, ir.Compare) and part.op == "=":
        sides = (part.left, part.right)
    elif isinstance(part, ir.In):
        sides = (part.operand, part.operand)
    else:
        return False
    columns = (table.column_by_id(s.column_id) for s in sides if isinstance(s, ir.ColumnRef))
    sources = (column.source for column in columns if column is not None)
    return any(isinstance(source, Native) and source.path == KEY_PATH for source in sources)


def _counted(stages: list[Mapping[str, Any]], limit: int) -> tuple[Mapping[str, Any], ...]:
    limited: list[Mapping[str, Any]] = [{"$limit": limit}] if limit else []
    return (*stages, *limited, {"$group": {"_id": None, COUNT: {"$sum": 1}}})


def projection(paths: Iterable[tuple[str, ...]]) -> dict[str, Any] | None:
    """What to answer of each document; None for all of it.

    A path under another one is in it already, and one with a key that no dotted name can hold is
    cut before that key.
    """
    cut = sorted(dict.fromkeys(_nameable(path) for path in paths), key=len)
    if not cut:
        return {"_id": 1}
    if cut[0] == ():
        return None
    kept: list[tuple[str, ...]] = []
    for path in cut:
        if not any(path[: len(other)] == other for other in kept):
            kept.append(path)
    made: dict[str, Any] = {".".join(path): 1 for path in kept}
    if not any(path[0] == "_id" for path in kept):
        made["_id"] = 0
    return made


def _nameable(path: tuple[str, ...]) -> tuple[str, ...]:
    for at, key in enumerate(path):
        if not key or "." in key or key.startswith("$"):
            return path[:at]
    return path


def _elements(table: Table, split: _Split) -> list[Mapping[str, Any]]:
    """The elements of an array as documents: filters on the parent's key go before."""
    path = table.parent_path
    name = ".".join(path)
    keys = {c.id for c in table.columns if isinstance(c.source, ParentKey)}
    first: list[Filter] = [
        {".".join(path[:n]): {"$not": {"$type": "array"}}} for n in range(1, len(path))
    ]
    first.append({name: {"$type": "array"}})
    then: list[Filter] = []
    for part, condition in zip(split.taken, () if split.nothing else split.filters, strict=False):
        (first if column_ids(part) <= keys else then).append(condition)
    if split.nothing:
        first.append(NEVER)
    stages: list[Mapping[str, Any]] = [
        {"$match": conjunction(first)},
        {"$unwind": {"path": f"${name}", "includeArrayIndex": ORDINALITY}},
    ]
    if then:
        stages.append({"$match": conjunction(then)})
    return stages


def _unwound(table: Table, query: MongoQuery, split: _Split) -> tuple[Mapping[str, Any], ...]:
    stages = _elements(table, split)
    if not query.specs:
        return _counted(stages, query.limit)
    if query.limit:
        stages.append({"$limit": query.limit})
    return (*stages, {"$project": _unwound_projection(query)})


def _unwound_projection(query: MongoQuery) -> dict[str, Any]:
    made = projection(s.path for s in query.specs if s.path != (ORDINALITY,)) or {}
    if any(spec.path == (ORDINALITY,) for spec in query.specs):
        made[ORDINALITY] = {"$add": [f"${ORDINALITY}", 1]}
    return made
