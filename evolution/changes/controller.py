"""The controller of changes: one owner among all workers, a task for each change.

Every worker runs one `Controller`; while there is something to do, the one that has the advisory
lock drives. The lock belongs to a connection of PostgreSQL, so a controller that dies or loses its
connection is succeeded at once; what it had begun is refused by the epochs (states.Claimed).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Final

import asyncpg

from config.changes import ChangesSettings
from core.clock import Clock
from core.errors import MorphError
from core.telemetry.log import Log
from evolution.changes.driver import Driver
from evolution.changes.needs import Catalog
from evolution.changes.records import load_records
from evolution.transaction import AdminTransaction, Transaction

LOG = Log("changes")
LOCK_KEY: Final = 0x6D6F727068  # "morph"
ELECTION_PAUSE_S: Final = 0.5
LOOK_S: Final = 1.0
IDLE_LOOK_S: Final = 60.0
CLOSE_S: Final = 5.0
END_PAUSE_S: Final = 0.5
FAULTS: Final = (
    MorphError,
    OSError,
    TimeoutError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)
"""What a step may meet without being wrong itself."""

Connect = Callable[[], Awaitable[asyncpg.Connection]]
Active = Callable[[], Awaitable[bool]]
ACTIVE_QUERY: Final = "SELECT EXISTS (SELECT FROM morph_catalog.shadows WHERE NOT settled)"


class ConnectionCatalog:
    """needs.Catalog on one connection, whose transactions wait for one another."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection
        self._lock = asyncio.Lock()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """See needs.Catalog."""
        async with self._lock, self._connection.transaction():
            yield AdminTransaction(self._connection)


class Controller:
    """Of one process; `number` is its worker's. `drive_with` makes the driver for a catalog."""

    def __init__(
        self,
        number: int,
        connect: Connect,
        active: Active,
        drive_with: Callable[[Catalog], Driver],
        settings: ChangesSettings,
        clock: Clock,
    ) -> None:
        self.owner = f"worker {number}"
        self._connect = connect
        self._active = active
        self._drive_with = drive_with
        self._settings = settings
        self._clock = clock
        self._stopping = False
        self._news = asyncio.Event()
        self._wakes: dict[int, asyncio.Event] = {}

    def wake(self) -> None:
        """Something was written about a change: look now."""
        self._news.set()
        for wake in self._wakes.values():
            wake.set()

    def stop(self) -> None:
        """Begin nothing more; `run` is to be cancelled after this."""
        self._stopping = True
        self.wake()

    async def run(self) -> None:
        """Drive changes whenever this process is the owner, until stopped and cancelled."""
        while not self._stopping:
            pause = IDLE_LOOK_S
            try:
                if await self._active():
                    await self._try_to_own()
                    pause = ELECTION_PAUSE_S
            except FAULTS as error:
                LOG.warning("changes.controller_fault", error=str(error) or type(error).__name__)
                pause = ELECTION_PAUSE_S
            await self._wait(self._news, pause)

    async def _wait(self, news: asyncio.Event, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with self._clock.timeout_at(self._clock.monotonic() + seconds):
                await news.wait()
        news.clear()

    async def _try_to_own(self) -> None:
        connection = await self._connect()
        try:
            await connection.execute(f"SET application_name = 'morphgres changes, {self.owner}'")
            while not await connection.fetchval("SELECT pg_try_advisory_lock($1)", LOCK_KEY):
                await self._wait(asyncio.Event(), ELECTION_PAUSE_S)
                if not await self._active():
                    return
            await self._own(connection)
        finally:
            with contextlib.suppress(*FAULTS):
                await connection.close(timeout=CLOSE_S)
            connection.terminate()

    async def _own(self, connection: asyncpg.Connection) -> None:
        """Drive every change in a task of its own until there is none."""
        lost = asyncio.Event()

        def gone(_: object) -> None:
            lost.set()
            self._news.set()

        connection.add_termination_listener(gone)
        catalog = ConnectionCatalog(connection)
        driver = self._drive_with(catalog)
        await driver.claim(self.owner)
        LOG.info("changes.owner", owner=self.owner)
        tasks: dict[int, asyncio.Task[None]] = {}
        try:
            while not lost.is_set() and not self._stopping:
                async with catalog.transaction() as tx:
                    wanted = {r.change_id for r in await load_records(tx) if not r.over}
                tasks = {number: task for number, task in tasks.items() if not _ended(task)}
                for number in wanted - set(tasks):
                    self._wakes[number] = asyncio.Event()
                    tasks[number] = asyncio.create_task(
                        self._drive(driver, number, lost), name=f"change-{number}"
                    )
                if not tasks:
                    return
                await self._wait(self._news, LOOK_S)
        finally:
            lost.set()
            await _end(tasks.values())

    async def _drive(self, driver: Driver, number: int, lost: asyncio.Event) -> None:
        """Step after step until the change is over or the lock is lost; a step that fails is tried
        again later.
        """
        tries = 0
        wake = self._wakes[number]
        try:
            while not lost.is_set():
                try:
                    delay = await driver.step(number)
                    tries = 0
                except asyncpg.SerializationError:
                    delay = 0.0  # somebody else wrote the record: look again
                except FAULTS as error:
                    tries += 1
                    delay = await self._failed(driver, number, tries, error)
                if delay is None:
                    return
                if delay:
                    await self._wait(wake, delay)
                else:
                    await asyncio.sleep(0)
        finally:
            self._wakes.pop(number, None)

    async def _failed(self, driver: Driver, number: int, tries: int, error: Exception) -> float:
        reason = _words(error)
        LOG.warning("changes.step_failed", change=number, tries=tries, error=reason)
        with contextlib.suppress(*FAULTS):
            await driver.fault(number, tries, reason)
        pause = self._settings.backoff_min * 2.0 ** min(tries - 1, 30)
        return min(pause, self._settings.backoff_max)


async def _end(tasks: Iterable[asyncio.Task[None]]) -> None:
    """Cancel tasks until they are over: leaving a transaction on a connection that broke turns a
    cancellation into the error of the connection (asyncpg's Transaction.__aexit__).
    """
    pending = {task for task in tasks if not task.done()}
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=END_PAUSE_S)


def _ended(task: asyncio.Task[None]) -> bool:
    """Whether a change's task is over; one that ended by a fault of the program is begun anew."""
    if not task.done():
        return False
    error = None if task.cancelled() else task.exception()
    if error is not None:
        LOG.error("changes.task_failed", task=task.get_name(), error=repr(error))
    return True


def _words(error: Exception) -> str:
    """A fault for people, with its SQLSTATE."""
    state = getattr(error, "sqlstate", None)
    text = getattr(error, "primary", "") or str(error) or type(error).__name__
    return f"{state}: {text}" if state else text
