"""A model for the tests of generator expressions: customers, plans, orders, and items in orders."""

from __future__ import annotations

from dataclasses import replace

from catalog.model import (
    Column,
    Constraint,
    DocPath,
    Element,
    Index,
    Ordinality,
    ParentKey,
    Seed,
    Stored,
    Table,
    Version,
)

PLANS = Table(
    1,
    "plans",
    "table",
    (
        Column(11, "id", "integer", Stored("c11", "integer"), not_null=True),
        Column(12, "price", "numeric(10,2)", DocPath(("price",))),
        Column(13, "code", "text", DocPath(("code",))),
        Column(14, "successor_id", "integer", DocPath(("successor_id",))),
        Column(15, "label", "text", DocPath(("label",))),
    ),
    store="t1",
    has_doc=True,
    constraints=(Constraint("plans_pkey", "p", (11,), "PRIMARY KEY (id)"),),
    indexes=(Index("plans_code", True, "btree", '("code")', "i1"),),
)
CUSTOMERS = Table(
    2,
    "customers",
    "table",
    (
        Column(21, "id", "uuid", Stored("c21", "uuid"), not_null=True),
        Column(22, "name", "text", DocPath(("name",))),
        Column(23, "plan_id", "integer", DocPath(("plan_id",))),
        Column(24, "since", "timestamp with time zone", DocPath(("since",))),
        Column(25, "Größe", "integer", DocPath(("Größe",))),
    ),
    store="t2",
    has_doc=True,
    constraints=(Constraint("customers_pkey", "p", (21,), "PRIMARY KEY (id)"),),
)
ORDERS = Table(
    3,
    "orders",
    "table",
    (
        Column(31, "id", "bigint", Stored("c31", "bigint"), not_null=True),
        Column(32, "customer_id", "uuid", Stored("c32", "uuid")),
        Column(33, "total", "double precision", DocPath(("total",))),
        Column(34, "status", "text", DocPath(("status",))),
    ),
    store="t3",
    has_doc=True,
    constraints=(
        Constraint("orders_pkey", "p", (31,), "PRIMARY KEY (id)"),
        Constraint("orders_fk", "f", (32,), "FOREIGN KEY (customer_id) REFERENCES customers"),
    ),
)
ITEMS = Table(
    4,
    "orders.items",
    "child",
    (
        Column(41, "orders_id", "bigint", ParentKey(31)),
        Column(42, "ordinality", "bigint", Ordinality()),
        Column(43, "plan_id", "integer", Element(("plan_id",))),
        Column(44, "qty", "integer", Element(("qty",))),
        Column(45, "price", "numeric", Element(("price",))),
    ),
    parent_id=3,
    parent_path=("items",),
)
ACTIVE = Table(
    5, "active", "view", (Column(51, "id", "uuid", Stored("", "uuid")),), definition="SELECT 1"
)

SHOP = Version(2, 1, (PLANS, CUSTOMERS, ORDERS, ITEMS, ACTIVE))


def with_seed(version: Version, table_name: str, column: Column) -> Version:
    """The version with a virtual column more."""
    table = version.table(table_name)
    assert table is not None
    assert isinstance(column.source, Seed)
    return version.with_table(replace(table, columns=(*table.columns, column)))


def seed(number: int, name: str, sql_type: str, expression: str) -> Column:
    """A virtual column."""
    return Column(number, name, sql_type, Seed(expression))
