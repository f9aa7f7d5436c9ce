"""plan_scan of MongoDB: golden natives, the split, the edges (R0.5, R1.7).

The cases of tests/golden/pushdown/mongodb.txt are `statement` lines, each followed by what each of
its scans becomes. MORPH_UPDATE_GOLDEN=1 rewrites the file; the diff is to be reviewed.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from pglast import parse_sql

from backends.base import EXACT, Exactness, ExactWithRewrite, ScanAsk
from backends.mongodb.literals import first_object_id, is_object_id
from backends.mongodb.pushdown import plan_scan
from backends.mongodb.query import MongoQuery
from catalog.model import Column, Native, Ordinality, ParentKey, Table
from core import expr as ir
from core.expr import Expr
from engine.exactness import judge_for
from engine.predicates import PlacedTable
from engine.scans import list_scans

GOLDEN = Path(__file__).parents[3] / "golden" / "pushdown" / "mongodb.txt"

ORDERS = Table(
    1,
    "orders",
    "foreign",
    (
        Column(1, "_id", "text", Native(("_id",), "objectId"), not_null=True),
        Column(2, "qty", "integer", Native(("qty",), "int")),
        Column(3, "name", "text", Native(("name",), "string")),
        Column(4, "doc", "jsonb", Native(("doc",), "object")),
        Column(5, "price", "numeric", Native(("price",), "decimal")),
        Column(6, "at", "timestamp with time zone", Native(("at",), "date")),
        Column(7, "paid", "boolean", Native(("paid",), "bool")),
        Column(8, "ratio", "double precision", Native(("ratio",), "double")),
        Column(9, "n", "bigint", Native(("n",), "long|int")),
        Column(10, "ref", "uuid", Native(("ref",), "binData")),
        Column(11, "addr", "jsonb", Native(("addr",), "object")),
        Column(12, "addr.city", "text", Native(("addr", "city"), "string")),
        Column(13, "addr.zip", "bigint", Native(("addr", "zip"), "int")),
        Column(14, "code", "character varying(3)", Native(("code",), "string")),
        Column(15, "odd~1key", "text", Native(("odd.key",), "string")),
        Column(16, "_doc", "jsonb", Native((), "object")),
    ),
    instance="shop",
    native=("shop", "orders"),
    key=(1,),
)
LINES = Table(
    2,
    "orders_lines",
    "foreign",
    (
        Column(21, "orders__id", "text", ParentKey(1), not_null=True),
        Column(22, "ordinality", "bigint", Ordinality(), not_null=True),
        Column(23, "sku", "text", Native(("sku",), "string")),
        Column(24, "price", "double precision", Native(("price",), "double")),
    ),
    parent_id=1,
    parent_path=("lines",),
    instance="shop",
    native=("shop", "orders"),
)
TABLES = {"orders": PlacedTable(ORDERS, 2), "orders_lines": PlacedTable(LINES, 2)}
PARAMETERS = {1: "integer", 2: "text[]", 3: "text", 4: "timestamp with time zone"}
VALUES = {1: "-5", 2: "{a,b}", 3: None, 4: "2024-01-01 00:00:00+02"}
NAMES = {column.id: column.name for column in ORDERS.columns + LINES.columns}


def _resolve(schema: str, name: str) -> PlacedTable | None:
    return TABLES.get(name) if schema in ("", "public") else None


def _plans(statement: str) -> list[str]:
    lines = []
    for scan in list_scans(parse_sql(statement)[0], _resolve, PARAMETERS):
        ask = scan.ask(VALUES)
        table = scan.placed.table
        plan = plan_scan(table, _judged(ask))
        lines.append(f"  native   {plan.native}")
        if plan.taken is not None:
            lines.append(f"  taken    {ir.to_text(plan.taken, NAMES)}")
        if plan.residual is not None:
            lines.append(f"  left     {ir.to_text(plan.residual, NAMES)}")
        if ask.limit is not None:
            lines.append(f"  limit    {'in the store' if plan.limit_exact else 'left'}")
        lines += [f"  kept     {reason}" for reason in scan.reasons + plan.reasons]
    return lines


def _judged(ask: ScanAsk) -> ScanAsk:
    return ScanAsk(
        ask.version,
        ask.columns,
        ask.predicate,
        ask.limit,
        ask.order,
        judge_for("mongodb"),
        ask.whole,
        ask.grouping,
    )


# R0.5, R1.7: what each scan takes and what is left, as reviewed
def test_golden() -> None:
    text = GOLDEN.read_text()
    statements = [line for line in text.splitlines() if line and not line.startswith("  ")]
    made = "\n\n".join("\n".join([each, *_plans(each)]) for each in statements) + "\n"
    if os.environ.get("MORPH_UPDATE_GOLDEN"):
        GOLDEN.write_text(made)
    assert made == GOLDEN.read_text()


QTY_ABOVE = ir.Compare(">", ir.ColumnRef(2, "integer"), ir.Literal("integer", "5"))
UNKNOWN_CALL = ir.Compare(
    "=", ir.Call("soundex", (ir.ColumnRef(3, "text"),), "text"), ir.Literal("text", "x")
)


def _ask(predicate: Expr | None = None, **more: object) -> ScanAsk:
    return ScanAsk(2, (1,), predicate, judge=judge_for("mongodb"), **more)  # type: ignore[arg-type]


def _query(plan_native: object) -> MongoQuery:
    assert isinstance(plan_native, MongoQuery)
    return plan_native


# R0.5: taken and residual together are the predicate
def test_predicate_is_split() -> None:
    plan = plan_scan(ORDERS, _ask(ir.And((QTY_ABOVE, UNKNOWN_CALL))))
    assert plan.taken == QTY_ABOVE
    assert plan.residual == UNKNOWN_CALL
    assert plan.reasons == ("function soundex(text) is not in the exactness table",)


# R0.5: a store that is not told what is exact takes nothing
def test_without_a_judge_nothing_is_taken() -> None:
    plan = plan_scan(ORDERS, ScanAsk(2, (1,), QTY_ABOVE, 3))
    assert plan.taken is None
    assert plan.residual == QTY_ABOVE
    assert not plan.limit_exact
    [segment] = _query(plan.native).segments
    assert segment.filter == {}


# R0.5: what may raise is taken in full or not at all
def test_raising_predicate_is_not_halved() -> None:
    predicate = ir.And((QTY_ABOVE, UNKNOWN_CALL))
    plan = plan_scan(ORDERS, _ask(predicate, whole=True))
    assert plan.taken is None
    assert plan.residual == predicate


# R0.5: a rewrite that this store does not know is left
def test_rewrite_is_left() -> None:
    def judge(_: Expr) -> Exactness:
        return ExactWithRewrite("fold")

    plan = plan_scan(ORDERS, ScanAsk(2, (1,), QTY_ABOVE, judge=judge))
    assert plan.residual == QTY_ABOVE
    assert "rewrite fold" in plan.reasons[0]


# R0.5: what no filter can say is left even when the judge says exact
@pytest.mark.parametrize(
    "predicate",
    [
        ir.Compare("=", ir.ColumnRef(2, "integer"), ir.Param(1, "integer")),
        ir.Compare("=", ir.ColumnRef(2, "integer"), ir.Literal("mood", "happy")),
        ir.Compare("=", ir.ColumnRef(99, "integer"), ir.Literal("integer", "1")),
        ir.Compare("=", ir.ColumnRef(3, "text"), ir.Literal("text", "a\0b")),
        ir.Compare("=", ir.ColumnRef(3, "text"), ir.ColumnRef(1, "text")),
        ir.Compare("=", ir.ColumnRef(5, "numeric"), ir.Literal("numeric", "1" * 35)),
        ir.Compare("<", ir.ColumnRef(5, "numeric"), ir.Literal("numeric", "1e7000")),
        ir.Compare("=", ir.ColumnRef(14, "character varying"), ir.Literal("text", "abcd")),
        ir.Compare("=", ir.ColumnRef(15, "text"), ir.Literal("text", "x")),
        ir.Compare("=", ir.ColumnRef(16, "jsonb"), ir.Literal("jsonb", "{}")),
        ir.Compare("=", ir.ColumnRef(2, "integer"), ir.Literal("double precision", "2.5")),
        ir.Compare("@>", ir.ColumnRef(4, "jsonb"), ir.Literal("jsonb", "{}")),
        ir.IsNull(ir.ColumnRef(4, "jsonb")),
        ir.Like(ir.ColumnRef(3, "text"), ir.Literal("text", "a\\")),
        ir.Like(ir.ColumnRef(1, "text"), ir.Literal("text", "%6_")),
    ],
)
def test_what_cannot_be_written_is_left(predicate: Expr) -> None:
    plan = plan_scan(ORDERS, ScanAsk(2, (1,), predicate, judge=lambda _: EXACT))
    assert plan.residual == predicate
    assert plan.taken is None
    assert plan.reasons


# PEERS 3.3: a literal of the key finds the ObjectId and the string, by the index
def test_key_literal_is_an_object_id() -> None:
    assert is_object_id("6650f0a1b2c3d4e5f6a7b8c9")
    assert not is_object_id("6650F0A1B2C3D4E5F6A7B8C9")
    assert not is_object_id("6650f0a1")


# The ObjectIds above a text are those whose hex digits sort above it
@pytest.mark.parametrize(
    ("text", "above", "first"),
    [
        ("", False, "0" * 24),
        ("66", True, "66" + "0" * 22),
        ("6g", False, "7" + "0" * 23),
        ("6:", False, "6a" + "0" * 22),
        ("zz", False, None),
        ("ff", False, "ff" + "0" * 22),
        ("fz", False, None),
        ("a" * 24, False, "a" * 24),
        ("a" * 24, True, "a" * 23 + "b"),
        ("a" * 24 + "0", False, "a" * 23 + "b"),
        ("f" * 24, True, None),
        ("0f" * 12 + "x", True, "0f" * 11 + "10"),
    ],
)
def test_first_object_id(text: str, above: bool, first: str | None) -> None:
    assert first_object_id(text, above=above) == first
