"""The layouts of a data directory, of a command's own: it compares beside the server."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import Final

import asyncpg

from catalog.instances import INSTANCES_QUERY, Instance, instances_from_rows
from config.settings import Settings
from engine.instances import Instances
from evolution.changes.records import Record
from evolution.layouts.by_store import LayoutsByStore
from evolution.layouts.embedded.store import EmbeddedLayouts
from evolution.layouts.foreign.store import ForeignLayouts
from evolution.validation.embedded.setup import embedded_validator
from proxy.both_layouts import BothLayouts, LayoutReader
from proxy.change_control import worker_numbers
from proxy.layout_readers import reader_of

Connect = Callable[[], Awaitable[asyncpg.Connection]]
INSTANCES_S: Final = 30.0


class OwnLayouts:
    """`connect` gives a superuser's connection to the catalog. Other stores are reached from here,
    with the secrets that this process has.
    """

    def __init__(self, connect: Connect, settings: Settings) -> None:
        self._connect = connect
        self._memory_max = settings.merge.memory_max
        self._instances = Instances(settings.stores, self._load, os.environ)
        self._embedded = EmbeddedLayouts(connect)
        self._foreign = ForeignLayouts(
            connect, self._instances.backend, worker_numbers(settings.server.workers)
        )
        self.layouts = LayoutsByStore(self._embedded, self._foreign)
        self.validator = embedded_validator(self.layouts, connect, settings.validation)

    async def _load(self) -> tuple[Instance, ...]:
        connection = await self._connect()
        try:
            async with asyncio.timeout(INSTANCES_S):
                rows = await connection.fetch(INSTANCES_QUERY)
        finally:
            connection.terminate()
        return instances_from_rows(tuple(row) for row in rows)

    def reader(self, record: Record, layouts: BothLayouts) -> LayoutReader:
        """What reads both layouts of a change with a backend of a client's role."""
        return reader_of(record, layouts, self._foreign, self._instances, self._memory_max)

    async def close(self) -> None:
        """End all connections."""
        await self._embedded.close()
        await self._foreign.close()
        await self._instances.close()
