"""What operators say of changes: footprints, coercion and compatibility (EVOLUTION 2, 11)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from catalog.model import (
    Column,
    Constraint,
    DocPath,
    Lens,
    Lensed,
    Part,
    Seed,
    Stored,
    Table,
    Version,
)
from evolution.operators.base import EXTRA, Effect
from evolution.operators.coercions import coercion
from evolution.operators.registry import OPERATORS, compatibility, conflict, effects

ID = Column(1, "id", "integer", Stored("c1", "integer"), not_null=True)
NAME = Column(2, "name", "text", Stored("c2", "text"), default="'x'::text")
SIZE = Column(3, "size", "integer", Stored("c3", "integer"))
KEY = Constraint("t_pkey", "p", (1,), "PRIMARY KEY (id)", "k4_t_pkey")
TABLE = Table(7, "t", "table", (ID, NAME, SIZE), "t7", constraints=(KEY,))


def version(*tables: Table) -> Version:
    return Version(1, 0, tables)


def found(new: Table | None, old: Table | None = TABLE) -> list[Effect]:
    return effects(
        version(*([old] if old else [])), replace(version(*([new] if new else [])), number=2)
    )


def with_column(column: Column) -> Table:
    return TABLE.with_column(column)


def converted(target: str) -> Table:
    """The table with `size` shown as another type."""
    over = Column(9, "size", target, Stored("c9", target))
    lens = Lens(8, (SIZE,), (over,), (f'("$1")::{target}',), ('("$1")::integer',))
    columns = (ID, NAME, replace(over, source=Lensed(8)))
    return replace(TABLE, columns=columns, lenses=(lens,))


def reshaped(unders: list[Column], count: int) -> Table:
    """The table with some columns shown as others."""
    overs = [Column(n, f"n{n}", "text", Stored(f"c{n}", "text")) for n in range(20, 20 + count)]
    ups, downs = ('"$1"',) * count, ('"$1"',) * len(unders)
    lens = Lens(8, tuple(unders), tuple(overs), ups, downs)
    kept = [c for c in TABLE.columns if c not in unders]
    shown = [replace(c, source=Lensed(8)) for c in overs]
    return replace(TABLE, columns=(*kept, *shown), lenses=(lens,))


def nested(kind: str) -> Table:
    """The table with NAME and SIZE in a document, or with NAME as the fields of one."""
    extra = Column(30, EXTRA, "jsonb", Stored("c30", "jsonb"))
    document = Column(20, "doc", "jsonb", Stored("c20", "jsonb"))
    unders: tuple[Column, ...] = (NAME, SIZE, extra)
    overs: tuple[Column, ...] = (document,)
    if kind == "over":
        unders, overs = (NAME,), (document, extra)
    lens = Lens(8, unders, overs, ('"$1"',) * len(overs), ('"$1"',) * len(unders))
    kept = [c for c in TABLE.columns if c not in unders]
    return replace(TABLE, columns=(*kept, replace(document, source=Lensed(8))), lenses=(lens,))


DOCUMENT = Column(20, "doc", "jsonb", DocPath(("doc",)))
FIELD = Column(21, "doc.size", "integer", DocPath(("doc", "size")))
FIELDS, WHOLE = (replace(TABLE, columns=(ID, c), has_doc=True) for c in (FIELD, DOCUMENT))
PART = replace(TABLE, id=9, name="p", part=Part(7, '"$1" > 3', ("c3",), "size > 3"))
ASIDE = Part(7, '"$1" IS NOT NULL', ("c3",), "size IS NOT NULL", keyed=True)
ASIDE_TABLE = replace(TABLE, id=9, name="p", columns=(ID, SIZE), part=ASIDE)
LEFT = replace(TABLE, columns=(ID, NAME))
ADDED = Column(5, "more", "text", Stored("c5", "text"))
VIRTUAL = Column(6, "twice", "integer", Seed("size * 2", (3,)))
CASES = [
    (TABLE, None, "create table", "FULL", {7, 1, 2, 3}),
    (None, TABLE, "drop table", "BACKWARD", {7, 1, 2, 3}),
    (replace(TABLE, name="u"), TABLE, "rename table", "FULL", {7}),
    (replace(TABLE, columns=(*TABLE.columns, ADDED)), TABLE, "add column", "FULL", {5}),
    (replace(TABLE, columns=(*TABLE.columns, replace(ADDED, not_null=True))), TABLE,
     "add column", "FORWARD", {5}),
    (replace(TABLE, columns=(*TABLE.columns, VIRTUAL)), TABLE, "add virtual column", "FULL",
     {6, 3}),
    (replace(TABLE, columns=(ID, NAME)), TABLE, "drop column", "FULL", {3}),
    (replace(TABLE, columns=(NAME, SIZE)), TABLE, "drop column", "BACKWARD", {1}),
    (with_column(replace(SIZE, name="length")), TABLE, "rename column", "FULL", {3}),
    (with_column(replace(SIZE, type="bigint")), TABLE, "change type", "BACKWARD", {3}),
    (converted("text"), TABLE, "change type", "BACKWARD", {3, 9}),
    (converted("smallint"), TABLE, "change type", "FORWARD", {3, 9}),
    (reshaped([NAME], 2), TABLE, "split column", "NONE", {2, 20, 21}),
    (reshaped([NAME, SIZE], 1), TABLE, "merge columns", "NONE", {2, 3, 20}),
    (nested("under"), TABLE, "nest columns", "BACKWARD", {2, 3, 20}),
    (nested("over"), TABLE, "unnest column", "FORWARD", {2, 20}),
    (WHOLE, FIELDS, "nest columns", "BACKWARD", {20, 21}),
    (FIELDS, WHOLE, "unnest column", "FORWARD", {20, 21}),
    (with_column(replace(SIZE, default="1")), TABLE, "set default", "FULL", {3}),
    (with_column(replace(NAME, default=None)), TABLE, "drop default", "FULL", {2}),
    (with_column(replace(SIZE, not_null=True)), TABLE, "set not null", "FORWARD", {3}),
    (with_column(replace(ID, not_null=False)), TABLE, "drop not null", "BACKWARD", {1}),
    (replace(TABLE, constraints=()), TABLE, "drop constraint", "BACKWARD", {1}),
    (TABLE, replace(TABLE, constraints=()), "add constraint", "FORWARD", {1}),
    (PART, TABLE, "split table", "FORWARD", {7, 9}),
    (TABLE, PART, "merge tables", "BACKWARD", {7, 9}),
]  # fmt: skip


def test_columns_that_became_a_table_are_neither_dropped_nor_added() -> None:  # R4.1
    apart, together = version(LEFT, ASIDE_TABLE), replace(version(TABLE), number=2)
    there = effects(together, apart)
    assert [(e.kind, str(e.compatibility), e.footprint) for e in there] == [
        ("decompose table", "FULL", frozenset({7, 9}))
    ]
    back = effects(apart, together)
    assert [(e.kind, str(e.compatibility), e.footprint) for e in back] == [
        ("join tables", "FULL", frozenset({7, 9}))
    ]
    assert [e.kind for e in effects(apart, replace(version(LEFT), number=2))] == ["drop table"]


@pytest.mark.parametrize(("new", "old", "kind", "class_", "footprint"), CASES)
def test_one_operator(
    new: Table | None, old: Table | None, kind: str, class_: str, footprint: set[int]
) -> None:  # R4.1
    (effect,) = found(new, old)
    assert (effect.kind, str(effect.compatibility)) == (kind, class_)
    assert set(effect.footprint) == footprint


def test_every_operator_has_a_case() -> None:  # R4.1
    apart = {"decompose table", "join tables"}  # in a test of their own
    assert {operator.kind for operator in OPERATORS} - apart == {case[2] for case in CASES}


def test_nothing_changed() -> None:  # R4.1
    assert found(TABLE) == []


def test_conflicts_are_told_by_column() -> None:  # R4.2
    rename = found(with_column(replace(SIZE, name="length")))
    virtual = found(replace(TABLE, columns=(*TABLE.columns, VIRTUAL)))
    default = found(with_column(replace(NAME, default="'y'")))
    assert conflict(rename, virtual) == conflict(virtual, rename) == {3}
    assert conflict(rename, default) == frozenset()
    assert conflict(rename, found(converted("text"))) == {3}


def test_the_class_of_a_change_is_its_weakest() -> None:  # R4.2
    drop = found(with_column(replace(ID, not_null=False)))
    fresh = found(with_column(replace(SIZE, not_null=True)))
    rename = found(with_column(replace(SIZE, name="length")))
    assert compatibility([*drop, *rename]) == "BACKWARD"
    assert compatibility([*drop, *fresh]) == "NONE"
    assert compatibility([]) == "FULL"


MEASURED = [
    ("integer", "bigint", "lossless"),
    ("bigint", "integer", "checked"),
    ("integer", "real", "lossy"),
    ("double precision", "integer", "checked-lossy"),
    ("text", "uuid", "checked"),
    ("integer", "date", "impossible"),
    ("integer", "mood", "unmeasured"),
    ("character varying(5)", "character varying(9)", "lossless"),
    ("character varying(9)", "character varying(5)", "checked"),
    ("character varying(15)", "text", "lossless"),
    ("numeric(10,2)", "numeric(12,2)", "lossless"),
    ("numeric(10,2)", "numeric(10,1)", "lossy"),
    ("numeric(10,2)", "numeric(9,2)", "checked"),
    ("timestamp(3) without time zone", "timestamp without time zone", "lossless"),
    ("timestamp without time zone", "timestamp(0) without time zone", "lossy"),
]


@pytest.mark.parametrize(("source", "target", "class_"), MEASURED)
def test_what_a_cast_does(source: str, target: str, class_: str) -> None:  # R4.2
    assert coercion(source, target) == class_
