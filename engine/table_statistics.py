"""Sizes of foreign tables for the planner: asked for once, refreshed behind the statements.

A statement waits for a size only the first time, and not for long; a store that does not answer in
time counts as large. A wrong size costs speed, never rows.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from typing import Any, Final

from backends.base import Scope, StoreBackend, TableStatistics
from catalog.model import Table
from core.errors import MorphError

UNKNOWN: Final = TableStatistics(1_000_000)
WAIT_S: Final = 0.5
FRESH_S: Final = 60.0
TABLES_MAX: Final = 10_000

Spawn = Callable[[Coroutine[Any, Any, None], str], object]


class StatisticsCache:
    """The sizes that a process knows; `spawn` starts a task that somebody owns."""

    def __init__(self, spawn: Spawn, clock: Callable[[], float]) -> None:
        self._spawn = spawn
        self._clock = clock
        self._known: OrderedDict[tuple[str, tuple[str, ...]], tuple[float, TableStatistics]] = (
            OrderedDict()
        )
        self._asked: set[tuple[str, tuple[str, ...]]] = set()

    async def of(self, backend: StoreBackend, table: Table) -> TableStatistics:
        """The size of a table, as it was a while ago."""
        key = (table.instance, table.native + table.parent_path)
        known = self._known.get(key)
        if known is None:
            await self._ask(backend, table, key, WAIT_S)
            known = self._known.get(key)
            if known is None:
                self._refresh(backend, table, key)
                return UNKNOWN
            return known[1]
        if self._clock() - known[0] > FRESH_S:
            self._refresh(backend, table, key)
        return known[1]

    def _refresh(
        self, backend: StoreBackend, table: Table, key: tuple[str, tuple[str, ...]]
    ) -> None:
        """Ask again behind the statements, and give the store time to answer."""
        if key not in self._asked:
            self._spawn(self._ask(backend, table, key, FRESH_S), f"statistics-{table.name}")

    async def _ask(
        self, backend: StoreBackend, table: Table, key: tuple[str, tuple[str, ...]], wait: float
    ) -> None:
        self._asked.add(key)
        try:
            deadline = asyncio.get_running_loop().time() + wait
            found = await backend.statistics(table, Scope(deadline=deadline))
        except MorphError:
            return  # the scan will say what is wrong
        finally:
            self._asked.discard(key)
        self._known[key] = (self._clock(), found)
        if len(self._known) > TABLES_MAX:
            self._known.popitem(last=False)
