"""Virtual columns in PostgreSQL: their shapes, their values, and its own verdict (R3.1, R3.2).

Uses the private PostgreSQL: only it can say that a shape is accepted, that a view gives the right
values and that an expression is impure.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import AsyncIterator
from decimal import Decimal
from importlib.resources import files

import asyncpg
import pytest
import pytest_asyncio

from catalog.model import Seed, Table, Version
from catalog.shapes import drop_view_statements, view_statements
from catalog.sqltext import quote_ident
from core.errors import MorphError
from evolution.seeds.expand import expand, seed_sql
from evolution.seeds.library import library_sql
from evolution.seeds.probe import check_with_postgres
from evolution.seeds.shape import shape_seed_sql
from evolution.seeds.validate import check_expression
from private_pg.cluster import Cluster
from tests.unit.evolution.seeds.shop import SHOP, seed, with_seed

DATABASE = "seed_views"
DEADLINE_S = 30.0
ADA, BOB, EVE = (uuid.UUID(int=n) for n in (1, 2, 3))

STORE = f"""
CREATE SCHEMA morph_store;
CREATE TABLE morph_store.t1 (c11 int PRIMARY KEY, _doc jsonb);
INSERT INTO morph_store.t1 VALUES
  (1, '{{"price": 10.50, "code": "s", "successor_id": 2}}'),
  (2, '{{"price": 20, "code": "m", "successor_id": 3}}'), (3, '{{"price": 40, "code": "l"}}');
CREATE TABLE morph_store.t2 (c21 uuid PRIMARY KEY, _doc jsonb);
INSERT INTO morph_store.t2 VALUES
  ('{ADA}', '{{"name": "Ada", "plan_id": 1}}'), ('{BOB}', '{{"name": "Bob", "plan_id": 9}}'),
  ('{EVE}', '{{"name": "Eve"}}');
CREATE TABLE morph_store.t3 (c31 bigint PRIMARY KEY, c32 uuid, _doc jsonb);
INSERT INTO morph_store.t3 VALUES
  (1, '{ADA}', '{{"total": 0.1, "status": "paid", "items":
    [{{"qty": 2, "price": 1.5, "plan_id": 1}}, {{"qty": 1, "price": 4, "plan_id": 3}}]}}'),
  (2, '{ADA}', '{{"total": 0.2, "status": "open", "items": []}}'),
  (3, '{ADA}', '{{"total": 1e16, "status": "paid", "items": "none"}}'),
  (4, '{ADA}', '{{"total": -1e16, "status": "paid"}}'),
  (5, '{BOB}', '{{"total": 5, "status": "paid", "items": [{{"qty": 3, "plan_id": 2}}]}}');
