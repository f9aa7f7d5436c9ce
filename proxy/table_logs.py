"""Which foreign tables have a log, as this worker knows it; and what its sessions write past it.

A worker says up to which revision it knows only when its writers from before have ended (the
two-epoch rule, evolution/layouts/foreign/workers.py): a change begins after that, and from then on
nothing of this worker is missing in the log.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from backends.change_store import LogPlace
from catalog.model import Table
from core.errors import MorphError, SerializationFailure
from core.telemetry.log import Log
from proxy.admin_faults import ADMIN_FAULTS

if TYPE_CHECKING:
    from proxy.worker import Worker

LOG = Log("table_logs")
_LOGS: Final = (
    "SELECT json_build_object('revision', r.revision, 'epoch', s.epoch, 'logs', "
    "coalesce(l.logs, '[]'), 'moving', array(SELECT table_id FROM morph_log.shadows))::text "
    "FROM morph_log.revision r CROSS JOIN morph_catalog.state s "
    "LEFT JOIN LATERAL (SELECT json_agg(json_build_object('table', table_id, 'change', change_id, "
    "'live', live)) AS logs FROM morph_log.foreign_feeds) l ON true"
)
_SERVES: Final = "SELECT live::text FROM morph_log.foreign_feeds WHERE table_id = {}"
_SAY: Final = (
    "INSERT INTO morph_log.workers VALUES ($1, $2, clock_timestamp(), $3) ON CONFLICT (worker) "
    "DO UPDATE SET started_at = CASE WHEN workers.incarnation = EXCLUDED.incarnation "
    "THEN workers.started_at ELSE EXCLUDED.started_at END, incarnation = EXCLUDED.incarnation, "
    "revision = EXCLUDED.revision"
)
RETRY_S: Final = 0.1
_BITS: Final = 8


class LayoutMoved(SerializationFailure):
    """The table has another layout by now than the statement was planned for."""


@dataclass(frozen=True, slots=True)
class TableLog:
    """A table with a log: `live` is where it lies."""

    table_id: int
    change_id: int
    live: tuple[str, ...]

    @property
    def place(self) -> LogPlace:
        """Where the log is."""
        return LogPlace(self.live[0], self.table_id)


class TableLogs:
    """Of one worker. `incarnation` is the worker's since it was started."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self.incarnation = (self._now_us() << _BITS) | (worker.number % (1 << _BITS))
        self._logs: dict[int, TableLog] = {}
        self._revision = 0
        self._plain: dict[int, int] = {}
        self._number = 0
        self._lock = asyncio.Lock()
        self._ended = asyncio.Event()
        self._telling = False
        self._last = 0

    def _now_us(self) -> int:
        """Microseconds since 1970."""
        return int(self._worker.now().timestamp() * 1e6)

    def position(self) -> int:
        """A name for a record, of a hybrid clock: even, growing, about µs since 1970."""
        self._last = max(self._last + 2, self._now_us() // 2 * 2)
        return self._last

    def of(self, table_id: int) -> TableLog | None:
        """The log of a table, None without one."""
        return self._logs.get(table_id)

    # ------------------------------------------------------------------ writers past the log

    def begin_plain(self, table_id: int) -> int:
        """Somebody writes a table that has no log; what to give `end_plain`."""
        self._number += 1
        self._plain[self._number] = table_id
        return self._number

    def end_plain(self, number: int) -> None:
        """The write has been answered, its transaction is over."""
        if self._plain.pop(number, None) is not None:
            self._ended.set()

    # ------------------------------------------------------------------ what the catalog says

    def announced(self, *_: object) -> None:
        """The catalog says something else of layouts, or is there again."""
        if not self._telling:
            self._telling = True
            self._worker.spawn(self._tell(), name="table-logs")

    async def _tell(self) -> None:
        """Learn it, and say so when nobody writes as before any more."""
        while not self._worker.stopping:
            self._telling = False
            try:
                await self.refresh()
            except (MorphError, *ADMIN_FAULTS) as error:
                if self._worker.admin is None:
                    return  # it is announced again when the connection is back
                LOG.warning("table_logs.unread", error=str(error))
                await asyncio.sleep(RETRY_S)
                continue
            revision, logged = self._revision, set(self._logs)
            older = [n for n, table_id in self._plain.items() if table_id in logged]
            while any(n in self._plain for n in older) and not self._worker.stopping:
                self._ended.clear()
                await self._ended.wait()
            if revision == self._revision:
                await self._worker.tell_admin(_SAY, self._worker.number, self.incarnation, revision)
                return

    async def refresh(self) -> None:
        """Read which tables have a log and where they lie. CrashShutdown (57P02) without the
        private PostgreSQL.
        """
        async with self._lock:
            found = json.loads(await self._worker.ask_admin(_LOGS))
            if found["epoch"] > self._worker.snapshot.epoch:
                await self._worker.reload()
            logs = [
                TableLog(each["table"], each["change"], tuple(each["live"]))
                for each in found["logs"]
            ]
            self._logs = {each.table_id: each for each in logs}
            self._worker.moving = frozenset(found["moving"])
            self._revision = found["revision"]

    async def check(self, table: Table) -> None:
        """LayoutMoved (40001) when a table that was logged lies elsewhere by now. The caller holds
        its lock, so it stays.
        """
        live = await self._worker.ask_admin(_SERVES.format(table.id))
        if live is None or tuple(json.loads(live)) != table.native:
            raise LayoutMoved(
                f'could not serialize access: foreign table "{table.name}" has another layout now',
                hint="The transaction might succeed if retried.",
            )

    def lost(self, tables: Sequence[Table]) -> bool:
        """Whether one of them has got a log since."""
        return any(table.id in self._logs for table in tables)
