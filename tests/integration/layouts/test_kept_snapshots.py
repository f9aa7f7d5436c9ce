"""A transaction that keeps one snapshot meets a cut-over (R4.5, R0.1, decision 0009): what it reads
is what was acknowledged before it began, or it is told to try again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import asyncpg
import psycopg
import pytest

from evolution.layouts.base import ShadowWork
from evolution.layouts.embedded import store
from evolution.layouts.embedded.cut_over import Plan, plan_of
from evolution.transaction import Transaction
from tests.integration.layouts.bed import Bed

WAIT_S = 60.0
POLL_S = 0.01
READ = "SELECT x FROM fed WHERE id = 1"
Reader = psycopg.Connection[Any]
Act = Callable[[Reader], Any]


def simple(reader: Reader) -> Any:
    """By the simple protocol."""
    return reader.execute(READ).fetchall()[0][0]


def extended(reader: Reader) -> Any:
    """Prepared, with a parameter."""
    return reader.execute("SELECT x FROM fed WHERE id = %s", (1,), prepare=True).fetchall()[0][0]


def whole_text(reader: Reader) -> Any:
    """BEGIN and the statement in one text."""
    begin = "BEGIN; SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"
    found = reader.execute(f"{begin}; {READ}")
    while found.nextset():
        pass
    return found.fetchall()[0][0]


def written(reader: Reader) -> Any:
    """What an UPDATE makes of another row."""
    return reader.execute("UPDATE fed SET x = x || '!' WHERE id = 2 RETURNING x").fetchall()[0][0]


def by_cursor(reader: Reader) -> Any:
    """Through a cursor of SQL."""
    reader.execute(f"DECLARE c CURSOR FOR {READ}")
    return reader.execute("FETCH c").fetchall()[0][0]


BEGIN = "BEGIN ISOLATION LEVEL REPEATABLE READ"
FIRST: Sequence[tuple[Sequence[str], Act]] = (
    (("BEGIN ISOLATION LEVEL READ COMMITTED",), simple),
    ((BEGIN,), simple),
    ((BEGIN,), extended),
    ((BEGIN,), by_cursor),
    ((BEGIN,), written),
    (("BEGIN ISOLATION LEVEL SERIALIZABLE",), simple),
    (("BEGIN", "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"), simple),
    (("BEGIN", "SET LOCAL transaction_isolation = 'repeatable read'"), simple),
    (("SET default_transaction_isolation = 'repeatable read'",), simple),
    (("SET default_transaction_isolation = 'serializable'",), extended),
    (("SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL REPEATABLE READ",), simple),
    (("SELECT set_config('default_transaction_isolation', 'repeatable read', false)",), simple),
    (("SET default_transaction_isolation = 'repeatable read'", "BEGIN"), simple),
    ((), whole_text),
)


async def make_fed(bed: Bed) -> None:
    """A table whose change is ready, which the server's worker knows."""
    bed.make("fed", "id int PRIMARY KEY, x text")
    bed.ddl("INSERT INTO fed VALUES (1, 'before'), (2, 'other')")
    await bed.ready("fed")
    await until(
        bed,
        "SELECT count(*) FROM morph_log.workers w, morph_log.revision r "
        "WHERE w.revision >= r.revision",
        1,
    )


async def until(bed: Bed, query: str, count: int) -> None:
    """Wait for so many rows."""
    async with asyncio.timeout(WAIT_S):
        while bed.root.execute(query).fetchall()[0][0] < count:
            await asyncio.sleep(POLL_S)


async def waiting_at_the_fence(bed: Bed, count: int) -> None:
    """So many statements wait for their views."""
    await until(
        bed,
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' "
        "AND query LIKE '%fed%' AND pid <> pg_backend_pid()",
        count,
    )


def late_write(bed: Bed, patch: pytest.MonkeyPatch) -> None:
    """A write that is acknowledged before the fence, and that the cut-over itself brings in."""

    async def then_write(db: asyncpg.Connection, work: ShadowWork) -> Plan:
        plan = await plan_of(db, work)
        bed.ddl("UPDATE fed SET x = 'acknowledged'")
        return plan

    patch.setattr(store, "plan_of", then_write)


