"""Partitioned tables over several stores, pruned by its conditions (R1.6, R1.8)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from catalog.model import CatalogSnapshot, Column, Native, Partition, Table, Version
from core.errors import FeatureNotSupported
from engine.direct import direct_of
from engine.federate import FederatedPlan, plan_federated
from engine.partitions import partition_column, places_of
from evolution.partitions import bound_condition
from rewrite.analysis import analyse
from rewrite.namespaces import Namespaces
from tests.unit.engine.foreign_tables import kind_of

_COLUMNS = (("id", "bigint"), ("region", "text"), ("day", "date"))


def _columns(first: int) -> tuple[Column, ...]:
    return tuple(Column(first + n, c, t, Native((c,))) for n, (c, t) in enumerate(_COLUMNS))


def _part(number: int, name: str) -> Table:
    return Table(
        number, name, "foreign", _columns(number * 10), instance=name, native=("db", name),
        key=(number * 10,),
    )  # fmt: skip


EU, US, OLD, NEW = (_part(n, name) for n, name in ((2, "eu"), (3, "us"), (4, "old"), (5, "new")))
EVENTS = Table(
    1, "events", "foreign", _columns(10), definition="LIST (region)",
    partitions=(Partition(2, "region IN ('eu')"), Partition(3, "region IN ('us', 'ca')")),
)  # fmt: skip
DAYS = Table(
    6, "days", "foreign", _columns(60), definition="RANGE (day)",
    partitions=(
        Partition(4, "day < '2024-01-01' AND day IS NOT NULL"),
        Partition(5, "day >= '2024-01-01' AND day < '2025-01-01' AND day IS NOT NULL"),
        Partition(99, "day > '2030-01-01'"),  # dropped
    ),
)  # fmt: skip
VERSION = Version(1, 0, (EVENTS, EU, US, OLD, NEW, DAYS))
NAMESPACES = Namespaces(CatalogSnapshot(1, 1, 1, {1: VERSION}), ("public",))


def _planned(text: str, parameters: dict[int, str] | None = None) -> FederatedPlan:
    analysis = analyse(text, NAMESPACES)
    return plan_federated(analysis, analysis.statements[0], NAMESPACES, parameters or {}, kind_of)


@pytest.mark.parametrize(
    ("text", "instances"),
    [
        ("SELECT id FROM events", ["eu", "us"]),
        ("SELECT id FROM events WHERE region = 'eu'", ["eu"]),
        ("SELECT id FROM events WHERE 'ca' = region AND id > 1", ["us"]),
        ("SELECT id FROM events WHERE region IN ('eu', 'us')", ["eu", "us"]),
        ("SELECT id FROM events WHERE region IN ('ca', 'us')", ["us"]),
        ("SELECT id FROM events WHERE region = 'mars'", []),
        ("SELECT id FROM events WHERE region = 'eu' OR id = 1", ["eu", "us"]),
        ("SELECT id FROM events WHERE region <> 'eu'", ["eu", "us"]),
        ("SELECT id FROM events WHERE lower(region) = 'eu'", ["eu", "us"]),
        ("SELECT id FROM days", ["old", "new"]),
        ("SELECT id FROM days WHERE day = '2023-05-05'", ["old"]),
        ("SELECT id FROM days WHERE day >= '2024-01-01'", ["new"]),
        ("SELECT id FROM days WHERE day < '2024-01-01'", ["old"]),
        ("SELECT id FROM days WHERE day <= '2024-01-01'", ["old", "new"]),
        ("SELECT id FROM days WHERE day > '2024-12-31'", ["new"]),
        ("SELECT id FROM days WHERE day >= '2025-01-01'", []),
    ],
)
def test_partitions_that_are_asked(text: str, instances: list[str]) -> None:
    [parts] = _planned(text).parts
    assert [part.scan.placed.table.instance for part in parts] == instances


def test_parts_have_the_columns_of_the_table() -> None:
    [[part, _]] = _planned("SELECT region FROM events").parts
    table = part.scan.placed.table
    assert (table.name, [column.id for column in table.columns]) == ("events", [10, 11, 12])
    assert (table.native, table.key) == (("db", "eu"), (10,))
    assert part.scan.columns == (11,)


def test_one_partition_answers_alone() -> None:
    assert direct_of(_planned("SELECT id FROM events WHERE region = 'eu'")) is not None
    assert direct_of(_planned("SELECT id FROM events")) is None


def test_parameters_prune_when_their_values_are_known() -> None:
    [parts] = _planned("SELECT id FROM events WHERE region = $1", {1: "text"}).parts
    assert [part.needed({1: "ca"}) for part in parts] == [False, True]
    assert [part.needed({1: None}) for part in parts] == [False, False]


def test_a_partition_without_one_of_the_columns_is_an_error() -> None:
    narrow = replace(EU, columns=EU.columns[:2])
    names = replace(NAMESPACES, snapshot=CatalogSnapshot(1, 1, 1, {1: VERSION.with_table(narrow)}))
    analysis = analyse("SELECT id FROM events", names)
    with pytest.raises(FeatureNotSupported, match='partition "eu" has no column "day"'):
        plan_federated(analysis, analysis.statements[0], names, {}, kind_of)


@pytest.mark.parametrize(
    ("definition", "bound", "condition"),
    [
        ("LIST (region)", "IN ('eu', NULL)", "region IN ('eu') OR region IS NULL"),
        ("RANGE (day)", "FROM ('2024-01-01') TO (MAXVALUE)",
         "day >= '2024-01-01' AND day IS NOT NULL"),
        ("RANGE (day)", "FROM (MINVALUE) TO ('2024-01-01')",
         "day < '2024-01-01' AND day IS NOT NULL"),
    ],
)  # fmt: skip
def test_bounds(definition: str, bound: str, condition: str) -> None:
    assert bound_condition(definition, f"FOR VALUES {bound}") == condition


@pytest.mark.parametrize(
    ("definition", "bound"),
    [("HASH (id)", "FOR VALUES WITH (modulus 3, remainder 0)"), ("LIST (region)", "DEFAULT")],
)
def test_bounds_without_a_condition(definition: str, bound: str) -> None:
    assert bound_condition(definition, bound) == ""


def test_a_default_partition_has_what_no_other_has() -> None:
    rest = (Partition(2, "region IN ('eu')", "FOR VALUES IN ('eu')"), Partition(3, "", "DEFAULT"))
    names = replace(
        NAMESPACES,
        snapshot=CatalogSnapshot(
            1, 1, 1, {1: VERSION.with_table(replace(EVENTS, partitions=rest))}
        ),
    )

    def asked(text: str) -> list[str]:
        analysis = analyse(text, names)
        [parts] = plan_federated(analysis, analysis.statements[0], names, {}, kind_of).parts
        return [part.scan.placed.table.instance for part in parts]

    assert asked("SELECT id FROM events WHERE region = 'mars'") == ["us"]
    assert "us" in asked("SELECT id FROM events WHERE region IS NULL")
    assert asked("SELECT id FROM events") == ["eu", "us"]


def test_places_are_the_partitions_under_the_names_of_the_table() -> None:
    known = tuple(replace(each, bound="FOR VALUES IN (1)") for each in EVENTS.partitions)
    places = places_of(replace(EVENTS, partitions=known), VERSION)
    assert [(place.name, place.bound) for place in places] == [
        ("eu", "FOR VALUES IN (1)"),
        ("us", "FOR VALUES IN (1)"),
    ]
    assert [place.table.key for place in places] == [(10,), (10,)]
    with pytest.raises(FeatureNotSupported, match='bound of partition "eu"'):
        places_of(EVENTS, VERSION)
    assert partition_column('LIST ("the region")') == "the region"
