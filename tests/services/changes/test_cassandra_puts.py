"""Rows put at positions into a layout in Cassandra: the last one wins in whatever order and how
often puts arrive (EVOLUTION 3, I3; issue 5 points 1 and 8g).
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
import pytest_asyncio

from backends.base import Scope
from backends.cassandra.change_log import now_us
from backends.change_store import Image, StoreRow
from catalog.model import Column, Native, Table
from core.errors import InternalError, MorphError
from tests.services.cassandra.stores import Store, column_id, open_store
from tests.services.servers.process import RunningServer

pytestmark = pytest.mark.services

COLUMNS = (
    "p int, c text, b blob, n bigint, total double, tags set<text>, notes list<text>, "
    "marks map<text, int>, f frozen<list<int>>, pair tuple<int, text>, "
)
KEY = "PRIMARY KEY ((p, b), c)"
SCHEDULES = 200
BASE = 1_700_000_000_000_000
"""A position far below the servers' clock, as all positions of a change are."""


@pytest_asyncio.fixture(scope="module")
async def store(cassandra: RunningServer) -> AsyncIterator[Store]:
    async with open_store(cassandra, "morph_puts") as opened:
        yield opened


def with_total_as_numeric(live: Table, name: str) -> Table:
    """The layout of the version in which `total` is numeric(12,2), under a new id."""
    columns = tuple(
        Column(1_000, "total", "numeric(12,2)", Native(("total",), "", clean=False))
        if each.name == "total"
        else each
        for each in live.columns
    )
    return replace(live, columns=columns, native=(live.native[0], name))


async def make_layouts(store: Store, name: str, definition: str) -> tuple[Table, Table]:
    """A live table and its shadow."""
    live = await store.table(name, definition)
    changes = store.backend.change_store()
    shadow = with_total_as_numeric(live, f"{name}_s1")
    await changes.make_shadow(live, shadow, Scope())
    await changes.make_shadow(live, shadow, Scope())  # again: harmless
    return live, shadow


def image_of(row: StoreRow, live: Table) -> Image:
    """What `up` would make of a row: `total` rounded to two digits."""
    total = row.values[column_id(live, "total")]
    return Image(row.key, row, {1_000: None if total is None else f"{float(total):.2f}"})


def _literal(value: Any) -> str:
    if isinstance(value, str):
        return f"'{value}'"
    if isinstance(value, bytes):
        return f"0x{value.hex()}"
    if isinstance(value, dict):
        return "{" + ", ".join(f"'{k}': {v}" for k, v in value.items()) + "}"
    if isinstance(value, set):
        return "{" + ", ".join(map(_literal, sorted(value))) + "}"
    if isinstance(value, tuple):
        return "(" + ", ".join(map(_literal, value)) + ")"
    if isinstance(value, list):
        return "[" + ", ".join(map(_literal, value)) + "]"
    return "null" if value is None else repr(value)


def _random_row(dice: random.Random) -> Mapping[str, Any]:
    """Other values, NULLs and empty collections among them, each time."""

    def some(value: Any) -> Any:
        return value if dice.random() < 0.7 else None

    words = ["a", "b", "c", "d"]
    return {
        "n": some(dice.randrange(-(10**6), 10**6)),
        "total": some(dice.randrange(1000) / 4),
        "tags": some(set(dice.sample(words, dice.randrange(4)))),
        "notes": some([dice.choice(words) for _ in range(dice.randrange(4))]),
        "marks": some({w: dice.randrange(9) for w in dice.sample(words, dice.randrange(4))}),
        "f": some([dice.randrange(9) for _ in range(dice.randrange(3))]),
        "pair": some((dice.randrange(9), dice.choice(words))),
    }


def _insert(name: str, key: tuple[int, bytes, str], row: Mapping[str, Any]) -> str:
    names = ", ".join(("p", "b", "c", *row))
    values = ", ".join(map(_literal, (*key, *row.values())))
    return f"INSERT INTO {name} ({names}) VALUES ({values})"


