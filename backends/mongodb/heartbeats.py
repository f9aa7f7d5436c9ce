"""Which servers pymongo's monitors are looking at just now.

Closing a client cancels its monitors. pymongo loses the socket of one that is cancelled while it
connects: it stays open until it is collected, and a server that does its handshakes one after
another waits for it meanwhile. So a client is closed between the looks.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final

from pymongo.monitoring import (
    ServerHeartbeatFailedEvent,
    ServerHeartbeatListener,
    ServerHeartbeatStartedEvent,
    ServerHeartbeatSucceededEvent,
)

LOOK_SECONDS: Final = 2.0
"""How long a look may keep a client from being closed: a connection that is not there by then
belongs to a host that does not answer at all."""


class Heartbeats(ServerHeartbeatListener):
    """Knows the looks that have begun and not ended; runs in the client's event loop."""

    def __init__(self) -> None:
        self._looking: set[tuple[str, int | None]] = set()
        self._idle = asyncio.Event()
        self._idle.set()

    def started(self, event: ServerHeartbeatStartedEvent) -> None:
        """A look begins: the first of a connection makes that connection."""
        self._looking.add(event.connection_id)
        self._idle.clear()

    def succeeded(self, event: ServerHeartbeatSucceededEvent) -> None:
        """It ended."""
        self._ended(event.connection_id)

    def failed(self, event: ServerHeartbeatFailedEvent) -> None:
        """It ended: the connection is closed by now."""
        self._ended(event.connection_id)

    def _ended(self, server: tuple[str, int | None]) -> None:
        self._looking.discard(server)
        if not self._looking:
            self._idle.set()

    async def pause(self) -> None:
        """Waits until no look is going on, at most LOOK_SECONDS; the next begins in 0.5 s."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LOOK_SECONDS):
                await self._idle.wait()
