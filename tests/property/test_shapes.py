"""Counting by shape gives exactly the statistics of counting one by one (R7.1)."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog.inference.kinds import CsvCell, Kind, ObjectId, Typed
from catalog.inference.statistics import InferenceLimits, Observer
from engine.loading import shape_counts
from engine.loading.shape_counts import ShapeCounter

LIMITS = InferenceLimits(depth_max=2, fields_max=5, width_max=3, nodes_max=10_000)
SCALARS = st.sampled_from(
    [
        None, True, 0, 1, -(2**53), 2**53 + 1, 2**63, 1.5, Decimal("1.10"), "x", ObjectId("0" * 24),
        Typed(Kind.TIMESTAMPTZ, "2024-01-01 00:00:00+00", '{"$date":"2024-01-01T00:00:00Z"}'),
        Typed(Kind.EXTENDED, "", '{"$minKey":1}'),
        CsvCell("5"), CsvCell(""),
    ]
)  # fmt: skip
KEYS = st.sampled_from(["_id", "a", "b", "c", "d", "e", "f", "g"])
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=6,
)
DOCUMENTS = st.lists(st.dictionaries(KEYS, VALUES, max_size=6), max_size=4)


def _compare(documents: list[dict[str, Any]]) -> ShapeCounter:
    one, shaped = Observer(LIMITS), ShapeCounter(LIMITS)
    for ordinal, document in enumerate(documents, 1):
        one.observe(document, ordinal)
        shaped.observe(document, ordinal)
    assert shaped.stats() == one.stats
    assert shaped.stats() == one.stats  # asking twice changes nothing
    return shaped


@settings(max_examples=300, deadline=None)
@given(DOCUMENTS, st.lists(st.integers(0, 3), max_size=12))
def test_shapes_count_what_documents_count(
    documents: list[dict[str, Any]], order: list[int]
) -> None:  # R7.1
    _compare([documents[n] for n in order if n < len(documents)])


@pytest.mark.parametrize("limit", ["SHAPES_MAX", "LAYOUTS_MAX", "ELEMENTS_MAX", "MISSES_MAX"])
def test_limits_change_the_way_and_not_the_result(
    monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:  # R7.1
    monkeypatch.setattr(shape_counts, limit, 1)
    documents: list[dict[str, Any]] = [
        {"_id": n, f"k{n % 4}": [n] * (n % 3), "s": "x" if n % 2 else n} for n in range(40)
    ]
    _compare(documents)
