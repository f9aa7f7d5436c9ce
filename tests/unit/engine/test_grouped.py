"""Groups that a store computes: the statement around them (R1.8)."""

from __future__ import annotations

import pytest

from backends.base import Aggregate
from core.expr import ColumnRef
from engine.grouped import grouped_of
from tests.unit.engine.foreign_tables import planned


@pytest.mark.parametrize(
    ("text", "over"),
    [
        ("SELECT count(*) FROM people", 'SELECT "people"."_a1" FROM <g> AS "people"'),
        ("SELECT age, count(*) n FROM people WHERE id > 3 GROUP BY age HAVING count(*) > 2 "
         "ORDER BY n DESC LIMIT 3",
         'SELECT age, "people"."_a1" n FROM <g> AS "people" WHERE "people"."_a2" > 2 '
         "ORDER BY n DESC LIMIT 3"),
        ("SELECT max(p.age) + 1 FROM people p WHERE p.id = 1", 'SELECT "p"."_a1" + 1 FROM <g> p '),
        ("SELECT name FROM people GROUP BY name", 'SELECT name FROM <g> AS "people" '),
        ("SELECT upper(name), sum(age) FROM people GROUP BY 2, name", None),
        ("SELECT upper(name), sum(age) FROM people GROUP BY name",
         'SELECT upper(name), "people"."_a1" FROM <g> AS "people" '),
    ],
)  # fmt: skip
def test_the_statement_over_groups(text: str, over: str | None) -> None:
    found = grouped_of(planned(text))
    assert (None if found is None else found.text("<g>")) == over


def test_the_ask() -> None:
    found = grouped_of(planned("SELECT name, count(DISTINCT age), sum(age) FROM people GROUP BY 1"))
    assert found is None  # a position is read by PostgreSQL
    found = grouped_of(planned("SELECT name, sum(age), count(*) FROM people GROUP BY name"))
    assert found is not None
    grouping = found.ask({}).grouping
    assert grouping is not None
    assert grouping.keys == (ColumnRef(12, "text"),)
    assert grouping.aggregates == (
        Aggregate("sum", ColumnRef(13, "integer"), "bigint"),
        Aggregate("count", None, "bigint"),
    )
    columns = found.columns(("text", "bigint", "bigint"))
    assert columns.names == ("name", "_a1", "_a2")


@pytest.mark.parametrize(
    "text",
    [
        "SELECT name FROM people",
        "SELECT age FROM people GROUP BY age, name || 'x'",
        "SELECT array_agg(age) FROM people",
        "SELECT count(*) FILTER (WHERE age > 1) FROM people",
        "SELECT count(*) OVER () FROM people",
        "SELECT sum(age ORDER BY id) FROM people",
        "SELECT sum(age + 1) FROM people",
        "SELECT my.sum(age) FROM people",
        "SELECT count(*) FROM people WHERE length(name) > random()",
        "SELECT count(*) FROM people p JOIN orders o ON o.person = p.id",
        "SELECT name, (SELECT 1), count(*) FROM people GROUP BY name",
        "SELECT count(*) FROM people GROUP BY GROUPING SETS ((name), ())",
        "SELECT DISTINCT count(*) FROM people GROUP BY name",
        "SELECT people, count(*) FROM people GROUP BY people",
    ],
)
def test_what_stays_with_postgresql(text: str) -> None:
    assert grouped_of(planned(text)) is None
