"""Two real nodes, one of which is killed and comes back: answers are whole or errors, and go on by
the other node (issue 4 point 9, R1.9).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from cassandra import ConsistencyLevel
from cassandra.query import SimpleStatement

from backends.base import RowChanges, Scope
from backends.cassandra.backend import CassandraBackend
from catalog.model import Table
from core import expr as ir
from core.errors import CannotConnect, MorphError
from tests.services.cassandra.pair import Pair
from tests.services.cassandra.stores import Store, batch_of, column_id, make, open_store, read

pytestmark = [pytest.mark.services, pytest.mark.timeout(900)]

REPLICATION = "{'class': 'SimpleStrategy', 'replication_factor': %d}"
KEYSPACE = "morph_pair"
ROWS = 1_000
PER_PARTITION = 10
CONDITION_S = 120.0
OPTIONS = {"page_rows": "50", "scan_ranges": "2"}


@pytest_asyncio.fixture(scope="module")
async def pair(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Pair]:
    nodes = Pair(Path(str(tmp_path_factory.mktemp("pair"))))
    await asyncio.to_thread(nodes.start_both)
    try:
        yield nodes
    finally:
        await asyncio.to_thread(nodes.stop)


@pytest_asyncio.fixture(scope="module")
async def store(pair: Pair) -> AsyncIterator[Store]:
    """Every row on both nodes."""
    async with open_store(
        pair.first, KEYSPACE, replication=REPLICATION % 2, consistency="ONE", **OPTIONS
    ) as opened:
        await _until(lambda: _both_known(opened))
        await opened.table("things", "p int, c int, PRIMARY KEY (p, c)")
        for p in range(ROWS // PER_PARTITION):
            rows = "".join(
                f"INSERT INTO {KEYSPACE}.things (p, c) VALUES ({p}, {c});"
                for c in range(PER_PARTITION)
            )
            batch = SimpleStatement(
                f"BEGIN UNLOGGED BATCH {rows} APPLY BATCH", consistency_level=ConsistencyLevel.ALL
            )
            await asyncio.to_thread(opened.session.execute, batch, timeout=60)
        yield opened


async def _until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Waits until it holds."""
    end = asyncio.get_running_loop().time() + CONDITION_S
    while not await condition():
        assert asyncio.get_running_loop().time() < end, condition
        await asyncio.sleep(0.2)


async def _both_known(store: Store) -> bool:
    cluster = store.session.cluster
    await asyncio.to_thread(cluster.refresh_nodes)
    hosts = cluster.metadata.all_hosts()
    return len(hosts) == 2 and all(host.is_up for host in hosts)


async def _uses_both(backend: CassandraBackend) -> bool:
    """Whether the backend has connections to both nodes."""
    await backend.server(_soon())
    session = backend._link._session
    assert session is not None
    states = session.get_pool_state().values()
    return sum(state["open_count"] for state in states) == 2


def _soon() -> Scope:
    return Scope(deadline=asyncio.get_running_loop().time() + 30.0)


def _key(table: Table, value: int) -> ir.Expr:
    column = ir.ColumnRef(column_id(table, "p"), "integer")
    return ir.Compare("=", column, ir.Literal("integer", str(value)))


async def _whole_or_error(store: Store, backend: CassandraBackend, *, limit: int | None) -> str:
    """A full scan or a read by key: its SQLSTATE, "" when all rows came."""
    table = store.tables["things"]
    predicate = None if limit is None else _key(table, limit)
    expected = ROWS if limit is None else PER_PARTITION
    try:
        rows = await read(backend, store.plan(table, ("p", "c"), predicate), _soon())
    except MorphError as error:
        return error.sqlstate
    assert len(rows) == len(set(rows)) == expected
    return ""


async def _written(table: Table, backend: CassandraBackend, number: int) -> str:
    """An INSERT: its SQLSTATE, "" when it was done."""
    changes = RowChanges(inserted=batch_of(table, {"id": [number]}))
    try:
        await backend.apply(table, changes, _soon())
    except MorphError as error:
        return error.sqlstate
    return ""


async def _stored(store: Store, table: str) -> set[tuple[Any, ...]]:
    """What both nodes together have, by the driver itself."""
    text = f"SELECT id FROM {KEYSPACE}.{table}"
    query = SimpleStatement(text, consistency_level=ConsistencyLevel.ALL)
    return set(await asyncio.to_thread(store.session.execute, query, timeout=60))