async def test_a_first_statement_that_waits_at_the_fence_sees_every_acknowledged_write(
    bed: Bed, monkeypatch: pytest.MonkeyPatch
) -> None:
    await make_fed(bed)
    late_write(bed, monkeypatch)
    with ExitStack() as stack:
        readers = [
            stack.enter_context(psycopg.connect(bed.server.dsn, autocommit=True)) for _ in FIRST
        ]
        for reader, (before, _) in zip(readers, FIRST, strict=True):
            for statement in before:
                reader.execute(statement)
        threads = stack.enter_context(ThreadPoolExecutor(len(FIRST)))
        reading: list[asyncio.Future[Any]] = []

        async def flip(tx: Transaction) -> None:
            await bed.flip(tx)
            for reader, (_, act) in zip(readers, FIRST, strict=True):
                reading.append(asyncio.get_running_loop().run_in_executor(threads, act, reader))
            await waiting_at_the_fence(bed, len(FIRST))

        result = await bed.cut_over(flip=flip, deadline_s=WAIT_S)
        assert result.done, result.reason
        async with asyncio.timeout(WAIT_S):
            found = await asyncio.gather(*reading)
        wanted = ["acknowledged!" if act is written else "acknowledged" for _, act in FIRST]
        assert found == wanted


@pytest.mark.parametrize("act", [simple, extended, by_cursor, written])
async def test_who_had_read_before_is_told_to_try_again(
    bed: Bed, monkeypatch: pytest.MonkeyPatch, act: Act
) -> None:
    await make_fed(bed)
    late_write(bed, monkeypatch)
    with psycopg.connect(bed.server.dsn, autocommit=True) as reader:
        reader.execute(BEGIN)
        reading: list[asyncio.Task[Any]] = []

        async def flip(tx: Transaction) -> None:
            await bed.flip(tx)
            await asyncio.to_thread(reader.execute, "SELECT 1")
            reading.append(asyncio.create_task(asyncio.to_thread(act, reader)))
            await waiting_at_the_fence(bed, 1)

        result = await bed.cut_over(flip=flip, deadline_s=WAIT_S)
        assert result.done, result.reason
        words = 'due to a cut-over of table "fed" to another layout'
        async with asyncio.timeout(WAIT_S):
            with pytest.raises(psycopg.errors.SerializationFailure, match=words) as caught:
                await reading[0]
        assert caught.value.diag.message_hint == "The transaction might succeed if retried."
        with pytest.raises(psycopg.errors.InFailedSqlTransaction):
            reader.execute("SELECT 1")
        reader.execute("ROLLBACK")
        reader.execute(BEGIN)
        assert act(reader) in ("acknowledged", "acknowledged!")
        reader.execute("COMMIT")


async def test_a_snapshot_from_before_serves_while_nothing_was_swapped(bed: Bed) -> None:
    await make_fed(bed)
    with psycopg.connect(bed.server.dsn, autocommit=True) as reader:
        reader.execute(BEGIN)
        assert reader.execute("SELECT 1").fetchall() == [(1,)]
        bed.ddl("UPDATE fed SET x = 'later'")
        assert (simple(reader), extended(reader)) == ("before", "before")
        with pytest.raises(psycopg.errors.SerializationFailure, match="concurrent update"):
            written(reader)
        reader.execute("ROLLBACK")
        reader.execute("SET default_transaction_isolation = 'repeatable read'")
        assert (simple(reader), extended(reader), written(reader)) == ("later", "later", "later!")
        reader.execute("RESET default_transaction_isolation")
        assert (simple(reader), written(reader)) == ("later", "later!!")


async def test_an_error_while_the_views_are_locked_is_the_statements_own(bed: Bed) -> None:
    await make_fed(bed)
    with psycopg.connect(bed.server.dsn, autocommit=True) as reader, bed.server.root() as other:
        for act in (simple, extended):
            reader.execute(BEGIN)
            reader.execute("SET LOCAL lock_timeout = '50ms'")
            with other.transaction():
                other.execute("LOCK TABLE morph_v1.fed IN ACCESS EXCLUSIVE MODE")
                with pytest.raises(psycopg.errors.LockNotAvailable, match="lock timeout"):
                    act(reader)
            reader.execute("ROLLBACK")
            assert act(reader) == "before"
