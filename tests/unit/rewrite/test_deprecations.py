"""WARNINGs name exactly the columns that a statement uses (R1.4)."""

from __future__ import annotations

import pytest

from rewrite.analysis import analyse
from tests.unit.rewrite.shop_model import namespaces

NOTE = 'column "note" of table "orders" is deprecated'
QTY = 'column "qty" of table "orders" is deprecated'


def _warnings(text: str) -> list[str]:
    analysis = analyse(text, namespaces("v1", current=2))
    return [n.message for s in analysis.statements for n in s.notices]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("SELECT note FROM orders", [NOTE]),
        ("SELECT o.note, qty FROM orders o", [QTY, NOTE]),
        ("SELECT id FROM orders ORDER BY qty", [QTY]),
        ("UPDATE orders SET qty = 1 RETURNING old.note", [QTY, NOTE]),
        ("INSERT INTO orders (id, note) VALUES (1, 'x')", [NOTE]),
        ("INSERT INTO orders (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET qty = 1", [QTY]),
        ("SELECT 1 FROM plain p WHERE EXISTS (SELECT FROM orders WHERE qty = p.n)", [QTY]),
        ("SELECT (SELECT max(v) FROM plain WHERE n = qty) FROM orders", [QTY]),
        ("SELECT q FROM orders AS o (a, b, q)", [QTY]),
    ],
)
def test_a_deprecated_column_is_told(text: str, expected: list[str]) -> None:
    # R1.4
    assert _warnings(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "SELECT * FROM orders",
        "SELECT id FROM orders",
        "SELECT c.note FROM (SELECT 1 AS note) c, orders o",
        "SELECT (SELECT note FROM (SELECT 1 AS note) x) FROM orders",
        "SELECT id AS note FROM orders",
        "UPDATE orders SET status = 'x' RETURNING id AS qty",
        "SELECT orders.note FROM plain orders (id, note, n), v1.orders o",
        "SELECT qty FROM orders AS o (a, b, c, d, qty)",
        "SELECT (SELECT o.note FROM (SELECT 1 AS note) o) FROM orders o",
        "WITH orders AS (SELECT 1 AS note) SELECT note FROM orders",
        "SELECT 'note' FROM orders",
    ],
)
def test_a_name_of_something_else_is_not(text: str) -> None:
    # R1.4
    assert _warnings(text) == []


def test_a_dropped_table_is_told() -> None:
    # R1.4
    assert _warnings("SELECT 1 FROM orders_items") == ['table "orders_items" is deprecated']


def test_nothing_is_told_in_the_current_version() -> None:
    # R1.4
    analysis = analyse("SELECT note FROM orders", namespaces("v1"))
    assert analysis.statements[0].notices == ()
