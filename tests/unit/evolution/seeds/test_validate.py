"""What ALTER refuses without asking PostgreSQL, in PostgreSQL's words (R3.1)."""

from __future__ import annotations

import pytest

from catalog.model import Version
from core.errors import InvalidObjectDefinition, MorphError, UndefinedFunction
from evolution.seeds.validate import Dependencies, check_expression, dependencies
from tests.unit.evolution.seeds.shop import SHOP, seed, with_seed


def _check(
    expression: str, table_name: str = "customers", name: str = "x", version: Version = SHOP
) -> Dependencies:
    table = version.table(table_name)
    assert table is not None
    return check_expression(expression, version, table, name)


@pytest.mark.parametrize(
    ("expression", "sqlstate", "message"),
    [
        ("(SELECT 1)", "0A000", "cannot use subquery in column generation expression"),
        ("EXISTS (SELECT 1)", "0A000", "cannot use subquery in column generation expression"),
        ("ARRAY(SELECT 1)", "0A000", "cannot use subquery in column generation expression"),
        ("nil + 1", "42703", 'column "nil" does not exist'),
        ("customers.nil", "42703", "column customers.nil does not exist"),
        ("orders.id", "42P01", 'missing FROM-clause entry for table "orders"'),
        ("$1 + 1", "42P02", "there is no parameter $1"),
        (
            "sum(plan_id)",
            "42803",
            "aggregate functions are not allowed in column generation expressions",
        ),
        (
            "count(*)",
            "42803",
            "aggregate functions are not allowed in column generation expressions",
        ),
        (
            "row_number() OVER ()",
            "42P20",
            "window functions are not allowed in column generation expressions",
        ),
        (
            "generate_series(1, 2)",
            "0A000",
            "set-returning functions are not allowed in column generation expressions",
        ),
        (
            "xmin::text::int",
            "42P10",
            'cannot use system column "xmin" in column generation expression',
        ),
        (
            "customers IS NULL",
            "42P17",
            "cannot use whole-row variable in column generation expression",
        ),
        ("morph.hash_itn(id, 1, 2)", "42883", "generator morph.hash_itn(...) does not exist"),
        ("morph._refuse('x', 1)", "42883", "generator morph._refuse(...) does not exist"),
        (
            "morph.aggregate('orders', 'sum', 'nil')",
            "42703",
            'column "nil" does not exist',
        ),
        (
            "morph.aggregate('orders', 'sum', 'sum(total)')",
            "42803",
            "aggregate functions are not allowed in column generation expressions",
        ),
        (
            "morph.aggregate('orders', 'count', '*', 'EXISTS (SELECT 1)')",
            "0A000",
            "cannot use subquery in column generation expression",
        ),
    ],
)
def test_what_is_refused(expression: str, sqlstate: str, message: str) -> None:  # R3.1
    with pytest.raises(MorphError) as caught:
        _check(expression)
    assert (caught.value.sqlstate, caught.value.primary) == (sqlstate, message)


def test_positions_are_those_of_the_statement() -> None:
    table = SHOP.table("customers")
    assert table is not None
    with pytest.raises(MorphError) as caught:
        check_expression("'é' || nil", SHOP, table, "x", at=40)
    assert caught.value.position == 48
    with pytest.raises(MorphError) as caught:
        check_expression("1 + morph.aggregate('orders', 'sum', 'nil')", SHOP, table, "x", at=40)
    assert caught.value.position == 45


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("hash_itn", "Perhaps you meant morph.hash_int"),
        ("maskmail", "mask_email"),
        ("zzzzzz", "There are aggregate, hash_bucket"),
    ],
)
def test_near_names_are_hinted_at(name: str, hint: str) -> None:  # R3.2
    with pytest.raises(UndefinedFunction) as caught:
        _check(f"morph.{name}(id)")
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    "expression",
    [
        "plan_id * 2",
        "customers.plan_id",
        "public.customers.plan_id + v2.customers.plan_id",
        '"Größe" + 1',
        "CASE WHEN plan_id > 3 THEN 'x' ELSE name END",
        "morph.hash_int(id, 1, 100, 'x')",
        "now()",  # impure: PostgreSQL says so, see test_views
        "public.some_function(name)",
    ],
)
def test_what_passes(expression: str) -> None:
    _check(expression)


def test_dependencies() -> None:
    assert _check("plan_id + plan_id") == Dependencies((23,), frozenset())
    assert _check("morph.lookup('plans', 'price', 'id', plan_id)") == Dependencies(
        (23, 11, 12), frozenset({1})
    )
    assert _check("morph.aggregate('orders', 'sum', 'total', 'status = ''x''')") == Dependencies(
        (21, 32, 33, 34), frozenset({3})
    )
    table = SHOP.table("plans")
    assert table is not None
    assert dependencies("morph.lookup('plans','code','id',successor_id)", SHOP, table) == (
        Dependencies((14, 11, 13), frozenset())
    )


def _cycle(expression: str, table_name: str, name: str, version: Version) -> str:
    with pytest.raises(InvalidObjectDefinition) as caught:
        _check(expression, table_name, name, version)
    assert caught.value.primary == (
        f'virtual column "{name}" of table "{table_name}" would depend on itself'
    )
    return caught.value.detail


def test_a_column_that_reads_itself() -> None:  # R3.1
    assert _cycle("x + 1", "customers", "x", SHOP) == "The cycle is customers.x -> customers.x."
    lookup = "morph.lookup('plans', 'depth', 'id', successor_id) + 1"
    assert _cycle(lookup, "plans", "depth", SHOP) == "The cycle is plans.depth -> plans.depth."


def test_cycles_in_a_table() -> None:
    version = with_seed(SHOP, "customers", seed(90, "a", "integer", "plan_id"))
    version = with_seed(version, "customers", seed(91, "b", "integer", "a + 1"))
    version = with_seed(version, "customers", seed(92, "c", "integer", "b + 1"))
    assert _cycle("c", "customers", "a", version) == (
        "The cycle is customers.a -> customers.c -> customers.b -> customers.a."
    )
    _check("a + b + c", "customers", "d", version)


def test_cycles_across_tables() -> None:  # R3.1
    version = with_seed(
        SHOP, "customers", seed(90, "spent", "float8", "morph.aggregate('orders','sum','total')")
    )
    lookup = "morph.lookup('customers', 'spent', 'id', customer_id)"
    _check(lookup, "orders", "of_customer", version)
    version = with_seed(version, "orders", seed(91, "of_customer", "float8", lookup))
    again = "morph.aggregate('orders', 'sum', 'of_customer')"
    assert _cycle(again, "customers", "spent", version) == (
        "The cycle is customers.spent -> orders.of_customer -> customers.spent."
    )
    # The tables read each other, the columns do not: no cycle.
    _check(again, "customers", "other", version)
