"""Virtual columns of foreign tables: what is fetched for them, and the text that computes them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from catalog.model import Column, Seed
from engine.changes import load_columns
from engine.predicates import PlacedTable
from engine.scans import Scan
from engine.virtual_columns import fetched, shown_relation, stored_columns, value_of
from tests.unit.engine.foreign_tables import PEOPLE

VIRTUAL = (
    Column(15, "Twice", "bigint", Seed("people.age * 2 -- of the age", (13,))),
    Column(16, "label", "text", Seed("name || \"Twice\" || 'Twice'", (12, 15))),
)
TABLE = replace(PEOPLE, columns=(*PEOPLE.columns, *VIRTUAL))
TWICE = "((people.age * 2 -- of the age\n)::bigint)"
LABEL = f"((name || {TWICE} || 'Twice'\n)::text)"


def scan(*columns: int) -> Scan:
    """A scan of the table that wants these columns."""
    return Scan(0, "", "people", "p", PlacedTable(TABLE, 1, "mongodb"), columns)


def test_values() -> None:
    assert [value_of(TABLE, column) for column in VIRTUAL] == [TWICE, LABEL]


@pytest.mark.parametrize(
    ("wanted", "fetch"),
    [((11, 13), (11, 13)), ((15,), (13,)), ((16,), (12, 13)), ((11, 16), (11, 12, 13)), ((), ())],
)
def test_what_is_fetched(wanted: tuple[int, ...], fetch: tuple[int, ...]) -> None:
    found = fetched(scan(*wanted))
    assert found.columns == fetch
    assert found.shown == (wanted if wanted != fetch else ())


def test_the_relation() -> None:
    assert shown_relation(fetched(scan(11)), "<0>") == "<0>"
    assert shown_relation(fetched(scan(11, 16)), "<0>") == (
        f'(SELECT "id", {LABEL} AS "label" FROM <0> AS _m)'
    )


# A write never sends them
def test_the_copy_of_a_target() -> None:
    assert [column.id for column in stored_columns(TABLE)] == [11, 12, 13, 14]
    assert "label" not in load_columns(TABLE).names
