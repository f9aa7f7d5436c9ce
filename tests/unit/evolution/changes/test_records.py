"""The durable state of changes: compare-and-set, steps, fences, what views show of it (R4.3)."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

import asyncpg
import pytest

from core.errors import UndefinedObject
from evolution.changes import events as ev
from evolution.changes.records import (
    CHANGE_CHANNEL,
    Note,
    Record,
    announce_statement,
    fed_through,
    fenced_by,
    load_record,
    load_records,
    move,
    note_statement,
    progress_statement,
    register_statement,
    waits_for,
)
from evolution.changes.states import IllegalTransition, Phase
from evolution.layouts.base import Progress, ShadowTable
from private_pg.cluster import DATABASE, SUPERUSER
from tests.unit.evolution.changes.conftest import Catalog

P = Phase
ORDERS = ShadowTable(5, "orders", "t5", "t5s7", (12, 13))
ITEMS = ShadowTable(6, 'it\'s "x"', "t6", "t6s7")


async def registered(catalog: Catalog, *tables: ShadowTable, number: int = 7) -> Record:
    async with catalog.transaction() as tx:
        await tx.apply([register_statement(number, number - 1, tables or (ORDERS,))])
    return await read(catalog, number)


async def read(catalog: Catalog, number: int = 7) -> Record:
    async with catalog.transaction() as tx:
        return await load_record(tx, number)


async def moved(catalog: Catalog, record: Record, event: ev.Event, **note: object) -> Record:
    async with catalog.transaction() as tx:
        await move(tx, record, event, Note(**note))  # type: ignore[arg-type]
    return await read(catalog, record.change_id)


async def ready(catalog: Catalog, *tables: ShadowTable, number: int = 7) -> Record:
    record = await registered(catalog, *tables, number=number)
    for event in (ev.Started(), ev.Begun(), ev.Copied(), ev.CaughtUp(0.0), ev.Validated(1, 0)):
        record = await moved(catalog, record, event)
    return record


async def steps(catalog: Catalog) -> list[tuple[str, str, str, int]]:
    query = "SELECT event, from_state, to_state, revision FROM morph.change_steps"
    return [tuple(row) for row in await catalog.connection.fetch(query)]


async def test_a_change_comes_back_as_it_was_written(catalog: Catalog) -> None:
    record = await registered(catalog, ORDERS, ITEMS)
    assert (record.phase, record.revision, record.parent) == (P.ANALYZED, 1, 6)
    assert record.tables == (ORDERS, ITEMS)
    again = await registered(catalog, ORDERS)  # a later statement of its transaction
    assert again.tables == (ORDERS,)
    async with catalog.transaction() as tx:
        with pytest.raises(UndefinedObject):
            await load_record(tx, 8)


async def test_a_transition_is_durable_with_its_step(catalog: Catalog) -> None:
    record = await registered(catalog)
    record = await moved(catalog, record, ev.Started(), reason="it's begun", owner="w1")
    record = await moved(catalog, record, ev.Hold("by ann"), actor="ann", retry_s=5.0, attempts=2)
    assert (record.phase, record.revision, record.state.held) == (P.SHADOWING, 3, True)
    assert (record.attempts, record.owner) == (2, "w1")
    assert 0 < record.retry_in_s <= 5
    assert await steps(catalog) == [
        ("Started", "ANALYZED", "SHADOWING", 2),
        ("Hold", "SHADOWING", "SHADOWING", 3),
    ]


async def test_of_two_who_move_a_change_one_does(catalog: Catalog) -> None:  # EVOLUTION 5
    record = await registered(catalog)
    other = await asyncpg.connect(host=catalog.host, user=SUPERUSER, database=DATABASE)
    try:
        tries = [
            moved(Catalog(connection), record, ev.Started(), owner=name)
            for connection, name in ((catalog.connection, "a"), (other, "b"))
        ]
        results = await asyncio.gather(*tries, return_exceptions=True)
    finally:
        await other.close()
    lost = [r for r in results if isinstance(r, asyncpg.SerializationError)]
    assert len(lost) == 1
    assert "change 7 has moved on" in str(lost[0])
    assert len(await steps(catalog)) == 1


async def test_a_state_or_revision_that_is_past_writes_nothing(catalog: Catalog) -> None:
    record = await registered(catalog)
    fresh = await moved(catalog, record, ev.Hold("x"))
    with pytest.raises(asyncpg.SerializationError):
        await moved(catalog, record, ev.Started())
    assert await read(catalog) == fresh
    assert len(await steps(catalog)) == 1


async def test_an_illegal_transition_reaches_no_database(catalog: Catalog) -> None:
    record = await registered(catalog)
    with pytest.raises(IllegalTransition):
        await moved(catalog, record, ev.Flipped(0, follows=True))
    assert await steps(catalog) == []


async def test_a_rolled_back_transaction_leaves_the_old_state(catalog: Catalog) -> None:
    record = await registered(catalog)

    async def undone() -> None:
        async with catalog.transaction() as tx:
            await move(tx, record, ev.Started())
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await undone()
    assert await read(catalog) == record


# ---------------------------------------------------------------- fences


async def test_a_fence_stands_on_every_table_and_goes_with_the_next_step(catalog: Catalog) -> None:
    record = await ready(catalog, ORDERS, ITEMS)
    fence = ev.Fence((0.0, 0.0), follows=True)
    record = await moved(catalog, record, fence, fence_s=5.0)
    query = "SELECT table_id, epoch FROM morph_catalog.fences ORDER BY 1"
    assert [tuple(r) for r in await catalog.connection.fetch(query)] == [(5, 1), (6, 1)]
    assert 0 < record.fence_s <= 5
    record = await moved(catalog, record, ev.Unfenced("timeout"))
    assert await catalog.connection.fetch(query) == []
    assert record.phase is P.READY


async def test_two_fences_on_a_table_are_refused_by_the_store_too(catalog: Catalog) -> None:
    fence = ev.Fence((0.0, 0.0), follows=True)
    await moved(catalog, await ready(catalog), fence, fence_s=5.0)
    second = await ready(catalog, number=9)
    async with catalog.transaction() as tx:
        assert fenced_by(await load_records(tx), second) == 7
    with pytest.raises(asyncpg.UniqueViolationError):
        await moved(catalog, second, fence, fence_s=5.0)
    assert (await read(catalog, 9)).phase is P.READY


# ---------------------------------------------------------------- roles of the layouts


async def test_layouts_swap_their_roles_at_the_flip(catalog: Catalog) -> None:
    record = await ready(catalog)
    work = record.work()
    assert (work.direction, work.tables[0].live, work.tables[0].shadow) == ("forward", "t5", "t5s7")
    record = await moved(catalog, record, ev.Fence((0.0, 0.0), follows=True), fence_s=5.0)
    flipped = ev.Flipped(record.state.epoch, follows=True)
    record = await moved(catalog, record, flipped, window_s=3600.0)
    work = record.work()
    assert (work.direction, work.tables[0].live, work.tables[0].shadow) == ("back", "t5s7", "t5")
    assert work.tables[0].lenses == (12, 13)
    assert 3590 < record.window_s <= 3600


async def test_a_younger_change_of_a_table_waits_for_the_older_one(catalog: Catalog) -> None:
    older = await registered(catalog)
    younger = await registered(catalog, number=9)
    elsewhere = await registered(catalog, ITEMS, number=10)
    async with catalog.transaction() as tx:
        records = await load_records(tx)
    assert [waits_for(records, r) for r in (older, younger, elsewhere)] == [0, 7, 0]
    promoted = replace(older, state=replace(older.state, phase=P.PROMOTED))
    assert waits_for([promoted, younger], younger) == 0
    assert [fed_through([promoted, younger], r) for r in (promoted, younger)] == [0, 7]
    gone = await moved(catalog, older, ev.Discard("ann"))
    gone = await moved(catalog, gone, ev.Settled())
    assert gone.over
    async with catalog.transaction() as tx:
        assert waits_for(await load_records(tx), younger) == 0


# ---------------------------------------------------------------- what is seen


async def test_every_step_is_announced_at_commit(catalog: Catalog) -> None:
    heard: asyncio.Queue[str] = asyncio.Queue()
    listener = await asyncpg.connect(host=catalog.host, user=SUPERUSER, database=DATABASE)
    try:
        await listener.add_listener(CHANGE_CHANNEL, lambda *args: heard.put_nowait(args[3]))
        record = await registered(catalog)
        async with catalog.transaction() as tx:
            await tx.apply([announce_statement(7)])
        await moved(catalog, record, ev.Failed("x"), reason="row 7: 22P02")
        async with asyncio.timeout(30):
            told = [json.loads(await heard.get()) for _ in range(2)]
    finally:
        await listener.close()
    assert told[0] == {"changeId": 7}
    assert told[1] == {
        "changeId": 7, "from": "ANALYZED", "state": "FAILED_REVIEW", "revision": 2,
        "event": "Failed", "reason": "row 7: 22P02",
    }  # fmt: skip


async def test_progress_is_shown(catalog: Catalog) -> None:
    record = await registered(catalog)
    for event in (ev.Started(), ev.Begun()):
        record = await moved(catalog, record, event)
    progress = Progress(rows=250, total=1000, bytes=9, pending=3, lag_s=0.25, applied_lsn=8)
    async with catalog.transaction() as tx:
        await tx.apply([progress_statement(7, progress, 125.0)])
        await tx.apply([progress_statement(7, progress, 250.0)])
    query = (
        "SELECT state, tables, percent::float8, left_seconds::float8, pending FROM morph.progress"
    )
    assert tuple(await catalog.connection.fetchrow(query)) == (
        "backfilling", ["orders"], 25.0, 3.0, 3,
    )  # fmt: skip


async def test_a_note_changes_no_state_and_respects_the_revision(catalog: Catalog) -> None:
    record = await registered(catalog)
    note = Note(reason="08006: gone", attempts=1, retry_s=2.0, wanted="promote")
    async with catalog.transaction() as tx:
        await tx.apply([note_statement(record, note)])
        await tx.apply([note_statement(record, Note(reason="too late"))])
    fresh = await read(catalog)
    assert (fresh.phase, fresh.reason, fresh.wanted) == (P.ANALYZED, "08006: gone", "promote")
    assert fresh.revision == record.revision + 1


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT morph_catalog.move_change('{}')",
        "DELETE FROM morph_catalog.shadows",
        "INSERT INTO morph_catalog.fences VALUES (5, 7, 1, now())",
    ],
)
async def test_a_client_cannot_move_a_change(catalog: Catalog, statement: str) -> None:
    await registered(catalog)
    async with catalog.connection.transaction():
        await catalog.connection.execute("SET LOCAL ROLE morph_client")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await catalog.connection.execute(statement)
