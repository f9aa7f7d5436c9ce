"""EXPLAIN says what each store does, what is left and why, and what came (R1.7, issue 4.5)."""

from __future__ import annotations

import json
import re
from typing import Any

import psycopg
import pytest

from tests.services.federation.loading import run

pytestmark = [pytest.mark.services, pytest.mark.timeout(600)]
Connection = psycopg.Connection[Any]
JOIN = (
    "SELECT c.name, sum(o.total) FROM customers c JOIN orders o ON o.customer = c.id "
    "WHERE o.status = 'paid' AND length(o.note) > 2 GROUP BY c.id, c.name"
)
COUNTED = "ANALYZE, COSTS off, TIMING off"


def plan(client: Connection, text: str) -> str:
    return "\n".join(row[0] for row in client.execute(text.encode()).fetchall())


def test_each_store_and_what_is_left(client: Connection) -> None:
    shown = plan(client, f"EXPLAIN (VERBOSE) {JOIN}")
    tables = client.execute(
        "SELECT name, kind FROM morph.tables WHERE name IN ('customers', 'orders')"
    ).fetchall()
    foreign = [name for name, kind in tables if kind == "foreign"]
    assert shown.count("Scan of ") == len(foreign) >= 1
    assert "Scan of o: " in shown
    assert "Pushed: " in shown
    assert "Native: SELECT" in shown
    instances = client.execute("SELECT instance FROM morph.tables WHERE name = 'orders'").fetchall()
    assert f"instance {instances[0][0]} (" in shown
    assert "length" in shown
    assert "Reason: refers to two tables" in shown  # what is left, and why


def test_off_says_that_nothing_is_pushed(client: Connection) -> None:
    run(client, "SET morph.pushdown = off")
    shown = plan(client, "EXPLAIN (VERBOSE) SELECT id FROM orders WHERE id = 3")
    assert "Pushed: nothing" in shown


def test_json_has_the_same(client: Connection) -> None:
    [(found,)] = client.execute(f"EXPLAIN (VERBOSE, FORMAT json) {JOIN}".encode()).fetchall()
    text = json.dumps(found)
    assert "Plan" in found[0]
    assert "Morphgres" in text
    assert "paid" in text


def test_analyze_counts_the_rows(client: Connection) -> None:
    shown = plan(
        client, "EXPLAIN (ANALYZE, COSTS off, TIMING off) SELECT * FROM orders WHERE id < 9"
    )
    assert "rows=8" in shown.replace(".00", "")
    run(client, "SET morph.pushdown = off")
    shown = plan(client, f"EXPLAIN ({COUNTED}) {JOIN}")
    assert re.search(r"actual rows=300", shown), shown


def test_explain_without_analyze_reads_no_row(client: Connection) -> None:
    shown = plan(client, "EXPLAIN SELECT 1 / (id - id) FROM orders")
    assert "actual" not in shown


def test_a_write_is_explained_and_not_done(client: Connection) -> None:
    shown = plan(client, "EXPLAIN (VERBOSE) DELETE FROM orders WHERE id = 1")
    assert "Delete" in shown
    assert client.execute("SELECT count(*) FROM orders").fetchall() == [(300,)]
