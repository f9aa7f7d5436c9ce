"""What the merge tier makes of a statement: the staged text, refusals, the one COPY (R1.8)."""

from __future__ import annotations

import pytest

from backends.base import judge_nothing
from catalog.model import CatalogSnapshot, Column, Constraint, DocPath, Stored, Table, Version
from engine.merge import (
    MergePlan,
    analyze_texts,
    ask_of,
    columns_of,
    create_text,
    plan_merge,
    unnest_text,
)
from engine.scan_copy import ScanColumns, ScanReader, copy_text
from rewrite.analysis import analyse
from rewrite.namespaces import Namespaces

ORDERS = Table(
    1,
    "orders",
    "table",
    (
        Column(2, "id", "bigint", Stored("c2", "bigint")),
        Column(3, "total", "numeric(10,2)", DocPath(("total",))),
        Column(4, "address.city", "text", DocPath(("address", "city"))),
        Column(5, "tags", "text[]", DocPath(("tags",))),
        Column(6, "mood", "mood", DocPath(("mood",))),
    ),
    store="t1",
    has_doc=True,
    constraints=(Constraint("orders_pkey", "p", (2,), "PRIMARY KEY (id)"),),
)
NAMESPACES = Namespaces(CatalogSnapshot(1, 1, 1, {1: Version(1, 0, (ORDERS,))}), ("public",))


def planned(text: str) -> MergePlan:
    analysis = analyse(text, NAMESPACES, pushdown=False)
    return plan_merge(analysis, analysis.statements[-1], NAMESPACES, {})


@pytest.mark.parametrize(
    ("text", "merged"),
    [
        ("SELECT id FROM orders", 'SELECT id FROM <0> AS "orders"'),
        ("SELECT id FROM v1 . orders AS o", "SELECT id FROM <0> AS o"),
        ("SELECT a.id FROM orders a, orders", 'SELECT a.id FROM <0> a, <1> AS "orders"'),
        ("SELECT public.orders.id FROM orders", 'SELECT orders.id FROM <0> AS "orders"'),
        ("SELECT 1; SELECT id FROM orders -- x", 'SELECT id FROM <0> AS "orders"'),
        ("SELECT address.city FROM orders o", 'SELECT "address.city" FROM <0> o'),
        ("WITH orders AS (SELECT id FROM orders) SELECT * FROM orders",
         'WITH orders AS (SELECT id FROM <0> AS "orders") SELECT * FROM orders'),
    ],
)  # fmt: skip
def test_references_are_spliced(text: str, merged: str) -> None:
    found = planned(text).text(lambda number: f"<{number}>").strip()
    assert found.removesuffix(" -- x") == merged


def test_group_by_a_key_is_completed() -> None:
    text = planned("SELECT id, total FROM orders o GROUP BY id").text(lambda _: "x")
    assert text == 'SELECT id, total FROM x o GROUP BY id, "o"."total"'


def test_columns_named_by_a_path_are_scanned() -> None:
    assert planned("SELECT address.city FROM orders").scans[0].columns == (4,)


@pytest.mark.parametrize(
    ("text", "refusal"),
    [
        ("SELECT id FROM orders FOR UPDATE", "it locks rows"),
        ("SELECT ctid FROM orders", "it reads the system column ctid"),
        ("SELECT _doc FROM orders", "it reads whole documents"),
        ("SELECT id FROM orders TABLESAMPLE system (1)", "it samples rows"),
        ("SELECT mood FROM orders", "type mood is not in the type table"),
        ("WITH x AS (DELETE FROM orders RETURNING id) SELECT * FROM x", "it writes"),
    ],
)
def test_refusals(text: str, refusal: str) -> None:
    assert planned(text).refusal == refusal


def test_without_push_the_ask_is_bare() -> None:
    [scan] = planned("SELECT id FROM orders WHERE id = 5 ORDER BY id LIMIT 3").scans
    ask = ask_of(scan, {}, push=False)
    assert (ask.predicate, ask.limit, ask.order, ask.judge) == (None, None, (), judge_nothing)
    assert ask_of(scan, {}, push=True).predicate is not None


def test_staged_relations() -> None:
    [scan] = planned("SELECT id, tags FROM orders").scans
    columns = columns_of(scan, "native")
    assert create_text("m", columns) == (
        'CREATE TEMPORARY TABLE "m" ("id" bigint, "tags" text[]) ON COMMIT DROP'
    )
    assert unnest_text(columns, 3) == (
        '(SELECT "id", "tags"::text[] AS "tags" FROM (SELECT '
        'pg_catalog.unnest($3::bigint[]) AS "id", '
        'pg_catalog.unnest($4::pg_catalog.text[]) AS "tags") AS "_m")'
    )
    assert unnest_text(ScanColumns("n", ("id",), ("bigint",)), 1) == (
        '(SELECT pg_catalog.unnest($1::bigint[]) AS "id")'
    )
    assert analyze_texts("m", ['"id"', '"t"']) == (
        'ALTER TABLE m ALTER "id" SET STATISTICS 10, ALTER "t" SET STATISTICS 10',
        'ANALYZE m ("id", "t")',
    )
    assert create_text("m", ScanColumns("n", (), ())) == (
        'CREATE TEMPORARY TABLE "m" ("_morph_n" integer) ON COMMIT DROP'
    )


ONE = ScanColumns("SELECT a", ("x", "y"), ("integer", "text"))
TWO = ScanColumns("SELECT FROM b", (), ())
THREE = ScanColumns("SELECT c", ("z",), ("boolean",))


def test_all_scans_are_one_copy() -> None:
    assert copy_text([ONE, TWO, THREE]) == (
        'COPY (SELECT 0, a."x", a."y", NULL::boolean FROM (SELECT a) AS a '
        "UNION ALL SELECT 1, NULL::integer, NULL::text, NULL::boolean FROM (SELECT FROM b) AS a "
        'UNION ALL SELECT 2, NULL::integer, NULL::text, a."z" FROM (SELECT c) AS a) '
        "TO STDOUT (FORMAT csv, ENCODING 'UTF8')"
    )


@pytest.mark.parametrize("step", [1, 3, 1000])
def test_the_rows_come_apart_again(step: int) -> None:
    data = b'0,1,"a\n,",\n0,,"",\n1,,,\n0,3,,\n2,,,t\n2,,,\n1,,,\n'
    reader = ScanReader([ONE, TWO, THREE], block_bytes=8)
    found: dict[int, list[tuple[object, ...]]] = {}
    for start in range(0, len(data), step):
        for number, batch in reader.feed(data[start : start + step]):
            found.setdefault(number, []).extend(zip(*batch.to_pydict().values(), strict=True))
    for number, batch in reader.finish():
        found.setdefault(number, []).extend(zip(*batch.to_pydict().values(), strict=True))
    assert found == {
        0: [(1, "a\n,"), (None, ""), (3, None)],
        1: [(1,), (1,)],
        2: [(True,), (None,)],
    }
