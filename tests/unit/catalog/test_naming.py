"""Names of columns and tables: the cases that have a rule of their own."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.naming import (
    assign_names,
    child_table_name,
    column_name,
    cut_name,
    fixed_name,
    generated_key_name,
    name_cut,
    ordinality_name,
    parent_key_name,
    parse_path,
    path_text,
    table_name,
)


# R0.4: keys of documents become names that SQL can say, without clashes.
@pytest.mark.parametrize(
    ("path", "name"),
    [
        (("qty",), "qty"),
        (("Qty",), "Qty"),
        (("address", "geo", "lat"), "address.geo.lat"),
        (("a.b",), "a~1b"),
        (("a", "b"), "a.b"),
        (("a~b",), "a~0b"),
        (("a~1b",), "a~01b"),
        (("",), "~2"),
        (("a", ""), "a.~2"),
        (("~2",), "~02"),
        (("ctid",), "ctid~3"),
        (("CTID",), "CTID"),
        (("x", "ctid"), "x.ctid"),
        (("_doc",), "_doc~3"),
        (("_document",), "_document~3"),
        (("_doc", "x"), "_doc.x~3"),
        (("_id",), "_id"),
        (("$money",), "$money"),
        (("größe 📏",), "größe 📏"),
    ],
)
def test_column_name(path: tuple[str, ...], name: str) -> None:
    assert column_name(path) == name


# R0.4: names beyond 63 bytes
def test_long_names_are_cut_at_a_character() -> None:
    name = column_name(("x" + "é" * 40,))
    assert len(name.encode()) == 62  # 53 bytes, not half of an é, and the mark
    assert name.startswith("x" + "é" * 26 + "~")
    assert name != column_name(("x" + "é" * 41,))
    assert column_name(("k" * 63,)) == "k" * 63
    assert name_cut(("k" * 64,))
    assert not name_cut(("k" * 63,))
    assert column_name(("k" * 71,)) == "k" * 54 + "~" + column_name(("k" * 71,))[-8:]


# R0.4: a forged key cannot take the name of a cut one.
def test_cut_names_have_a_mark_of_their_own() -> None:
    for index in range(200):
        name = column_name((f"{index:03d}" + "z" * 80,))
        assert name[-9] == "~"
        assert name[-8] in "89abcdef"


def test_two_equal_hashes_are_settled(monkeypatch: pytest.MonkeyPatch) -> None:
    real = cut_name
    monkeypatch.setattr(
        "catalog.naming.cut_name",
        lambda name, salt=0: real("k" * 80, salt=salt) if len(name) > 63 else name,
    )
    names = assign_names([("k" * 80,), ("k" * 81,), ("a",)])
    assert len(set(names.values())) == 3


def test_the_root_has_no_name() -> None:
    with pytest.raises(ValueError, match="root"):
        column_name(())


# R0.4: collections with a space, a dot or no name at all
def test_table_names() -> None:
    assert table_name("my.shop orders") == "my.shop orders"
    assert table_name("") == "~2"
    assert len(table_name("t" * 100)) == 63


def test_child_tables() -> None:
    assert child_table_name("orders", ("items",)) == "orders_items"
    assert child_table_name("orders", ("a", "b.c")) == "orders_a.b~1c"
    other = child_table_name("orders", ("items",), {"orders_items"})
    assert other != "orders_items"
    assert other.startswith("orders_items~")
    assert child_table_name("orders", ("items",), {"orders_items"}) == other


def test_fixed_columns_yield_to_fields() -> None:
    assert parent_key_name("orders", "_id", set()) == "orders__id"
    assert parent_key_name("orders", "_id", {"orders__id"}) == "orders__id~3"
    assert ordinality_name({"qty"}) == "ordinality"
    assert ordinality_name({"ordinality"}) == "ordinality~3"
    assert generated_key_name({"a"}) == "_id"
    assert generated_key_name({"_id"}) == "_id~3"
    assert fixed_name("_docs__id", set()) == "_docs__id~3"


@given(st.lists(st.text(max_size=5), min_size=1, max_size=4))
def test_a_path_can_be_read_back_from_its_text(path: list[str]) -> None:  # R1.7
    assert parse_path(path_text(tuple(path))) == tuple(path)
