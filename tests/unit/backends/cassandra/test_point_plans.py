"""Kept plans of point reads are the plans that plan_scan makes (R0.5)."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backends.base import OrderKey, ScanAsk, ScanPlan, judge_nothing
from backends.cassandra.point_plans import PLANS_MAX, PointPlans
from backends.cassandra.pushdown import NativeScan, plan_scan
from core import expr as ir
from core.expr import Expr
from engine.exactness import judge_for
from tests.unit.backends.cassandra.test_pushdown import ALL, TABLES

LITERALS = {
    "int": (("integer", ["1", "-5", "7"]), ("bigint", ["1", "99999999999"])),
    "date": (("date", ["2024-02-29", "tomorrow", "1970-01-01"]),),
    "text": (("text", ["", "a", "abc"]), ("text", [None])),  # type: ignore[list-item]
    "timestamp": (
        (
            "timestamp with time zone",
            ["2024-02-29 10:00:00+00", "2024-02-29 10:00:00.0001+00", "infinity"],
        ),
    ),
    "double": (("double precision", ["0", "1.5", "NaN"]), ("numeric", ["1.5", "0"])),
    "uuid": (("uuid", ["a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "x"]),),
    "varint": (("numeric", ["1", "1.5"]), ("integer", ["3"])),
}


@st.composite
def asks(draw: st.DrawFn) -> tuple[str, ScanAsk]:
    """Equalities over some columns of a table, mostly of its key."""
    name = draw(st.sampled_from(sorted(ALL)))
    table, facts = TABLES[name], ALL[name]
    usable = [each for each in facts.columns if each.type in LITERALS]
    columns = draw(st.lists(st.sampled_from(usable), min_size=1, max_size=4))
    if draw(st.booleans()):
        columns = [each for each in facts.key if each.type in LITERALS][: len(columns)]
    parts: list[Expr] = []
    for each in columns:
        column = table.column(each.name)
        assert column is not None
        kind, texts = draw(st.sampled_from(LITERALS[each.type]))
        reference = ir.ColumnRef(column.id, ir.base_type(column.type))
        parts.append(ir.Compare("=", reference, ir.Literal(kind, draw(st.sampled_from(texts)))))
    order = draw(st.sampled_from([(), (OrderKey(table.columns[2].id),)]))
    limit = draw(st.sampled_from([None, 1, 10]))
    ids = tuple(each.id for each in table.columns[:3])
    judge = judge_for("cassandra")
    return name, ScanAsk(2, ids, ir.join_and(parts), limit, order, judge)


def _parts(plan: ScanPlan) -> tuple[object, ...]:
    """A plan without the order of its conjuncts."""
    assert isinstance(plan.native, NativeScan)
    native = replace(plan.native, table=None, ask=None)
    taken, residual = (frozenset(ir.split_and(each)) for each in (plan.taken, plan.residual))
    return (native, str(native), taken, residual, plan.limit_exact, plan.order_exact)


# R0.5: whatever was planned before, the plan is the one that plan_scan makes
@settings(deadline=None, max_examples=300)
@given(st.lists(asks(), min_size=1, max_size=6))
def test_same_plans(many: list[tuple[str, ScanAsk]]) -> None:
    plans = PointPlans()
    for name, ask in [*many, *many]:
        kept = plans.plan(TABLES[name], ask, ALL[name], allow_filtering=False)
        assert _parts(kept) == _parts(plan_scan(TABLES[name], ask, ALL[name]))


def _point(value: str, **more: object) -> ScanAsk:
    [column] = [c for c in TABLES["words"].columns if c.name == "lang"]
    where = ir.Compare("=", ir.ColumnRef(column.id, "text"), ir.Literal("text", value))
    return ScanAsk(2, (column.id,), where, judge=judge_for("cassandra"), **more)  # type: ignore[arg-type]


# R0.5: other facts, another table, another judge: another plan
def test_what_a_kept_plan_stands_on() -> None:
    plans, table, facts = PointPlans(), TABLES["words"], ALL["words"]
    for _ in range(2):
        plan = plans.plan(table, _point("en"), facts, allow_filtering=False)
        assert plan.residual is None
        other = replace(facts, partition=facts.clustering, clustering=())
        assert plans.plan(table, _point("en"), other, allow_filtering=False).residual is not None
        blind = replace(_point("en"), judge=judge_nothing)
        assert plans.plan(table, blind, facts, allow_filtering=False).residual is not None
        unknown = plans.plan(table, _point("en"), None, allow_filtering=False)
        assert isinstance(unknown.native, NativeScan)
        assert not unknown.native.known


# R0.5: zero is two values of a clustering column, so its plan is no other number's
@pytest.mark.parametrize("order", [("0", "2.5"), ("2.5", "0"), ("2.5", "NaN")])
def test_zero_in_a_clustering_column(order: tuple[str, str]) -> None:
    plans, table, facts = PointPlans(), TABLES["floats"], ALL["floats"]
    columns = {column.name: ir.ColumnRef(column.id, column.type) for column in table.columns}
    for text in order:
        where = ir.And(
            (
                ir.Compare("=", columns["id"], ir.Literal("double precision", "1.5")),
                ir.Compare("=", columns["at"], ir.Literal("double precision", text)),
            )
        )
        ask = ScanAsk(2, (columns["code"].column_id,), where, judge=judge_for("cassandra"))
        kept = plans.plan(table, ask, facts, allow_filtering=False)
        assert _parts(kept) == _parts(plan_scan(table, ask, facts))


# R2: what is kept is bounded
@pytest.mark.parametrize("count", [PLANS_MAX + 50])
def test_kept_plans_are_bounded(count: int) -> None:
    plans = PointPlans()
    for limit in range(count):
        plans.plan(TABLES["words"], _point("en", limit=limit), ALL["words"], allow_filtering=False)
    assert len(plans._kept) == PLANS_MAX