# I3: permuted and repeated puts with deletes, NULLs and collections leave the last image, exactly
async def test_random_schedules(store: Store, own_name: str) -> None:
    live, shadow = await make_layouts(store, own_name, COLUMNS + KEY)
    changes = store.backend.change_store()
    dice = random.Random(5)
    positions = itertools.count(BASE, 2)
    schedules: list[tuple[tuple[int, bytes, str], list[tuple[int, Image]]]] = []
    for number in range(SCHEDULES):
        # Few partitions, so that rows of one partition are put together.
        key = (number % 17, bytes([number % 3, 0, 255]), f"c{number}")
        history = []
        for _ in range(dice.randrange(1, 6)):
            if dice.random() < 0.25:
                history.append((next(positions), Image(_text_key(key), None)))
                await store.cql(f"DELETE FROM {own_name} WHERE {_where(key)}")
                continue
            await store.cql(f"DELETE FROM {own_name} WHERE {_where(key)}")
            await store.cql(_insert(own_name, key, _random_row(dice)))
            [row] = await changes.reread(live, [_text_key(key)], Scope())
            history.append((next(positions), image_of(row, live)))
        schedules.append((key, history))
    puts = [(lsn, image) for _, history in schedules for lsn, image in history]
    dice.shuffle(puts)
    for lsn, image in puts:
        await changes.put(live, shadow, [image], lsn, Scope())
    wrong = []
    for _, history in schedules:
        lsn, last = max(history, key=lambda each: each[0])
        found = list(await changes.reread(shadow, [last.key], Scope()))
        if found != [] if last.source is None else not _is_image(found, last, lsn):
            wrong.append((last, found))
    assert not wrong, wrong[:3]


def _text_key(key: tuple[int, bytes, str]) -> tuple[str, str, str]:
    return str(key[0]), "\\x" + key[1].hex(), key[2]


def _where(key: tuple[int, bytes, str]) -> str:
    return f"p = {key[0]} AND b = 0x{key[1].hex()} AND c = '{key[2]}'"


def _is_image(found: list[StoreRow], image: Image, lsn: int) -> bool:
    """The row has each value of the image, the copied ones to the byte, and its position."""
    if len(found) != 1 or image.source is None or found[0].lsn != lsn:
        return False
    stored, source = dict(found[0].raw), dict(image.source.raw)  # type: ignore[call-overload]
    for raw in (stored, source):
        raw.pop("total")
        raw.pop("_l", None)
    same = found[0].position == image.source.position and found[0].key == image.key
    return same and stored == source and found[0].values[1_000] == image.values[1_000]


# I3: the same put again, and puts at the same time, change nothing
async def test_repeated_and_concurrent(store: Store, own_name: str) -> None:
    without_lists = COLUMNS.replace("notes list<text>", "notes frozen<list<text>>")
    live, shadow = await make_layouts(store, own_name, without_lists + KEY)
    changes = store.backend.change_store()
    dice = random.Random(6)
    positions = itertools.count(BASE, 2)
    puts: list[tuple[int, Image]] = []
    for number in range(60):
        key = (number % 5, b"\1", f"c{number}")
        puts.append((next(positions), Image(_text_key(key), None)))
        for _ in range(3):
            await store.cql(f"DELETE FROM {own_name} WHERE {_where(key)}")
            await store.cql(_insert(own_name, key, _random_row(dice)))
            [row] = await changes.reread(live, [_text_key(key)], Scope())
            puts.append((next(positions), image_of(row, live)))
    last = {image.key: (lsn, image) for lsn, image in puts}
    again = [each for each in puts for _ in range(3)]
    dice.shuffle(again)
    appliers = [again[start::4] for start in range(4)]

    async def apply(part: list[tuple[int, Image]]) -> None:
        for lsn, image in part:
            await changes.put(live, shadow, [image], lsn, Scope())

    await asyncio.gather(*map(apply, appliers))
    for lsn, image in last.values():
        assert _is_image(list(await changes.reread(shadow, [image.key], Scope())), image, lsn)


