"""R4.5: V4 finds differing rows by sums of ranges, and knows when to give up."""

from __future__ import annotations

import random

import pytest

from evolution.validation.bisection import Bisection, SummedSide, bisect
from private_pg.cluster import Cluster
from tests.validation.bed import Bed, select
from tests.validation.memory import SummedRows
from tests.validation.test_scrub import COLUMNS, make

FEW = 32
ROWS = 32 * 32 * FEW


def rows(changed: set[int], missing: set[int] = frozenset()) -> SummedRows:  # type: ignore[assignment]
    made = [
        (b"%07d" % n, b"changed" if n in changed else b"value %d" % n)
        for n in range(ROWS)
        if n not in missing
    ]
    return SummedRows(made)


@pytest.fixture(scope="module")
def live() -> SummedRows:
    return rows(set())


async def compared(live: SummedRows, changed: set[int]) -> Bisection:
    found = await bisect(live, rows(changed), leaf_rows=FEW)
    assert found.scan or {int(pair.key) for pair in found.pairs} == changed
    return found


async def test_one_row_costs_two_levels_of_sums_and_one_leaf(live: SummedRows) -> None:
    found = await compared(live, {17_777})
    assert (found.asked, found.fetched) == (65, FEW)


async def test_equal_stores_cost_one_sum(live: SummedRows) -> None:
    found = await compared(live, set())
    assert (found.asked, found.fetched, found.scan) == (1, 0, False)


@pytest.mark.parametrize("count", [10, 60])
async def test_scattered_rows_are_all_found(live: SummedRows, count: int) -> None:
    changed = set(random.Random(count).sample(range(ROWS), count))
    found = await compared(live, changed)
    assert not found.scan
    assert found.asked <= 1 + 32 + 32 * 32
    assert found.fetched <= count * FEW


async def test_a_cluster_costs_few_leaves(live: SummedRows) -> None:
    found = await compared(live, set(range(5_200, 5_400)))
    assert (found.asked, found.scan) == (65, False)
    assert found.fetched <= 9 * FEW


async def test_it_gives_up_when_differences_are_everywhere(live: SummedRows) -> None:
    changed = set(random.Random(1).sample(range(ROWS), 1_000))
    found = await compared(live, changed)
    assert (found.scan, found.fetched, found.pairs) == (True, 0, [])


async def test_missing_and_extra_rows(live: SummedRows) -> None:
    found = await bisect(live, rows(set(), {5, ROWS - 1}), leaf_rows=FEW)
    assert [(int(p.key), p.shadow) for p in found.pairs] == [(5, None), (ROWS - 1, None)]
    found = await bisect(rows(set(), {5, ROWS - 1}), live, leaf_rows=FEW)
    assert [(int(p.key), p.live) for p in found.pairs] == [(5, None), (ROWS - 1, None)]


async def test_over_sides_of_tables(validation_cluster: Cluster, root) -> None:  # type: ignore[no-untyped-def]
    await make(root)
    await root.execute("UPDATE morph_store.shadow SET name = 'x' WHERE id IN (3, 402)")
    bed = Bed(validation_cluster, select("live", COLUMNS), select("shadow", COLUMNS))
    async with bed.sides() as (one, other):
        found = await bisect(SummedSide(one), SummedSide(other), fan_out=8, leaf_rows=16)
    assert [pair.key for pair in found.pairs] == [b"3", b"402"]
    assert found.fetched <= 32
