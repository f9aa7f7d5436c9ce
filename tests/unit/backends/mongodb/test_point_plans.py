"""A kept plan answers what plan_scan answers for the same ask (issue 4.8)."""

from __future__ import annotations

import itertools

import pytest

from backends.base import ScanAsk, ScanPlan
from backends.mongodb.point_plans import PointPlans
from backends.mongodb.pushdown import plan_scan
from catalog.model import Table
from core import expr as ir
from engine.exactness import judge_for
from tests.unit.backends.mongodb.test_pushdown import ORDERS

LITERALS = {
    "_id": ["6650f0a1b2c3d4e5f6a7b8c9", "x", "", "nul\0", "zz" * 12],
    "qty": ["5", "-1", "2147483647", "99999999999", "x"],
    "name": ["a", "", "6650f0a1b2c3d4e5f6a7b8c9", "nul\0"],
    "price": ["1.5", "NaN", "0.1", "1e400"],
    "at": ["2024-01-01 00:00:00+00", "infinity", "2024-01-01 00:00:00.0001+00", "2024-01-01"],
    "paid": ["true", "f", "maybe"],
    "ratio": ["1.5", "NaN", "Infinity", "1e400"],
    "ref": ["00010203-0405-0607-0809-0a0b0c0d0e0f", "x"],
    "addr.city": ["Oslo", ""],
}


def equals(name: str, text: str | None) -> ir.Compare:
    """A conjunct."""
    column = ORDERS.column(name)
    assert column is not None
    return ir.Compare("=", ir.ColumnRef(column.id, column.type), ir.Literal(column.type, text))


def same(one: ScanPlan, other: ScanPlan) -> bool:
    """Equal, NaN to NaN too."""
    return repr(one) == repr(other)


def asked(predicate: ir.Expr | None, limit: int | None = None) -> ScanAsk:
    """An ask for some columns."""
    return ScanAsk(1, (1, 3), predicate, limit=limit, judge=judge_for("mongodb"))


@pytest.mark.parametrize("limit", [None, 0, 1])
@pytest.mark.parametrize("name", list(LITERALS))
def test_one_equality(name: str, limit: int | None) -> None:
    plans = PointPlans()
    for text in [*LITERALS[name], None, *reversed(LITERALS[name])]:
        ask = asked(equals(name, text), limit)
        assert same(plans.plan(ORDERS, ask, expressions=True), plan_scan(ORDERS, ask)), text


def test_several_equalities() -> None:
    plans = PointPlans()
    for one, other in itertools.permutations(LITERALS, 2):
        for left, right in itertools.product(LITERALS[one], LITERALS[other]):
            ask = asked(ir.And((equals(one, left), equals(other, right))))
            assert same(plans.plan(ORDERS, ask, expressions=True), plan_scan(ORDERS, ask))


def test_other_forms_are_planned() -> None:
    plans = PointPlans()
    for predicate in (
        None,
        ir.Not(equals("qty", "5")),
        ir.Compare("<", ir.ColumnRef(2, "integer"), ir.Literal("integer", "5")),
        ir.Compare("=", ir.Literal("integer", "5"), ir.ColumnRef(2, "integer")),
        ir.In(ir.ColumnRef(2, "integer"), (ir.Literal("integer", "5"),)),
    ):
        ask = asked(predicate)
        assert same(plans.plan(ORDERS, ask, expressions=True), plan_scan(ORDERS, ask))


def test_a_table_that_was_altered() -> None:
    plans = PointPlans()
    ask = asked(equals("qty", "5"))
    plans.plan(ORDERS, ask, expressions=True)
    other = Table(1, "orders", "foreign", ORDERS.columns, instance="shop", native=("db", "other"))
    assert same(plans.plan(other, ask, expressions=True), plan_scan(other, ask))
