"""What plain accumulators settle is what the ones with conditions answer, group by group: every
pair of values that documents may have (R0.5, issue 4.8).
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
import pytest_asyncio
from bson.int64 import Int64
from pymongo.errors import OperationFailure

from backends.base import Aggregate
from backends.mongodb.client import CODEC
from backends.mongodb.decode import ColumnSpec
from backends.mongodb.grouping import Stage, Unsettled, member_of
from backends.mongodb.query import adapted
from core import expr as ir
from tests.services.federation.placing import SECANTUS
from tests.services.mongodb.scanning import Store, open_store
from tests.services.mongodb.values import MISSING, NUMBERS, OTHERS, TEXTS
from tests.services.servers.fleet import Fleet

pytestmark = [pytest.mark.services, pytest.mark.timeout(600)]
DATABASE = "morph_settled"
CASES = [
    ("integer", ("sum", "avg", "min", "max")),
    ("bigint", ("sum", "avg", "min", "max")),
    ("smallint", ("sum", "max")),
    ("text", ("min", "max")),
    ("timestamp with time zone", ("min", "max")),
    ("boolean", ("bool_and", "bool_or")),
]
EXTREMES: list[Any] = [Int64(2**63 - 1), Int64(-(2**63)), Int64(2**53 + 1), 2.0**63]


@pytest_asyncio.fixture
async def store(servers: Fleet) -> AsyncIterator[Store]:
    """Two documents for each pair of values, in a group of their own."""
    async with open_store(servers.get(SECANTUS), DATABASE) as store:
        values = [*NUMBERS, *TEXTS[::3], *OTHERS, MISSING]
        pairs: list[tuple[Any, ...]] = list(itertools.combinations_with_replacement(values, 2))
        pairs += [(each,) for each in EXTREMES]  # sums of two are errors in this server
        documents = [
            {"g": n} if value is MISSING else {"g": n, "v": value}
            for n, pair in enumerate(pairs)
            for value in pair
        ]
        for at in range(0, len(documents), 2_000):
            await store.db["t"].insert_many(documents[at : at + 2_000])
        await store.db["t"].create_index("g")
        yield store


async def _groups(
    store: Store, stages: Sequence[Stage], first: int = 0, behind: int = 1 << 12
) -> dict[int, list[Any]]:
    """What a $group stage answers for each group; the server has groups that it cannot sum."""
    group = {"_id": "$g", **{f"a{n}": stage for n, stage in enumerate(stages)}}
    group = adapted(group, wide_dates=False, bits=True)
    match = {"g": {"$gte": first, "$lt": behind}}
    collection = store.db["t"].with_options(codec_options=CODEC)
    try:
        answer = await collection.aggregate([{"$match": match}, {"$group": group}])
        found = await answer.to_list()
    except OperationFailure:
        if behind - first == 1:
            return {}
        middle = (first + behind) // 2
        halves = [
            await _groups(store, stages, first, middle),
            await _groups(store, stages, middle, behind),
        ]
        return halves[0] | halves[1]
    return {each["_id"]: [each[f"a{n}"] for n in range(len(stages))] for each in found}


@pytest.mark.parametrize(("sql_type", "names"), CASES, ids=[name for name, _ in CASES])
async def test_settled(store: Store, sql_type: str, names: Sequence[str]) -> None:
    spec = ColumnSpec(1, ("v",), sql_type, "string" if sql_type == "text" else "")
    settled = 0
    for name in names:
        member = member_of(Aggregate(name, ir.ColumnRef(1, sql_type), sql_type), spec)
        assert member.quick, name
        exact = await _groups(store, member.accumulators)
        for group, values in (await _groups(store, member.quick)).items():
            try:
                parts = member.parts(values, quick=True)
            except Unsettled:
                continue
            settled += 1
            if group not in exact:
                continue  # refused
            assert member.text(parts) == member.text(exact[group]), (name, group, values)
    assert settled > len(names) * 20


def test_texts_beside_object_ids_are_never_settled() -> None:
    spec = ColumnSpec(1, ("v",), "text", "string|objectId")
    assert not member_of(Aggregate("min", ir.ColumnRef(1, "text"), "text"), spec).quick
