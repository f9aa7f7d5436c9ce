"""plan_scan of a PostgreSQL store: the ask as one SELECT over the remote table (pure).

The store's operators are PostgreSQL's, so nearly everything is exact (engine/exact_in/postgres.py
says what is not). What differs from server to server is made the same here: texts are ordered by
code points with COLLATE "C", other collations than the database's own are overruled, and only
literals that every version reads alike are sent.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from backends.base import Aggregate, ScanAsk, ScanPlan
from backends.postgres.types import TEXTS, StoreColumn, store_columns
from backends.sql.rendering import (
    NotRendered,
    Renderer,
    compare_sql,
    literal_sql,
    named_type,
)
from backends.sql.selecting import SelectSource, plan_select, where_sql, why_not
from catalog.model import Table
from catalog.sqltext import quote_ident
from core import expr as ir
from core.encoding.arrays import parse_array_text
from core.errors import MorphError
from core.expr import base_type, split_and, type_of
from core.types import PgType, type_by_name

KIND: Final = "postgres"
COLLATE_C: Final = "collate_c"
"""The rewrite that compares texts by code points."""
_C: Final = ' COLLATE pg_catalog."C"'
_ORDERED: Final = frozenset(("<", "<=", ">", ">="))


@dataclass(frozen=True, slots=True)
class PointRead:
    """A query that the server prepares once, and its parameters."""

    sql: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NativeScan:
    """The query, the types as which its columns are decoded, and those that the engine expects.

    `counted`: rows without columns are wanted, and the query counts them. `point` is the same for
    rows of a whole key: a text that many statements share, with the literals as parameters and the
    columns as texts.
    """

    sql: str
    types: tuple[str, ...]
    counted: bool = False
    point: PointRead | None = None

    def __str__(self) -> str:
        return self.sql

    @property
    def fields(self) -> tuple[PgType, ...]:
        """The types of the columns."""
        return tuple(type_by_name(each) for each in self.types)


def relation_sql(native: Sequence[str]) -> str:
    """Schema and table, quoted."""
    return ".".join(map(quote_ident, native))


def plan_scan(table: Table, ask: ScanAsk, *, ascii_only: bool = False) -> ScanPlan:
    """The native SELECT for the ask. With `ascii_only` the server's encoding is not UTF8, or not
    known: texts are compared there with ASCII literals only, and never ordered.
    """
    columns = store_columns(table)
    source = _source(table, columns, ascii_only)
    grouped = _grouped(ask, columns, source, ascii_only)
    if grouped is not None:
        return grouped
    plan = plan_select(table, ask, source)
    sql = str(plan.native)
    types = tuple(columns[each].fetched for each in ask.columns)
    if ask.columns:
        point = _point(table, ask, plan, columns, ascii_only)
        return replace(plan, native=NativeScan(sql, types, point=point))
    counted = f"SELECT pg_catalog.count(*) FROM ({sql}) AS counted"
    return replace(plan, native=NativeScan(counted, ("bigint",), counted=True))


def _source(table: Table, columns: Mapping[int, StoreColumn], ascii_only: bool) -> SelectSource:
    renderer = _Renderer(columns, ascii_only)

    def ordered(column_id: int) -> str:
        column = columns[column_id]
        value = renderer.column(ir.ColumnRef(column_id, column.declared))
        return value + _collation(column, ascii_only)

    return SelectSource(
        relation_sql(table.native),
        renderer,
        {number: column.name for number, column in columns.items()},
        ordered,
        frozenset({COLLATE_C}),
        "a PostgreSQL store",
    )


def _collation(column: StoreColumn, ascii_only: bool) -> str:
    """What to put behind a column that is ordered, or compared by order."""
    if not column.collates:
        return ""
    if ascii_only:
        raise NotRendered("the order of texts in a server whose encoding is not UTF8")
    # The column has it already: without, the server can use an index.
    return _C if column.printed or column.type.collation == "" else ""


class _Renderer(Renderer):
    """Renders expressions for the store."""

    def __init__(self, columns: Mapping[int, StoreColumn], ascii_only: bool) -> None:
        super().__init__({})
        self._columns = columns
        self._ascii_only = ascii_only

    def column(self, expr: ir.ColumnRef) -> str:
        found = self._columns.get(expr.column_id)
        if found is None:
            raise NotRendered(f"column {expr.column_id} is not in this version of the table")
        if found.printed:
            return f"({found.name}::pg_catalog.text)"
        if not found.exact:
            there = found.type.sql or "a type that is not known"
            raise NotRendered(f"column {found.name} is {there} in the store")
        if found.type.collation == "other":
            return f"({found.name}{_C})"
        return found.name

    def literal(self, expr: ir.Literal) -> str:
        if expr.text is not None:
            check_literal(expr, ascii_only=self._ascii_only)
        return literal_sql(expr)

    def compared(self, expr: ir.Compare, parts: Sequence[str]) -> str:
        if expr.op not in _ORDERED or base_type(type_of(expr.left)) not in TEXTS:
            return super().compared(expr, parts)
        if self._ascii_only:
            raise NotRendered("the order of texts in a server whose encoding is not UTF8")
        return compare_sql(expr, [parts[0], parts[1] + self._behind(expr)])

    def _behind(self, expr: ir.Compare) -> str:
        """COLLATE "C", or "" where both sides have it already."""
        for side in (expr.left, expr.right):
            if isinstance(side, ir.Literal):
                continue
            column = self._columns.get(side.column_id) if isinstance(side, ir.ColumnRef) else None
            if column is None or column.printed or column.type.collation == "":
                return _C
        return ""


# ------------------------------------------------------------------ rows of one key

POINT_ROWS: Final = 100
"""More rows of one key are no point read: what is called a key need not be one."""
_NOT_AS_TEXT: Final = frozenset(("boolean", "bpchar", "inet", '"char"'))
"""Types whose cast to text is not what the server prints."""


class _Parameters(_Renderer):
    """Renders literals as parameters."""

    def __init__(self, columns: Mapping[int, StoreColumn], ascii_only: bool) -> None:
        super().__init__(columns, ascii_only)
        self.values: list[str] = []

    def literal(self, expr: ir.Literal) -> str:
        text = super().literal(expr)
        if expr.text is None or expr.type.endswith("[]"):
            return text
        self.values.append(expr.text)
        return f"${len(self.values)}::pg_catalog.text::{named_type(expr.type)}"


def _point(
    table: Table,
    ask: ScanAsk,
    plan: ScanPlan,
    columns: Mapping[int, StoreColumn],
    ascii_only: bool,
) -> PointRead | None:
    """The scan as a point read, when the predicate names a whole key."""
    if plan.taken is None or ask.order or not table.key:
        return None
    conjuncts = list(split_and(plan.taken))
    named = {
        part.left.column_id
        for part in conjuncts
        if isinstance(part, ir.Compare)
        and part.op == "="
        and isinstance(part.left, ir.ColumnRef)
        and isinstance(part.right, ir.Literal)
    }
    selected = [columns[each] for each in ask.columns]
    if not named.issuperset(table.key):
        return None
    if any(base_type(c.type.sql or c.declared) in _NOT_AS_TEXT or not c.exact for c in selected):
        return None
    renderer = _Parameters(columns, ascii_only)
    where = " AND ".join(renderer.render(part) for part in conjuncts)
    names = ", ".join(f"{column.name}::pg_catalog.text" for column in selected)
    limit = POINT_ROWS + 1 if not plan.limit_exact else min(ask.limit or 0, POINT_ROWS + 1)
    sql = f"SELECT {names} FROM {relation_sql(table.native)} WHERE {where} LIMIT {limit}"
    return PointRead(sql, tuple(renderer.values))


# ------------------------------------------------------------------ literals


_INTEGER: Final = re.compile(r"[+-]?\d+")
_NUMBER: Final = re.compile(r"[+-]?(?:(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|Infinity)|NaN")
_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_DAY: Final = r"\d{4}-\d\d-\d\d"
_CLOCK: Final = r"\d\d:\d\d(?::\d\d(?:\.\d{1,6})?)?"
_ZONE: Final = r"(?:Z|[+-]\d\d(?::?\d\d)?)"
_UNIT: Final = r"\d{1,4} (?:year|mon|month|week|day|hour|minute|min|second|sec)s?"
_PATTERNS: Final[Mapping[str, re.Pattern[str]]] = {
    "boolean": re.compile("true|false"),
    "smallint": _INTEGER,
    "integer": _INTEGER,
    "bigint": _INTEGER,
    "numeric": _NUMBER,
    "real": _NUMBER,
    "double precision": _NUMBER,
    "date": re.compile(f"{_DAY}|-?infinity"),
    "timestamp without time zone": re.compile(rf"{_DAY}(?:[ T]{_CLOCK})?|-?infinity"),
    # Without a zone the session's decides, and the store has not the client's session.
    "timestamp with time zone": re.compile(rf"{_DAY}(?:[ T]{_CLOCK})?{_ZONE}|-?infinity"),
    "time without time zone": re.compile(_CLOCK),
    "time with time zone": re.compile(_CLOCK + _ZONE),
    # Without signs, which IntervalStyle = sql_standard reads in its own way.
    "interval": re.compile(rf"{_UNIT}(?: {_UNIT})*(?: {_CLOCK})?|{_CLOCK}|0"),
    "uuid": _UUID,
    "bytea": re.compile(r"\\x(?:[0-9a-fA-F]{2})*|[ -\[\]-~]*"),
}
"""Forms that every version and setting reads alike; PostgreSQL 16 has new ones (0x10, 1_0)."""


def check_literal(literal: ir.Literal, *, ascii_only: bool) -> None:
    """NotRendered for a literal that the store might read in another way, or not at all."""
    assert literal.text is not None
    base = base_type(literal.type)
    if base.endswith("[]"):
        _check_array(base.removesuffix("[]"), literal.text, ascii_only)
        return
    pattern = _PATTERNS.get(base)
    if pattern is not None:
        if pattern.fullmatch(literal.text) is None:
            raise NotRendered(f"a literal of type {literal.type} in a form of its own")
        return
    if base not in (*TEXTS, "jsonb"):
        raise NotRendered(f"a literal of type {literal.type}")
    if ascii_only and not literal.text.isascii():
        raise NotRendered("a text that the server's encoding may not have")


def _check_array(element: str, text: str, ascii_only: bool) -> None:
    try:
        parsed = parse_array_text(text)
    except MorphError as error:
        raise NotRendered("a malformed array") from error
    for each in parsed.elements:
        if each is not None:
            check_literal(ir.Literal(element, each), ascii_only=ascii_only)


# ------------------------------------------------------------------ groups


def _grouped(
    ask: ScanAsk, columns: Mapping[int, StoreColumn], source: SelectSource, ascii_only: bool
) -> ScanPlan | None:
    """The plan of a grouped ask, None when it has none or the store cannot take all of it."""
    grouping = ask.grouping
    if grouping is None:
        return None
    conjuncts = list(split_and(ask.predicate))
    arguments = [each.argument for each in grouping.aggregates if each.argument is not None]
    parts = (*conjuncts, *grouping.keys, *arguments)
    if any(why_not(part, ask, source) for part in parts):
        return None
    try:
        keys = [source.renderer.render(key) for key in grouping.keys]
        values = [
            _aggregate(each, columns, source.renderer.render, ascii_only)
            for each in grouping.aggregates
        ]
    except NotRendered:
        return None
    sql = f"SELECT {', '.join([*keys, *values])} FROM {source.relation}"
    sql += where_sql(conjuncts, source)
    if keys:
        sql += f" GROUP BY {', '.join(keys)}"
    types = (*(type_of(key) for key in grouping.keys), *(a.type for a in grouping.aggregates))
    native = NativeScan(sql, types)
    return ScanPlan(native, (), ask.predicate, None, grouped=True, types=types)


def _aggregate(
    aggregate: Aggregate,
    columns: Mapping[int, StoreColumn],
    render: Callable[[ir.Expr], str],
    ascii_only: bool,
) -> str:
    if aggregate.argument is None:
        return "pg_catalog.count(*)"
    value = render(aggregate.argument)
    if aggregate.name in ("min", "max") and isinstance(aggregate.argument, ir.ColumnRef):
        value += _collation(columns[aggregate.argument.column_id], ascii_only)
    distinct = "DISTINCT " if aggregate.distinct else ""
    return f"pg_catalog.{quote_ident(aggregate.name)}({distinct}{value})"
