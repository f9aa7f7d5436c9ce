"""The instances of a process: by name, made when first used, checked in the background.

The catalog says which there are (catalog/instances.py). Whoever changes the catalog calls
`invalidate`; the next use reads it again, and a backend whose options changed, or whose instance
is gone, is replaced: scans on the old one get `stores.drain` seconds to end.

An instance that cannot be reached hurts only who needs it: every other one is served, and its
health says what is wrong.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from backends.base import Scope, ServerInfo, StoreBackend
from backends.stores import StoreOptions, make_backend
from catalog.instances import EMBEDDED, Instance
from config.stores import StoresSettings
from core.errors import (
    CannotConnect,
    FeatureNotSupported,
    MorphError,
    QueryCanceled,
    UndefinedObject,
)
from core.telemetry.log import Log
from engine.store_options import permit, store_options

LOG = Log("instances")
Load = Callable[[], Awaitable[Sequence[Instance]]]
OK = "ok"
CHECKS_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class Health:
    """What the last look at an instance found; `product` and `version` as the server says."""

    text: str
    product: str = ""
    version: str = ""

    @property
    def server(self) -> str:
        """Product and version in one text."""
        return f"{self.product} {self.version}".strip()


class _Held:
    """A backend and what it was made from."""

    def __init__(self, instance: Instance, options: StoreOptions, backend: StoreBackend) -> None:
        self.instance = instance
        self.options = options
        self.backend = backend


class Instances:
    """See the module's text. `load` reads the committed instances of the catalog."""

    def __init__(
        self,
        settings: StoresSettings,
        load: Load,
        env: Mapping[str, str],
        on_health: Callable[[str, Health], Awaitable[None]] | None = None,
    ) -> None:
        self._settings = settings
        self._load = load
        self._env = env
        self._on_health = on_health
        self._known: dict[str, Instance] = {}
        self._held: dict[str, _Held] = {}
        self._health: dict[str, Health] = {}
        self._stale = True
        self._lock = asyncio.Lock()
        self._look = asyncio.Event()
        self._closing: set[asyncio.Task[None]] = set()

    # ------------------------------------------------------------------ use

    async def backend(self, name: str) -> StoreBackend:
        """The store of an instance; it connects when it is first asked something.

        Raises UndefinedObject (42704) for a name that no committed instance has,
        FeatureNotSupported (0A000) without its driver, CannotConnect (08001) when a secret it
        refers to cannot be read.
        """
        if self._stale:
            await self.refresh()
        instance = self._known.get(name)
        if instance is None:
            raise UndefinedObject(
                f'server "{name}" does not exist',
                hint="A server that this transaction made can be read from after COMMIT.",
            )
        held = self._held.get(name)
        if held is None:
            held = self._held[name] = self._make(instance)
        return held.backend

    async def committed(self, name: str) -> Instance | None:
        """What the catalog says of an instance, outside any transaction of a client."""
        if self._stale:
            await self.refresh()
        return self._known.get(name)

    def kind_of(self, name: str) -> str | None:
        """The kind of an instance that was known when the catalog was read last."""
        instance = self._known.get(name)
        return instance.kind if instance else None

    def health(self, name: str) -> Health | None:
        """What the last look found, None when there was none."""
        return self._health.get(name)

    def failed(self, name: str) -> None:
        """A statement could not reach the instance: look at it now."""
        if name in self._known:
            self._health.pop(name, None)
            self._look.set()

    def require_sql(self) -> None:
        """FeatureNotSupported (0A000) when only the configuration may register instances."""
        if not self._settings.sql:
            raise FeatureNotSupported(
                "servers cannot be registered by SQL here",
                hint="They are in the configuration: [[instance]]; or set stores.sql = true.",
            )

    def permit(self, instance: Instance) -> None:
        """InvalidParameterValue (22023) when it refers to secrets that SQL may not use."""
        permit(instance, self._settings)

    @property
    def describe_timeout(self) -> float:
        """Seconds that a look at a store's tables may take."""
        return self._settings.describe_timeout

    def prepare(self, instance: Instance) -> StoreBackend:
        """A backend of the caller's own, for an instance that is not committed yet."""
        return self._make(instance).backend

    def _make(self, instance: Instance) -> _Held:
        if instance.origin == "gone":
            raise CannotConnect(
                f'could not connect to server "{instance.name}"',
                detail="It is not in the configuration any more.",
            )
        options = store_options(instance, self._settings, self._env)
        return _Held(instance, options, make_backend(instance.kind, instance.name, options))

    # ------------------------------------------------------------------ the catalog

    def invalidate(self) -> None:
        """The catalog has changed: read it again before the next use."""
        self._stale = True
        self._look.set()

    async def refresh(self) -> None:
        """Read the catalog; replace what it says otherwise now."""
        async with self._lock:
            if not self._stale:
                return
            self._stale = False
            try:
                rows = await self._load()
            except BaseException:
                self._stale = True
                raise
            self._known = {row.name: row for row in rows if row.kind != EMBEDDED}
            for name, held in list(self._held.items()):
                if self._known.get(name) != held.instance:
                    self._retire(name)
            self._health = {n: h for n, h in self._health.items() if n in self._held}

    def _retire(self, name: str) -> None:
        held = self._held.pop(name)
        self._health.pop(name, None)
        task = asyncio.get_running_loop().create_task(
            self._close_later(held.backend), name=f"instance-retire-{name}"
        )
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def _close_later(self, backend: StoreBackend) -> None:
        try:
            await asyncio.sleep(self._settings.drain)
        finally:
            await self._end(backend)

    async def close(self) -> None:
        """Close all backends, those that were replaced too."""
        for task in list(self._closing):
            task.cancel()
        await asyncio.gather(*self._closing, return_exceptions=True)
        held, self._held = list(self._held.values()), {}
        await asyncio.gather(*(self._end(each.backend) for each in held))

    async def _end(self, backend: StoreBackend) -> None:
        """Close it; a server that does not answer is left alone after the connect timeout."""
        with contextlib.suppress(MorphError, OSError, TimeoutError):
            async with asyncio.timeout(self._settings.connect_timeout):
                await backend.close()

    # ------------------------------------------------------------------ health

    async def watch(self) -> None:
        """Look at every instance again and again; ends when it is cancelled."""
        while True:
            self._look.clear()
            await self.check()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._settings.health_interval):
                    await self._look.wait()

    async def check(self) -> None:
        """One look at every instance, a few at a time."""
        try:
            if self._stale:
                await self.refresh()
        except (OSError, MorphError):
            return  # the private PostgreSQL is away: the next look may find it
        limit = asyncio.Semaphore(CHECKS_AT_ONCE)

        async def one(name: str) -> None:
            async with limit:
                await self._check(name)

        await asyncio.gather(*(one(name) for name in self._known))

    async def _check(self, name: str) -> None:
        instance = self._known.get(name)
        if instance is None:
            return
        found = await self._ask(instance)
        if self._known.get(name) != instance:
            return  # altered meanwhile
        self._health[name] = found
        if self._on_health is not None:
            await self._on_health(name, found)

    async def _ask(self, instance: Instance) -> Health:
        timeout = self._settings.connect_timeout
        try:
            backend = await self.backend(instance.name)
            async with asyncio.timeout(2 * timeout):  # the backend's own deadline comes first
                deadline = asyncio.get_running_loop().time() + timeout
                info: ServerInfo = await backend.server(Scope(deadline=deadline))
        except (TimeoutError, QueryCanceled):
            return Health(f"does not answer within {timeout:g} s")
        except MorphError as error:
            self._forget_secrets(instance)
            return Health(": ".join(t for t in (error.primary, error.detail) if t))
        # A fault of one backend must not end the looks at the others; its text may hold secrets.
        except Exception as error:  # noqa: BLE001
            LOG.error("instances.fault", name=instance.name, kind=type(error).__name__)
            return Health(f"internal error: {type(error).__name__}")
        return Health(OK, info.product, info.version)

    def _forget_secrets(self, instance: Instance) -> None:
        """A secret may have been changed: the next use reads it again."""
        held = self._held.get(instance.name)
        if held is None:
            return
        try:
            fresh = store_options(instance, self._settings, self._env)
        except MorphError:
            return
        if fresh != held.options:
            self._retire(instance.name)
