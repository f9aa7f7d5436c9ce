"""Laws of inference: parts and whole agree, merging is commutative and associative, no loss."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from catalog.inference.infer import InferredTable, infer_table
from catalog.inference.kinds import (
    CsvCell,
    Kind,
    ObjectId,
    Typed,
    float_or_decimal,
    integer_or_decimal,
)
from catalog.inference.statistics import InferenceLimits, Observer, TableStats, merge
from catalog.inference.widen import widen

TIGHT = InferenceLimits(depth_max=3, fields_max=7, width_max=3, columns_max=9, children_max=2)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.integers(-3, 3),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([Decimal("0.1000000000000000055"), Decimal("1e400")]),
    st.text(max_size=3),
    st.sampled_from([ObjectId("0" * 24), CsvCell(""), CsvCell("1"), CsvCell("1.50"), CsvCell("x")]),
    st.sampled_from(
        [
            Typed(Kind.TIMESTAMPTZ, "2024-01-01 00:00:00+00", '{"$date":"2024-01-01T00:00:00Z"}'),
            Typed(Kind.FLOAT_SPECIAL, "NaN", '{"$numberDouble":"NaN"}'),
            Typed(Kind.EXTENDED, "", '{"$minKey":1}'),
        ]
    ),
)
KEYS = st.sampled_from(["_id", "id", "a", "b", "c", "d", "e.f", "", "ctid"])
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=5)),
    max_leaves=6,
)
DOCUMENTS = st.lists(st.dictionaries(KEYS, VALUES, max_size=9), max_size=12)
LIMITS = st.sampled_from([InferenceLimits(), TIGHT])


def observed(
    documents: list[dict[str, Any]], limits: InferenceLimits, first: int = 0
) -> TableStats:
    observer = Observer(limits)
    for ordinal, document in enumerate(documents, first):
        observer.observe(document, ordinal)
    return observer.stats


# R1.1: statistics of parts are mergeable in any order.
@given(DOCUMENTS, LIMITS, st.data())
def test_inference_over_parts_is_inference_over_the_whole(
    documents: list[dict[str, Any]], limits: InferenceLimits, data: st.DataObject
) -> None:
    cut = data.draw(st.integers(0, len(documents)))
    left = observed(documents[:cut], limits)
    right = observed(documents[cut:], limits, cut)
    whole = observed(documents, limits)
    assert merge(left, right) == whole
    assert merge(right, left) == whole
    assert infer_table("t", merge(right, left)) == infer_table("t", whole)


# R1.1
@given(DOCUMENTS, DOCUMENTS, DOCUMENTS, LIMITS)
def test_merge_is_associative_and_commutative(
    a: list[dict[str, Any]],
    b: list[dict[str, Any]],
    c: list[dict[str, Any]],
    limits: InferenceLimits,
) -> None:
    x, y, z = observed(a, limits), observed(b, limits), observed(c, limits)
    before = observed(a, limits)
    assert merge(merge(x, y), z) == merge(x, merge(y, z))
    assert merge(x, y) == merge(y, x)
    assert merge(x, TableStats.empty(limits)) == x == before


# R0.4: no value of a minority type may turn into NULL without a notice.
@given(DOCUMENTS)
def test_every_value_fits_its_column_or_there_is_an_event(documents: list[dict[str, Any]]) -> None:
    stats = observed(documents, InferenceLimits())
    table = infer_table("t", stats)
    told = {event.path for event in table.events if event.kind in {"mixed_types", "minority_type"}}
    for column in table.columns:
        node = stats.path(column.path)
        assert node is not None
        verdict = widen(column.pg_type, node, physical=column.physical)
        assert verdict.outcome == "fits", (column, verdict)
        families = {kind for kind in node.counts if kind is not Kind.NULL}
        scalars = families - {Kind.OBJECT, Kind.ARRAY, Kind.EXTENDED}
        if column.pg_type == "jsonb" and scalars:
            assert column.path in told


# R0.4: every present path is a column, and counts add up.
@given(DOCUMENTS)
def test_counts_add_up(documents: list[dict[str, Any]]) -> None:
    table = infer_table("t", observed(documents, InferenceLimits()))
    for column in table.columns:
        assert column.missing >= 0
        if len(column.path) == 1:
            assert sum(column.counts.values()) + column.missing == len(documents)
    assert {c.path[0] for c in table.columns} == {key for document in documents for key in document}
    _no_two_names(table)


def _no_two_names(table: InferredTable) -> None:
    names = [column.name for column in table.columns]
    assert len(names) == len(set(names))
    for child in table.children:
        inside = [child.parent_key, child.ordinality, *(column.name for column in child.columns)]
        assert len(inside) == len(set(inside))


# R1.3: a float literal is a double only if the double denotes the same number.
@given(st.from_regex(r"-?(0|[1-9][0-9]{0,20})\.[0-9]{1,20}(e[+-]?[0-9]{1,3})?", fullmatch=True))
@settings(max_examples=300)
def test_numbers_are_judged_from_their_text(literal: str) -> None:
    value = float_or_decimal(literal)
    assert Decimal(repr(value) if isinstance(value, float) else value) == Decimal(literal)
    assert json.loads(literal, parse_float=float_or_decimal) == value


# R1.3
@given(st.integers())
def test_integers_of_any_length(number: int) -> None:
    assert integer_or_decimal(str(number)) == number
