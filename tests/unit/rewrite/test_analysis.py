"""What an analysis says of a statement, and what the rewriter refuses (R0.3)."""

from __future__ import annotations

import pytest

from core.errors import FeatureNotSupported, InternalError, MorphError
from rewrite.analysis import Action, analyse
from rewrite.bodies import body_text, rewrite_text
from rewrite.context import NeedsWidth
from rewrite.edits import render, replace_text
from rewrite.namespaces import Namespaces
from tests.unit.rewrite.shop_model import SNAPSHOT, namespaces


@pytest.mark.parametrize(
    ("text", "action", "described"),
    [
        ("SELECT * FROM orders", Action.RELAY, False),
        ("UPDATE orders SET qty = 1", Action.RELAY, True),
        ("UPDATE plain SET v = 'x'", Action.RELAY, False),
        ("UPDATE orders SET _doc = '{}'", Action.RELAY, False),
        ("EXPLAIN UPDATE orders SET qty = 1", Action.EXPLAIN, True),
        ("TRUNCATE orders", Action.MAINTAIN, False),
        ("COPY orders FROM STDIN", Action.COPY_IN, False),
        ("CREATE TABLE x (a int)", Action.DDL, False),
        ("CREATE TEMP TABLE x AS SELECT * FROM orders", Action.RELAY, False),
        ("CALL morph.promote(2)", Action.CALL, False),
    ],
)
def test_actions(text: str, action: Action, described: bool) -> None:
    # R0.3
    (statement,) = analyse(text, namespaces()).statements
    assert (statement.action, statement.describe_first) == (action, described)


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("INSERT INTO orders SELECT * FROM plain", "SELECT * FROM plain"),
        ("INSERT INTO orders TABLE plain ON CONFLICT DO NOTHING", "TABLE plain"),
        (
            "WITH x AS (SELECT 1), y AS (SELECT 2) INSERT INTO orders SELECT * FROM x RETURNING id",
            "WITH x AS (SELECT 1), y AS (SELECT 2) SELECT * FROM x",
        ),
        (
            "WITH x AS (SELECT 1), i AS (INSERT INTO orders SELECT * FROM x RETURNING id) TABLE i",
            "WITH x AS (SELECT 1) SELECT * FROM x",
        ),
        (
            "INSERT INTO orders WITH RECURSIVE x AS (SELECT 1) SELECT * FROM x",
            "WITH RECURSIVE x AS (SELECT 1) SELECT * FROM x",
        ),
    ],
)
def test_the_width_of_a_star_is_asked_for(text: str, query: str) -> None:
    # R0.3
    with pytest.raises(NeedsWidth) as asked:
        analyse(text, namespaces())
    assert asked.value.query == query
    known = {asked.value.start: 2}
    assert analyse(text, namespaces(), widths=known).touches_store


@pytest.mark.parametrize(
    ("sqlstate", "text"),
    [
        ("55000", "INSERT INTO orders_items VALUES (1)"),
        ("55000", "WITH d AS (DELETE FROM orders_items RETURNING *) SELECT * FROM d"),
        ("42939", "SELECT * FROM morph_store.t1"),
        ("0A000", "UPDATE orders SET tags[1][2] = 'x'"),
        ("0A000", "UPDATE orders SET tags[:2] = '{x}'"),
        ("0A000", "MERGE INTO people USING plain ON false "
                  "WHEN NOT MATCHED THEN INSERT (_doc) VALUES ('{}')"),
    ],
)  # fmt: skip
def test_refusals(sqlstate: str, text: str) -> None:
    # R0.3
    with pytest.raises(MorphError) as refused:
        analyse(text, namespaces())
    assert refused.value.sqlstate == sqlstate


def test_names_of_temporary_relations_are_left_alone() -> None:
    # R0.3
    shadowed = Namespaces(SNAPSHOT, ("public",), frozenset({"orders"}))
    text = "SELECT 1 FROM orders, public.orders o, customers"
    expected = 'SELECT 1 FROM orders, "morph_v1".orders o, "morph_v1".customers'
    assert analyse(text, shadowed).rendered.text == expected


def test_a_body_needs_the_columns_named() -> None:
    # R0.3
    with pytest.raises(FeatureNotSupported):
        rewrite_text("INSERT INTO orders SELECT * FROM plain", namespaces())


@pytest.mark.parametrize(
    "body",
    [
        "BEGIN RAISE NOTICE 'SELECT * FROM orders'; END",
        "BEGIN /* SELECT * FROM orders */ NULL; -- SELECT 1 FROM orders\nEND",
        "BEGIN EXECUTE 'SELECT * FROM orders'; EXECUTE $q$TABLE orders$q$; END",
        "DECLARE r orders%ROWTYPE; q orders.qty%TYPE; BEGIN r := NULL; END",
        "BEGIN this is no SQL at all, FROM orders; END",
        "BEGIN 'unterminated",
    ],
)
def test_what_is_no_static_sql_stays(body: str) -> None:
    # R0.3
    assert body_text(body, "plpgsql", namespaces()) == body


def test_edits_that_overlap_are_a_fault() -> None:
    # R0.3
    with pytest.raises(InternalError):
        render("abcdef", (replace_text(0, 3, "x"), replace_text(2, 5, "y")))


@pytest.mark.parametrize(
    "text",
    [
        "SELECT qty FROM orders WHERE qty = {}",
        "UPDATE orders SET qty = {} RETURNING *",
        "SELECT id, qty FROM orders GROUP BY id HAVING qty = {}",
    ],
)
@pytest.mark.parametrize("path", ["public", "v1"])
def test_deep_expressions_are_rewritten(text: str, path: str) -> None:
    # R0.3: what PostgreSQL takes (2,000 operands) is not refused before it
    deep = text.format(" + ".join(["1"] * 2_000))
    assert "morph_" in analyse(deep, namespaces(path, current=2)).rendered.text
