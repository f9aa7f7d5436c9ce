"""R4.5: V2 keeps sums of key ranges by the writes alone."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.errors import InternalError
from evolution.validation.tree import ChunkTree, leaf_bounds

WRITES = st.lists(st.tuples(st.integers(0, 400), st.none() | st.binary(max_size=3)), max_size=60)


def built(rows: dict[int, bytes], bounds: list[int], fan_out: int = 3) -> ChunkTree[int]:
    tree = ChunkTree(bounds, fan_out)
    tree.add(sorted(rows.items()))
    return tree


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.integers(0, 400), st.binary(max_size=3)), WRITES)
def test_updates_lead_to_the_tree_of_the_rows(
    rows: dict[int, bytes], writes: list[tuple[int, bytes | None]]
) -> None:
    bounds = leaf_bounds(sorted(rows), 5)
    tree = built(rows, bounds)
    state = dict(rows)
    for key, new in writes:
        tree.update(key, state.get(key), new)
        if new is None:
            state.pop(key, None)
        else:
            state[key] = new
    fresh = built(state, bounds)
    assert tree.root == fresh.root
    assert list(tree.differing(fresh)) == []
    touched = {key for key, _ in writes}
    dirty = tree.dirty()
    for key in touched:
        assert any(_within(key, tree.range_of(leaf)) for leaf in dirty)
    assert tree.dirty() == []


def _within(key: int, bounds: tuple[int | None, int | None]) -> bool:
    after, until = bounds
    return (after is None or key > after) and (until is None or key <= until)


def test_only_the_leaf_of_a_lost_write_differs() -> None:
    rows = {n: b"%d" % n for n in range(10_000)}
    bounds = leaf_bounds(sorted(rows))
    one, other = built(rows, bounds, 32), built(rows, bounds, 32)
    assert one.leaves == 10
    one.update(5_500, b"5500", b"new")
    assert one.root != other.root
    assert [one.range_of(leaf) for leaf in one.differing(other)] == [(4_999, 5_999)]
    other.update(5_500, b"5500", b"new")
    assert one.root == other.root


def test_a_row_applied_twice_shows() -> None:
    one, other = ChunkTree[int]([10]), ChunkTree[int]([10])
    for tree in (one, other):
        tree.update(1, None, b"a")
    other.update(1, None, b"a")
    other.update(1, None, b"a")
    assert list(one.differing(other)) == [0]


def test_other_leaves_are_refused() -> None:
    with pytest.raises(InternalError):
        list(ChunkTree[int]([1]).differing(ChunkTree[int]([2])))
