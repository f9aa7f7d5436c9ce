"""Writes that wait for COMMIT, laid over what a store sends (issue 4.10)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pyarrow as pa
import pytest

from backends.base import Partner, RowChanges
from catalog.model import Column, Native
from core.errors import FeatureNotSupported, UniqueViolation
from engine.waiting_writes import Overlay, Waiting, overlaid_scan, to_wait
from tests.unit.engine.foreign_tables import ORDERS, PEOPLE, planned

Row = tuple[int | None, ...]


def batch(ids: Sequence[int], rows: Sequence[Row]) -> pa.RecordBatch:
    """Columns c<id> of integers, and of texts for the total."""
    columns = list(zip(*rows, strict=True)) or [()] * len(ids)
    arrays = [
        pa.array([None if v is None else str(v) for v in values], pa.string())
        if each == 23
        else pa.array(values, pa.int64())
        for each, values in zip(ids, columns, strict=True)
    ]
    return pa.RecordBatch.from_arrays(arrays, [f"c{each}" for each in ids])


def inserted(*rows: Row) -> Waiting:
    return Waiting(ORDERS, RowChanges(inserted=batch((21, 22, 23), rows)))


def updated(*rows: Row) -> Waiting:
    return Waiting(ORDERS, RowChanges(updated=batch((21, 22), rows)))


def deleted(*rows: Row) -> Waiting:
    return Waiting(ORDERS, RowChanges(deleted=batch((21, 22, 23), rows)))


def seen(waiting: Sequence[Waiting], stored: Sequence[Row], shown: int = 3) -> list[Row]:
    overlay = Overlay(ORDERS, (21, 22, 23), shown, tuple(waiting))
    found = [overlay.over(batch((21, 22, 23), stored)), *overlay.added()]
    return [tuple(row.values()) for each in found for row in each.to_pylist()]


STORED: tuple[Row, ...] = ((1, 10, 100), (2, 20, 200), (3, None, 300))


@pytest.mark.parametrize(
    ("waiting", "rows"),
    [
        ([], [(1, 10, "100"), (2, 20, "200"), (3, None, "300")]),
        ([deleted((2, 20, 200))], [(1, 10, "100"), (3, None, "300")]),
        ([updated((1, 11), (3, 33))], [(1, 11, "100"), (2, 20, "200"), (3, 33, "300")]),
        ([updated((1, None))], [(1, None, "100"), (2, 20, "200"), (3, None, "300")]),
        ([updated((1, 11)), updated((1, 12))], [(1, 12, "100"), (2, 20, "200"), (3, None, "300")]),
        (
            [inserted((4, 40, 400)), updated((4, 41))],
            [(1, 10, "100"), (2, 20, "200"), (3, None, "300"), (4, 41, "400")],
        ),
        (
            [deleted((1, 10, 100)), inserted((1, 7, 7))],
            [(2, 20, "200"), (3, None, "300"), (1, 7, "7")],
        ),
        (
            [inserted((4, 40, 400)), deleted((4, 40, 400), (1, 10, 100))],
            [(2, 20, "200"), (3, None, "300")],
        ),
    ],
)
def test_what_a_transaction_sees(waiting: list[Waiting], rows: list[Row]) -> None:
    assert seen(waiting, STORED) == rows


def test_a_row_in_several_carriers() -> None:
    changed = pa.RecordBatch.from_arrays([pa.array(["2"]), pa.array(["21"])], ["c21", "c22"])
    rows = seen([Waiting(ORDERS, RowChanges(updated=changed))], STORED)
    assert [str(row[1]) for row in rows] == ["10", "21", "None"]


def test_columns_that_came_for_the_key_only_are_left_out() -> None:
    overlay = Overlay(ORDERS, (22, 21), 1, (deleted((2, 20, 200)), inserted((4, 40, 400))))
    found = [overlay.over(batch((22, 21), ((10, 1), (20, 2)))), *overlay.added()]
    assert [each.to_pylist() for each in found] == [[{"n0": 10}], [{"n0": 40}]]
    none = Overlay(ORDERS, (21,), 0, (deleted((2, 20, 200)), inserted((4, 40, 400))))
    counted = [none.over(batch((21,), ((1,), (2,), (3,)))), *none.added()]
    assert [(each.num_rows, each.num_columns) for each in counted] == [(2, 0), (1, 0)]


def test_only_the_key_is_asked_below() -> None:
    text = "SELECT person FROM orders WHERE id IN (1, 2) AND person = 7 ORDER BY person LIMIT 1"
    [scan] = planned(text).scans
    partner = Partner(22, PEOPLE, 11)
    below = overlaid_scan(replace(scan, partner=partner), names_document=False)
    assert below.partner is None  # a waiting write may give a row its partner
    assert (below.columns, below.limit, below.order) == ((*scan.columns,), None, ())
    assert below.predicate is not None
    assert "c21" in repr(below.predicate) or "column_id=21" in repr(below.predicate)
    assert "column_id=22" not in repr(below.predicate)
    with pytest.raises(FeatureNotSupported, match="_doc"):
        overlaid_scan(scan, names_document=True)


def test_another_view_of_the_rows_is_refused() -> None:
    other = replace(
        ORDERS,
        name="other",
        columns=(ORDERS.columns[0], replace(ORDERS.columns[1], type="text")),
    )
    with pytest.raises(FeatureNotSupported, match='"other" cannot be read'):
        Overlay(other, (21, 22), 2, (updated((1, 1)),))
    assert Overlay(other, (21,), 1, (updated((1, 1)),)).columns == (21,)


def test_what_can_be_said_before_commit() -> None:
    first = to_wait(ORDERS, inserted((4, 4, 4)).changes, ())
    with pytest.raises(UniqueViolation, match="orders_pkey") as caught:
        to_wait(ORDERS, inserted((5, 5, 5), (4, 4, 4)).changes, (first,))
    assert caught.value.detail == "Key (id)=(4) already exists."
    gone = to_wait(ORDERS, deleted((4, 4, 4)).changes, (first,))
    assert to_wait(ORDERS, inserted((4, 4, 4)).changes, (first, gone)).changes.inserted is not None
    with pytest.raises(FeatureNotSupported, match="without key"):
        to_wait(ORDERS, inserted((None, 4, 4)).changes, ())


def test_a_document_that_the_transaction_changed_is_not_compared_as_a_whole() -> None:
    document = Column(0, "_doc", "jsonb", Native(()))
    table = replace(PEOPLE, columns=(*PEOPLE.columns[:2], document))
    rows = pa.RecordBatch.from_arrays(
        [pa.array([1]), pa.array(["a"]), pa.array(["{}"])], ["c11", "c12", "c0"]
    )
    changes = RowChanges(deleted=rows)
    kept = to_wait(table, changes, ()).changes.deleted
    assert kept is not None
    assert kept.schema.names == ["c11", "c12", "c0"]
    later = to_wait(table, changes, (Waiting(table, RowChanges()),)).changes.deleted
    assert later is not None
    assert later.schema.names == ["c11", "c12"]
