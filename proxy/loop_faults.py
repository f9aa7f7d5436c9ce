"""Faults that reach the event loop itself: logged, but for what a driver leaves behind by design.

asyncpg: when a COPY TO STDOUT is cancelled while its rows come, the answer that still arrives meets
a waiter that is gone, and a future that nobody has gets an AttributeError. The connection is then
given up.
"""

from __future__ import annotations

import asyncio
import traceback
from typing import Any


def report_loop_fault(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """The exception handler of a worker's event loop."""
    error = context.get("exception")
    if not (isinstance(error, AttributeError) and _of_driver(error)):
        loop.default_exception_handler(context)


def _of_driver(error: AttributeError) -> bool:
    frames = traceback.extract_tb(error.__traceback__)
    return bool(frames) and all("asyncpg/protocol" in frame.filename for frame in frames)
