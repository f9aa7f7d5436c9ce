"""A small model in two versions with every kind of column: what the rewriter's tests share."""

from __future__ import annotations

from dataclasses import replace

from catalog.model import (
    CatalogSnapshot,
    Column,
    Constraint,
    DocPath,
    Element,
    Lens,
    Lensed,
    Ordinality,
    ParentKey,
    Stored,
    Table,
    Version,
)
from rewrite.namespaces import Namespaces


def _doc(column_id: int, path: tuple[str, ...], sql_type: str, name: str = "") -> Column:
    return Column(column_id, name or ".".join(path), sql_type, DocPath(path))


def _stored(column_id: int, name: str, sql_type: str, **more: object) -> Column:
    return Column(column_id, name, sql_type, Stored(f"c{column_id}", sql_type), **more)  # type: ignore[arg-type]


def _key(table: str, column_id: int, store: str) -> Constraint:
    return Constraint(f"{table}_pkey", "p", (column_id,), 'PRIMARY KEY ("id")', store)


ORDERS = Table(
    1,
    "orders",
    "table",
    (
        _stored(11, "id", "bigint", not_null=True),
        _doc(12, ("customer_id",), "bigint"),
        _doc(13, ("qty",), "bigint"),
        _doc(14, ("price",), "numeric"),
        _doc(15, ("status",), "text"),
        _doc(16, ("address", "city"), "text"),
        _doc(17, ("address", "geo", "lat"), "double precision"),
        _doc(18, ("tags",), "text[]"),
        _doc(19, ("meta",), "jsonb"),
        _doc(20, ("paid",), "boolean"),
        _doc(21, ('Odd "~.Name',), "text", 'Odd "~0~1Name'),
        _stored(22, "created", "timestamp with time zone"),
        _stored(23, "note", "text", default="'new'::text"),
        Column(24, "amount", "bigint", Stored("c24", "integer")),
    ),
    store="t1",
    has_doc=True,
    constraints=(_key("orders", 11, "i1_orders_pkey"),),
)
CUSTOMERS = Table(
    2,
    "customers",
    "table",
    (
        _stored(31, "id", "bigint", not_null=True),
        _doc(32, ("name",), "text"),
        _doc(33, ("score",), "double precision"),
        _doc(34, ("status",), "text"),
    ),
    store="t2",
    has_doc=True,
    constraints=(_key("customers", 31, "i2_customers_pkey"),),
)
PLAIN = Table(
    3,
    "plain",
    "table",
    (
        _stored(41, "id", "integer", not_null=True),
        _stored(42, "v", "text"),
        _stored(43, "n", "numeric(10,2)", default="1.5"),
    ),
    store="t3",
    constraints=(_key("plain", 41, "i3_plain_pkey"),),
)
ITEMS = Table(
    4,
    "orders_items",
    "child",
    (
        Column(51, "orders_id", "bigint", ParentKey(11), not_null=True),
        Column(52, "ordinality", "bigint", Ordinality(), not_null=True),
        Column(53, "sku", "text", Element(("sku",))),
        Column(54, "count", "bigint", Element(("count",))),
    ),
    parent_id=1,
    parent_path=("items",),
)
BUSY = Table(
    5,
    "busy",
    "view",
    (
        Column(61, "id", "bigint", Stored("", "bigint")),
        Column(62, "qty", "bigint", Stored("", "bigint")),
    ),
    definition="SELECT id, qty FROM orders WHERE qty > 1",
)
PEOPLE = Table(
    6,
    "people",
    "table",
    (
        _stored(71, "id", "bigint", not_null=True, identity="d"),
        _doc(72, ("address",), "jsonb"),
        _doc(73, ("address", "city"), "text"),
        _doc(74, ("address", "zip"), "bigint"),
        _doc(75, ("visits",), "jsonb"),
        _doc(76, ("scores",), "bigint[]"),
        Column(77, "level", "bigint", DocPath(("level",)), default="7"),
        _stored(78, "born", "timestamp with time zone", default="'2000-01-01 00:00:00+00'"),
        _doc(79, ("rate",), "double precision"),
    ),
    store="t6",
    has_doc=True,
    constraints=(_key("people", 71, "i6_people_pkey"),),
)
VISITS = Table(
    7,
    "people_visits",
    "child",
    (
        Column(81, "people_id", "bigint", ParentKey(71), not_null=True),
        Column(82, "ordinality", "bigint", Ordinality(), not_null=True),
        Column(83, "shop", "text", Element(("shop",))),
        Column(84, "spent", "bigint", Element(("spent",))),
    ),
    parent_id=6,
    parent_path=("visits",),
)
# The store has `price` as an integer in c92, and `code` as text in the document.
PRICES = Table(
    8,
    "prices",
    "table",
    (
        _stored(91, "id", "bigint", not_null=True),
        Column(94, "price", "numeric(10,2)", Lensed(93), default="1.5"),
        Column(97, "code", "character varying(4)", Lensed(96, field="code")),
        _stored(98, "v", "text"),
    ),
    store="t8",
    has_doc=True,
    constraints=(_key("prices", 91, "i8_prices_pkey"),),
    lenses=(
        Lens(
            93,
            (_stored(92, "price", "integer"),),
            (_stored(94, "price", "numeric(10,2)"),),
            ('("$1")::numeric(10,2)',),
            ('("$1")::integer',),
        ),
        Lens(
            96,
            (_doc(95, ("code",), "text"),),
            (_stored(97, "code", "character varying(4)"),),
            ('pg_catalog."varchar"(("$1")::character varying, 8, false)',),
            ('("$1")::text',),
        ),
    ),
)
V1 = Version(1, 0, (ORDERS, CUSTOMERS, PLAIN, ITEMS, BUSY, PEOPLE, VISITS, PRICES))
_renamed = replace(ORDERS.columns[2], name="quantity")
V2 = Version(
    2,
    1,
    (
        replace(
            ORDERS,
            columns=tuple(
                _renamed if c.id == 13 else c for c in ORDERS.columns if c.name != "note"
            ),
        ),
        CUSTOMERS,
        PLAIN,
    ),
)
SNAPSHOT = CatalogSnapshot(1, 1, 2, {1: V1, 2: V2}, 100)


def namespaces(*path: str, current: int = 1) -> Namespaces:
    """The model seen through a search_path (`public` when none is given)."""
    return Namespaces(replace(SNAPSHOT, current=current), path or ("public",))
