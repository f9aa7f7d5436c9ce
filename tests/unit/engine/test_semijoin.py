"""Who waits for whose keys (R1.8: semi-joins between stores)."""

from __future__ import annotations

import pytest

from backends.base import ScanPlan, TableStatistics
from engine.semijoin import Wait, estimate, reduced, waits
from tests.unit.engine.foreign_tables import planned


def _waits(text: str, rows: list[int], keys_max: int = 100) -> list[tuple[int, int]]:
    plan = planned(text)
    found: list[Wait] = waits([*plan.scans, *plan.beside], rows, keys_max)
    return [(wait.waiter, wait.source) for wait in found]


@pytest.mark.parametrize(
    ("text", "rows", "expected"),
    [
        ("SELECT 1 FROM people p JOIN orders o ON o.person = p.id", [5, 1000], [(1, 0)]),
        ("SELECT 1 FROM people p JOIN orders o ON o.person = p.id", [1000, 5], [(0, 1)]),
        ("SELECT 1 FROM people p JOIN orders o ON o.person = p.id", [900, 1000], []),
        ("SELECT 1 FROM people p JOIN orders o ON o.person = p.id", [101, 100_000], []),
        ("SELECT 1 FROM people p, orders o WHERE o.person = p.id", [5, 1000], [(1, 0)]),
        # The preserved side of an outer join brings all its rows.
        ("SELECT 1 FROM people p LEFT JOIN orders o ON o.person = p.id", [5, 1000], [(1, 0)]),
        ("SELECT 1 FROM people p LEFT JOIN orders o ON o.person = p.id", [1000, 5], []),
        ("SELECT 1 FROM people p FULL JOIN orders o ON o.person = p.id", [5, 1000], []),
        ("SELECT 1 FROM people p JOIN orders o ON o.person < p.id", [5, 1000], []),
        ("SELECT 1 FROM people p JOIN orders o ON o.person = p.id + 1", [5, 1000], []),
        ("SELECT 1 FROM vips v JOIN people p ON p.id = v.pid", [1000, 5], [(0, 1)]),
    ],
)
def test_waits(text: str, rows: list[int], expected: list[tuple[int, int]]) -> None:
    assert _waits(text, rows) == expected


def test_estimates_follow_what_the_store_takes() -> None:
    [scan] = planned("SELECT name FROM people WHERE id = 7").scans
    size = TableStatistics(1000)
    assert estimate(scan, ScanPlan("", (12,), scan.predicate), size) == 1
    assert estimate(scan, ScanPlan("", (12,), None, scan.predicate), size) == 1000
    [scan] = planned("SELECT name FROM people WHERE age = 7").scans
    assert estimate(scan, ScanPlan("", (12,), scan.predicate), size) == 50
    [scan] = planned("SELECT name FROM people LIMIT 3").scans
    assert estimate(scan, ScanPlan("", (12,), limit_exact=True), size) == 3


def test_keys_become_a_conjunct_only_where_the_comparison_is_exact() -> None:
    plan = planned("SELECT 1 FROM people p JOIN orders o ON o.person = p.id WHERE o.total > 1")
    scan = plan.scans[1]
    [key] = scan.joins
    ask = reduced(scan.ask({}), scan, key, "bigint", '{"1","2"}')
    assert ask is not None
    assert "spread=True" in str(ask.predicate)
    assert reduced(scan.ask({}), scan, key, "point", "{}") is None
