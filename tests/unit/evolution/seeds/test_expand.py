"""Macros become sub-selects, typed stubs in shapes, and follow renames (R3.1, R3.2)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from catalog.model import Constraint, Version
from core.errors import InvalidObjectDefinition, MorphError, UndefinedColumn
from evolution.seeds.expand import Expanded, expand, seed_sql
from evolution.seeds.expressions import parse_expression
from evolution.seeds.renames import renamed
from evolution.seeds.shape import shape_expression, shape_seed_sql
from evolution.seeds.validate import check_expression
from tests.unit.evolution.seeds.shop import SHOP, seed, with_seed

PRICE = "morph.lookup('plans', 'price', 'id', plan_id)"


def _expand(expression: str, table_name: str, version: Version = SHOP) -> Expanded:
    table = version.table(table_name)
    assert table is not None
    return expand(
        expression, version_schema="morph_v2", model=version, table=table, parent_alias="c"
    )


def _shape(expression: str, table_name: str, version: Version = SHOP) -> str:
    table = version.table(table_name)
    assert table is not None
    return shape_expression(expression, version, table)


def test_lookup() -> None:  # R3.1
    assert _expand(f"{PRICE} * 2", "customers") == Expanded(
        '((SELECT "_m1"."price" FROM morph_v2."plans" AS _m1 '
        'WHERE "_m1"."id" = ("c"."plan_id")) * 2)',
        "",
        frozenset({1}),
    )
    assert _expand(PRICE, "customers").result_type_hint == "numeric(10,2)"


def test_text_outside_macros_stays_as_it_was_written() -> None:
    expression = "  upper( name )||'x'::TEXT -- é\n || morph.lookup('plans','code','id',plan_id)  "
    text = _expand(expression, "customers").sql
    assert text.startswith("(  upper( name )||'x'::TEXT -- é\n || (SELECT")


def test_lookup_in_a_lookup() -> None:
    inner = "morph.lookup('plans', 'successor_id', 'id', plans.successor_id)"
    expanded = _expand(f"morph.lookup('plans', 'code', 'id', {inner} + 1)", "plans")
    assert expanded.sql == (
        '((SELECT "_m1"."code" FROM morph_v2."plans" AS _m1 WHERE "_m1"."id" = ('
        '(SELECT "_m2"."successor_id" FROM morph_v2."plans" AS _m2 '
        'WHERE "_m2"."id" = ("c"."successor_id")) + 1)))'
    )


def test_aggregate_over_an_array() -> None:  # R3.1
    expanded = _expand("morph.aggregate('orders.items', 'sum', 'qty * price', 'qty > 1')", "orders")
    assert expanded == Expanded(
        '((SELECT pg_catalog.sum(("_m1"."qty" * "_m1"."price")) FILTER (WHERE ("_m1"."qty" > 1)) '
        'FROM morph_v2."orders.items" AS _m1 WHERE "_m1"."orders_id" = "c"."id"))',
        "",
        frozenset({4}),
    )


def test_aggregate_over_a_foreign_key_orders_floating_point_sums() -> None:
    expanded = _expand("morph.aggregate('orders', 'sum', 'total')", "customers")
    assert 'sum(("_m1"."total") ORDER BY ("_m1"."total"))' in expanded.sql
    assert '"_m1"."customer_id" = "c"."id"' in expanded.sql
    assert expanded.result_type_hint == "double precision"


@pytest.mark.parametrize(
    ("call", "hint"),
    [
        ("'orders', 'count', '*'", "bigint"),
        ("'orders', 'count_distinct', 'status'", "bigint"),
        ("'orders', 'MAX', 'status'", "text"),
        ("'orders', 'avg', 'id'", "numeric"),
        ("'orders', 'bool_or', 'total > 1'", "boolean"),
        ("'orders', 'max', 'total + 1'", ""),
    ],
)
def test_type_hints(call: str, hint: str) -> None:
    assert _expand(f"morph.aggregate({call})", "customers").result_type_hint == hint


def test_seed_reads_the_store_and_its_own_array_without_a_join() -> None:  # R3.2
    version = with_seed(
        SHOP, "orders", seed(90, "sum", "numeric", "morph.aggregate('orders.items','max','qty')")
    )
    table = version.table("orders")
    assert table is not None
    column = table.column("sum")
    assert column is not None
    assert seed_sql(version, table, column) == (
        "((SELECT pg_catalog.max((((e.value->>'qty')::integer))) "
        "FROM pg_catalog.jsonb_array_elements("
        "CASE WHEN pg_catalog.jsonb_typeof(t._doc->'items') = 'array' THEN t._doc->'items' END) "
        "WITH ORDINALITY e(value, ordinality)))"
    )


def test_virtual_columns_read_virtual_columns() -> None:
    version = with_seed(SHOP, "customers", seed(90, "a", "integer", "plan_id + 1"))
    version = with_seed(version, "customers", seed(91, "b", "bigint", "a * customers.a"))
    table = version.table("customers")
    assert table is not None
    column = table.column("b")
    assert column is not None
    inner = "(((t._doc->>'plan_id')::integer) + 1)::integer"
    assert seed_sql(version, table, column) == f"(({inner}) * ({inner}))"
    assert shape_seed_sql(version, table, column) == (
        '((("plan_id" + 1)::integer) * (("plan_id" + 1)::integer))::bigint'
    )


def test_an_expansion_that_meets_itself_ends() -> None:
    version = with_seed(SHOP, "customers", seed(90, "a", "integer", "b"))
    version = with_seed(version, "customers", seed(91, "b", "integer", "a"))
    table = version.table("customers")
    assert table is not None
    column = table.column("b")
    assert column is not None
    with pytest.raises(InvalidObjectDefinition):
        seed_sql(version, table, column)
    with pytest.raises(InvalidObjectDefinition):
        shape_seed_sql(version, table, column)


def test_only_the_columns_in_use_are_read() -> None:
    # Two tables that read each other's columns without a cycle among the columns.
    version = with_seed(
        SHOP,
        "orders",
        seed(90, "spent", "float8", "morph.lookup('customers','spent','id',customer_id)"),
    )
    version = with_seed(
        version, "customers", seed(91, "spent", "float8", "morph.aggregate('orders','sum','total')")
    )
    for name in ("orders", "customers"):
        table = version.table(name)
        assert table is not None
        column = table.column("spent")
        assert column is not None
        check_expression(column.source.expression, version, table, "spent")  # type: ignore[union-attr]
        assert "sum(" in seed_sql(version, table, column)


@pytest.mark.parametrize(
    ("expression", "table_name", "shaped"),
    [
        (
            f"{PRICE} * 2",
            "customers",
            "(morph.lookup('plans', 'price', 'id', \"plan_id\", NULL::numeric(10,2)) * 2)",
        ),
        (
            "morph.lookup('plans', 'price', 'id', 7)",
            "customers",
            "(morph.lookup('plans', 'price', 'id', 7, "
            'CASE WHEN "id" IS NULL THEN NULL::numeric(10,2) END))',
        ),
        (
            "morph.aggregate('orders', 'count', '*')",
            "customers",
            "(morph.aggregate('orders', 'count', '*', NULL, "
            'CASE WHEN "id" IS NULL THEN NULL::bigint END))',
        ),
        (
            "morph.aggregate('orders.items', 'sum', 'qty * price')",
            "orders",
            "(morph.aggregate('orders.items', 'sum', 'qty * price', NULL, CASE WHEN \"id\" IS NULL "
            "THEN morph._sum_of(((NULL::integer) * (NULL::numeric))) END))",
        ),
        ("customers.name || name", "customers", '("name" || "name")'),
    ],
)
def test_shapes(expression: str, table_name: str, shaped: str) -> None:  # R3.1
    assert _shape(expression, table_name) == shaped
    # What a client gives back from \d or a dump is the same column.
    assert _shape(shaped, table_name) == f"({shaped})"
    assert _expand(shaped, table_name).tables_read == _expand(expression, table_name).tables_read


def test_literals_as_the_server_prints_them() -> None:
    printed = "morph.lookup('plans'::text, 'price'::text, 'id'::text, plan_id, NULL::numeric(10,2))"
    assert _expand(printed, "customers") == _expand(PRICE, "customers")


@pytest.mark.parametrize(
    ("expression", "table_name", "sqlstate", "message"),
    [
        ("morph.lookup('nil', 'a', 'b', 1)", "customers", "42P01", 'relation "nil" does not exist'),
        (
            "morph.lookup('plans', 'nil', 'id', 1)",
            "customers",
            "42703",
            'column "nil" of relation "plans" does not exist',
        ),
        (
            "morph.lookup('plans', 'id', 'label', 'x')",
            "customers",
            "42P17",
            'key column "label" of morph.lookup is not unique in table "plans"',
        ),
        (
            "morph.lookup('active', 'id', 'id', id)",
            "customers",
            "0A000",
            'morph.lookup cannot read view "active"',
        ),
        (
            "morph.lookup(name, 'id', 'id', id)",
            "customers",
            "22023",
            "argument 1 of morph.lookup must be a text literal",
        ),
        (
            "morph.lookup('plans', 'id')",
            "customers",
            "42883",
            "generator morph.lookup cannot be called like this",
        ),
        (
            "morph.lookup('plans', 'id', 'id', key => 1)",
            "customers",
            "42883",
            "generator morph.lookup cannot be called like this",
        ),
        (
            "morph.aggregate('plans', 'count', '*')",
            "customers",
            "42P17",
            'table "plans" is no child of table "customers"',
        ),
        (
            "morph.aggregate('orders', 'median', 'total')",
            "customers",
            "22023",
            'morph.aggregate has no aggregate "median"',
        ),
        (
            "morph.aggregate('orders', 'sum', '*')",
            "customers",
            "22023",
            'morph.aggregate takes "*" for count only',
        ),
        (
            "morph.aggregate('orders', 'sum', 'total +')",
            "customers",
            "42601",
            'syntax error at or near ")"',
        ),
        (
            "morph.aggregate('orders', 'sum', 'total', status)",
            "customers",
            "22023",
            "argument 4 of morph.aggregate must be a text literal",
        ),
    ],
)
def test_macros_that_do_not_fit(
    expression: str, table_name: str, sqlstate: str, message: str
) -> None:  # R3.1
    with pytest.raises(MorphError) as caught:
        _expand(f"'é' || {expression}", table_name)
    error = caught.value
    assert (error.sqlstate, error.primary, error.position) == (sqlstate, message, 8)


def test_unique_index_makes_a_lookup_key() -> None:
    assert "code" in _expand("morph.lookup('plans', 'id', 'code', name)", "customers").sql


def test_two_foreign_keys_are_ambiguous() -> None:
    orders = SHOP.table("orders")
    assert orders is not None
    second = Constraint("fk2", "f", (32,), "FOREIGN KEY (customer_id) REFERENCES customers (id)")
    version = SHOP.with_table(replace(orders, constraints=(*orders.constraints, second)))
    with pytest.raises(InvalidObjectDefinition, match="more than one foreign key"):
        _expand("morph.aggregate('orders', 'count', '*')", "customers", version)


def _renamed_shop() -> Version:
    plans, orders = SHOP.table("plans"), SHOP.table("orders")
    assert plans is not None
    assert orders is not None
    columns = tuple(replace(c, name={"price": "Preis"}.get(c.name, c.name)) for c in plans.columns)
    version = SHOP.with_table(replace(plans, name="tariffs", columns=columns))
    columns = tuple(replace(c, name={"total": "sum"}.get(c.name, c.name)) for c in orders.columns)
    return version.with_table(replace(orders, columns=columns))


@pytest.mark.parametrize(
    ("expression", "table_name", "result"),
    [
        ("upper(name)", "customers", "upper(name)"),
        ("total * 2 + orders.total", "orders", '"sum" * 2 + "sum"'),
        (PRICE, "customers", "morph.lookup('tariffs', 'Preis', 'id', plan_id)"),
        (
            "morph.aggregate('orders', 'sum', 'total', 'total > 1')",
            "customers",
            "morph.aggregate('orders', 'sum', '\"sum\"', '\"sum\" > 1')",
        ),
        (
            "morph.aggregate('orders', 'count', '*', 'status = ''a''')",
            "customers",
            "morph.aggregate('orders', 'count', '*', 'status = ''a''')",
        ),
    ],
)
def test_renames_are_followed(expression: str, table_name: str, result: str) -> None:  # R3.1
    table = SHOP.table(table_name)
    assert table is not None
    assert renamed(expression, SHOP, table, _renamed_shop()) == result
    parse_expression(result)


def test_what_a_rename_loses_is_an_error() -> None:
    orders = SHOP.table("orders")
    assert orders is not None
    version = SHOP.with_table(replace(orders, columns=orders.columns[:2]))
    with pytest.raises(UndefinedColumn):
        renamed("total", SHOP, orders, version)
