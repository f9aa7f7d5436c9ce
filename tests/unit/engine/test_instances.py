"""The registry of instances: when backends are made, replaced and closed, and what health says."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from backends.base import Scope, ServerInfo
from backends.stores import StoreOptions
from catalog.instances import Instance
from config.stores import StoresSettings
from core.errors import CannotConnect, FeatureNotSupported, UndefinedObject
from engine import instances as module
from engine.instances import Health, Instances

SETTINGS = StoresSettings(connect_timeout=0.1, drain=0.0, health_interval=60.0)
A = Instance("a", "mongodb", "config", (("host", "h"),), (("password_ref", "env:PW"),))
B = Instance("b", "postgres", "sql", (("host", "i"),))


class Store:
    """Stands for a backend: what the registry does with one is all that is tested here."""

    made: list[Store] = []  # noqa: RUF012

    def __init__(self, name: str, options: StoreOptions) -> None:
        self.name = name
        self.options = options
        self.closed = False
        self.answer: ServerInfo | Exception | None = ServerInfo("Product", "1.2")
        Store.made.append(self)

    async def server(self, scope: Scope) -> ServerInfo:
        assert scope.deadline is not None
        if self.answer is None:
            await asyncio.sleep(3600)
        if isinstance(self.answer, Exception):
            raise self.answer
        assert self.answer is not None
        return self.answer

    async def close(self) -> None:
        self.closed = True


@pytest.fixture(autouse=True)
def stores(monkeypatch: pytest.MonkeyPatch) -> None:
    Store.made = []
    monkeypatch.setattr(module, "make_backend", lambda kind, name, options: Store(name, options))


class Catalog:
    """The catalog's instances; `reads` counts how often they were asked for."""

    def __init__(self, *rows: Instance) -> None:
        self.rows = rows
        self.reads = 0

    async def load(self) -> tuple[Instance, ...]:
        self.reads += 1
        return self.rows

    def registry(self, env: dict[str, str] | None = None, **changes: Any) -> Instances:
        settings = replace(SETTINGS, **changes)
        return Instances(settings, self.load, {"PW": "one"} if env is None else env)


def test_made_when_first_used_and_once() -> None:  # R1.6
    async def run() -> None:
        catalog = Catalog(A, B)
        instances = catalog.registry()
        assert instances.kind_of("a") is None
        first = await instances.backend("a")
        assert await instances.backend("a") is first
        assert (len(Store.made), catalog.reads) == (1, 1)
        assert Store.made[0].options.parts == {"host": "h", "password": "one"}
        assert Store.made[0].options.connect_timeout == 0.1
        assert (instances.kind_of("a"), instances.kind_of("b")) == ("mongodb", "postgres")
        with pytest.raises(UndefinedObject, match='server "c" does not exist'):
            await instances.backend("c")
        await instances.close()
        assert Store.made[0].closed

    asyncio.run(run())


def test_replaced_when_the_catalog_says_otherwise() -> None:  # R1.6
    async def run() -> None:
        catalog = Catalog(A, B)
        instances = catalog.registry()
        a = await instances.backend("a")
        await instances.backend("b")
        instances.invalidate()
        assert await instances.backend("a") is a  # nothing changed
        catalog.rows = (replace(A, options=(("host", "other"),)),)
        instances.invalidate()
        fresh = await instances.backend("a")
        assert fresh is not a
        await asyncio.sleep(0.01)
        assert [store.closed for store in Store.made] == [True, True, False]
        with pytest.raises(UndefinedObject):
            await instances.backend("b")
        await instances.close()

    asyncio.run(run())


def test_scans_on_a_replaced_backend_get_time_to_end() -> None:  # R0.5
    async def run() -> None:
        catalog = Catalog(A)
        instances = catalog.registry(drain=60.0)
        await instances.backend("a")
        catalog.rows = ()
        instances.invalidate()
        await instances.refresh()
        await asyncio.sleep(0.01)
        assert not Store.made[0].closed
        await instances.close()
        assert Store.made[0].closed

    asyncio.run(run())


def test_one_that_is_away_hurts_nobody_else() -> None:  # R1.6 R0.5
    async def run() -> None:
        told: dict[str, Health] = {}

        async def tell(name: str, health: Health) -> None:
            told[name] = health

        silent = Instance("s", "mongodb", "config")
        instances = Instances(SETTINGS, Catalog(A, B, silent).load, {"PW": "x"}, tell)
        for name in ("a", "b", "s"):
            await instances.backend(name)
        Store.made[0].answer = CannotConnect('could not connect to "a"', detail="refused")
        Store.made[2].answer = None
        await instances.check()
        assert told == {
            "a": Health('could not connect to "a": refused'),
            "b": Health("ok", "Product", "1.2"),
            "s": Health("does not answer within 0.1 s"),
        }
        assert instances.health("b") == told["b"]
        assert told["b"].server == "Product 1.2"
        await instances.close()

    asyncio.run(run())


def test_a_fault_of_one_backend_does_not_end_the_looks() -> None:  # R1.6
    async def run() -> None:
        instances = Catalog(A, B).registry()
        await instances.backend("a")
        Store.made[0].answer = ValueError("a bug that tells hunter2")
        await instances.check()
        found = [instances.health(name) for name in ("a", "b")]
        assert found == [Health("internal error: ValueError"), Health("ok", "Product", "1.2")]
        await instances.close()

    asyncio.run(run())


def test_a_missing_secret_is_a_connection_error_without_the_value() -> None:  # R6.3
    async def run() -> None:
        instances = Catalog(A, B).registry({})
        with pytest.raises(CannotConnect, match='server "a"') as caught:
            await instances.backend("a")
        assert caught.value.sqlstate == "08001"
        assert caught.value.detail == 'environment variable "PW" is not set.'
        await instances.backend("b")
        await instances.check()
        health = instances.health("a")
        assert health is not None
        assert "is not set" in health.text

    asyncio.run(run())


def test_a_changed_secret_is_read_again_after_a_failure() -> None:  # R6.3
    async def run() -> None:
        env = {"PW": "old"}
        instances = Catalog(A).registry(env)
        await instances.backend("a")
        Store.made[0].answer = CannotConnect("wrong password")
        env["PW"] = "new"
        await instances.check()
        await instances.backend("a")
        assert [store.options.parts["password"] for store in Store.made] == ["old", "new"]
        await instances.close()

    asyncio.run(run())


def test_one_that_left_the_configuration_cannot_be_reached() -> None:  # R1.6
    async def run() -> None:
        instances = Catalog(replace(A, origin="gone")).registry()
        with pytest.raises(CannotConnect, match='server "a"'):
            await instances.backend("a")
        assert Store.made == []

    asyncio.run(run())


def test_a_failure_is_looked_at_at_once() -> None:  # R1.6
    async def run() -> None:
        instances = Catalog(B).registry()
        watch = asyncio.create_task(instances.watch())
        while instances.health("b") is None:
            await asyncio.sleep(0)
        Store.made[0].answer = CannotConnect("gone")
        instances.failed("b")
        while (health := instances.health("b")) is None or health.text == "ok":
            await asyncio.sleep(0)
        assert health.text == "gone"
        watch.cancel()
        await instances.close()

    asyncio.run(asyncio.wait_for(run(), 5))


def test_sql_may_be_forbidden() -> None:  # R6.3
    with pytest.raises(FeatureNotSupported):
        Catalog().registry(sql=False).require_sql()
    Catalog().registry().require_sql()
