"""Between a connection that broke and the one that takes its place.

The driver marks a node as down with its last connection and makes a new one in the background. A
statement that comes in between, or was the first to see the break, need not fail for that: it waits
until a node can be asked again, and is sent again if that cannot do anything twice. It fails when
all nodes refuse a new connection, or GAP_SECONDS after the break; later ones then fail at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any, Final

from cassandra.cluster import NoHostAvailable, Session
from cassandra.connection import ConnectionException
from cassandra.policies import HostStateListener, ReconnectionPolicy
from cassandra.pool import NoConnectionsAvailable

GAP_SECONDS: Final = 5.0
"""How long after a break statements wait for a new connection."""
POLL_SECONDS: Final = 0.01
REPEATS_MAX: Final = 2
"""How often one request is sent again."""
_FIRST_DELAY: Final = 0.25
_DELAY_MAX: Final = 15.0


class NotSent(NoHostAvailable):  # type: ignore[misc]
    """No node could be asked: the request did not leave, so nothing was done."""


class Tries(Iterator[float]):
    """Seconds before each try to reach a node, without end; `failed` tries there were."""

    def __init__(self) -> None:
        self.failed = -1

    def __next__(self) -> float:
        """The driver asks for the first delay, and for another one after a try that failed."""
        self.failed += 1
        if not self.failed:
            return 0.0
        return min(_FIRST_DELAY * 2.0 ** min(self.failed - 1, 16), _DELAY_MAX)


class PromptReconnection(ReconnectionPolicy):  # type: ignore[misc]
    """Tries a node that broke off at once, then with growing delays, for as long as it takes."""

    def new_schedule(self) -> Tries:
        """Of one node."""
        return Tries()


class Outages(HostStateListener):  # type: ignore[misc]
    """What one instance's requests know of the last break; told by the driver of nodes that are
    back."""

    def __init__(self) -> None:
        self._since: float | None = None

    def on_up(self, host: Any) -> None:
        """Called in the driver's thread when a node has connections again."""
        del host
        self._since = None

    def on_down(self, host: Any) -> None:
        """Nothing: a break that matters is seen by a request."""

    def on_add(self, host: Any) -> None:
        """Nothing."""

    def on_remove(self, host: Any) -> None:
        """Nothing."""

    async def passed(self, session: Session, fault: BaseException, seconds: float) -> bool:
        """After a fault: whether a node can be asked again within `seconds`, waiting for it."""
        if seconds <= 0 or not is_broken(fault):
            return False
        clock = asyncio.get_running_loop().time
        now = clock()
        if self._since is None:
            self._since = now
        end = min(self._since + GAP_SECONDS, now + seconds)
        while not _can_ask(session):
            if session.is_shutdown or clock() >= end or _is_refused(session):
                return False
            await asyncio.sleep(POLL_SECONDS)
        return True


def is_broken(fault: BaseException) -> bool:
    """Whether connections are what failed, not something that a node answered."""
    if isinstance(fault, NoHostAvailable):
        causes = fault.errors.values() if isinstance(fault.errors, dict) else ()
        return all(is_broken(each) for each in causes)
    return isinstance(fault, ConnectionException | NoConnectionsAvailable | OSError)


def _can_ask(session: Session) -> bool:
    """Whether there is a node that is up, with an open connection."""
    states = session.get_pool_state()
    return any(host.is_up and state["open_count"] for host, state in states.items())


def _is_refused(session: Session) -> bool:
    """Whether all nodes that broke off have refused a new connection."""
    handlers = [host._reconnection_handler for host in session.cluster.metadata.all_hosts()]
    tries = [handler.schedule for handler in handlers if handler is not None]
    return bool(tries) and all(isinstance(each, Tries) and each.failed > 0 for each in tries)
