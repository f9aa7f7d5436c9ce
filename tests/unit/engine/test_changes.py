"""Writes to foreign tables as the difference that a statement made (R1.8, DESIGN 5)."""

from __future__ import annotations

from dataclasses import replace

import pyarrow as pa
import pytest

from backends.base import RowChanges
from core.errors import FeatureNotSupported
from engine.changes import (
    Difference,
    Target,
    again_text,
    conflict_columns,
    conflict_texts,
    create_texts,
    difference,
    numbered,
    target_of,
)
from engine.partitions import Place
from tests.unit.engine.foreign_tables import ORDERS, PEOPLE, planned


def _rows(*rows: tuple[int, int | None, str | None]) -> pa.RecordBatch:
    ids, persons, totals = zip(*rows, strict=True)
    arrays = [
        pa.array(ids, pa.int64()),
        pa.array(persons, pa.int64()),
        pa.array(totals, pa.string()),
    ]
    return pa.RecordBatch.from_arrays(arrays, ["a", "b", "c"])


def _after(*rows: tuple[int, int | None, str | None, int | None]) -> pa.RecordBatch:
    numbers = pa.array([row[3] for row in rows], pa.int64())
    batch = _rows(*(row[:3] for row in rows))
    return pa.RecordBatch.from_arrays([*batch.columns, numbers], ["a", "b", "c", "n"])


def _target(*assigned: int, deletes: bool = False) -> Target:
    return Target(ORDERS, assigned, deletes, keeps_rows=True, places=(Place(ORDERS),))


def _list(batch: pa.RecordBatch | None) -> list[dict[str, object]]:
    return [] if batch is None else batch.to_pylist()


def test_only_rows_whose_assigned_columns_changed_are_written() -> None:
    before = [_rows((1, 7, "1.0"), (2, None, "2.0")), _rows((3, 9, None))]
    after = [_after((1, 7, "1.0", 0), (2, 8, "2.0", 1), (3, None, "5", 2))]
    changes = difference(_target(22), before, after, 0).changes
    assert _list(changes.updated) == [{"c21": 2, "c22": 8}, {"c21": 3, "c22": None}]
    assert _list(changes.before) == [{"c21": 2, "c22": None}, {"c21": 3, "c22": 9}]
    assert changes.inserted is None
    assert changes.deleted is None


def test_rows_without_number_are_inserted_and_missing_ones_deleted() -> None:
    before = [_rows((1, 7, "1.0"), (2, 8, "2.0"))]
    after = [_after((2, 8, "2.0", 1), (5, 5, "5", None))]
    found = difference(_target(deletes=True), before, after, 0)
    changes = found.changes
    assert found.arrived == 0
    assert _list(changes.inserted) == [{"c21": 5, "c22": 5, "c23": "5"}]
    assert _list(changes.deleted) == [{"c21": 1, "c22": 7, "c23": "1.0"}]
    assert changes.updated is None


def test_everything_deleted_and_nothing_at_all() -> None:
    before = [_rows((1, 7, "1.0"))]
    assert (
        _list(difference(_target(deletes=True), before, [], 0).changes.deleted)
        == before[0].rename_columns(["c21", "c22", "c23"]).to_pylist()
    )
    assert difference(_target(22), [], [], 0) == Difference(RowChanges())


def test_a_row_with_the_number_of_another_place_has_come_from_there() -> None:
    before = [_rows((1, 7, "1.0"), (2, 8, "2.0"))]
    after = [_after((2, 9, "2.0", 11), (5, 5, "5", 3), (6, 6, "6", None))]
    found = difference(_target(22, deletes=True), before, after, 10)
    assert found.arrived == 1
    assert [row["c21"] for row in _list(found.changes.inserted)] == [5, 6]
    assert [row["c21"] for row in _list(found.changes.updated)] == [2]
    assert [row["c21"] for row in _list(found.changes.deleted)] == [1]


def test_a_row_under_another_key_goes_and_comes() -> None:
    before = [_rows((1, 7, "1.0"), (2, 8, "2.0"))]
    after = [_after((1, 9, "1.0", 0), (3, 8, "2.0", 1))]
    found = difference(_target(21, 22, deletes=True), before, after, 0)
    assert found.arrived == 1
    assert _list(found.changes.updated) == [{"c21": 1, "c22": 9}]
    assert [row["c21"] for row in _list(found.changes.inserted)] == [3]
    assert [row["c21"] for row in _list(found.changes.deleted)] == [2]


def test_lists_in_several_carriers_are_compared_by_their_text() -> None:
    table = replace(ORDERS, columns=(ORDERS.columns[0], replace(ORDERS.columns[1], type="int[]")))
    ids = pa.array([1, 2], pa.int64())
    lists = pa.array([[1, 2], None], pa.list_(pa.int32()))
    before = [
        pa.RecordBatch.from_arrays([ids, lists], ["a", "b"]),
        pa.RecordBatch.from_arrays([pa.array([3], pa.int64()), pa.array(["{}"])], ["a", "b"]),
    ]
    texts = pa.array(["{1,2}", "{7}", "{}"])
    arrays = [pa.array([1, 2, 3], pa.int64()), texts, pa.array([0, 1, 2], pa.int64())]
    after = [pa.RecordBatch.from_arrays(arrays, ["a", "b", "n"])]
    target = replace(_target(22), table=table, places=(Place(table),))
    assert _list(difference(target, before, after, 0).changes.updated) == [{"c21": 2, "c22": "{7}"}]


