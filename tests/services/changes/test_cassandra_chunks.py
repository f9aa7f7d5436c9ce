"""A table of Cassandra read piece by piece: each row once, between any two places (EVOLUTION 4)."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Sequence

import pytest
import pytest_asyncio

from backends.base import Scope
from backends.cassandra.places import read_place
from backends.change_store import StoreRow
from catalog.model import Table
from core.errors import InvalidParameterValue
from tests.services.cassandra.stores import Store, open_store
from tests.services.servers.process import RunningServer

pytestmark = pytest.mark.services


@pytest_asyncio.fixture(scope="module")
async def store(cassandra: RunningServer) -> AsyncIterator[Store]:
    async with open_store(cassandra, "morph_chunks") as opened:
        yield opened


TABLES = {
    "narrow": "p int PRIMARY KEY, v text",
    "wide": "p int, a int, b text, v text, PRIMARY KEY (p, a, b)",
    "mixed": "p int, q text, a int, b blob, c timestamp, v text, PRIMARY KEY ((p, q), a, b, c)) "
    "WITH CLUSTERING ORDER BY (a DESC, b ASC, c DESC",
}


async def _filled(store: Store, name: str, kind: str) -> Table:
    await store.cql(f"CREATE TABLE {name} ({TABLES[kind]})")
    dice = random.Random(7)
    for number in range(120):
        p = number if kind == "narrow" else number % 4
        names, values = ["p", "v"], [str(p), f"'v{number}'"]
        if kind == "mixed":
            names.append("q")
            values.append(f"'q{number % 2}'")
            names += ["b", "c"]
            values += [f"0x{dice.randrange(4):02x}", str(dice.randrange(3) * 1000)]
        if kind == "wide":
            names.append("b")
            values.append(f"'b{dice.randrange(5)}'")
        if kind != "narrow":
            names.append("a")
            values.append(str(dice.randrange(-4, 4)))
        await store.cql(f"INSERT INTO {name} ({', '.join(names)}) VALUES ({', '.join(values)})")
    return await store.table(name)


async def _whole(store: Store, table: Table) -> Sequence[StoreRow]:
    chunk = await store.backend.change_store().chunk(table, None, None, 0, Scope())
    assert chunk.ended
    return chunk.rows


# EVOLUTION 4: from its last place on, a chunk goes on without a gap or a row twice, at any size
@pytest.mark.parametrize("kind", list(TABLES))
async def test_chunks_put_together(store: Store, own_name: str, kind: str) -> None:
    table = await _filled(store, own_name, kind)
    changes = store.backend.change_store()
    whole = [row.position for row in await _whole(store, table)]
    stored = await store.rows(f"SELECT v FROM {own_name}")
    assert len(whole) == len(set(whole)) == len(stored)
    for size in (1, 7, 1_000):
        found: list[str] = []
        after, ended = None, False
        while not ended:
            chunk = await changes.chunk(table, after, None, size, Scope())
            found += [row.position for row in chunk.rows]
            assert len(chunk.rows) <= size
            assert chunk.last == (found[-1] if chunk.rows else None)
            after, ended = chunk.last or after, chunk.ended
        assert found == whole


# EVOLUTION 8: between any two places lie the rows between them, whether or not the places are rows
@pytest.mark.parametrize("kind", list(TABLES))
async def test_between(store: Store, own_name: str, kind: str) -> None:
    table = await _filled(store, own_name, kind)
    changes = store.backend.change_store()
    whole = list(await _whole(store, table))
    dice = random.Random(8)
    gone = dice.sample(whole, len(whole) // 3)
    for row in gone:
        where = " AND ".join(
            f"{name} = {_cql(value, name)}"
            for name, value in zip(_key_names(table), row.key, strict=True)
        )
        await store.cql(f"DELETE FROM {own_name} WHERE {where}")
    left = [row for row in whole if row not in gone]
    assert [row.position for row in await _whole(store, table)] == [r.position for r in left]
    for _ in range(60):
        first, last = sorted(dice.sample(range(len(whole)), 2))
        low, high = whole[first].position, whole[last].position
        expected = [row.position for row in whole[first + 1 : last + 1] if row in left]
        chunk = await changes.chunk(table, low, high, 0, Scope())
        assert [row.position for row in chunk.rows] == expected
        expected = [row.position for row in whole[: last + 1] if row in left]
        chunk = await changes.chunk(table, None, high, 0, Scope())
        assert [row.position for row in chunk.rows] == expected


def _key_names(table: Table) -> list[str]:
    columns = [table.column_by_id(each) for each in table.key]
    return [each.name for each in columns if each is not None]


def _cql(value: str, name: str) -> str:
    if name == "b" and value.startswith("\\x"):
        return "0x" + value[2:]
    return f"'{value}'" if name in ("b", "c", "q") else value


# I5: rows found again by their places and by their keys are the same
async def test_by_place_and_key(store: Store, own_name: str) -> None:
    table = await _filled(store, own_name, "mixed")
    changes = store.backend.change_store()
    whole = list(await _whole(store, table))
    missing = read_place(whole[0].position)
    nowhere = str(type(missing)(missing.token, missing.partition, (b"\0\0\0\x7f", b"", b"\0" * 8)))
    places = [row.position for row in whole]
    assert list(await changes.at(table, [*places, nowhere], Scope())) == whole
    keys = [row.key for row in whole]
    assert (
        list(await changes.reread(table, [*keys, ("9", "q", "0", "\\x", keys[0][4])], Scope()))
        == whole
    )
    with pytest.raises(InvalidParameterValue):
        await changes.chunk(table, "elsewhere", None, 1, Scope())


# An empty table has one chunk without rows
async def test_empty(store: Store, own_name: str) -> None:
    table = await store.table(own_name, TABLES["wide"])
    chunk = await store.backend.change_store().chunk(table, None, None, 10, Scope())
    assert (chunk.rows, chunk.last, chunk.ended) == ([], None, True)
    assert await store.backend.change_store().bound(table, Scope()) == (None, 0)
