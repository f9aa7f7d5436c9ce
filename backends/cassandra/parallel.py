"""A few requests of one piece of work at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final

from core.errors import StatementCompletionUnknown

IN_FLIGHT: Final = 16
"""Requests of one statement at a time."""


async def gather(work: Callable[[Any], Awaitable[Any]], items: Iterable[Any]) -> list[Any]:
    """The results in order, a few at a time. After a fault none is begun; what runs is waited for,
    so that it is known how much was written. An unknown outcome goes before other faults.
    """
    listed = list(items)
    results: list[Any] = [None] * len(listed)
    waiting = iter(enumerate(listed))
    faults: list[BaseException] = []

    async def run() -> None:
        for number, item in waiting:
            if faults:
                return
            try:
                results[number] = await work(item)
            except Exception as fault:  # noqa: BLE001 - raised below
                faults.append(fault)

    await asyncio.gather(*(run() for _ in range(min(IN_FLIGHT, len(listed)))))
    if faults:
        unknown = [each for each in faults if isinstance(each, StatementCompletionUnknown)]
        raise (unknown or faults)[0]
    return results