def test_batches_are_numbered_through() -> None:
    batches = numbered([_rows((1, 1, "a"), (2, 2, "b")), _rows((3, 3, "c"))], 7)
    assert [batch.column(3).to_pylist() for batch in batches] == [[7, 8], [9]]


def test_the_copy_is_the_table() -> None:
    target = target_of(planned("DELETE FROM people"))
    [text] = create_texts("people", replace(target, table=PEOPLE), ())
    assert text == (
        'CREATE TEMPORARY TABLE "people" ("id" bigint NOT NULL, "name" text, '
        '"age" integer DEFAULT 18, "address.city" text, '
        'CONSTRAINT "people_pkey" PRIMARY KEY (id), _morph_row pg_catalog.int8) ON COMMIT DROP'
    )


def test_targets() -> None:
    assert target_of(planned("UPDATE people SET (age, name) = (1, 'x')")).assigned == (12, 13)
    assert target_of(planned("UPDATE people SET address.city = 'x'")).assigned == (14,)
    assert target_of(planned("DELETE FROM people")).deletes
    assert not target_of(planned("INSERT INTO people (id) VALUES (1)")).keeps_rows
    upsert = "INSERT INTO people (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET name = 'x'"
    assert target_of(planned(upsert)).assigned == (12,)
    merge = (
        "MERGE INTO people p USING vips v ON v.pid = p.id WHEN MATCHED THEN UPDATE SET age = 1 "
        "WHEN NOT MATCHED THEN INSERT (id) VALUES (v.pid)"
    )
    assert target_of(planned(merge)).assigned == (13,)


def test_a_key_cannot_be_changed() -> None:
    with pytest.raises(FeatureNotSupported, match='key column "id"'):
        target_of(planned("UPDATE people SET id = 2"))


def test_a_key_is_changed_where_the_stores_can() -> None:
    plan = planned("UPDATE people SET id = 2")
    assert target_of(plan, rekeys=True).rekeys
    target = replace(_target(21, 22), rekeys=True)
    found = difference(target, [_rows((1, 7, "1.0"))], [_after((3, 7, "1.0", 0))], 0)
    assert found.arrived == 0
    assert _list(found.changes.updated) == [{"c21": 3, "c22": 7}]
    assert _list(found.changes.before) == [{"c21": 1, "c22": 7}]
    assert found.changes.inserted is None


def test_rows_that_are_wanted_back_are_known_by_their_numbers() -> None:
    target = replace(_target(22), returning=True)
    before = [_rows((1, 7, "1.0"), (2, 8, "2.0"))]
    after = [_after((1, 7, "1.0", 10), (2, 9, "2.0", 11), (5, 5, "5", -2), (6, 6, "6", None))]
    found = difference(target, before, after, 10)
    assert found.arrived == 0
    assert found.after is not None
    assert found.after.inserted is not None
    assert found.after.inserted.to_pylist() == [-2, None]
    assert _list(found.after.updated) == [{"c21": 2, "c22": 9, "c23": "2.0"}]
    assert found.after.numbers is not None
    assert found.after.numbers.to_pylist() == [11]


def test_what_the_store_fills_in_may_be_missing_in_the_copy() -> None:
    target = replace(target_of(planned("DELETE FROM people")), filled=frozenset({11}))
    [text] = create_texts("people", replace(target, table=PEOPLE), ())
    assert text.startswith('CREATE TEMPORARY TABLE "people" ("id" bigint, "name" text, ')
    assert 'CONSTRAINT "people_pkey" UNIQUE (id)' in text


@pytest.mark.parametrize("name", ["people", "people AS p", 'people AS "p"', "public.people"])
def test_an_insert_answers_once_more_over_completed_rows(name: str) -> None:
    source = "(id, name) SELECT pid, 'RETURNING' FROM vips WHERE pid > $1 "
    plan = planned(f"WITH a AS (SELECT 1) INSERT INTO {name} {source}RETURNING id + 1 AS next")
    alias = "people" if " AS " not in name else "p"
    columns = '"id", "name", "age", "address.city", "_doc"'
    relations = ["target" if n == plan.target else f"staged{n}" for n in range(len(plan.refs))]
    text = again_text(plan, relations, "completed")
    shown = name.replace("public.people", "people").partition(" AS ")[2] or f'"{alias}"'
    assert text == (
        f"WITH a AS (SELECT 1) INSERT INTO target AS {shown} ({columns}) SELECT {columns} FROM "
        "completed ORDER BY _morph_row DESC RETURNING id + 1 AS next"
    )


def test_an_upsert_proposes_rows_first() -> None:
    text = (
        "INSERT INTO people AS p (id, name) VALUES (1, 'a') "
        "ON CONFLICT (id) DO UPDATE SET name = excluded.name RETURNING p.id"
    )
    plan = planned(text)
    assert conflict_columns(plan, target_of(plan)) == (11,)
    propose, rest = conflict_texts(plan, ["target"], "proposed")
    assert propose == "INSERT INTO proposed AS p (id, name) VALUES (1, 'a') "
    columns = '"id", "name", "age", "address.city", "_doc", "_morph_row"'
    assert rest == (
        f'INSERT INTO target AS "p" ({columns}) SELECT {columns} FROM proposed '
        "ORDER BY _morph_row DESC "
        "ON CONFLICT (id) DO UPDATE SET name = excluded.name RETURNING p.id"
    )