"""

LOOKUP_PRICE = "morph.lookup('plans', 'price', 'id', plan_id)"
SUCCESSOR = "morph.lookup('plans', 'successor_id', 'id', successor_id)"

# table, type, expression, values in the order of the key
CASES: list[tuple[str, str, str, list[object]]] = [
    ("customers", "numeric", LOOKUP_PRICE, [Decimal("10.50"), None, None]),
    ("customers", "numeric", f"{LOOKUP_PRICE} * 2 + 1 -- twice", [Decimal("22.00"), None, None]),
    ("customers", "numeric", "morph.lookup('plans', 'price', 'id', 3)", [Decimal("40.00")] * 3),
    (
        "customers",
        "text",
        "name || morph.lookup('plans','code','id',plan_id)",
        ["Adas", None, None],
    ),
    ("plans", "text", "morph.lookup('plans', 'code', 'id', successor_id)", ["m", "l", None]),
    ("plans", "text", f"morph.lookup('plans', 'code', 'id', {SUCCESSOR})", ["l", None, None]),
    ("plans", "integer", "morph.lookup('plans', 'id', 'code', code)", [1, 2, 3]),
    ("customers", "bigint", "morph.aggregate('orders', 'count', '*')", [4, 1, 0]),
    ("customers", "bigint", "morph.aggregate('orders','count','*','status = ''paid''')", [3, 1, 0]),
    ("customers", "bigint", "morph.aggregate('orders', 'count_distinct', 'status')", [2, 1, 0]),
    ("customers", "text", "morph.aggregate('orders', 'min', 'status')", ["open", "paid", None]),
    (
        "customers",
        "boolean",
        "morph.aggregate('orders', 'bool_and', 'total > 0')",
        [False, True, None],
    ),
    ("customers", "bigint", "morph.aggregate('orders', 'max', 'id') + 1", [5, 6, None]),
    # Floating-point sums in the order of their size, whatever the order of the rows.
    (
        "customers",
        "double precision",
        "morph.aggregate('orders', 'sum', 'total')",
        [0.0, 5.0, None],
    ),
    (
        "orders",
        "numeric",
        "morph.aggregate('orders.items', 'sum', 'qty * price')",
        [Decimal("7.0"), None, None, None, None],
    ),
    (
        "orders",
        "numeric",
        "morph.aggregate('orders.items', 'sum', "
        "'qty * morph.lookup(''plans'', ''price'', ''id'', plan_id)', 'qty > 1')",
        [Decimal("21.00"), None, None, None, Decimal("60.00")],
    ),
    (
        "orders",
        "bigint",
        "morph.aggregate('orders.items', 'max', 'ordinality + orders_id')",
        [3, None, None, None, 6],
    ),
    (
        "orders.items",
        "numeric",
        "qty * morph.lookup('plans', 'price', 'id', plan_id)",
        [Decimal("21.00"), Decimal("40.00"), Decimal("60.00")],
    ),
    (
        "orders.items",
        "text",
        "morph.lookup('orders', 'status', 'id', orders_id)",
        ["paid", "paid", "paid"],
    ),
    ("orders", "integer", "morph.hash_int(id, 1, 6)", [3, 2, 1, 6, 6]),
]


def _models() -> Version:
    return Version(2, 1, tuple(t for t in SHOP.tables if t.kind != "view"))


async def _apply(connection: asyncpg.Connection, version: Version) -> None:
    for statement in view_statements(version, seed_sql, lambda _, query: query):
        await connection.execute(statement)


async def _make_shape(connection: asyncpg.Connection, version: Version, table: Table) -> None:
    columns = ", ".join(
        f"{quote_ident(c.name)} {c.type}"
        + (
            f" GENERATED ALWAYS AS ({shape_seed_sql(version, table, c)}) STORED"
            if isinstance(c.source, Seed)
            else ""
        )
        for c in table.columns
    )
    await connection.execute(f"CREATE TABLE public.shape ({columns})")


def _readers_functions() -> str:
    """The functions that catalog.readers calls, from the product's own text."""
    text = (files("catalog") / "bootstrap.sql").read_text("utf-8")
    found = re.findall(
        r"CREATE OR REPLACE FUNCTION morph_catalog\.extended_json\(.*?\$\$.*?\$\$;", text, re.DOTALL
    )
    assert found
    return "\n".join(found)


@pytest_asyncio.fixture(scope="module")
async def store(pg18_cluster: Cluster) -> AsyncIterator[asyncpg.Connection]:
    address = {"host": str(pg18_cluster.socket_directory), "user": "morph_root"}
    admin = await asyncpg.connect(**address, database="postgres")
    await admin.execute(f"CREATE DATABASE {DATABASE}")
    if not await admin.fetchval("SELECT true FROM pg_roles WHERE rolname = 'morph_client'"):
        await admin.execute("CREATE ROLE morph_client NOLOGIN")
    await admin.close()
    connection = await asyncpg.connect(**address, database=DATABASE, statement_cache_size=0)
    await connection.execute("CREATE SCHEMA morph; CREATE SCHEMA morph_catalog")
    await connection.execute(_readers_functions())
    await connection.execute(library_sql())
    await connection.execute(STORE)
    yield connection
    await connection.close()


