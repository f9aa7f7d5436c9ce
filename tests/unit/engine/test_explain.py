"""Names put back into PostgreSQL's plans, and Morphgres's part in four formats (R6.2)."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from pglast import parse_sql

from catalog.model import (
    CatalogSnapshot,
    Column,
    Constraint,
    DocPath,
    Index,
    Seed,
    Stored,
    Table,
    Version,
)
from engine.explain import Names, Options, explain, explained, read_options
from rewrite.analysis import Analysis, analyse
from rewrite.namespaces import Namespaces

ORDERS = Table(
    1,
    "orders",
    "table",
    (
        Column(2, "id", "bigint", Stored("c2", "bigint")),
        Column(3, "Total", "numeric", Stored("c3", "numeric")),
        Column(4, "status", "text", DocPath(("status",))),
        Column(5, "score", "integer", Seed("morph.hash_int(id, 1, 9)", (2,))),
    ),
    store="t1",
    has_doc=True,
    constraints=(Constraint("orders_pkey", "p", (2,), "PRIMARY KEY (id)", "k6_orders_pkey"),),
    indexes=(Index("by_total", False, "btree", '("Total")', "i7_by_total"),),
)
SNAPSHOT = CatalogSnapshot(1, 2, 2, {2: Version(2, 0, (ORDERS,))})
NAMESPACES = Namespaces(SNAPSHOT, ("public",))


def analysed(text: str) -> Analysis:
    return analyse(text, NAMESPACES)


NAMES = Names(analysed("SELECT 1 FROM v2.orders").statements[0].relations)


@pytest.mark.parametrize(
    ("plan", "shown"),
    [
        ("Seq Scan on t1 t  (cost=0.00..1.00)", "Seq Scan on orders t  (cost=0.00..1.00)"),
        ("  ->  Seq Scan on morph_store.t1 t_1", "  ->  Seq Scan on v2.orders t_1"),
        ("Index Scan using k6_orders_pkey on t1 t", "Index Scan using orders_pkey on orders t"),
        ("Bitmap Index Scan on i7_by_total", "Bitmap Index Scan on by_total"),
        ("Index Cond: (c2 = 5)", "Index Cond: (id = 5)"),
        ("Output: t.c2, t_1.c3, t._doc", 'Output: t.id, t_1."Total", t._doc'),
        ("Filter: (t.c3 > 'c2 on t1'::text)", "Filter: (t.\"Total\" > 'c2 on t1'::text)"),
        ("Filter: (x.c2 = c99)", "Filter: (x.c2 = c99)"),
        ("Seq Scan on t11 t", "Seq Scan on t11 t"),
        ('"Relation Name": "t1", "Schema": "morph_store"',
         '"Relation Name": "orders", "Schema": "v2"'),
        ("<Relation-Name>t1</Relation-Name>", "<Relation-Name>orders</Relation-Name>"),
        ("Subquery Scan on morph_v2.orders", "Subquery Scan on orders"),
    ],
)  # fmt: skip
def test_names_are_put_back(plan: str, shown: str) -> None:
    assert NAMES.put_back(plan) == shown


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("EXPLAIN SELECT 1", Options()),
        ("EXPLAIN VERBOSE SELECT 1", Options("text", True, False)),
        ("EXPLAIN ANALYZE VERBOSE SELECT 1", Options("text", True, True)),
        ("EXPLAIN (FORMAT Json, VERBOSE off, ANALYZE 1) SELECT 1", Options("json", False, True)),
    ],
)
def test_options(text: str, options: Options) -> None:
    assert read_options(parse_sql(text)[0].stmt) == options


def facts(text: str, options: str = "VERBOSE", *, rows: str = "Result") -> list[str]:
    analysis = analysed(f"EXPLAIN ({options}) {text}")
    statement = analysis.statements[0]
    explanation = explain(analysis, statement, NAMESPACES, ("local", "embedded"))
    return explained([rows], explanation, read_options(statement.node), NAMES)


def test_text_tells_tables_rules_and_virtual_columns() -> None:
    assert facts("SELECT score\nFROM orders o") == [
        "Result",
        "Morphgres: tier 1 (answered by the store)",
        "  Table: public.orders, version 2, instance local (embedded)",
        "  Virtual Column: o.score = morph.hash_int(id, 1, 9)",
        "  Rules: qualify_relations",
        "  Pushed: everything",
        "  Native: SELECT score",
        '    FROM "morph_v2".orders o',
    ]
    assert not any("Virtual" in line for line in facts("SELECT id FROM orders"))
    assert any("Virtual" in line for line in facts("SELECT * FROM orders"))


def test_rows_of_a_scan_are_not_shown() -> None:
    [statement] = analysed("EXPLAIN SELECT id FROM orders").statements
    explanation = explain(analysed("SELECT id FROM orders"), statement, NAMESPACES, ("a", "b"))
    many = "{" + ",".join(["it''s", '"a\\"b"'] * 50) + "}"
    plan = f"unnest('{many}'::text[]), (unnest(E'{many}'::text[])), 'x', unnest('{{1}}'::int[])"
    shown = "unnest('{…}'::text[]), (unnest('{…}'::text[])), 'x', unnest('{1}'::int[])"
    for tier, expected in ((2, shown), (1, plan)):
        [line, *_] = explained([plan], replace(explanation, tier=tier), Options(), NAMES)
        assert line == expected


def test_json_keeps_postgresqls_own_text() -> None:
    plan = '[\n  {\n    "Plan": {\n      "Total Cost": 1.00\n    }\n  }\n]'
    [text] = facts("SELECT id FROM orders", "FORMAT json", rows=plan)
    assert '"Total Cost": 1.00\n    },\n    "Morphgres": {' in text
    assert json.loads(text)[0]["Morphgres"] == {"Tier": 1, "Tier Name": "answered by the store"}


def test_an_unknown_form_stays() -> None:
    assert facts("SELECT id FROM orders", "FORMAT json", rows="odd") == ["odd"]
