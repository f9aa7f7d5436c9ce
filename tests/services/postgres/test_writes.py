"""Writes to a PostgreSQL store and its transactions, against a real server (R1.7, R1.8; issue 4
points 3 and 10).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import asyncpg
import pyarrow as pa
import pytest
import pytest_asyncio

from backends.base import RowChanges, Scope
from backends.postgres.backend import PostgresBackend
from backends.postgres.writing import CHUNK_ROWS
from catalog.model import Table
from core.errors import (
    ConnectionFailure,
    FeatureNotSupported,
    InvalidTransactionState,
    MorphError,
    SerializationFailure,
    TransactionResolutionUnknown,
    UniqueViolation,
)
from tests.services.cutting_proxy import CuttingProxy, Fault
from tests.services.postgres.stores import Store, ids, open_store, options, scan_rows
from tests.services.servers.process import RunningServer

pytestmark = pytest.mark.services


@pytest_asyncio.fixture(scope="module")
async def opened(postgres_store: RunningServer) -> AsyncIterator[Store]:
    """A database of its own."""
    async with open_store(postgres_store, "morph_writes") as store:
        await store.connection.execute("CREATE TYPE mood AS ENUM ('sad', 'ok')")
        yield store


@pytest_asyncio.fixture
async def store(opened: Store) -> Store:
    """The database with two rows in the table t."""
    await opened.connection.execute("DROP TABLE IF EXISTS t")
    await opened.table(
        "t", "id int PRIMARY KEY, name varchar(5), price numeric(10,2), mood mood, doc jsonb"
    )
    await opened.connection.execute(
        "INSERT INTO t VALUES (1, 'one', 1.50, 'ok', '{\"a\": 1}'), (2, NULL, NULL, NULL, NULL)"
    )
    return opened


def batch(table: Table, names: Sequence[str], rows: Sequence[Sequence[Any]]) -> pa.RecordBatch:
    """A batch of changes; texts stand for what has no Arrow carrier."""
    columns = [pa.array([row[n] for row in rows]) for n in range(len(names))]
    columns = [c.cast(pa.string()) if pa.types.is_null(c.type) else c for c in columns]
    wanted = [f"c{number}" for number in ids(table, names)]
    return pa.RecordBatch.from_arrays(columns, wanted)


def soon(seconds: float = 20.0) -> Scope:
    """A scope with a deadline."""
    return Scope(deadline=asyncio.get_running_loop().time() + seconds)


async def contents(store: Store) -> list[tuple[Any, ...]]:
    """The table by the driver itself."""
    rows = await store.connection.fetch(
        "SELECT id, name, price::text, mood::text, doc::text FROM t ORDER BY id"
    )
    return [tuple(row) for row in rows]


ONE = (1, "one", "1.50", "ok", '{"a": 1}')
TWO = (2, None, None, None, None)


async def test_insert_update_delete_in_one(store: Store) -> None:  # R1.7
    table = store.tables["t"]
    done = await store.backend.apply(
        table,
        RowChanges(
            inserted=batch(
                table,
                ["id", "name", "price", "mood", "doc"],
                [(3, "drei", "9.99", "sad", "[1]"), (2, "again", None, None, None)],
            ),
            updated=batch(table, ["id", "price", "doc"], [(1, "2.00", '{"b": 2}')]),
            before=batch(table, ["id", "price", "doc"], [(1, "1.50", '{"a": 1}')]),
            deleted=batch(table, ["id", "name", "price", "mood", "doc"], [TWO]),
        ),
        soon(),
    )
    assert done.rows == 4
    assert await contents(store) == [
        (1, "one", "2.00", "ok", '{"b": 2}'),
        (2, "again", None, None, None),
        (3, "drei", "9.99", "sad", "[1]"),
    ]


async def test_many_rows(store: Store) -> None:  # R1.7
    table = store.tables["t"]
    rows = [(n, f"n{n % 1000}") for n in range(10, 10 + 2 * CHUNK_ROWS + 1)]
    done = await store.backend.apply(
        table, RowChanges(inserted=batch(table, ["id", "name"], rows)), soon()
    )
    assert done.rows == len(rows)
    before = batch(table, ["id", "name"], rows)
    fresh = batch(table, ["id", "name"], [(n, "x") for n, _ in rows])
    assert (
        await store.backend.apply(table, RowChanges(updated=fresh, before=before), soon())
    ).rows == len(rows)
    assert await store.connection.fetchval("SELECT count(*) FROM t WHERE name = 'x'") == len(rows)


async def test_a_key_that_exists_undoes_all(store: Store) -> None:  # R1.7
    table = store.tables["t"]
    with pytest.raises(UniqueViolation) as caught:
        await store.backend.apply(
            table,
            RowChanges(inserted=batch(table, ["id", "name"], [(7, "new"), (1, "dup")])),
            soon(),
        )
    error = caught.value
    assert (error.sqlstate, error.detail) == ("23505", "Key (id)=(1) already exists.")
    assert (error.fields["n"], error.fields["t"], error.fields["W"]) == (
        "t_pkey",
        "t",
        'server "shop"',
    )
    assert await contents(store) == [ONE, TWO]


@pytest.mark.parametrize(
    "meanwhile",
    [
        "UPDATE t SET price = 7 WHERE id = 1",
        "UPDATE t SET price = NULL WHERE id = 1",
        "UPDATE t SET doc = '{}' WHERE id = 1",
        "DELETE FROM t WHERE id = 1",
    ],
)
async def test_a_row_that_is_not_as_it_was_read(store: Store, meanwhile: str) -> None:  # R1.8
    table = store.tables["t"]
    names = ["id", "price", "mood", "doc"]
    await store.connection.execute(meanwhile)
    now = await contents(store)
    read = batch(table, names, [(1, "1.50", "ok", '{"a": 1}'), (2, None, None, None)])
    fresh = batch(table, names, [(1, "3.00", "sad", "[]"), (2, "4.00", "ok", "[]")])
    for changes in (RowChanges(updated=fresh, before=read), RowChanges(deleted=read)):
        with pytest.raises(SerializationFailure) as caught:
            await store.backend.apply(table, changes, soon())
        assert caught.value.sqlstate == "40001"
        assert await contents(store) == now


async def test_a_change_elsewhere_in_the_row_is_no_conflict(store: Store) -> None:  # R1.8
    table = store.tables["t"]
    await store.connection.execute("UPDATE t SET name = 'else' WHERE id = 1")
    changes = RowChanges(
        updated=batch(table, ["id", "price"], [(1, "3.00")]),
        before=batch(table, ["id", "price"], [(1, "1.50")]),
    )
    await store.backend.apply(table, changes, soon())
    assert (await contents(store))[0][:3] == (1, "else", "3.00")


async def test_values_that_do_not_fit_are_refused(store: Store) -> None:  # R1.7
    table = store.tables["t"]
    for row, state in (
        ((5, "too long", None), "22001"),
        ((5, "a", "123456789.00"), "22003"),
    ):
        with pytest.raises(MorphError) as caught:
            await store.backend.apply(
                table,
                RowChanges(inserted=batch(table, ["id", "name", "price"], [row])),
                soon(),
            )
        assert caught.value.sqlstate == state
    bad = batch(table, ["id", "mood"], [(5, "bored")])
    with pytest.raises(MorphError) as caught:
        await store.backend.apply(table, RowChanges(inserted=bad), soon())
    assert caught.value.sqlstate == "22P02"
    assert await contents(store) == [ONE, TWO]


async def test_a_key_that_identifies_nothing(store: Store) -> None:  # R1.7
    await store.connection.execute("DROP TABLE IF EXISTS loose")
    described = await store.table("loose", "a int, b text")
    await store.connection.execute("INSERT INTO loose VALUES (1, 'x'), (1, 'x')")
    table = Table(9, "loose", "foreign", described.columns, native=("public", "loose"), key=(1,))
    changes = RowChanges(deleted=batch(table, ["a", "b"], [(1, "x")]))
    with pytest.raises(FeatureNotSupported, match="does not identify"):
        await store.backend.apply(table, changes, soon())
    assert await store.connection.fetchval("SELECT count(*) FROM loose") == 2


async def test_the_store_fills_in_what_it_fills_in(store: Store) -> None:  # R1.7
    await store.connection.execute("DROP TABLE IF EXISTS filled")
    table = await store.table(
        "filled",
        "id int GENERATED ALWAYS AS IDENTITY, n serial, a int, "
        "twice int GENERATED ALWAYS AS (a * 2) STORED",
    )
    rows = [(None, None, 1, None), (None, 50, 2, None), (None, None, 3, None)]
    inserted = pa.RecordBatch.from_arrays(
        [pa.array([row[n] for row in rows], pa.int32()) for n in range(4)],
        [f"c{number}" for number in ids(table, ["id", "n", "a", "twice"])],
    )
    assert (await store.backend.apply(table, RowChanges(inserted=inserted), soon())).rows == 3
    found = await store.connection.fetch("SELECT n, a, twice FROM filled ORDER BY a")
    assert [tuple(row) for row in found] == [(1, 1, 2), (50, 2, 4), (2, 3, 6)]
    alone = inserted.select([f"c{number}" for number in ids(table, ["id", "n"])]).slice(0, 1)
    await store.backend.apply(table, RowChanges(inserted=alone), soon())
    assert await store.connection.fetchval("SELECT count(*) FROM filled") == 4


# ------------------------------------------------------------------ transactions


def price(table: Table, number: str, was: str) -> RowChanges:
    """Another price for row 1."""
    return RowChanges(
        updated=batch(table, ["id", "price"], [(1, number)]),
        before=batch(table, ["id", "price"], [(1, was)]),
    )


async def test_a_transaction_is_seen_inside_and_undone(store: Store) -> None:  # R1.8
    table = store.tables["t"]
    for end in ("commit", "rollback"):
        transaction = await store.backend.begin(soon(), isolation="read committed", read_only=False)
        scope = Scope(deadline=soon().deadline, transaction=transaction)
        was = (await contents(store))[0][2]
        await store.backend.apply(table, price(table, "7.00", was), scope)
        plan = store.backend.plan_scan(table, store.ask(table, ["id", "price"]))
        inside = sorted(await scan_rows(store.backend, plan, scope))
        assert inside[0] == ("1", "7.00")
        assert (await contents(store))[0][2] == was
        await getattr(transaction, end)(soon().deadline)
        assert (await contents(store))[0][2] == ("7.00" if end == "commit" else was)
        await transaction.rollback(None)  # harmless when it has ended
        with pytest.raises(InvalidTransactionState):
            await store.backend.apply(table, price(table, "8.00", "7.00"), scope)
        await store.connection.execute("UPDATE t SET price = 1.50 WHERE id = 1")


async def test_errors_and_scans_given_up_leave_it_usable(store: Store) -> None:  # R1.8
    table = store.tables["t"]
    transaction = await store.backend.begin(soon(), isolation="repeatable read", read_only=False)
    scope = Scope(deadline=soon().deadline, transaction=transaction)
    await store.backend.apply(table, price(table, "7.00", "1.50"), scope)
    duplicate = batch(table, ["id", "name"], [(2, "dup")])
    with pytest.raises(UniqueViolation):
        await store.backend.apply(table, RowChanges(inserted=duplicate), scope)
    await store.connection.execute(
        "CREATE OR REPLACE VIEW many AS SELECT i AS id FROM generate_series(1, 10000000) i"
    )
    many = await store.table("many")
    plan = store.backend.plan_scan(many, store.ask(many, ["id"]))
    scan: Any = store.backend.scan(plan, scope)
    await anext(scan)
    await scan.aclose()
    await transaction.commit(soon().deadline)
    assert (await contents(store))[0][2] == "7.00"


async def test_a_snapshot_stays(store: Store) -> None:  # R1.8
    table = store.tables["t"]
    transaction = await store.backend.begin(soon(), isolation="repeatable read", read_only=True)
    scope = Scope(deadline=soon().deadline, transaction=transaction)
    plan = store.backend.plan_scan(table, store.ask(table, ["price"]))
    first = await scan_rows(store.backend, plan, scope)
    await store.connection.execute("UPDATE t SET price = 99 WHERE id = 1")
    assert await scan_rows(store.backend, plan, scope) == first
    with pytest.raises(MorphError) as caught:
        await store.backend.apply(table, price(table, "1.00", "1.50"), scope)
    assert caught.value.sqlstate == "25006"
    await transaction.rollback(soon().deadline)


async def test_a_conflict_of_snapshots_is_passed_on(store: Store) -> None:  # R1.8
    table = store.tables["t"]
    transaction = await store.backend.begin(soon(), isolation="repeatable read", read_only=False)
    scope = Scope(deadline=soon().deadline, transaction=transaction)
    plan = store.backend.plan_scan(table, store.ask(table, ["price"]))
    await scan_rows(store.backend, plan, scope)
    await store.connection.execute("UPDATE t SET price = 99 WHERE id = 1")
    with pytest.raises(SerializationFailure) as caught:
        await store.backend.apply(table, price(table, "1.00", "1.50"), scope)
    assert caught.value.sqlstate == "40001"
    await transaction.rollback(soon().deadline)


async def test_write_skew_is_found_at_commit(store: Store) -> None:  # R1.8
    """Two serializable transactions that read what the other one writes: one fails."""
    table = store.tables["t"]
    plan = store.backend.plan_scan(table, store.ask(table, ["id", "price"]))
    made = []
    for _ in range(2):
        transaction = await store.backend.begin(soon(), isolation="serializable", read_only=False)
        made.append((transaction, Scope(deadline=soon().deadline, transaction=transaction)))
    for _, scope in made:
        await scan_rows(store.backend, plan, scope)
    failed = 0
    for (transaction, scope), number in zip(made, (1, 2), strict=True):
        was = {1: "1.50", 2: None}[number]
        changes = RowChanges(
            updated=batch(table, ["id", "price"], [(number, "5.00")]),
            before=batch(table, ["id", "price"], [(number, was)]),
        )
        try:
            await store.backend.apply(table, changes, scope)
            await transaction.commit(soon().deadline)
        except SerializationFailure:
            failed += 1
            await transaction.rollback(None)
    assert failed == 1


async def test_an_unknown_isolation_level(store: Store) -> None:  # R1.8
    with pytest.raises(InvalidTransactionState):
        await store.backend.begin(soon(), isolation="chaos", read_only=False)


@pytest.mark.parametrize("after", [0, 1, 10])
async def test_an_answer_to_commit_that_is_lost_is_unknown(store: Store, after: int) -> None:
    """Issue 4.10: neither done nor undone is claimed. R1.8."""
    table = store.tables["t"]
    with CuttingProxy(store.server.host, store.server.port) as proxy:
        parts = {"host": proxy.host, "port": str(proxy.port)}
        backend = PostgresBackend("shop", options(store.server, store.database, parts=parts))
        transaction = await backend.begin(soon(), isolation="read committed", read_only=False)
        scope = Scope(deadline=soon().deadline, transaction=transaction)
        await backend.apply(table, price(table, "7.00", "1.50"), scope)
        proxy.arm(Fault(after=after, trigger=b"COMMIT"))
        with pytest.raises(TransactionResolutionUnknown) as caught:
            await transaction.commit(soon().deadline)
        assert caught.value.sqlstate == "08007"
        proxy.disarm()
        await backend.close()
    assert (await contents(store))[0][2] == "7.00"


async def test_a_commit_that_is_given_up_is_unknown(store: Store) -> None:  # R1.8
    table = store.tables["t"]
    with CuttingProxy(store.server.host, store.server.port) as proxy:
        parts = {"host": proxy.host, "port": str(proxy.port)}
        backend = PostgresBackend("shop", options(store.server, store.database, parts=parts))
        transaction = await backend.begin(soon(), isolation="read committed", read_only=False)
        scope = Scope(deadline=soon().deadline, transaction=transaction)
        await backend.apply(table, price(table, "7.00", "1.50"), scope)
        proxy.arm(Fault("stall", after=0, trigger=b"COMMIT"))
        work = asyncio.ensure_future(transaction.commit(None))
        await asyncio.to_thread(proxy.wait_fired)
        work.cancel()
        with pytest.raises(TransactionResolutionUnknown):
            await work
        proxy.disarm()
        await backend.close()
    assert (await contents(store))[0][2] == "7.00"


async def test_a_connection_that_breaks_in_a_transaction(store: Store) -> None:  # R1.8
    table = store.tables["t"]
    with CuttingProxy(store.server.host, store.server.port) as proxy:
        parts = {"host": proxy.host, "port": str(proxy.port)}
        backend = PostgresBackend("shop", options(store.server, store.database, parts=parts))
        transaction = await backend.begin(soon(), isolation="read committed", read_only=False)
        scope = Scope(deadline=soon().deadline, transaction=transaction)
        await backend.apply(table, price(table, "7.00", "1.50"), scope)
        plan = backend.plan_scan(table, store.ask(table, ["id"]))
        proxy.arm(Fault(after=0, trigger=b"COPY"))
        for _ in range(2):  # it is not tried again on another connection: that has not the writes
            with pytest.raises(ConnectionFailure):
                await scan_rows(backend, plan, scope)
        with pytest.raises(MorphError):
            await transaction.commit(soon().deadline)
        await transaction.rollback(None)
        proxy.disarm()
        await backend.close()
    assert await contents(store) == [ONE, TWO]


async def test_a_lock_is_waited_for_until_the_deadline(store: Store) -> None:  # R0.5
    table = store.tables["t"]
    other = await asyncpg.connect(
        host=store.server.host, port=store.server.port, user="postgres", database=store.database
    )
    try:
        held = other.transaction()
        await held.start()
        await other.execute("SELECT FROM t WHERE id = 1 FOR UPDATE")
        with pytest.raises(MorphError) as caught:
            await store.backend.apply(table, price(table, "7.00", "1.50"), soon(0.4))
        assert caught.value.sqlstate == "57014"
        await held.rollback()
    finally:
        await other.close()
    assert await contents(store) == [ONE, TWO]
