"""Which statements a store answers alone (R1.8): nothing of them may be left."""

from __future__ import annotations

import pytest

from backends.base import ScanPlan
from core.expr import TRUE
from engine.direct import direct_of
from tests.unit.engine.foreign_tables import planned


@pytest.mark.parametrize(
    ("text", "columns", "skip"),
    [
        ("SELECT name FROM people", (12,), 0),
        ("SELECT * FROM orders", (21, 22, 23), 0),
        ("SELECT p.*, p.id FROM people p WHERE age = 3", (11, 12, 13, 14, 11), 0),
        ("SELECT name FROM people ORDER BY id LIMIT 5 OFFSET 2", (12,), 2),
        ("SELECT name FROM people WHERE age > 3 AND name = 'x' LIMIT 1", (12,), 0),
    ],
)
def test_direct(text: str, columns: tuple[int, ...], skip: int) -> None:
    found = direct_of(planned(text))
    assert found is not None
    assert (found.columns, found.skip) == (columns, skip)


@pytest.mark.parametrize(
    "text",
    [
        "SELECT name || 'x' FROM people",
        "SELECT count(*) FROM people",
        "SELECT DISTINCT name FROM people",
        "SELECT name FROM people GROUP BY name",
        "SELECT name FROM people WHERE length(name) > random()",
        "SELECT name FROM people ORDER BY name",
        "SELECT name FROM people LIMIT 1 + 1",
        "SELECT name FROM people OFFSET 1",
        "SELECT name FROM people ORDER BY id FETCH FIRST 1 ROW WITH TIES",
        "SELECT p.name FROM people p, orders o",
        "SELECT name FROM people UNION ALL SELECT name FROM people",
        "SELECT name FROM people WHERE id IN (SELECT 1)",
        "WITH x AS (SELECT 1) SELECT name FROM people",
        "SELECT people FROM people",
        "SELECT name INTO TEMP x FROM people",
        "DELETE FROM people",
    ],
)
def test_not_direct(text: str) -> None:
    assert direct_of(planned(text)) is None


def test_what_the_plan_leaves_decides() -> None:
    found = direct_of(planned("SELECT name FROM people WHERE age = 3 ORDER BY id LIMIT 5"))
    assert found is not None
    whole = ScanPlan("", (12,), TRUE, None, limit_exact=True, order_exact=True)
    assert found.answers(whole)
    assert not found.answers(ScanPlan("", (12,), None, TRUE, limit_exact=True, order_exact=True))
    assert not found.answers(ScanPlan("", (12,), TRUE, None, limit_exact=True))
    assert not found.answers(ScanPlan("", (12,), TRUE, None, order_exact=True))
