"""The log of a change in Cassandra: what was appended is found until it is removed (EVOLUTION 3,
I1).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
import pytest_asyncio

from backends.base import Scope
from backends.cassandra import change_log, node_clocks
from backends.cassandra.change_log import now_us
from backends.change_store import Intent, LogPlace, LogPositionTooOld
from core.errors import UndefinedTable
from tests.services.cassandra.stores import Store, make, open_store
from tests.services.servers.process import RunningServer

pytestmark = pytest.mark.services

KEYSPACE = "morph_logs"
SECOND = 1_000_000
SCOPE = Scope()


@pytest_asyncio.fixture(scope="module")
async def store(cassandra: RunningServer) -> AsyncIterator[Store]:
    async with open_store(cassandra, KEYSPACE) as opened:
        yield opened


def _place(own_name: str) -> LogPlace:
    return LogPlace(KEYSPACE, int(own_name.rpartition("_")[2]))


def _intent(number: int, writer: int = 1, lsn: int = 0) -> Intent:
    return Intent(
        lsn=(lsn or now_us()) // 2 * 2 + 2 * number,
        writer=writer,
        key=(str(number), "käse\\x"),
        op="del" if number % 3 else "put",
        epoch=7,
        change_ids=(1, 2),
        deadline_us=now_us() + number,
        touched=(3,),
        session="app",
        stmt_hash=2**63 + number,
        ts_us=now_us(),
    )


# I1: appended records are read as they are, oldest first, by every reader, until removed
async def test_records(store: Store, own_name: str) -> None:
    log, place = store.backend.change_store(), _place(own_name)
    await log.make_log(place, SCOPE)
    await log.make_log(place, SCOPE)
    records = [_intent(number, writer) for writer in (1, 2, 9) for number in range(50)]
    await asyncio.gather(*(log.append(place, records[i::6], SCOPE) for i in range(6)))
    in_order = sorted(records, key=lambda each: (each.lsn, each.writer))
    assert list(await log.read(place, 0, SCOPE)) == in_order
    assert list(await log.read(place, 7, SCOPE)) == in_order[:7]
    await log.done(place, in_order[:10], SCOPE)
    expected = [replace(each, done=True) for each in in_order[:10]] + in_order[10:]
    other = make(store.server)
    try:
        assert list(await other.change_store().read(place, 0, SCOPE)) == expected
    finally:
        await other.close()
    await log.remove(place, in_order[5:], SCOPE)
    assert list(await log.read(place, 0, SCOPE)) == expected[:5]
    await log.drop_log(place, SCOPE)
    await log.drop_log(place, SCOPE)
    with pytest.raises(UndefinedTable):
        await log.read(place, 0, SCOPE)


# EVOLUTION 5: a record that was removed does not come back by what arrives late
async def test_late_marks(store: Store, own_name: str) -> None:
    log, place = store.backend.change_store(), _place(own_name)
    await log.make_log(place, SCOPE)
    records = [_intent(number) for number in range(5)]
    await log.append(place, records, SCOPE)
    await log.remove(place, records[:3], SCOPE)
    await log.done(place, records, SCOPE)
    await log.append(place, records[:1], SCOPE)  # sent again by a driver
    assert [each.key for each in await log.read(place, 0, SCOPE)] == [r.key for r in records[3:]]


# I1: an append that is answered too late does not count, and says so
async def test_too_old(store: Store, own_name: str) -> None:
    log, place = store.backend.change_store(), _place(own_name)
    await log.make_log(place, SCOPE)
    old = _intent(1, lsn=now_us() - (change_log.LATE_S + 1) * SECOND)
    with pytest.raises(LogPositionTooOld):
        await log.append(place, [old], SCOPE)
    assert await log.read(place, 0, SCOPE) == []


# I1: what is behind the present is not read again, but for what may still come and what is there
async def test_floor(store: Store, own_name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    log, place = store.backend.change_store(), _place(own_name)
    await log.make_log(place, SCOPE)
    real = change_log.now_us
    start = real()
    shift = 0
    monkeypatch.setattr(change_log, "now_us", lambda: start + shift)
    early = _intent(1, lsn=start)
    await log.append(place, [early], SCOPE)
    shift = 3_600 * SECOND
    late = _intent(2, lsn=start + shift)
    await log.append(place, [late], SCOPE)
    assert list(await log.read(place, 0, SCOPE)) == [early, late]
    await log.remove(place, [early], SCOPE)
    skewed = _intent(3, lsn=start + shift - (change_log.LATE_S + change_log.SKEW_S) * SECOND)
    assert list(await log.read(place, 0, SCOPE)) == [late]
    shift -= change_log.SKEW_S * SECOND  # a worker whose clock is behind
    await log.append(place, [skewed], SCOPE)
    shift += change_log.SKEW_S * SECOND
    other = make(store.server)
    try:
        for reader in (log, other.change_store()):
            assert list(await reader.read(place, 0, SCOPE)) == [skewed, late]
    finally:
        await other.close()
    floors = await store.rows(f"SELECT lsn FROM {place.name} WHERE bucket = -1 AND shard = 0")
    assert len(floors) == 1
    assert floors[0][0] > start // SECOND // change_log.BUCKET_S


# I5: after settling, a conditional write is newer than every put before
async def test_settle(store: Store, own_name: str) -> None:
    table = await store.table(own_name, "p int PRIMARY KEY, v text")
    ahead = now_us() + SECOND // 2
    await store.cql(f"INSERT INTO {own_name} (p, v) VALUES (1, 'put') USING TIMESTAMP {ahead}")
    await store.backend.change_store().settle(table, ahead, SCOPE)
    await store.cql(f"UPDATE {own_name} SET v = 'client' WHERE p = 1 IF v = 'put'")
    assert await store.rows(f"SELECT v FROM {own_name}") == [("client",)]
    earliest, latest = await node_clocks.read_clocks(store.backend.change_store()._link, SCOPE)
    assert earliest <= latest
