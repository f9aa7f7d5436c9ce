"""What a cut-over and a discarded change do not do, as it is documented (decision 0009, issue 5).
A test here that fails is good news: then the page is wrong.
"""

from __future__ import annotations

import asyncio
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


async def first_statement_at_the_fence(bed: Bed, patch: pytest.MonkeyPatch, isolation: str) -> Any:
    """What a transaction reads whose first statement waits at the fence of a cut-over, which has to
    bring in a write that is older than the statement.
    """

    async def then_write(db: asyncpg.Connection, work: ShadowWork) -> Plan:
        plan = await plan_of(db, work)
        bed.ddl("UPDATE fed SET x = 'acknowledged' WHERE id = 1")
        return plan

    patch.setattr(store, "plan_of", then_write)
    with psycopg.connect(bed.server.dsn, autocommit=True) as reader:
        reader.execute(f"BEGIN ISOLATION LEVEL {isolation}")
        reading: list[asyncio.Future[Any]] = []

        async def flip(tx: Transaction) -> None:
            await bed.flip(tx)
            reading.append(asyncio.ensure_future(asyncio.to_thread(_first, reader)))
            async with asyncio.timeout(WAIT_S):
                while not bed.root.execute(
                    "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' "
                    "AND query LIKE '%fed%' AND pid <> pg_backend_pid()"
                ).fetchall()[0][0]:
                    await asyncio.sleep(0.01)

        result = await bed.cut_over(flip=flip, deadline_s=WAIT_S)
        assert result.done, result.reason
        async with asyncio.timeout(WAIT_S):
            found = await reading[0]
        reader.execute("COMMIT")
        assert _first(reader) == "acknowledged"
    return found


def _first(reader: psycopg.Connection[Any]) -> Any:
    return reader.execute("SELECT x FROM fed WHERE id = 1").fetchall()[0][0]


async def make_fed(bed: Bed) -> None:
    bed.make("fed", "id int PRIMARY KEY, x text")
    bed.ddl("INSERT INTO fed VALUES (1, 'before'), (2, 'other')")
    await bed.ready("fed")


async def test_who_waits_at_the_fence_in_read_committed_sees_every_write(
    bed: Bed, monkeypatch: pytest.MonkeyPatch
) -> None:
    await make_fed(bed)
    assert await first_statement_at_the_fence(bed, monkeypatch, "READ COMMITTED") == "acknowledged"


async def test_a_repeatable_read_whose_first_statement_waits_may_miss_the_last_writes(
    bed: Bed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its snapshot is of the moment at which it came; in the new layout, what the cut-over itself
    brought in is younger. The next transaction sees it.
    """
    await make_fed(bed)
    assert await first_statement_at_the_fence(bed, monkeypatch, "REPEATABLE READ") == "before"


async def test_a_discarded_version_stays_readable_and_its_column_empty(bed: Bed) -> None:
    """No row is touched: the columns that its lens added to the live table are NULL, and stay."""
    bed.make("price", "id int PRIMARY KEY, x text")
    bed.ddl("INSERT INTO price VALUES (1, '1'), (2, '2')")
    live = (await bed.aim("price")).tables[0].live
    names = _columns(bed, live)
    before = bed.rows(live, f"{names}, ctid, xmin")
    bed.ddl("SET morph.ddl_mode = virtual")
    bed.ddl("ALTER TABLE price ALTER COLUMN x TYPE int USING x::int")
    added = _columns(bed, live).removeprefix(f"{names}, ")
    await bed.begin("price")
    await bed.copy()
    await bed.layouts.discard(bed.work)
    assert bed.rows(live, f"{names}, ctid, xmin") == before
    assert _columns(bed, live) == f"{names}, {added}"
    kept = bed.rows(live, f"to_jsonb((SELECT r FROM (SELECT {added}) r)) - '_l'")
    assert {value for (row,) in kept for value in row.values()} == {None}
    assert bed.client.execute("SELECT x FROM v2.price ORDER BY id").fetchall() == [(1,), (2,)]
    assert bed.client.execute("SELECT x FROM v1.price ORDER BY id").fetchall() == [("1",), ("2",)]


def _columns(bed: Bed, table: str) -> str:
    return str(
        bed.root.execute(
            "SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) FROM pg_attribute "
            "WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped",
            (f'morph_store."{table}"',),
        ).fetchall()[0][0]
    )