# EVOLUTION 3: a list that is put again, at a position of its own, is there once
async def test_lists_are_not_doubled(store: Store, own_name: str) -> None:
    live, shadow = await make_layouts(store, own_name, COLUMNS + KEY)
    changes = store.backend.change_store()
    await store.cql(_insert(own_name, (1, b"x", "c"), {"notes": ["a", "b"]}))
    [row] = await changes.reread(live, [_text_key((1, b"x", "c"))], Scope())
    for lsn in (BASE + 4, BASE, BASE + 2, BASE + 6):
        await changes.put(live, shadow, [image_of(row, live)], lsn, Scope())
    assert await store.rows(f"SELECT notes FROM {shadow.native[-1]}") == [(["a", "b"],)]


# I3: one step never puts a row twice at one position
async def test_two_images_of_one_row(store: Store, own_name: str) -> None:
    live, shadow = await make_layouts(store, own_name, COLUMNS + KEY)
    gone = Image(_text_key((1, b"x", "c")), None)
    with pytest.raises(InternalError, match="put twice"):
        await store.backend.change_store().put(live, shadow, [gone, gone], BASE, Scope())


# I11: what PostgreSQL cannot hold is copied as it is stored
async def test_copies_are_exact(store: Store, own_name: str) -> None:
    live, shadow = await make_layouts(
        store,
        own_name,
        "p int PRIMARY KEY, total double, t time, d decimal, w text, u duration, day date, "
        "s frozen<set<text>>, v vector<float, 2>",
    )
    await store.cql(
        f"INSERT INTO {own_name} (p, total, t, d, w, u, day, s, v) VALUES (1, 2.5, "
        "'10:11:12.123456789', 1E+3, 'nul\0here', 1h3ns, '2020-01-01', {'b', 'a'}, [1, 2])"
    )
    changes = store.backend.change_store()
    chunk = await changes.chunk(live, None, None, 0, Scope())
    unseen = {column_id(live, name) for name in ("t", "w", "u")}
    assert set(chunk.rows[0].misfits) == unseen
    await changes.put(live, shadow, [image_of(each, live) for each in chunk.rows], BASE, Scope())
    names = "t, d, w, u, day, s, v"
    [there] = await store.rows(f"SELECT {names} FROM {own_name}")
    assert await store.rows(f"SELECT {names} FROM {shadow.native[-1]}") == [there]
    assert there[2] == "nul\0here"
    assert await store.rows(f"SELECT total FROM {shadow.native[-1]}") == [(Decimal("2.50"),)]


