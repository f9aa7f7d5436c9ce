"""The controller's own life: election, a lost connection, an orderly end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import asyncpg
import pytest_asyncio

from config.changes import ChangesSettings
from core.clock import SystemClock
from evolution.changes.controller import LOCK_KEY, Controller
from evolution.changes.driver import Driver
from evolution.changes.needs import Catalog as CatalogSeam
from evolution.changes.records import register_statement
from evolution.layouts.base import ShadowTable
from private_pg.cluster import DATABASE, SUPERUSER
from tests.unit.evolution.changes.conftest import Catalog

DEADLINE_S = 60.0
HOLDER = (
    "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted "
    f"AND ((classid::bigint << 32) | objid::bigint) = {LOCK_KEY}"
)


class Waiting(Driver):
    """A driver whose every step works in a transaction until it is broken off."""

    def __init__(self, catalog: CatalogSeam, steps: asyncio.Queue[int]) -> None:
        self._catalog = catalog
        self._steps = steps

    async def step(self, change_id: int) -> float | None:
        """See Driver."""
        async with self._catalog.transaction() as tx:
            self._steps.put_nowait(change_id)
            await tx.fetch("SELECT pg_sleep(600)::text")
        return None


Make = Callable[[int], Controller]


@pytest_asyncio.fixture(loop_scope="session")
async def steps() -> asyncio.Queue[int]:
    """The changes whose steps began."""
    return asyncio.Queue()


@pytest_asyncio.fixture(loop_scope="session")
async def running(
    catalog: Catalog, steps: asyncio.Queue[int]
) -> AsyncIterator[Callable[[int], tuple[Controller, asyncio.Task[None]]]]:
    """Runs controllers on a catalog with one change; all are ended at last."""
    async with catalog.transaction() as tx:
        await tx.apply([register_statement(7, 6, [ShadowTable(5, "orders", "t5", "t5s7")])])
    made: list[tuple[Controller, asyncio.Task[None]]] = []

    async def connect() -> asyncpg.Connection:
        return await asyncpg.connect(host=catalog.host, user=SUPERUSER, database=DATABASE)

    async def active() -> bool:
        return True

    def run(number: int) -> tuple[Controller, asyncio.Task[None]]:
        controller = Controller(
            number,
            connect,
            active,
            lambda seam: Waiting(seam, steps),
            ChangesSettings(backoff_min=0.01, backoff_max=0.02),
            SystemClock(),
        )
        made.append((controller, asyncio.create_task(controller.run())))
        return made[-1]

    yield run
    for controller, task in made:
        await end(controller, task)


async def end(controller: Controller, task: asyncio.Task[None]) -> None:
    controller.stop()
    task.cancel()
    async with asyncio.timeout(DEADLINE_S):
        await asyncio.wait([task])


async def holder(catalog: Catalog) -> int | None:
    """The backend that has the controllers' lock."""
    pid: int | None = await catalog.connection.fetchval(HOLDER)
    return pid


async def test_one_of_two_drives_and_the_other_follows(
    catalog: Catalog, running: Callable[..., object], steps: asyncio.Queue[int]
) -> None:
    running(1)
    running(2)
    async with asyncio.timeout(DEADLINE_S):
        assert await steps.get() == 7
        first = await holder(catalog)
        await catalog.connection.execute("SELECT pg_terminate_backend($1)", first)
        assert await steps.get() == 7
    assert await holder(catalog) not in (None, first)
    query = "SELECT epoch FROM morph.change_steps WHERE event = 'Claimed' ORDER BY step_id"
    assert [row[0] for row in await catalog.connection.fetch(query)] == [1, 2]


async def test_it_ends_while_a_step_is_at_work_and_when_its_connection_breaks(
    catalog: Catalog,
    running: Callable[[int], tuple[Controller, asyncio.Task[None]]],
    steps: asyncio.Queue[int],
) -> None:
    for breaks in (False, True):
        controller, task = running(1)
        async with asyncio.timeout(DEADLINE_S):
            await steps.get()
        if breaks:
            pid = await holder(catalog)
            await catalog.connection.execute("SELECT pg_terminate_backend($1)", pid)
        await end(controller, task)
        assert task.done()
