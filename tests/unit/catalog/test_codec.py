"""The model as JSON and back."""

from __future__ import annotations

import pytest

from catalog.codec import decode_version, encode_version
from catalog.model import (
    Column,
    Constraint,
    DocPath,
    Element,
    Index,
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


def test_constraints_of_an_older_catalog() -> None:  # R1.5
    text = encode_version(Version(1, 0, (TABLE,)))
    older = text.replace(', "references": 0, "foreign_columns": []', "")
    assert older != text
    assert decode_version(1, 0, "", older).tables == (TABLE,)


def test_an_unknown_source_is_an_internal_error() -> None:
    text = encode_version(Version(1, 0, (TABLE,))).replace('"kind": "doc"', '"kind": "new"')
    with pytest.raises(InternalError):
        decode_version(1, 0, "", text)
