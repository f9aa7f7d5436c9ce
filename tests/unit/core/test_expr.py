"""The closed IR: walking, printing, binding, limits, three-valued logic (R0.5)."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core import expr as ir
from core.errors import FeatureNotSupported, InternalError, StatementTooComplex
from core.expr import Expr, evaluate

A = ir.ColumnRef(1, "integer")
B = ir.ColumnRef(2, "integer")
T = ir.ColumnRef(3, "text")
FIVE = ir.Literal("integer", "5")
NULL = ir.Literal("integer", None)

EVERY_KIND: tuple[Expr, ...] = (
    A,
    FIVE,
    ir.Param(1, "integer"),
    ir.Compare("<", A, FIVE),
    ir.And((ir.IsNull(A), ir.IsNull(B))),
    ir.Or((ir.IsNull(A), ir.IsNull(B))),
    ir.Not(ir.IsNull(A)),
    ir.In(A, (FIVE, B)),
    ir.IsNull(A),
    ir.Like(T, ir.Literal("text", "a%")),
    ir.Cast(A, "bigint"),
    ir.Case(((ir.IsNull(A), FIVE), (ir.IsNull(B), B)), A, "integer"),
    ir.Call("lower", (T,), "text"),
    ir.Arithmetic("+", (A, B), "integer"),
)


# R0.5: a store can be complete about the kinds, because there are no others
def test_the_kinds_are_closed() -> None:
    assert {type(each) for each in EVERY_KIND} == set(ir.Expr.__args__)


@pytest.mark.parametrize("node", EVERY_KIND, ids=lambda node: type(node).__name__)
def test_children_rebuild_the_node(node: Expr) -> None:
    assert ir.with_children(node, ir.children(node)) == node
    assert ir.check_depth(node) is node
    assert ir.bind(node, {}) == node
    assert next(ir.walk(node)) == node


def test_case_without_else_keeps_its_parts() -> None:
    node = ir.Case(((ir.IsNull(A), FIVE),), None, "integer")
    assert ir.with_children(node, ir.children(node)) == node
    assert evaluate(node, {1: 1}) is None


@pytest.mark.parametrize(
    ("name", "base"),
    [
        ("numeric(10,2)", "numeric"),
        ("numeric(3,-2)", "numeric"),
        ("character(3)", "bpchar"),
        ("character", "bpchar"),
        ("bpchar", "bpchar"),
        ("character varying(20)", "character varying"),
        ("timestamp(3) without time zone", "timestamp without time zone"),
        ("time with time zone", "time with time zone"),
        ("interval day to second(3)", "interval"),
        ("integer[]", "integer[]"),
        ("numeric(10,2)[]", "numeric[]"),
        ('"My Type(3)"', '"My Type(3)"'),
        ("v2.mood", "v2.mood"),
    ],
)
def test_base_type(name: str, base: str) -> None:
    assert ir.base_type(name) == base


def test_column_ids_and_types() -> None:
    both = ir.Compare("=", ir.Arithmetic("+", (A, B), "integer"), ir.Cast(A, "bigint"))
    assert ir.column_ids(both) == {1, 2}
    assert ir.type_of(both) == "boolean"
    assert ir.type_of(both.right) == "bigint"


def test_conjuncts() -> None:
    parts = (ir.IsNull(A), ir.IsNull(B), ir.IsNull(T))
    assert ir.split_and(ir.And((ir.And(parts[:2]), parts[2]))) == parts
    assert ir.split_and(None) == ()
    assert ir.join_and(()) is None
    assert ir.join_and(parts[:1]) == parts[0]
    assert ir.join_and(parts) == ir.And(parts)


def test_bind_leaves_what_has_no_value() -> None:
    node = ir.And((ir.Compare("=", A, ir.Param(1, "integer")), ir.IsNull(ir.Param(2, "text"))))
    bound = ir.bind(node, {1: None})
    assert bound == ir.And((ir.Compare("=", A, NULL), ir.IsNull(ir.Param(2, "text"))))


# R0.1: any statement, however deep, ends in an answer or an error
def test_depth_has_a_limit_and_no_recursion() -> None:
    node: Expr = ir.IsNull(A)
    for _ in range(50_000):
        node = ir.Not(node)
    assert ir.depth(node) == 50_002
    with pytest.raises(StatementTooComplex):
        ir.check_depth(node)


@pytest.mark.parametrize(
    ("node", "text"),
    [
        (ir.Compare("<", A, FIVE), "#1 < 5"),
        (ir.And((ir.IsNull(A), ir.Not(ir.IsNull(B)))), "(#1 is null) and (not (#2 is null))"),
        (ir.Or((ir.IsNull(A), ir.And((ir.IsNull(B), ir.IsNull(T))))), None),
        (ir.In(T, (ir.Literal("text", "it's"), ir.Literal("text", None))), None),
        (ir.In(A, (ir.Param(1, "integer[]"),), spread=True), "#1 = any $1::integer[]"),
        (ir.Like(T, ir.Literal("text", "a"), "!", True), "#3 ilike 'a'::text escape '!'"),
        (
            ir.Case(((ir.IsNull(A), FIVE),), B, "integer"),
            "case when (#1 is null) then 5 else #2 end",
        ),
        (ir.Arithmetic("-", (A,), "integer"), "-#1"),
        (ir.ColumnRef(4, "text", ("a", "b")), "#4->'a'->>'b'"),
        (ir.ColumnRef(4, "jsonb", ("a",)), "#4->'a'"),
        (ir.Cast(ir.Call("lower", (T,), "text"), "bpchar"), "cast(lower(#3) as bpchar)"),
    ],
)
def test_normal_form(node: Expr, text: str | None) -> None:
    shown = ir.to_text(node)
    if text is None:
        assert shown in (
            "(#1 is null) or ((#2 is null) and (#3 is null))",
            "#3 in ('it''s'::text, null::text)",
        )
    else:
        assert shown == text


def test_names_in_the_normal_form() -> None:
    assert ir.to_text(ir.Compare(">", A, B), {1: "qty"}) == "qty > #2"


TRUTHS = st.sampled_from((True, False, None))
BOOL = {True: ir.TRUE, False: ir.FALSE, None: ir.Literal("boolean", None)}


# R0.5: three-valued logic, manual 9.1
@given(TRUTHS, TRUTHS)
def test_three_valued_logic(a: bool | None, b: bool | None) -> None:
    both = ir.And((BOOL[a], BOOL[b]))
    either = ir.Or((BOOL[a], BOOL[b]))
    assert evaluate(both, {}) == (
        False if a is False or b is False else None if None in (a, b) else True
    )
    assert evaluate(ir.Not(both), {}) == evaluate(ir.Or((ir.Not(BOOL[a]), ir.Not(BOOL[b]))), {})
    assert evaluate(either, {}) == evaluate(ir.Or((BOOL[b], BOOL[a])), {})


@pytest.mark.parametrize(
    ("node", "value"),
    [
        (ir.Compare("=", A, NULL), None),
        (ir.Compare("is distinct from", A, NULL), True),
        (ir.Compare("is not distinct from", NULL, NULL), True),
        (ir.In(A, (FIVE, NULL)), None),
        (ir.In(A, (ir.Literal("integer", "7"), NULL)), True),
        (ir.IsNull(ir.Arithmetic("+", (A, NULL), "integer")), True),
        (
            ir.Arithmetic(
                "/", (ir.Literal("integer", "-7"), ir.Literal("integer", "2")), "integer"
            ),
            -3,
        ),
        (
            ir.Arithmetic(
                "%", (ir.Literal("integer", "-7"), ir.Literal("integer", "2")), "integer"
            ),
            -1,
        ),
        (ir.Call("coalesce", (NULL, A), "integer"), 7),
        (ir.Call("nullif", (A, ir.Literal("integer", "7")), "integer"), None),
        (ir.Like(T, ir.Literal("text", "a\\_c%")), True),
        (ir.Like(T, ir.Literal("text", "a_c")), False),
        (ir.Like(T, ir.Literal("text", "A!_C%"), "!", True), True),
        (ir.Like(T, ir.Literal("text", "a.c%")), False),
        (ir.Compare("=", ir.Literal("bpchar", "a "), ir.Literal("bpchar", "a")), True),
        (ir.Compare("=", ir.Literal("text", "a "), ir.Literal("text", "a")), False),
        (ir.Compare(">", ir.Literal("text", "a"), ir.Literal("text", "B")), True),
        (ir.Compare("=", ir.Literal("real", "0.1"), ir.Literal("double precision", "0.1")), False),
        (ir.Cast(A, "text"), "7"),
        (ir.Cast(ir.TRUE, "text"), "true"),
        (ir.Call("upper", (ir.Literal("text", "straße"),), "text"), "STRAßE"),
    ],
)
def test_values(node: Expr, value: object) -> None:
    assert evaluate(node, {1: 7, 2: None, 3: "a_c\n"}) == value


# R0.5: NaN is equal to itself and above everything, in both families
@pytest.mark.parametrize("kind", ["numeric", "double precision"])
def test_nan(kind: str) -> None:
    nan, infinity = ir.Literal(kind, "NaN"), ir.Literal(kind, "Infinity")
    assert evaluate(ir.Compare("=", nan, nan), {}) is True
    assert evaluate(ir.Compare(">", nan, infinity), {}) is True


def test_dates_and_timestamps() -> None:
    date = ir.Literal("date", "2024-02-29")
    stamp = ir.Literal("timestamp without time zone", "2024-02-29 00:00:01")
    assert evaluate(ir.Compare("<", date, stamp), {}) is True
    assert ir.literal_value(date) == dt.date(2024, 2, 29)
    assert ir.literal_value(ir.Literal("numeric", "1.50")) == Decimal("1.50")


@pytest.mark.parametrize(
    "node",
    [
        ir.Arithmetic("/", (FIVE, ir.Literal("integer", "0")), "integer"),
        ir.Arithmetic("+", (ir.Literal("integer", "2147483647"), FIVE), "integer"),
        ir.Cast(ir.Literal("integer", "32768"), "smallint"),
        ir.Like(ir.Literal("text", "a"), ir.Literal("text", "a\\")),
    ],
)
def test_what_postgresql_raises_is_raised(node: Expr) -> None:
    with pytest.raises(ArithmeticError):
        evaluate(node, {})


@pytest.mark.parametrize(
    "node",
    [
        ir.ColumnRef(1, "text", ("a",)),
        ir.Compare("~", T, T),
        ir.Call("md5", (T,), "text"),
        ir.Literal("numeric(10,2)", "1"),
        ir.Cast(T, "date"),
        ir.In(A, (ir.Literal("integer[]", "{1}"),), spread=True),
        ir.Arithmetic("/", (ir.Literal("numeric", "1"), ir.Literal("numeric", "3")), "numeric"),
    ],
)
def test_what_is_not_stated_is_not_guessed(node: Expr) -> None:
    with pytest.raises(FeatureNotSupported):
        evaluate(node, {1: 1, 3: "a"})


def test_unbound_parameter_is_a_fault_of_ours() -> None:
    with pytest.raises(InternalError):
        evaluate(ir.Param(1, "integer"), {})
