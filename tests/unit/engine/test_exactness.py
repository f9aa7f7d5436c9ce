"""The exactness table as a table; its truth is proven in tests/differential (R0.5)."""

from __future__ import annotations

import pytest

from backends.base import EXACT, Exactness, ExactWithRewrite, No
from core import expr as ir
from core.expr import Expr, base_type
from engine.exactness import (
    BACKENDS,
    TABLE,
    TYPES,
    Entry,
    ExactnessTable,
    Family,
    Kind,
    describe,
    expand,
    judge_for,
    lookup,
)

QTY = ir.ColumnRef(1, "integer")
NAME = ir.ColumnRef(2, "character varying(20)")
ONE = ir.Literal("integer", "1")


@pytest.mark.parametrize(
    ("kind", "name", "types"),
    [
        ("operator", "=", ("integer", "bigint")),
        ("operator", "<=", ("numeric(10,2)", "integer")),
        ("operator", "is not distinct from", ("jsonb", "jsonb")),
        ("operator", "and", ("boolean", "boolean")),
        ("predicate", "like", ("character varying(20)", "text")),
        ("predicate", "is null", ("uuid",)),
        ("function", "lower", ("text",)),
        ("cast", "bigint", ("integer",)),
        ("aggregate", "count", ()),
        ("ordering", "ordering", ("date",)),
    ],
)
def test_listed(kind: Kind, name: str, types: tuple[str, ...]) -> None:
    assert lookup(kind, name, types, "embedded") == EXACT


# R0.5: what is not in the table is not pushed
@pytest.mark.parametrize(
    ("kind", "name", "types", "backend", "reason"),
    [
        ("function", "foo", ("text",), "embedded", "function foo(text) is not in the"),
        ("operator", "=", ("text", "integer"), "embedded", "operator text = integer is not in"),
        ("operator", "=", ("mood", "mood"), "embedded", "operator mood = mood is not in"),
        ("cast", "money", ("integer",), "embedded", "cast from integer to money is not in"),
        ("operator", "=", ("integer", "integer"), "trino", "is not proven exact for trino"),
        ("operator", "=", ("integer", "integer"), "no such store", "is not proven exact for no"),
        ("aggregate", "sum", ("double precision",), "embedded", "the order of the rows"),
    ],
)
def test_not_listed(
    kind: Kind, name: str, types: tuple[str, ...], backend: str, reason: str
) -> None:
    verdict = lookup(kind, name, types, backend)
    assert isinstance(verdict, No)
    assert reason in verdict.reason


def test_every_entry_is_well_formed() -> None:
    known = set(TYPES.values())
    for entry in TABLE.entries:
        assert set(entry.arguments) <= known
        assert entry.result in known
        assert all(base_type(each) == each for each in entry.arguments)
        assert entry.verdicts.keys() <= set(BACKENDS)
    assert len(TABLE.entries) > 900


def test_an_entry_listed_twice_is_a_fault() -> None:
    entry = TABLE.entries[0]
    with pytest.raises(AssertionError, match="listed twice"):
        ExactnessTable([entry, entry])


def test_notation() -> None:
    family = Family("function", "!f g(int4,text|date) -> text", {"embedded": EXACT})
    entries = list(expand(family))
    assert [(e.name, e.arguments, e.total) for e in entries] == [
        ("f", ("integer", "text"), False),
        ("f", ("date",), False),
        ("g", ("integer", "text"), False),
        ("g", ("date",), False),
    ]


def _judge(expr: Expr, table: ExactnessTable = TABLE) -> Exactness:
    return judge_for("embedded", table)(expr)


def test_a_tree_is_as_exact_as_its_worst_part() -> None:
    good = ir.Compare("=", QTY, ONE)
    bad = ir.Compare("=", ir.Call("soundex", (NAME,), "text"), ir.Literal("text", "x"))
    assert _judge(good) == EXACT
    assert _judge(ir.And((good, ir.Not(bad)))) == No(
        "function soundex(character varying) is not in the exactness table"
    )


def test_a_rewrite_shows() -> None:
    entry = Entry("operator", "=", ("integer", "integer"), "boolean", True, {})
    rewrite = ExactWithRewrite("eq")
    others = [e for e in TABLE.entries if (e.name, e.arguments) != (entry.name, entry.arguments)]
    changed = Entry("operator", "=", entry.arguments, "boolean", True, {"embedded": rewrite})
    table = ExactnessTable([*others, changed])
    assert _judge(ir.Not(ir.Compare("=", QTY, ONE)), table) == rewrite


@pytest.mark.parametrize(
    "expr",
    [
        # PostgreSQL gives such a list one common type, pairwise comparison another.
        ir.In(QTY, (ONE, ir.Literal("numeric", "1.5"))),
        ir.In(ir.ColumnRef(3, "real"), (ir.Literal("numeric", "1.1"),)),
        ir.Compare("=", ir.Call("date_trunc", (NAME, ir.ColumnRef(4, "date")), "date"), ONE),
        ir.Literal("unknown", "x"),
    ],
)
def test_forms_that_types_do_not_show(expr: Expr) -> None:
    assert isinstance(_judge(expr), No)


@pytest.mark.parametrize(
    ("expr", "raises"),
    [
        (ir.Compare("=", QTY, ONE), False),
        (ir.Arithmetic("+", (QTY, ONE), "integer"), True),
        (ir.Cast(QTY, "bigint"), False),
        (ir.Cast(QTY, "numeric(3,1)"), True),
        (ir.Like(NAME, ir.Literal("text", "a\\\\%")), False),
        (ir.Like(NAME, ir.Literal("text", "a\\")), True),
        (ir.Like(NAME, ir.Literal("text", "a\\"), "!"), False),
        (ir.Like(NAME, ir.Literal("text", "a!"), "!"), True),
        (ir.Like(NAME, NAME), True),
        (ir.Call("soundex", (NAME,), "text"), True),
    ],
)
def test_may_raise(expr: Expr, raises: bool) -> None:
    assert TABLE.may_raise(expr) is raises


def test_descriptions() -> None:
    assert describe("function", "lower", ("numeric(1,0)",)) == "function lower(numeric)"
    assert describe("predicate", "nullif", ("text", "date")) == "function nullif(text, date)"
    assert describe("value", "literal", ("unknown",)) == "literal of type unknown"
