"""LIMIT over a join: whose first rows are enough, and when they need a partner (R1.8)."""

from __future__ import annotations

import pytest

from backends.base import OrderKey, Partner
from catalog.model import CatalogSnapshot, Column, Native, Table, Version
from engine.federate import FederatedPlan, plan_federated
from rewrite.analysis import analyse
from rewrite.namespaces import Namespaces

ORDERS = Table(
    1,
    "orders",
    "foreign",
    (
        Column(11, "id", "bigint", Native(("_id",))),
        Column(12, "person", "bigint", Native(("person",))),
        Column(13, "at", "bigint", Native(("at",))),
        Column(14, "note", "text", Native(("note",))),
    ),
    instance="m",
    native=("shop", "orders"),
    key=(11,),
)
PEOPLE = Table(
    2,
    "people",
    "foreign",
    (
        Column(21, "id", "bigint", Native(("_id",))),
        Column(22, "name", "text", Native(("name",))),
        Column(23, "boss", "bigint", Native(("boss",))),
    ),
    instance="m",
    native=("shop", "people"),
    key=(21,),
)
AWAY = Table(
    3, "away", "foreign", PEOPLE.columns, instance="m", native=("other", "away"), key=(21,)
)
TABLES = (ORDERS, PEOPLE, AWAY)
NAMESPACES = Namespaces(CatalogSnapshot(1, 1, 1, {1: Version(1, 0, TABLES)}), ("public",))
PARTNER = Partner(12, PEOPLE, 21)
DOWN = OrderKey(13, descending=True, nulls_first=True)
JOIN = "FROM orders o JOIN people p ON o.person = p.id"
LEFT = "FROM orders o LEFT JOIN people p ON o.person = p.id"


def planned(text: str) -> FederatedPlan:
    """The plan over tables of MongoDB."""
    analysis = analyse(text, NAMESPACES)
    return plan_federated(
        analysis, analysis.statements[-1], NAMESPACES, {1: "bigint"}, lambda _: "mongodb"
    )


@pytest.mark.parametrize(
    ("text", "alias", "limit", "order", "partner"),
    [
        (f"SELECT o.id, name {LEFT} LIMIT 5", "o", 5, (), None),
        (f"SELECT * {LEFT} ORDER BY at DESC LIMIT 5 OFFSET 2", "o", 7, (DOWN,), None),
        (f"SELECT o.id {LEFT} WHERE o.at > 3 ORDER BY o.at DESC LIMIT 5", "o", 5, (DOWN,), None),
        (f"SELECT o.id {LEFT} AND p.name = 'x' LIMIT 5", "o", 5, (), None),
        (f"SELECT o.id {LEFT} AND o.at = 3 LIMIT 5", "o", 5, (), None),
        (
            "SELECT name FROM people p RIGHT JOIN orders o ON o.person = p.id LIMIT 5",
            "o",
            5,
            (),
            None,
        ),
        (f"SELECT o.id, p.* {JOIN} LIMIT 5", "o", 5, (), PARTNER),
        (f"SELECT o.id {JOIN} ORDER BY at DESC LIMIT 5", "o", 5, (DOWN,), PARTNER),
        (f"SELECT o.id {JOIN} WHERE o.at = $1 LIMIT 5", "o", 5, (), PARTNER),
        (f"SELECT o.id {JOIN} AND o.note = 'x' LIMIT 5", "o", 5, (), PARTNER),
        (
            "SELECT o.id FROM people p, orders o WHERE p.id = o.person LIMIT 1",
            "o",
            1,
            (),
            PARTNER,
        ),
        (f"EXPLAIN SELECT o.id {JOIN} LIMIT 5", "o", 5, (), PARTNER),
    ],
)
def test_the_first_rows_of_one_side(
    text: str, alias: str, limit: int, order: tuple[OrderKey, ...], partner: Partner | None
) -> None:
    plan = planned(text)
    [scan] = [scan for scan in plan.scans if scan.limit is not None]
    assert (scan.alias, scan.limit, scan.order, scan.partner) == (alias, limit, order, partner)
    assert scan in [part.scan for parts in plan.parts for part in parts]


@pytest.mark.parametrize(
    "text",
    [
        f"SELECT o.id {LEFT}",
        f"SELECT o.id {LEFT} WHERE p.name = 'x' LIMIT 5",  # drops rows of the join
        f"SELECT o.id {LEFT} WHERE o.person = p.id LIMIT 5",
        f"SELECT o.id {LEFT} ORDER BY p.name LIMIT 5",
        f"SELECT o.id AS at {LEFT} ORDER BY at LIMIT 5",
        f"SELECT o.id {LEFT} ORDER BY o.at + 1 LIMIT 5",
        f"SELECT count(*) {LEFT} LIMIT 5",
        f"SELECT DISTINCT o.id {LEFT} LIMIT 5",
        f"SELECT o.id {LEFT} GROUP BY o.id LIMIT 5",
        f"SELECT o.name {LEFT} LIMIT 5",  # a function of the row
        f"SELECT o.id {LEFT} ORDER BY at FETCH FIRST 5 ROWS WITH TIES",
        f"SELECT o.id {LEFT} LIMIT $1",
        f"SELECT o.id {LEFT} AND 1 / p.id > 0 LIMIT 5",  # may raise
        f"SELECT o.id {LEFT} WHERE random() < 0.5 LIMIT 5",
        "SELECT o.id FROM orders o FULL JOIN people p ON o.person = p.id LIMIT 5",
        "SELECT o.id FROM orders o NATURAL LEFT JOIN people p LIMIT 5",
        "SELECT o.id FROM orders o LEFT JOIN people p USING (id) LIMIT 5",
        f"SELECT o.id {LEFT}, people x LIMIT 5",
        f"SELECT o.id {LEFT} UNION ALL SELECT 1 LIMIT 5",
        f"SELECT o.id {JOIN} WHERE p.name = 'x' LIMIT 5",  # few partners: both sides are fetched
        f"SELECT o.id {JOIN} AND o.at = p.boss LIMIT 5",
        f"SELECT o.id {JOIN} ORDER BY p.name LIMIT 5",
        "SELECT o.id FROM orders o JOIN people p ON o.person = p.boss LIMIT 5",
        "SELECT o.id FROM orders o JOIN people p ON o.person < p.id LIMIT 5",
        "SELECT o.id FROM orders o JOIN people p ON o.note = p.name LIMIT 5",
        "SELECT o.id FROM orders o JOIN away p ON o.person = p.id LIMIT 5",
        f"WITH w AS (SELECT 1) SELECT o.id {JOIN} LIMIT 5",
        f"SELECT * FROM (SELECT o.id {JOIN} LIMIT 5) x",
        f"DECLARE c CURSOR FOR SELECT o.id {LEFT} LIMIT 5",
    ],
)
def test_all_rows(text: str) -> None:
    assert [(scan.limit, scan.partner) for scan in planned(text).scans] == [
        (None, None) for _ in planned(text).scans
    ]
