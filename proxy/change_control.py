"""The controller of changes in a worker: its connections, layouts and validation, and the pins.

A session that chose a version itself (search_path) is pinned to it. Which ones are is in the memory
of the workers: who must know asks all of them over a channel, and each writes its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import asyncpg

from backends.base import StoreBackend
from catalog.sqltext import PUBLIC
from config.settings import Settings
from core.clock import SystemClock
from evolution.changes.controller import ACTIVE_QUERY, Controller
from evolution.changes.driver import Driver
from evolution.changes.needs import Catalog
from evolution.changes.throttle import Latency, Throttle
from evolution.layouts.by_store import LayoutsByStore
from evolution.layouts.embedded.store import EmbeddedLayouts
from evolution.layouts.foreign.store import ForeignLayouts
from evolution.validation.embedded.setup import embedded_validator
from private_pg.cluster import SUPERUSER

if TYPE_CHECKING:
    from proxy.worker import Worker

PINS_CHANNEL: Final = "morph_pins"
CONNECT_TIMEOUT_S: Final = 30.0
ANSWER_S: Final = 5.0
ANSWER_POLL_S: Final = 0.05
_WRITE_PINS: Final = (
    "INSERT INTO morph_catalog.pins VALUES ($1, clock_timestamp(), $2) "
    "ON CONFLICT (worker) DO UPDATE SET at = EXCLUDED.at, versions = EXCLUDED.versions"
)


class AskedPins:
    """needs.Pins: asks all workers, over a transaction of the catalog."""

    def __init__(self, catalog: Catalog, workers: Sequence[int], clock: SystemClock) -> None:
        self._catalog = catalog
        self._workers = workers
        self._clock = clock

    async def pinned(self, change_id: int) -> int:
        """See Pins."""
        async with self._catalog.transaction() as tx:
            asked = (await tx.fetch("SELECT clock_timestamp()::text"))[0][0]
            await tx.apply([f"SELECT pg_notify('{PINS_CHANNEL}', '')"])
        numbers = ", ".join(str(n) for n in self._workers)
        query = (
            "SELECT count(DISTINCT worker)::text, count(version) FILTER "
            f"(WHERE version < {change_id})::text FROM morph_catalog.pins "
            "LEFT JOIN LATERAL unnest(versions) AS each(version) ON true "
            f"WHERE worker IN ({numbers}) AND at >= '{asked}'"
        )
        deadline = self._clock.monotonic() + ANSWER_S
        while self._clock.monotonic() < deadline:
            async with self._catalog.transaction() as tx:
                answered, pinned = (await tx.fetch(query))[0]
            if int(answered or 0) == len(self._workers):
                return int(pinned or 0)
            await asyncio.sleep(ANSWER_POLL_S)
        return -1


class ChangeControl:
    """What one worker has of changes."""

    def __init__(self, worker: Worker, settings: Settings, socket_directory: str) -> None:
        self._worker = worker
        self._socket_directory = socket_directory
        self._workers = worker_numbers(settings.server.workers)
        self._settings = settings.changes
        self._clock = SystemClock()
        clock = self._clock.monotonic
        self.embedded = EmbeddedLayouts(self.connect, clock, self._workers)
        self.foreign = ForeignLayouts(self.connect, self._store, self._workers, clock)
        self.layouts = LayoutsByStore(self.embedded, self.foreign)
        self.validator = embedded_validator(self.layouts, self.connect, settings.validation)
        self.controller = Controller(
            worker.number, self.connect, self._active, self._driver, self._settings, self._clock
        )

    @property
    def validation_method(self) -> str:
        """How changes are compared unless somebody says otherwise."""
        return self._settings.validation

    @property
    def workers(self) -> Sequence[int]:
        """The numbers of the node's workers."""
        return self._workers

    async def connect(self) -> asyncpg.Connection:
        """A connection of the control plane's own. Layouts change under it: no statement cache."""
        return await asyncpg.connect(
            host=self._socket_directory,
            user=SUPERUSER,
            database=self._worker.database,
            timeout=CONNECT_TIMEOUT_S,
            statement_cache_size=0,
        )

    async def _store(self, name: str) -> StoreBackend:
        return await self._worker.instances.backend(name)

    def _driver(self, catalog: Catalog) -> Driver:
        pins = AskedPins(catalog, self._workers, self._clock)
        throttle = Throttle(
            self._settings,
            Latency(self._worker.metrics.statement_seconds.cells, self._clock.monotonic),
        )
        return Driver(
            catalog, self.layouts, self.validator, pins, self._settings, self._clock, throttle
        )

    async def _active(self) -> bool:
        return bool(await self._worker.ask_admin(ACTIVE_QUERY))

    def announced(self, *_: object) -> None:
        """Something was written about a change."""
        self.controller.wake()
        self._worker.inline.announced()

    def pins_asked(self, *_: object) -> None:
        """Somebody wants to know which versions this worker's sessions chose."""
        self._worker.spawn(self._write_pins(), name="pins")

    async def _write_pins(self) -> None:
        versions = pinned_versions(self._worker)
        await self._worker.tell_admin(_WRITE_PINS, self._worker.number, versions)

    async def close(self) -> None:
        """End the connections."""
        await self.embedded.close()
        await self.foreign.close()


def worker_numbers(workers: int) -> Sequence[int]:
    """The numbers of a node's workers: 0 for one that is alone in its process."""
    return range(1, workers + 1) if workers > 1 else range(1)


def pinned_versions(worker: Worker) -> list[int]:
    """The versions that sessions of the worker chose themselves, one entry a session."""
    found = []
    for session in list(worker.sessions.values()):
        namespaces = session.plans.namespaces
        version = namespaces.default_version
        if version is not None and namespaces.default_schema != PUBLIC:
            found.append(version.number)
    return found
