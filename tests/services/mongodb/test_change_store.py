"""Log and layouts of changes in MongoDB (issue 5 points 3 and 4; EVOLUTION 3, decision 0011)."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
import pytest_asyncio
from bson.int64 import Int64
from bson.objectid import ObjectId

from backends.base import Scope
from backends.change_store import Image, Intent, LogPlace, StoreRow
from catalog.model import Column, Native, Table
from tests.services.mongodb.scanning import Store, open_store
from tests.services.servers.process import RunningServer

pytestmark = pytest.mark.services

KEY = Column(1, "_id", "integer", Native(("_id",), "int"))
NAME = Column(2, "name", "text", Native(("name",), "string"))
OLD = Column(3, "total", "double precision", Native(("in", "total"), "double"))
NEW = Column(4, "total", "numeric(12,2)", Native(("in", "total"), "decimal"))
SCOPE = Scope()


@pytest_asyncio.fixture
async def store(mongodb: RunningServer) -> AsyncIterator[Store]:
    """An empty database."""
    async with open_store(mongodb, "morph_changes") as store:
        yield store


def _layouts(store: Store) -> tuple[Table, Table]:
    live = Table(
        9, "t", "foreign", (KEY, NAME, OLD), instance="shop", native=(store.database, "t"), key=(1,)
    )
    return live, replace(live, columns=(KEY, NAME, NEW), native=(store.database, "t_s2"))


def _intent(lsn: int, key: str, *, done: bool = False) -> Intent:
    return Intent(lsn, 7, (key,), "put", 3, (2,), lsn + 5_000_000, (3,), "ann", 99, lsn, done)


# Records are found by being there, whatever their order; repeating a step changes nothing
async def test_log_keeps_what_is_appended_until_it_is_removed(store: Store) -> None:
    changes, place = store.backend.change_store(), LogPlace(store.database, 9)
    await changes.make_log(place, SCOPE)
    await changes.make_log(place, SCOPE)
    late, early = _intent(2_000, "1"), _intent(1_000, "2")
    await changes.append(place, [late], SCOPE)
    await changes.append(place, [early], SCOPE)
    await changes.append(place, [early], SCOPE)  # the answer to the first one was lost
    assert await changes.read(place, 0, SCOPE) == [early, late]
    assert await changes.read(place, 1, SCOPE) == [early]
    await changes.done(place, [late, _intent(5, "9")], SCOPE)
    assert await changes.read(place, 0, SCOPE) == [early, replace(late, done=True)]
    await changes.remove(place, [early], SCOPE)
    assert await changes.read(place, 0, SCOPE) == [replace(late, done=True)]
    await changes.drop_log(place, SCOPE)
    await changes.drop_log(place, SCOPE)
    assert await changes.read(place, 0, SCOPE) == []


def _image(at: int, version: int) -> Image:
    raw = {"_id": at, "name": f"{at}/{version}", "in": {"total": 1.5, "more": [version]}, "x": 1}
    row = StoreRow((str(at),), "", {1: str(at), 2: raw["name"], 3: "1.5"}, raw)
    return Image((str(at),), row, {4: f"{version}.50"})


# I3: per key a layout only moves to a higher position, deletes included, in any order and repeated
async def test_puts_commute(store: Store) -> None:
    live, shadow = _layouts(store)
    changes = store.backend.change_store()
    await changes.make_shadow(live, shadow, SCOPE)
    await changes.make_shadow(live, shadow, SCOPE)
    shuffled = random.Random(5)
    keys, puts = 30, []
    for key in range(keys):
        for version in range(6):
            gone = shuffled.random() < 0.3
            image = Image((str(key),), None) if gone else _image(key, version)
            puts.append((100 + 2 * version, image))
    wanted = {i.key[0]: (lsn, i) for lsn, i in sorted(puts, key=lambda each: each[0])}
    puts += shuffled.choices(puts, k=60)
    shuffled.shuffle(puts)
    for lsn, image in puts:
        await changes.put(live, shadow, [image], lsn, SCOPE)
    rows = (await changes.chunk(shadow, None, None, 0, SCOPE)).rows
    found = {row.key[0]: (row.lsn, row.values[2], row.values[4]) for row in rows}
    assert found == {
        key: (lsn, image.source.values[2], image.values[4])
        for key, (lsn, image) in wanted.items()
        if image.source is not None
    }
    collection = store.db[shadow.native[1]]
    assert await collection.count_documents({}) == keys  # tombstones are there
    await changes.clean(shadow, SCOPE)
    await changes.tidy(shadow, SCOPE)
    left = await collection.find({}).to_list()
    assert len(left) == len(found)
    assert all(set(each) == {"_id", "name", "in", "x"} for each in left)
    assert all(type(each["in"]["more"]) is list for each in left)


# A document that a client wrote after the flip has no position: any put replaces it
async def test_a_document_without_position_is_older(store: Store) -> None:
    live, shadow = _layouts(store)
    await store.db[shadow.native[1]].insert_one({"_id": 1, "name": "client"})
    changes = store.backend.change_store()
    await changes.put(live, shadow, [_image(1, 3)], 50, SCOPE)
    [row] = await changes.reread(shadow, [("1",)], SCOPE)
    assert (row.lsn, row.values[2]) == (50, "1/3")
    await changes.put(live, shadow, [Image(("1",), None)], 60, SCOPE)
    assert await changes.reread(shadow, [("1",)], SCOPE) == []
    assert await changes.at(shadow, [row.position], SCOPE) == []


# Chunks go through all keys once, whatever BSON type they have
@pytest.mark.parametrize("rows", [1, 2, 5, 100])
async def test_chunks_see_every_key(store: Store, rows: int) -> None:
    ids: list[Any] = [3, Int64(2**40), 2.5, "a", "b", ObjectId(), b"\x01", {"k": 1}, True]
    await store.db.t.insert_many([{"_id": key, "name": "n"} for key in ids])
    live, _ = _layouts(store)
    live = replace(live, columns=(replace(KEY, type="jsonb", source=Native(("_id",))), NAME))
    changes = store.backend.change_store()
    until, total = await changes.bound(live, SCOPE)
    assert total == len(ids)
    seen: list[str] = []
    after = None
    for _ in range(len(ids) + 2):
        chunk = await changes.chunk(live, after, until, rows, SCOPE)
        seen += [row.position for row in chunk.rows]
        after = chunk.last or after
        if chunk.ended:
            break
    assert len(seen) == len(set(seen)) == len(ids)
    assert [row.position for row in await changes.at(live, seen[:3], SCOPE)] == seen[:3]


# The way back leaves the document as it was, but for what changed (settled question 12)
async def test_put_back_writes_nothing_of_ours(store: Store) -> None:
    live, shadow = _layouts(store)
    changes = store.backend.change_store()
    await store.db.t.insert_many(
        [
            {"_id": 1, "in": {"total": 1.239}, "name": "a", "x": [1]},
            {"_id": 2, "name": "b"},
        ]
    )
    old = {row.key[0]: row for row in await changes.reread(live, [("1",), ("2",)], SCOPE)}
    new = {"_id": 1, "in": {"total": 1.24}, "name": "A", "x": [1], "_l": Int64(5)}
    row = StoreRow(("1",), "", {1: "1", 2: "A", 4: "1.24"}, new)
    other = StoreRow(("3",), "", {1: "3", 2: "C"}, {"_id": 3, "name": "C", "_l": Int64(9)})
    images = [
        Image(("1",), row, {3: "1.24"}, old["1"], kept=(3,)),
        Image(("2",), None, {}, old["2"]),
        Image(("3",), other, {3: "2.5"}),
    ]
    await changes.put_back(shadow, live, images, 7, SCOPE)
    found = {each["_id"]: each for each in await store.db.t.find({}).to_list()}
    assert found == {
        1: {"_id": 1, "in": {"total": 1.239}, "name": "A", "x": [1]},
        3: {"_id": 3, "name": "C", "in": {"total": 2.5}},
    }
