"""plan_scan of the embedded store: golden natives, the split, the edges (R0.5, R1.7).

The cases of tests/golden/pushdown/embedded.txt are `statement` lines, each followed by what each
of its scans becomes. MORPH_UPDATE_GOLDEN=1 rewrites the file; the diff is to be reviewed.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from pglast import parse_sql

from backends.base import EXACT, Exactness, ExactWithRewrite, No, OrderKey, ScanAsk
from backends.embedded.pushdown import NotRendered, plan_scan, render
from backends.embedded.types import TYPES, type_sql
from catalog.model import Column, DocPath, Seed, Stored, Table
from core import expr as ir
from core.expr import Expr
from engine import exactness
from engine.exactness import judge_for
from engine.predicates import PlacedTable
from engine.scans import list_scans

GOLDEN = Path(__file__).parents[3] / "golden" / "pushdown" / "embedded.txt"

ORDERS = Table(
    1,
    "orders",
    "table",
    (
        Column(1, "id", "bigint", Stored("c1", "bigint"), not_null=True),
        Column(2, "qty", "integer", DocPath(("qty",))),
        Column(3, "name", "text", DocPath(("name",))),
        Column(4, "doc", "jsonb", DocPath(("doc",))),
        Column(5, "price", "numeric(10,2)", DocPath(("price",))),
        Column(6, "at", "timestamp with time zone", DocPath(("at",))),
        Column(7, "paid", "boolean", DocPath(("paid",))),
        Column(8, 'odd "name"', "character(3)", DocPath(("odd",))),
        Column(9, "risk", "integer", Seed("qty / 0", (2,))),
        Column(10, "tags", "text[]", DocPath(("tags",))),
    ),
    "t1",
    True,
)
LINES = Table(
    2,
    'order "lines"',
    "table",
    (
        Column(11, "id", "bigint", Stored("c1", "bigint")),
        Column(12, "order_id", "bigint", DocPath(("order_id",))),
        Column(13, "sku", "character varying(20)", DocPath(("sku",))),
    ),
    "t2",
    True,
)
TABLES = {"orders": PlacedTable(ORDERS, 2), 'order "lines"': PlacedTable(LINES, 2)}
PARAMETERS = {1: "integer", 2: "text[]", 3: "text", 4: "timestamp with time zone"}
VALUES = {1: "-5", 2: "{a,b}", 3: None, 4: "2024-01-01 00:00:00+00"}
NAMES = {column.id: column.name for column in ORDERS.columns + LINES.columns}


def _resolve(schema: str, name: str) -> PlacedTable | None:
    return TABLES.get(name) if schema in ("", "public") else None


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


def _ask(predicate: Expr | None = None, **more: object) -> ScanAsk:
    return ScanAsk(2, (1,), predicate, judge=judge_for("embedded"), **more)  # type: ignore[arg-type]


QTY_ABOVE = ir.Compare(">", ir.ColumnRef(2, "integer"), ir.Literal("integer", "5"))
UNKNOWN_CALL = ir.Compare(
    "=", ir.Call("soundex", (ir.ColumnRef(3, "text"),), "text"), ir.Literal("text", "x")
)
DIVISION = ir.Compare(
    "=",
    ir.Arithmetic("/", (ir.Literal("integer", "1"), ir.ColumnRef(2, "integer")), "integer"),
    ir.Literal("integer", "1"),
)


# R0.5: taken and residual together are the predicate
def test_predicate_is_split() -> None:
    plan = plan_scan(ORDERS, _ask(ir.And((QTY_ABOVE, UNKNOWN_CALL))))
    assert plan.taken == QTY_ABOVE
    assert plan.residual == UNKNOWN_CALL
    assert plan.reasons == ("function soundex(text) is not in the exactness table",)
    assert plan.native == 'SELECT "id" FROM morph_v2."orders" WHERE ("qty" > 5)'


# R0.5: a store that is not told what is exact takes nothing
def test_without_a_judge_nothing_is_taken() -> None:
    plan = plan_scan(ORDERS, ScanAsk(2, (1,), QTY_ABOVE, 3, (OrderKey(1),)))
    assert plan.taken is None
    assert plan.residual == QTY_ABOVE
    assert not plan.limit_exact
    assert not plan.order_exact
    assert plan.native == 'SELECT "id" FROM morph_v2."orders"'


# R0.5: what may raise is taken in full or not at all
def test_raising_predicate_is_not_halved() -> None:
    predicate = ir.And((DIVISION, UNKNOWN_CALL))
    plan = plan_scan(ORDERS, _ask(predicate, whole=True))
    assert plan.taken is None
    assert plan.residual == predicate


# R0.5: a limit goes down only with the whole predicate and the whole order
@pytest.mark.parametrize(
    ("predicate", "order", "exact"),
    [
        (QTY_ABOVE, (), True),
        (None, (OrderKey(2, True, True), OrderKey(1)), True),
        (UNKNOWN_CALL, (), False),
        (None, (OrderKey(10),), False),
    ],
)
def test_limit(predicate: Expr | None, order: tuple[OrderKey, ...], exact: bool) -> None:
    plan = plan_scan(ORDERS, _ask(predicate, limit=7, order=order))
    assert plan.limit_exact is exact
    assert plan.native.endswith(" LIMIT 7") is exact
    assert plan.order_exact is (exact and bool(order))


def test_no_columns_are_still_rows() -> None:
    assert plan_scan(ORDERS, ScanAsk(3, ())).native == 'SELECT FROM morph_v3."orders"'


# R0.5: a rewrite that this store does not know is left
def test_rewrite_is_left() -> None:
    def judge(_: Expr) -> Exactness:
        return ExactWithRewrite("fold")

    plan = plan_scan(ORDERS, ScanAsk(2, (1,), QTY_ABOVE, judge=judge))
    assert plan.residual == QTY_ABOVE
    assert "rewrite fold" in plan.reasons[0]


# R0.5: what has no text here is left even when the judge says exact
@pytest.mark.parametrize(
    "value",
    [
        ir.Param(1, "integer"),
        ir.Literal("mood", "happy"),
        ir.ColumnRef(99, "integer"),
        ir.Literal("text", "a\0b"),
    ],
)
def test_what_cannot_be_written_is_left(value: Expr) -> None:
    predicate = ir.Compare("=", ir.ColumnRef(2, "integer"), value)
    plan = plan_scan(ORDERS, ScanAsk(2, (1,), predicate, judge=lambda _: EXACT))
    assert plan.residual == predicate
    with pytest.raises(NotRendered):
        render(predicate, {2: '"qty"'})


# R6.3: a literal cannot leave its quotes, under either standard_conforming_strings
@pytest.mark.parametrize(
    ("text", "sql"),
    [
        ("it's", "'it''s'::pg_catalog.text"),
        ("a\\'; drop", "E'a\\\\''; drop'::pg_catalog.text"),
        ("", "''::pg_catalog.text"),
    ],
)
def test_literal_is_quoted(text: str, sql: str) -> None:
    assert render(ir.Literal("text", text), {}) == sql


def test_integer_literals() -> None:
    assert render(ir.Literal("integer", "12"), {}) == "12"
    assert render(ir.Literal("integer", "-12"), {}) == "'-12'::pg_catalog.int4"
    assert render(ir.Literal("integer", "٣"), {}) == "'٣'::pg_catalog.int4"
    assert render(ir.Literal("boolean", None), {}) == "NULL::pg_catalog.bool"


@pytest.mark.parametrize(
    ("name", "sql"),
    [
        ("numeric(10,2)", "pg_catalog.numeric(10,2)"),
        ("character", "pg_catalog.bpchar(1)"),
        ("character(5)", "pg_catalog.bpchar(5)"),
        ("bpchar", "pg_catalog.bpchar"),
        ("timestamp(3) with time zone", "pg_catalog.timestamptz(3)"),
        ("character varying(9)[]", "pg_catalog.varchar(9)[]"),
        ("interval day to second", None),
        ("money", None),
        ('"My Type"', None),
    ],
)
def test_type_sql(name: str, sql: str | None) -> None:
    assert type_sql(name) == sql


# R1.3: the store's type table covers the types of the exactness table
def test_type_table_is_complete() -> None:
    assert {each.internal: each.name for each in TYPES} == dict(exactness.TYPES)


def test_refusal_is_a_phrase() -> None:
    verdict = judge_for("embedded")(UNKNOWN_CALL)
    assert isinstance(verdict, No)
