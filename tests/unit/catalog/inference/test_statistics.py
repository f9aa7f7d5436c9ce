"""What the observer counts, and where it stops looking."""

from __future__ import annotations

import pytest

from catalog.inference.kinds import Kind
from catalog.inference.statistics import InferenceLimits, Observer, TableStats, merge
from core.errors import InternalError


def observed(*documents: dict[str, object], **limits: int) -> TableStats:
    observer = Observer(InferenceLimits(**limits))
    for ordinal, document in enumerate(documents, 1):
        observer.observe(document, ordinal)
    return observer.stats


# R1.1
def test_counts_firsts_and_last() -> None:
    stats = observed({"a": 1}, {}, {"a": "x"}, {"a": None}, {"a": 2**60})
    node = stats.path(("a",))
    assert node is not None
    assert node.counts == {Kind.INT: 1, Kind.STRING: 1, Kind.NULL: 1, Kind.LONG: 1}
    assert node.firsts == {Kind.INT: 1, Kind.STRING: 3, Kind.NULL: 4, Kind.LONG: 5}
    assert (node.first, node.last, node.total, stats.documents) == (1, 5, 4, 5)
    assert stats.path(("b",)) is None
    assert stats.path(("a", "b")) is None


def test_elements_are_counted_and_nested_arrays_not_entered() -> None:
    node = observed({"a": [1, None, {"b": [2], "c": {"d": {"e": 1}}}]}).path(("a",))
    assert node is not None
    element = node.element
    assert element is not None
    assert element.counts == {Kind.INT: 1, Kind.NULL: 1, Kind.OBJECT: 1}
    assert element.fields["b"].element is None
    assert element.fields["c"].fields["d"].fields == {}


# R6.3: limits on everything
def test_depth_limit() -> None:
    stats = observed({"a": {"b": {"c": 1}}}, depth_max=2)
    assert stats.path(("a", "b")) is not None
    assert stats.path(("a", "b", "c")) is None


# R6.3
def test_an_object_with_keys_that_are_data_is_wide() -> None:
    stats = observed({"m": {str(key): key for key in range(9)}}, {"m": {"0": 1}}, width_max=8)
    node = stats.path(("m",))
    assert node is not None
    assert node.wide
    assert node.fields == {}
    assert node.counts == {Kind.OBJECT: 2}


# R6.3: the key is found even if the documents are too wide for anything else.
def test_a_wide_root_keeps_the_key() -> None:
    stats = observed({"a": 1, "b": 1, "c": 1, "_id": 7}, {"_id": 8, "z": 1}, fields_max=2)
    assert stats.root.wide
    assert list(stats.root.fields) == ["_id"]
    assert stats.root.fields["_id"].counts == {Kind.INT: 2}


# R6.3
def test_node_limit_keeps_the_top_level() -> None:
    document = {"a": {"b": 1, "c": {"d": 1}}, "e": [{"f": 1}]}
    stats = observed(document, document, {"g": {"h": 1}}, nodes_max=5)
    assert stats.truncated
    assert stats.root.nodes() == 4
    assert stats.root.fields.keys() == {"a", "e", "g"}
    assert merge(stats, observed(document, nodes_max=5)).root.nodes() == 4


def test_merge_shares_nothing_and_checks_limits() -> None:
    a, b = observed({"a": {"b": 1}}), observed({"a": 2})
    merged = merge(a, b)
    merged.root.fields["a"].counts[Kind.INT] = 99
    assert b.root.fields["a"].counts == {Kind.INT: 1}
    with pytest.raises(InternalError):
        merge(a, observed({}, depth_max=1))


def test_an_unknown_python_type_is_an_internal_error() -> None:
    with pytest.raises(InternalError, match="set"):
        observed({"a": set()})
