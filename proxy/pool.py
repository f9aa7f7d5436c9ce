"""The backends of one worker: attached on demand, taken back from idle sessions when others wait.

A backend belongs to one role and one set of startup parameters, so RESET means the same as on a
connection of its own. Between two sessions it is cleaned with DISCARD ALL.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from core.errors import CannotConnectNow, ConnectionFailure, TooManyConnections
from proxy.backend import BackendConnection, BackendOwner, Piece, StartupRefused
from proxy.protocol.framing import message
from proxy.protocol.message_types import ClientType, ServerType
from proxy.protocol.startup import StartupMessage

DISCARD = message(ClientType.QUERY, b"DISCARD ALL\0")
Key = tuple[tuple[str, str], ...]
_PASSING = frozenset({"53300", "57P03"})
LOOK_AGAIN_S = 0.05


@dataclass(frozen=True, slots=True)
class PoolLimits:
    """Limits of the pool, from the settings."""

    backends_max: int = 100
    waiting_max: int = 1000
    attach_timeout_s: float = 30.0
    idle_max: int = 16


class Lender(Protocol):
    """A session that may give its backend back."""

    def give_back(self) -> BackendConnection | None:
        """The backend when the session keeps no state in it, else None."""


class _Cleaner(BackendOwner):
    """Owns a backend while DISCARD ALL runs."""

    def __init__(self) -> None:
        self.done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    def backend_pieces(self, pieces: list[Piece], *, still_open: bool) -> None:
        for kind, _, _ in pieces:
            if kind == ServerType.READY_FOR_QUERY and not self.done.done():
                self.done.set_result(True)

    def backend_lost(self, error: object) -> None:
        if not self.done.done():
            self.done.set_result(False)

    def backend_writable(self, writable: bool) -> None:
        return


class BackendPool:
    """Hands out backends. `lenders` yields sessions that may give one back."""

    def __init__(
        self, socket_path: str, limits: PoolLimits, lenders: Callable[[], Iterable[Lender]]
    ) -> None:
        self.socket_path = socket_path
        self._limits = limits
        self._lenders = lenders
        self._idle: dict[Key, deque[BackendConnection]] = {}
        self._open: set[BackendConnection] = set()
        self._opening = 0
        self._again_at = 0.0  # the server turned a backend away: when to try again, else 0
        self._waiters: deque[asyncio.Future[None]] = deque()
        self.generation = 0

    @property
    def size(self) -> int:
        """Backends open or being opened."""
        return len(self._open) + self._opening

    @property
    def attached(self) -> int:
        """Backends that sessions hold, or that are being opened for one."""
        return self.size - sum(len(idle) for idle in self._idle.values())

    @property
    def waiting(self) -> int:
        """Sessions that wait for a backend."""
        return len(self._waiters)

    async def acquire(self, startup: StartupMessage) -> BackendConnection:
        """A clean backend; 53300 when none comes free in time, 57P03 or 08006 when the server does
        not come back in time, StartupRefused by the server.
        """
        key = _key(startup)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._limits.attach_timeout_s
        while True:
            backend = self._take_idle(key)
            if backend is not None:
                if not backend.used or await self._clean(backend):
                    return backend
                continue
            if self._again_at and (self._opening or loop.time() < self._again_at):
                await self._wait(deadline)  # one tries for all
                continue
            if self.size < self._limits.backends_max or self._evict_other(key):
                opened = await self._try_connect(startup, deadline)
                if opened is not None:
                    return opened
                continue
            if not self._reclaim():
                await self._wait(deadline)

    async def _try_connect(
        self, startup: StartupMessage, deadline: float
    ) -> BackendConnection | None:
        """A new backend; None after a pause when the server had no place for it yet: a backend that
        we closed is still ending, the server recovers from a crash, or is just being started again.
        """
        loop = asyncio.get_running_loop()
        try:
            backend = await self._connect(startup, deadline - loop.time())
        except (StartupRefused, ConnectionFailure) as error:
            self._again_at = loop.time() + LOOK_AGAIN_S if _passes(error) else 0.0
            if not 0.0 < self._again_at < deadline:
                raise
        else:
            self._again_at = 0.0
            return backend
        await self._wait(deadline)
        return None

    def _take_idle(self, key: Key) -> BackendConnection | None:
        idle = self._idle.get(key)
        while idle:
            backend = idle.pop()
            if backend.alive and backend.generation == self.generation:
                return backend
            backend.close()
        return None

    def _evict_other(self, key: Key) -> bool:
        for other, idle in self._idle.items():
            if other != key and idle:
                backend = idle.popleft()
                self._forget(backend)
                backend.close()
                return True
        return False

    def _reclaim(self) -> bool:
        for lender in self._lenders():
            backend = lender.give_back()
            if backend is not None:
                self.release(backend, wake=False)
                return True
        return False

    async def _wait(self, deadline: float) -> None:
        if len(self._waiters) >= self._limits.waiting_max:
            raise TooManyConnections("sorry, too many clients wait for a backend already")
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[None] = loop.create_future()
        self._waiters.append(waiter)
        try:
            # Sessions become idle without telling us, so look again now and then.
            async with asyncio.timeout(min(LOOK_AGAIN_S, max(deadline - loop.time(), 0.001))):
                await waiter
        except TimeoutError:
            if loop.time() >= deadline and self._again_at:
                raise CannotConnectNow("the private PostgreSQL did not come back in time") from None
            if loop.time() >= deadline:
                raise TooManyConnections(
                    "sorry, no backend of the private PostgreSQL came free in time",
                    hint="Raise private_pg.max_backends, or end transactions sooner.",
                ) from None
        finally:
            if waiter in self._waiters:
                self._waiters.remove(waiter)

    async def _connect(self, startup: StartupMessage, timeout_s: float) -> BackendConnection:
        self._opening += 1
        try:
            backend = BackendConnection(self.socket_path, startup)
            backend.generation = self.generation
            backend.on_lost = self._forget
            await backend.open(max(timeout_s, 0.1))
            self._open.add(backend)
            return backend
        finally:
            self._opening -= 1

    async def _clean(self, backend: BackendConnection) -> bool:
        cleaner = _Cleaner()
        backend.owner = cleaner
        backend.write(DISCARD)
        try:
            async with asyncio.timeout(self._limits.attach_timeout_s):
                good = await cleaner.done
        except TimeoutError:
            good = False
        backend.owner = None
        backend.statements.clear()
        backend.used = False
        if not good:
            backend.close()
        return good

    def release(self, backend: BackendConnection, *, wake: bool = True) -> None:
        """Take a backend back from a session; it is cleaned when it is handed out again."""
        backend.owner = None
        if not backend.alive or backend.generation != self.generation:
            backend.close()
        else:
            idle = self._idle.setdefault(_key(backend.startup), deque())
            idle.append(backend)
            while len(idle) > self._limits.idle_max:
                idle.popleft().close()
        if wake and self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)

    def discard(self, backend: BackendConnection) -> None:
        """Close a backend that holds state which must not be seen by others."""
        backend.owner = None
        backend.close()
        self._forget(backend)

    def _forget(self, backend: BackendConnection) -> None:
        self._open.discard(backend)
        for idle in self._idle.values():
            if backend in idle:
                idle.remove(backend)

    def retire(self) -> None:
        """Let no backend of now be handed out again (role settings changed, server restarted)."""
        self.generation += 1

    def close(self) -> None:
        """Close all backends."""
        for backend in list(self._open):
            backend.close()


def _passes(error: StartupRefused | ConnectionFailure) -> bool:
    """True when the server may take the same client in a moment."""
    return isinstance(error, ConnectionFailure) or error.fields.get("C") in _PASSING


def _key(startup: StartupMessage) -> Key:
    return tuple(sorted(startup.parameters.items()))