# R1.9: a read by key goes to a node that has the key, whichever that is
async def test_reads_by_key_go_to_their_node(pair: Pair, store: Store) -> None:
    async with open_store(pair.first, "morph_apart", replication=REPLICATION % 1) as apart:
        await apart.table("things", "p int PRIMARY KEY")
        await _until(lambda: _uses_both(apart.backend))
        link = apart.backend._link
        text = 'SELECT "p" FROM "morph_apart"."things" WHERE "p" = ?'
        statement = await link.prepare(text, _soon().deadline)
        session = link._session
        assert session is not None
        cluster = session.cluster
        policy = cluster.profile_manager.default.load_balancing_policy
        asked = set()
        for key in range(50):
            bound = statement.bind((key,), idempotent=True)
            first = next(iter(policy.make_query_plan(None, bound)))
            assert [first] == cluster.metadata.get_replicas("morph_apart", bound.routing_key)
            asked.add(first)
        assert len(asked) == 2


# R1.9: nodes of the named datacenter only; a name that no node has is an error that says so
async def test_local_dc(pair: Pair, store: Store) -> None:
    backend = make(pair.first, local_dc="datacenter1")
    await _until(lambda: _uses_both(backend))
    await backend.close()
    backend = make(pair.first, local_dc="nowhere")
    with pytest.raises(CannotConnect) as caught:
        await backend.server(_soon())
    assert "nowhere" in caught.value.detail
    assert "datacenter1" in caught.value.detail
    await backend.close()


# R1.9: a node that is killed in the middle of a scan: all rows by the other one, or an error
async def test_killed_in_the_middle_of_a_scan(pair: Pair, store: Store) -> None:
    await _until(lambda: _uses_both(store.backend))
    plan = store.plan(store.tables["things"], ("p", "c"), None)
    rows: list[Any] = []
    try:
        async with aclosing(store.backend.scan(plan, _soon())) as batches:
            async for batch in batches:
                if not rows:
                    await pair.kill_second()
                rows += zip(*(column.to_pylist() for column in batch.columns), strict=True)
    except MorphError as error:
        assert error.sqlstate in ("08006", "57014"), error.sqlstate  # noqa: PT017
    else:
        assert len(rows) == len(set(rows)) == ROWS
    finally:
        await pair.start_second()
    await _until(lambda: _uses_both(store.backend))


# R1.9: one node is killed between statements; what needs one node goes on, what needs both says so
# at once when that is known, and the node is used again when it is back
async def test_killed_between_statements(pair: Pair, store: Store, own_name: str) -> None:
    blind = await store.table(own_name, "id int PRIMARY KEY", insert_mode="upsert")
    unique = await store.table(f"{own_name}_u", "id int PRIMARY KEY")
    both = make(pair.first, consistency="ALL", **OPTIONS)
    await _until(lambda: _uses_both(both))
    await _until(lambda: _uses_both(store.backend))
    await pair.kill_second()
    try:
        # Until the first node sees that the other is dead, it may wait for it in vain.
        found = [await _whole_or_error(store, store.backend, limit=n) for n in range(20)]
        found += [await _whole_or_error(store, store.backend, limit=None) for _ in range(5)]
        assert set(found) <= {"", "57014"}, found
        assert found.count("") > len(found) // 2, found
        assert await _written(blind, store.backend, 1) == ""

        async def unavailable() -> bool:
            return await _whole_or_error(store, both, limit=1) == "08006"

        await _until(unavailable)
        plan = store.plan(store.tables["things"], ("p",), None)
        with pytest.raises(MorphError) as caught:
            await read(both, plan, _soon())
        assert caught.value.sqlstate == "08006"
        assert "consistency level ALL cannot be reached" in caught.value.primary
        assert caught.value.detail == "Replicas needed: 2, alive: 1."
        # A conditional write needs both of two; it was refused, not lost.
        assert await _written(unique, both, 1) == "08006"
        assert await _written(unique, store.backend, 1) == "08006"
        # The other node alone answers everything that one node can.
        for key in range(20):
            assert await _whole_or_error(store, store.backend, limit=key) == ""
        assert await _whole_or_error(store, store.backend, limit=None) == ""
        assert await _written(blind, store.backend, 2) == ""
    finally:
        await pair.start_second()
    await _until(lambda: _uses_both(store.backend))
    await _until(lambda: _uses_both(both))

    async def answered() -> bool:
        return await _whole_or_error(store, both, limit=None) == ""

    await _until(answered)

    async def done() -> bool:
        return await _written(unique, store.backend, 2) in ("", "23505")

    await _until(done)
    await both.close()
    assert await _stored(store, own_name) == {(1,), (2,)}
    assert await _stored(store, f"{own_name}_u") == {(2,)}
