"""The statements of a write: texts as parameters, rows by key, nothing that changed meanwhile."""

from __future__ import annotations

import pyarrow as pa

from backends.base import RowChanges
from backends.postgres.copying import read_few
from backends.postgres.writing import CHUNK_ROWS, writes
from catalog.model import Column, Native, Table
from core.types import type_by_name

INT, TEXT = type_by_name("integer"), type_by_name("text")
TABLE = Table(
    1,
    "t",
    "foreign",
    (
        Column(1, "id", "bigint", Native(("ID",), "bigint")),
        Column(2, "name", "character varying(5)", Native(("name",), "character varying(5)")),
        Column(3, "mood", "text", Native(("mood",), "public.mood")),
        Column(4, "doc", "json", Native(("doc",), "json")),
        Column(5, "loose", "text", Native(("loose",), "text collate other")),
        Column(6, "made", "integer", Native(("made",), "integer filled")),
    ),
    native=("s", "t"),
    key=(1,),
)


def _batch(**columns: list[object]) -> pa.RecordBatch:
    return pa.RecordBatch.from_pydict(columns)


def test_insert() -> None:  # R1.7
    [write] = writes(TABLE, RowChanges(inserted=_batch(c1=[1, 2], c2=["a", None])))
    assert write.text == (
        'INSERT INTO "s"."t" ("ID", "name") SELECT u.n0::pg_catalog.int8, u.n1::pg_catalog.varchar '
        "FROM unnest($1::pg_catalog.text[], $2::pg_catalog.text[]) AS u(n0, n1)"
    )
    assert [column.to_pylist() for column in write.columns] == [["1", "2"], ["a", None]]
    assert write.rows == 2


def test_what_the_store_fills_in_is_left_out_where_it_is_null() -> None:  # R1.7
    inserted = _batch(c1=[1, 2, 3], c6=[None, 7, None])
    first, second = writes(TABLE, RowChanges(inserted=inserted))
    assert ('"made"' in first.text, first.rows, first.columns[0].to_pylist()) == (
        False,
        2,
        ["1", "3"],
    )
    assert ('"made"' in second.text, second.rows) == (True, 1)


def test_update_looks_at_what_was_read() -> None:  # R1.8
    [write] = writes(
        TABLE,
        RowChanges(
            updated=_batch(c1=[1], c3=["ok"], c4=["{}"], c5=["x"]),
            before=_batch(c1=[1], c3=["sad"], c4=[None], c5=["y"]),
        ),
    )
    assert write.text == (
        'UPDATE "s"."t" AS t SET "mood" = u.n0::public.mood, "doc" = u.n1::json, '
        '"loose" = u.n2::pg_catalog.text FROM unnest($1::pg_catalog.text[], '
        "$2::pg_catalog.text[], $3::pg_catalog.text[], $4::pg_catalog.text[], "
        "$5::pg_catalog.text[], $6::pg_catalog.text[], $7::pg_catalog.text[]) "
        "AS u(k0, n0, n1, n2, o0, o1, o2) "
        'WHERE t."ID" = u.k0::pg_catalog.int8 '
        'AND t."mood"::pg_catalog.text IS NOT DISTINCT FROM u.o0 '
        'AND t."doc"::pg_catalog.text IS NOT DISTINCT FROM u.o1 '
        'AND t."loose" COLLATE pg_catalog."C" IS NOT DISTINCT FROM u.o2::pg_catalog.text'
    )
    assert [column.to_pylist() for column in write.columns] == [
        *(["1"], ["ok"], ["{}"], ["x"], ["sad"], [None], ["y"])
    ]


def test_a_key_that_changes_is_set() -> None:  # R1.7
    [write] = writes(
        TABLE,
        RowChanges(updated=_batch(c1=[1, 5], c2=["a", "b"]), before=_batch(c1=[1, 2], c2=["", ""])),
    )
    assert 'SET "name" = u.n0::pg_catalog.varchar, "ID" = u.n1::pg_catalog.int8 ' in write.text
    assert 'WHERE t."ID" = u.k0::pg_catalog.int8 AND ' in write.text
    assert [column.to_pylist() for column in write.columns[:3]] == [
        *(["1", "2"], ["a", "b"], ["1", "5"])
    ]


def test_rows_that_are_wanted_back() -> None:  # R1.7
    changes = RowChanges(
        inserted=_batch(c1=[1], c6=[None]),
        updated=_batch(c1=[2], c2=["b"]),
        before=_batch(c1=[2], c2=["a"]),
        returning=True,
    )
    update, insert = writes(TABLE, changes)
    shown = (
        'CASE WHEN pg_catalog.num_nulls(t."ID") = 0 THEN pg_catalog.format(\'%s\', t."ID") END, '
    )
    assert " AS u(k0, n0, o0, place) " in update.text
    assert f" RETURNING u.place, {shown}" in update.text
    assert insert.text.startswith('INSERT INTO "s"."t" AS t ("ID") SELECT ')
    assert f" RETURNING {shown}" in insert.text
    assert (update.kind, insert.kind) == ("updated", "inserted")


def test_deletions_come_first_and_in_pieces() -> None:  # R1.7
    many = _batch(c1=list(range(CHUNK_ROWS + 1)))
    made = list(writes(TABLE, RowChanges(inserted=_batch(c1=[1]), deleted=many)))
    assert [(w.text.split(" ", 1)[0], w.rows) for w in made] == [
        ("DELETE", CHUNK_ROWS),
        ("DELETE", 1),
        ("INSERT", 1),
    ]


def test_few_rows_are_read_as_texts() -> None:  # R1.7
    read = read_few("1,é\n2,\n".encode(), [INT, TEXT])
    assert read is not None
    assert read.to_pydict() == {"c0": ["1", "2"], "c1": ["é", None]}
    one = read_few(b"\n\n", [TEXT])
    assert one is not None
    assert one.to_pydict() == {"c0": [None, None]}
    assert read_few(b'1,""\n', [INT, TEXT]) is None
    lists = read_few(b"{a}\n\n", [type_by_name("text[]")])
    assert lists is not None
    assert lists.to_pydict() == {"c0": [["a"], None]}
    assert read_few(b"\n", []) is None
    assert read_few(b"", [INT, TEXT]) is None