@pytest.mark.parametrize(("table_name", "sql_type", "expression", "values"), CASES)
async def test_values(
    store: asyncpg.Connection,
    table_name: str,
    sql_type: str,
    expression: str,
    values: list[object],
) -> None:  # R3.1, R3.2
    base = _models()
    table = base.table(table_name)
    assert table is not None
    check_expression(expression, base, table, "made")
    await check_with_postgres(
        store, expression, base, table, "made", sql_type, deadline_s=DEADLINE_S
    )
    version = with_seed(base, table_name, seed(900, "made", sql_type, expression))
    changed = version.table(table_name)
    assert changed is not None
    view = f'morph_v2."{table_name}"'
    order = ", ".join(quote_ident(c.name) for c in table.columns[:2])
    transaction = store.transaction()
    await transaction.start()
    try:
        await _apply(store, version)
        rows = await store.fetch(f"SELECT made FROM {view} ORDER BY {order}")
        assert [r[0] for r in rows] == values
        # The same by way of the views of the version, as `expand` reads them.
        expanded = expand(
            expression, version_schema="morph_v2", model=base, table=table, parent_alias="p"
        )
        rows = await store.fetch(f"SELECT {expanded.sql} FROM {view} p ORDER BY {order}")
        assert [r[0] for r in rows] == values
        await _make_shape(store, version, changed)
        shown = await store.fetchval(
            "SELECT format_type(atttypid, atttypmod) FROM pg_attribute "
            "WHERE attrelid = 'public.shape'::regclass AND attname = 'made'"
        )
        assert shown == sql_type
    finally:
        await transaction.rollback()


async def test_the_shape_prints_an_expression_that_can_be_given_back(
    store: asyncpg.Connection,
) -> None:
    base = _models()
    expression = f"coalesce({LOOKUP_PRICE}, 0) + morph.aggregate('orders', 'count', '*')"
    version = with_seed(base, "customers", seed(900, "made", "numeric", expression))
    table, plain = version.table("customers"), base.table("customers")
    assert table is not None
    assert plain is not None
    async with store.transaction():
        await _make_shape(store, version, table)
        printed = await store.fetchval(
            "SELECT pg_get_expr(adbin, adrelid) FROM pg_attrdef "
            "WHERE adrelid = 'public.shape'::regclass"
        )
        await store.execute("DROP TABLE public.shape")
    check_expression(printed, base, plain, "made")
    again = expand(printed, version_schema="v", model=base, table=plain, parent_alias="p")
    first = expand(expression, version_schema="v", model=base, table=plain, parent_alias="p")
    assert again.tables_read == first.tables_read
    assert again.sql.count("SELECT") == first.sql.count("SELECT") == 2


async def test_virtual_columns_read_each_other_and_other_tables(
    store: asyncpg.Connection,
) -> None:  # R3.2
    version = _models()
    for table_name, column in (
        ("customers", seed(900, "spent", "double precision",
            "morph.aggregate('orders', 'sum', 'total', 'total < 100 AND total > 0')")),
        ("orders", seed(901, "share", "double precision",
            "total / morph.lookup('customers', 'spent', 'id', customer_id)")),
        ("customers", seed(902, "doubled", "double precision", "spent + spent")),
        ("customers", seed(903, "largest", "double precision",
            "morph.aggregate('orders', 'max', 'share')")),
    ):  # fmt: skip
        table = version.table(table_name)
        assert table is not None
        assert isinstance(column.source, Seed)
        check_expression(column.source.expression, version, table, column.name)
        await check_with_postgres(
            store, column.source.expression, version, table, column.name, column.type,
            deadline_s=DEADLINE_S,
        )  # fmt: skip
        version = with_seed(version, table_name, column)
    async with store.transaction():
        await _apply(store, version)
        rows = await store.fetch(
            "SELECT spent, doubled, largest FROM morph_v2.customers ORDER BY id"
        )
        share = await store.fetchval("SELECT share FROM morph_v2.orders WHERE id = 5")
        # A column that is not asked for costs nothing.
        plan = await store.fetch("EXPLAIN SELECT name FROM morph_v2.customers")
        for statement in drop_view_statements(version):
            await store.execute(statement)
    assert rows[0][0] == pytest.approx(0.3)
    assert rows[0][1] == 2 * rows[0][0]
    assert tuple(rows[1]) == (5.0, 10.0, 1.0)
    assert tuple(rows[2]) == (None, None, None)
    assert share == 1.0
    assert not any("SubPlan" in row[0] for row in plan)


