"""plan_scan of a PostgreSQL store: golden natives, collations, encodings, groups (R0.5, R1.7).

The cases of tests/golden/pushdown/postgres.txt are `statement` lines, each followed by what each of
its scans becomes. MORPH_UPDATE_GOLDEN=1 rewrites the file; the diff is to be reviewed.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from pglast import parse_sql

from backends.base import Aggregate, Grouping, OrderKey, ScanAsk
from backends.postgres.pushdown import NativeScan, check_literal, plan_scan
from backends.postgres.types import StoreType, model_type, parse_store_type
from backends.sql.rendering import NotRendered
from catalog.model import Column, Native, Table
from core import expr as ir
from core.expr import Expr
from engine.exactness import judge_for
from engine.predicates import PlacedTable
from engine.scans import list_scans

GOLDEN = Path(__file__).parents[3] / "golden" / "pushdown" / "postgres.txt"
JUDGE = judge_for("postgres")


def _column(number: int, name: str, sql: str, store_type: str, path: str = "") -> Column:
    return Column(number, name, sql, Native((path or name,), store_type))


ORDERS = Table(
    1,
    "orders",
    "foreign",
    (
        _column(1, "id", "bigint", "bigint", "ID"),
        _column(2, "qty", "integer", "integer"),
        _column(3, "name", "text", "text"),
        _column(4, "code", "character varying(20)", "character varying(20) collate C"),
        _column(5, "alias", "text", "text collate other"),
        _column(6, "mood", "text", "public.mood"),
        _column(7, "at", "timestamp with time zone", "timestamp with time zone"),
        _column(8, "day", "date", "date"),
        _column(9, "doc", "jsonb", "jsonb"),
        _column(10, "price", "numeric(10,2)", "numeric(10,2)"),
        _column(11, "total", "integer", "numeric"),
        _column(12, "odd", "integer", ""),
        _column(13, "span", "interval", "interval"),
        _column(14, "paid", "boolean", "boolean"),
    ),
    instance="ledger",
    native=("sales", 'Or"ders'),
    key=(1,),
)
PARAMETERS = {1: "integer", 2: "text[]", 3: "timestamp with time zone"}
VALUES = {1: "-5", 2: "{a,b}", 3: "2024-01-01 00:00:00+00"}
NAMES = {column.id: column.name for column in ORDERS.columns}


def _resolve(schema: str, name: str) -> PlacedTable | None:
    return PlacedTable(ORDERS, 1, "postgres") if (schema, name) == ("", "orders") else None


def _plans(statement: str) -> list[str]:
    lines = []
    for scan in list_scans(parse_sql(statement)[0], _resolve, PARAMETERS):
        plan = plan_scan(scan.placed.table, scan.ask(VALUES))
        lines.append(f"  native   {plan.native}")
        if plan.taken is not None:
            lines.append(f"  taken    {ir.to_text(plan.taken, NAMES)}")
        lines += [f"  kept     {reason}" for reason in scan.reasons + plan.reasons]
    return lines


def _golden_text(statements: list[str]) -> str:
    return "\n\n".join("\n".join([each, *_plans(each)]) for each in statements) + "\n"


# R0.5, R1.7: what each scan takes and what is left, as reviewed
def test_golden() -> None:
    text = GOLDEN.read_text()
    statements = [line for line in text.splitlines() if line and not line.startswith("  ")]
    made = _golden_text(statements)
    if os.environ.get("MORPH_UPDATE_GOLDEN"):
        GOLDEN.write_text(made)
    assert made == GOLDEN.read_text()


def _text(column_id: int, op: str, value: str) -> Expr:
    return ir.Compare(op, ir.ColumnRef(column_id, "text"), ir.Literal("text", value))


def _native(predicate: Expr | None, *, ascii_only: bool = False, **more: object) -> str:
    ask = ScanAsk(1, (1,), predicate, judge=JUDGE, **more)  # type: ignore[arg-type]
    return str(plan_scan(ORDERS, ask, ascii_only=ascii_only).native)


# R0.5: a server that may not have the text is not asked for it, and orders none
def test_other_encodings() -> None:
    everything = 'SELECT "ID" FROM "sales"."Or""ders"'
    assert _native(_text(3, "=", "é"), ascii_only=True) == everything
    assert "'é'" in _native(_text(3, "=", "é"))
    assert "'e'" in _native(_text(3, "=", "e"), ascii_only=True)
    assert _native(_text(3, "<", "e"), ascii_only=True) == everything
    assert "ORDER" not in _native(None, ascii_only=True, order=(OrderKey(3),))
    assert "ORDER" in _native(None, ascii_only=True, order=(OrderKey(2),))


# R0.5: what the server counts need not travel
def test_rows_without_columns_are_counted() -> None:
    plan = plan_scan(ORDERS, ScanAsk(1, (), limit=5, judge=JUDGE))
    assert plan.native == NativeScan(
        'SELECT pg_catalog.count(*) FROM (SELECT FROM "sales"."Or""ders" LIMIT 5) AS counted',
        ("bigint",),
        counted=True,
    )
    assert plan.limit_exact


def _grouped(*aggregates: Aggregate, keys: tuple[int, ...] = (), where: Expr | None = None) -> str:
    by_id = {c.id: c for c in ORDERS.columns}
    grouping = Grouping(tuple(ir.ColumnRef(k, by_id[k].type) for k in keys), aggregates)
    plan = plan_scan(ORDERS, ScanAsk(1, (), where, judge=JUDGE, grouping=grouping))
    return str(plan.native) if plan.grouped else ""


COUNT = Aggregate("count", None, "bigint")


# R0.5, R1.7: a grouping is taken whole or not at all
def test_groups() -> None:
    top = Aggregate("max", ir.ColumnRef(3, "text"), "text")
    relation = '"sales"."Or""ders"'
    assert _grouped(COUNT) == f"SELECT pg_catalog.count(*) FROM {relation}"
    assert _grouped(COUNT, top, keys=(6, 5)) == (
        'SELECT ("mood"::pg_catalog.text), ("alias" COLLATE pg_catalog."C"), pg_catalog.count(*), '
        f'pg_catalog."max"("name" COLLATE pg_catalog."C") FROM {relation} '
        'GROUP BY ("mood"::pg_catalog.text), ("alias" COLLATE pg_catalog."C")'
    )
    distinct = Aggregate("count", ir.ColumnRef(2, "integer"), "bigint", distinct=True)
    assert 'pg_catalog."count"(DISTINCT "qty")' in _grouped(distinct)
    assert _grouped(COUNT, keys=(12,)) == ""
    unpushed = ir.Compare("=", ir.ColumnRef(12, "integer"), ir.Literal("integer", "1"))
    assert _grouped(COUNT, where=unpushed) == ""


# R0.5: forms that a version or a setting reads in its own way stay here
@pytest.mark.parametrize(
    ("sql", "text"),
    [
        ("integer", "0x10"),
        ("integer", "1_000"),
        ("integer", "abc"),
        ("numeric", "1_0.5"),
        ("double precision", "inf"),
        ("date", "1/2/2024"),
        ("date", "now"),
        ("timestamp with time zone", "2024-01-01 00:00:00"),
        ("time with time zone", "12:00"),
        ("interval", "-1 day 02:00"),
        ("interval", "infinity"),
        ("bytea", "\\134"),
        ("uuid", "{00010203-0405-0607-0809-0a0b0c0d0e0f}"),
        ("integer[]", "{1,0x2}"),
        ("integer[]", "{1"),
        ("inet", "::1"),
    ],
)
def test_literals_that_stay(sql: str, text: str) -> None:
    with pytest.raises(NotRendered):
        check_literal(ir.Literal(sql, text), ascii_only=False)


# R1.7: what a store says of a type is read back
@pytest.mark.parametrize(
    "store_type",
    [
        StoreType("integer"),
        StoreType("text", "C"),
        StoreType("text", "other", filled=True),
        StoreType('public."Mood"', filled=True),
        StoreType(""),
    ],
)
def test_store_types(store_type: StoreType) -> None:
    assert parse_store_type(str(store_type)) == store_type


# R1.7: types that the type table has are the same; others are text
def test_types_of_the_model() -> None:
    assert model_type("numeric(10,2)") == "numeric(10,2)"
    assert model_type("timestamp(3) without time zone[]") == "timestamp(3) without time zone[]"
    assert model_type("public.mood") == "text"
    assert model_type("int4range") == "text"