# I6: the way back writes what the model has, and leaves what it does not have
async def test_put_back(store: Store, own_name: str) -> None:
    live, shadow = await make_layouts(store, own_name, COLUMNS + KEY)
    await store.cql(f"ALTER TABLE {own_name} ADD hidden text")  # past Morphgres, meanwhile
    changes = store.backend.change_store()
    names = ("kept", "gone", "new", "same", "refused")
    keys = [(1, b"x", name) for name in names]
    for key in (keys[0], keys[1], keys[3], keys[4]):
        await store.cql(_insert(own_name, key, {"n": 1, "total": 2.5, "hidden": "theirs"}))
    await store.cql(_insert(shadow.native[-1], keys[0], {"notes": ["z"], "total": 7}))
    await store.cql(_insert(shadow.native[-1], keys[2], {"n": 3, "tags": {"t"}}))
    await store.cql(_insert(shadow.native[-1], keys[3], {"n": 4, "total": 3}))
    await store.cql(_insert(shadow.native[-1], keys[4], {"n": 5, "total": 9}))
    rows = {row.key[2]: row for row in (await changes.chunk(shadow, None, None, 0, Scope())).rows}
    total = column_id(live, "total")
    stays = (await changes.reread(live, [_text_key(keys[3])], Scope()))[0]
    images = [
        Image(rows["kept"].key, rows["kept"], {total: "7"}),
        Image(_text_key(keys[1]), None),
        Image(rows["new"].key, rows["new"], {total: None}),
        Image(rows["same"].key, rows["same"], {total: "0"}, stays, (total,)),
        Image(rows["refused"].key, rows["refused"]),
    ]
    await changes.settle(shadow, 0, Scope())
    await changes.put_back(shadow, live, images, now_us() // 2 * 2, Scope())
    listed = "c, n, total, tags, notes, hidden"
    assert sorted(await store.rows(f"SELECT {listed} FROM {own_name}")) == [
        ("kept", None, 7.0, None, ["z"], "theirs"),
        ("new", 3, None, {"t"}, None, None),
        ("refused", 5, 2.5, None, None, "theirs"),
        ("same", 4, 2.5, None, None, "theirs"),
    ]


# Issue 5, bad input: tables that no copy can follow are refused, with the reason
@pytest.mark.parametrize(
    ("definition", "state"),
    [
        ("p int PRIMARY KEY, hits counter", "0A000"),
        ("p int, c int, s text static, total double, PRIMARY KEY (p, c)", "0A000"),
        ("p decimal PRIMARY KEY, total double", "0A000"),
        ("p int PRIMARY KEY, total double) WITH (default_time_to_live = 60", "0A000"),
        ("p int PRIMARY KEY, total double) WITH (gc_grace_seconds = 60", "55000"),
    ],
)
async def test_refused(store: Store, own_name: str, definition: str, state: str) -> None:
    if ") WITH (" in definition:
        inside, _, option = definition.partition(") WITH (")
        await store.cql(f"CREATE TABLE {own_name} ({inside}) WITH {option}")
        live = await store.table(own_name)
    else:
        live = await store.table(own_name, definition)
    with pytest.raises(MorphError) as caught:
        await store.backend.change_store().make_shadow(
            live, with_total_as_numeric(live, f"{own_name}_s"), Scope()
        )
    assert caught.value.sqlstate == state


# Issue 5 point 4: the shadow gets the indexes of the live table, and they answer
async def test_indexes(store: Store, own_name: str) -> None:
    live, shadow = await make_layouts(store, own_name, 'p int PRIMARY KEY, total double, "N" int')
    await store.cql(
        f'CREATE INDEX {own_name}_n ON {own_name} ("N")',
        f"CREATE CUSTOM INDEX {own_name}_t ON {own_name} (total) USING 'StorageAttachedIndex'",
        f'INSERT INTO {own_name} (p, total, "N") VALUES (1, 2, 3)',
    )
    changes = store.backend.change_store()
    chunk = await changes.chunk(live, None, None, 0, Scope())
    await changes.put(live, shadow, [image_of(each, live) for each in chunk.rows], BASE, Scope())
    assert list(await changes.copy_indexes(live, shadow, Scope())) == []
    assert list(await changes.copy_indexes(live, shadow, Scope())) == []
    name = shadow.native[-1]
    assert await store.rows(f'SELECT p FROM {name} WHERE "N" = 3') == [(1,)]
    assert await store.rows(f"SELECT p FROM {name} WHERE total = 2.00") == [(1,)]


# Issue 5 point 6: at the contraction nothing of ours stays in the table that serves
async def test_tidy_and_drop(store: Store, own_name: str) -> None:
    live, shadow = await make_layouts(store, own_name, "p int PRIMARY KEY, total double")
    changes = store.backend.change_store()
    await changes.tidy(shadow, Scope())
    await changes.tidy(shadow, Scope())
    described = await store.backend.describe(shadow.native, Scope())
    assert [each.name for each in described.columns] == ["p", "total"]
    await changes.drop(live, Scope())
    await changes.drop(live, Scope())
    names = [each.native[-1] for each in await store.backend.list_tables(store.keyspace, Scope())]
    assert own_name not in names
    assert shadow.native[-1] in names