async def test_views_stay_writable(store: asyncpg.Connection) -> None:
    version = with_seed(_models(), "plans", seed(900, "made", "integer", "id + successor_id"))
    transaction = store.transaction()
    await transaction.start()
    await _apply(store, version)
    await store.execute("INSERT INTO morph_v2.plans (id) VALUES (7)")
    assert await store.execute("DELETE FROM morph_v2.plans WHERE made = 3") == "DELETE 1"
    with pytest.raises(asyncpg.PostgresError):
        await store.execute("UPDATE morph_v2.plans SET made = 1")
    await transaction.rollback()


@pytest.mark.parametrize(
    ("expression", "sql_type", "sqlstate", "message"),
    [
        ("now()", "timestamptz", "42P17", "generation expression is not immutable"),
        ("random() + plan_id", "float8", "42P17", "generation expression is not immutable"),
        ("since::text", "text", "42P17", "generation expression is not immutable"),
        ("CURRENT_DATE", "date", "42P17", "generation expression is not immutable"),
        (
            "morph.aggregate('orders', 'sum', 'total * random()')",
            "float8",
            "42P17",
            "generation expression is not immutable",
        ),
        (
            "morph.aggregate('orders', 'count', '*', 'id > random()')",
            "bigint",
            "42P17",
            "generation expression is not immutable",
        ),
        ("morph.hash_int(since, 1, 2)", "int", "42883", "function morph.hash_int(timestamp with"),
        ("name * 2", "int", "42883", "operator does not exist: text * integer"),
        ("name", "int", "42804", 'column "made" is of type integer but default expression is of'),
        ("nil(name)", "int", "42883", "function nil(text) does not exist"),
        (
            "morph.lookup('plans', 'price', 'id', name)",
            "numeric",
            "42883",
            "operator does not exist: integer = text",
        ),
        (
            "morph.aggregate('orders', 'sum', 'status')",
            "text",
            "42883",
            "function pg_catalog.sum(text) does not exist",
        ),
        (
            "morph.aggregate('orders', 'count', '*', 'status')",
            "bigint",
            "42804",
            "",
        ),
    ],
)
async def test_postgresql_judges(
    store: asyncpg.Connection, expression: str, sql_type: str, sqlstate: str, message: str
) -> None:  # R3.1
    version = _models()
    table = version.table("customers")
    assert table is not None
    check_expression(expression, version, table, "made")
    with pytest.raises(asyncpg.PostgresError) as caught:
        await check_with_postgres(
            store, expression, version, table, "made", sql_type, deadline_s=DEADLINE_S
        )
    assert caught.value.sqlstate == sqlstate
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    "expression",
    [
        "(SELECT 1)",
        "nil",
        "customers.nil",
        "nowhere.a",
        "sum(plan_id)",
        "count(*)",
        "rank() OVER ()",
        "generate_series(1, 2)",
        "xmin::text::int",
        "plan_id + max(plan_id)",
        "1 + unnest(ARRAY[1])",
        "percentile_cont(0.5) WITHIN GROUP (ORDER BY plan_id)",
        "count(plan_id) FILTER (WHERE true)",
        "grouping(plan_id)",
        "lag(plan_id) OVER (PARTITION BY plan_id)",
        "customers IS NULL",
    ],
)
async def test_errors_are_those_of_postgresql(
    store: asyncpg.Connection, expression: str
) -> None:  # R3.1
    version = _models()
    table = version.table("customers")
    assert table is not None
    head = (
        'CREATE TABLE customers (id uuid, name text, plan_id int, since timestamptz, "Größe" int, '
        "made int GENERATED ALWAYS AS ("
    )
    with pytest.raises(MorphError) as ours:
        check_expression(expression, version, table, "made", at=len(head))
    with pytest.raises(asyncpg.PostgresError) as theirs:
        await store.execute(f"{head}{expression}) STORED)")
    assert (ours.value.sqlstate, ours.value.primary, ours.value.detail, ours.value.position) == (
        theirs.value.sqlstate,
        theirs.value.args[0],
        theirs.value.detail or "",
        int(theirs.value.position or 0),
    )
