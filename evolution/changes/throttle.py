"""When the copying of a shadow waits for its clients (EVOLUTION 4).

Looked at before each chunk: how long clients' statements take, how far the shadow is behind, how
many statements run at once, and a query of the operator's own. The log is brought in all the same.
What is measured here is the worker's that drives the change; the other two are of the whole server.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import asyncpg

from config.changes import ChangesSettings
from core.telemetry.metrics import Distribution
from evolution.changes.needs import Catalog
from evolution.transaction import Transaction

SEEN_MIN: Final = 20
"""Of fewer statements nothing is said."""
SHARE: Final = 0.95
WINDOW_S: Final = 2.0
PROBE_S: Final = 1
WAITS: Final = "the copying waits: "
"""How every reason begins."""
_ACTIVE: Final = (
    "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' "
    "AND state = 'active' AND usename <> session_user AND pid <> pg_backend_pid()"
)
_NO: Final = frozenset({None, "", "0", "False", "false", "f"})


class Latency:
    """How long statements take, of those that ended of late: what was found holds for `WINDOW_S`
    unless enough of them have ended before.
    """

    def __init__(self, cells: Mapping[str, Distribution], clock: Callable[[], float]) -> None:
        self._cells = cells
        self._clock = clock
        self._at = clock()
        self._before: dict[str, tuple[int, ...]] = {}
        self._last = 0.0

    def seconds(self) -> float:
        """The upper bound of the time that 95 of 100 took, 0.0 when there were too few to say."""
        fresh = self._fresh()
        seen = sum(fresh.values())
        if seen < SEEN_MIN and self._clock() - self._at < WINDOW_S:
            return self._last
        self._before = {name: tuple(cell.counts) for name, cell in self._cells.items()}
        self._at = self._clock()
        self._last = _quantile(fresh, seen) if seen >= SEEN_MIN else 0.0
        return self._last

    def _fresh(self) -> Counter[float]:
        fresh: Counter[float] = Counter()
        for name, cell in self._cells.items():
            old = self._before.get(name, (0,) * len(cell.counts))
            bounds = (*cell.bounds, cell.bounds[-1])
            for bound, now, before in zip(bounds, cell.counts, old, strict=True):
                fresh[bound] += now - before
        return fresh


def _quantile(counts: Counter[float], seen: int) -> float:
    under = 0
    for bound in sorted(counts):
        under += counts[bound]
        if under >= SHARE * seen:
            return bound
    raise AssertionError("the counts are of what was seen")


class Throttle:
    """Says why the copying of a change waits."""

    def __init__(self, settings: ChangesSettings, latency: Latency) -> None:
        self._settings = settings
        self._latency = latency

    async def why(self, catalog: Catalog, lag_s: float) -> str:
        """The reason, for people; "" when nothing stands against the next chunk."""
        seconds = self._latency.seconds() if self._settings.throttle_latency else 0.0
        if seconds > self._settings.throttle_latency:
            return _words(f"statements of clients take {seconds:g} s", "latency")
        if self._settings.throttle_lag and lag_s > self._settings.throttle_lag:
            return _words(f"its shadow is {lag_s:.1f} s behind", "lag")
        if not self._settings.throttle_active and not self._settings.throttle_probe:
            return ""
        try:
            async with catalog.transaction() as tx:
                return await self._asked(tx)
        except asyncpg.PostgresConnectionError:
            raise
        except asyncpg.PostgresError as error:  # it waits, and is tried again
            text = error.args[0] if error.args else error
            return _words(f"the probe failed: {text}", "probe")

    async def _asked(self, tx: Transaction) -> str:
        if self._settings.throttle_active:
            active = int((await tx.fetch(_ACTIVE))[0][0] or 0)
            if active > self._settings.throttle_active:
                return _words(f"{active} statements of clients run at once", "active")
        if not self._settings.throttle_probe:
            return ""
        for setting in (
            "SET TRANSACTION READ ONLY",
            f"SET LOCAL statement_timeout = '{PROBE_S}s'",
            "SET LOCAL ROLE morph_client",
        ):
            await tx.fetch(setting)
        return _judged(await tx.fetch(self._settings.throttle_probe))


def _judged(rows: Sequence[Sequence[str | None]]) -> str:
    value = rows[0][0] if rows and rows[0] else None
    return "" if value in _NO else _words(f"the probe says {value}", "probe")


def _words(what: str, setting: str) -> str:
    return f"{WAITS}{what} (changes.throttle_{setting})"
