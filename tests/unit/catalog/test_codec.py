"""The model as JSON and back."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from catalog.codec import decode_version, encode_version
from catalog.model import (
    Column,
    Constraint,
    DocPath,
    Element,
    Index,
    Lens,
    Lensed,
    Ordinality,
    ParentKey,
    Seed,
    Stored,
    Table,
    Version,
)
from core.errors import InternalError

TABLE = Table(
    7,
    'o"d',
    "table",
    (
        Column(1, "id", "integer", Stored("c1", "integer", "_id"), not_null=True, identity="a"),
        Column(2, "é", "text", DocPath(("a", "b.c"), clean=False), comment="it's"),
        Column(3, "v", "bigint", Seed("id + 1", (1,)), default=None),
    ),
    "t7",
    True,
    (
        Constraint("pk", "p", (1,), "PRIMARY KEY (id)", "k4_pk"),
        Constraint("fk", "f", (1,), "FOREIGN KEY (id) REFERENCES x(y)", "k5_fk", 9, (11, 12)),
    ),
    (Index("i", True, "btree", "(id)", "i6_i", " WHERE id > 0"),),
    comment="c",
)
CHILD = Table(
    8,
    "kids",
    "child",
    (
        Column(4, "key", "integer", ParentKey(1)),
        Column(5, "n", "bigint", Ordinality()),
        Column(6, "x", "text", Element(("x",))),
    ),
    parent_id=7,
    parent_path=("kids",),
)


def test_every_kind_comes_back() -> None:  # R1.5
    version = Version(3, 2, (TABLE, CHILD), "2026-01-01")
    assert decode_version(3, 2, "2026-01-01", encode_version(version)) == version


def test_lenses_come_back() -> None:  # R4.1
    under = Column(1, "x", "integer", Stored("c1", "integer"))
    field = Column(5, "y", "text", DocPath(("y",)))
    middle = Column(9, "x", "numeric", Stored("c9", "numeric"), not_null=True)
    top = Column(12, "x", "text", Stored("c12", "text", "f"))
    first = Lens(8, (under, field), (middle,), ('"$1"::numeric',), ('"$1"::integer', "NULL"))
    over = replace(middle, source=Lensed(8))
    second = Lens(11, (over,), (top,), ('"$1"::text',), ('"$1"::numeric',))
    table = Table(
        7, "t", "table", (replace(top, source=Lensed(11, "f", plain=True)),), "t7",
        lenses=(first, second),
    )  # fmt: skip
    version = Version(3, 2, (table,), "2026-01-01")
    assert decode_version(3, 2, "2026-01-01", encode_version(version)) == version


def test_a_catalog_from_before_there_were_lenses() -> None:  # R1.5
    spec = json.loads(encode_version(Version(3, 2, (TABLE,))))
    del spec[0]["lenses"]
    assert decode_version(3, 2, "", json.dumps(spec)).tables == (TABLE,)


def test_constraints_of_an_older_catalog() -> None:  # R1.5
    text = encode_version(Version(1, 0, (TABLE,)))
    older = text.replace(', "references": 0, "foreign_columns": []', "")
    assert older != text
    assert decode_version(1, 0, "", older).tables == (TABLE,)


def test_an_unknown_source_is_an_internal_error() -> None:
    text = encode_version(Version(1, 0, (TABLE,))).replace('"kind": "doc"', '"kind": "new"')
    with pytest.raises(InternalError):
        decode_version(1, 0, "", text)
