"""What a store's own driver does: the other side of every figure."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Query:
    """A statement and the same by the driver; both give the number of rows that came."""

    sql: str
    direct: Callable[[], Awaitable[int]]


class Direct(Protocol):
    """A store by its driver. `point_sql` has the key as $1; `scans` are of 5 and of 13 columns."""

    kind: str
    point_sql: str
    scans: Mapping[str, Query]
    queries: Mapping[str, Query]

    async def load(self, rows: Sequence[Row]) -> None:
        """The documents, and the indexes that the queries use."""
        ...

    async def point(self, key: int) -> None:
        """One row of five columns by its key; AssertionError when it is not there."""
        ...

    async def by_keys(self, keys: Sequence[int]) -> list[tuple[int, float]]:
        """Key and price of many rows."""
        ...

    async def close(self) -> None:
        """End."""
        ...


async def closed_loop(
    work: Callable[[int], Awaitable[None]], keys: Sequence[int], clients: int, seconds: float
) -> float:
    """Calls a second of so many clients that call one after the other."""
    end = time.monotonic() + seconds
    done = 0

    async def client(first: int) -> None:
        nonlocal done
        at = first
        while time.monotonic() < end:
            await work(keys[at % len(keys)])
            at += clients
            done += 1

    begun = time.monotonic()
    await asyncio.gather(*(client(n * 7919) for n in range(clients)))
    return done / (time.monotonic() - begun)
