"""The real layouts under the scheduler of the model: each action of a walk through `tests/model` is
done to a real table, in that order and no other.

A transaction of the applier is stopped right before its COMMIT ("snapshot"), a cut-over right
before its end ("lock"), while writers with open transactions begin and commit; a death breaks what
is stopped there. After every action the table shows what the model's clients would see.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import asyncpg
import psycopg

from evolution.changes.states import Phase
from evolution.layouts.base import ShadowTable
from evolution.layouts.embedded.log import log_name, new_records
from evolution.layouts.embedded.sessions import Sessions
from evolution.transaction import Transaction
from tests.integration.layouts.bed import Bed, verify
from tests.model.protocol import INITIAL, KEYS, Model, World
from tests.model.schedules import UNKNOWING, Schedules

DEADLINE_S = 60.0
FIRST_VALUE = 100
STEPS_MAX = 60


class Died(Exception):
    """The controller is gone."""


class Gate:
    """Where an action stops until it is told to go on, or to die."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self._told = asyncio.Event()
        self._dies = False

    async def stop(self) -> None:
        """Called by the one that stops."""
        self.reached.set()
        async with asyncio.timeout(DEADLINE_S):
            await self._told.wait()
        if self._dies:
            raise Died

    def tell(self, *, dies: bool = False) -> None:
        """Let it go on."""
        self._dies = dies
        self._told.set()


class GatedSessions(Sessions):
    """Sessions whose next step stops before its COMMIT when a gate is set."""

    gate: Gate | None = None

    @asynccontextmanager
    async def step(
        self, deadline_s: float, *, isolation: str = "repeatable_read"
    ) -> AsyncIterator[asyncpg.Connection]:
        """See Sessions."""
        gate, self.gate = self.gate, None
        async with super().step(deadline_s, isolation=isolation) as db:
            yield db
            if gate is not None:
                await gate.stop()


def walk(model: Model, rng: random.Random) -> list[tuple[str, World]]:
    """A random way through the model, to its end."""
    world = model.reduced(World())
    steps: list[tuple[str, World]] = []
    timeouts = 0
    while len(steps) < STEPS_MAX:
        found = [(label, w) for label, w in model.successors(world) if label != UNKNOWING]
        found = [(label, w) for label, w in found if label != "timeout" or timeouts < 1]
        if rng.random() < 0.9:
            found = [s for s in found if s[0] not in ("discard", "server dies")] or found
        if rng.random() < 0.65:  # else the writers have done all before anything else begins
            found = [s for s in found if not s[0].startswith(("begin", "commit"))] or found
        if not found:
            break
        label, world = rng.choice(found)
        timeouts += label == "timeout"
        world = model.reduced(world)
        steps.append((label, world))
    return steps


def walks_of(schedules: Schedules) -> list[list[tuple[str, World]]]:
    """Walks that together go along every edge."""
    return [
        [(label, schedules.worlds[state]) for label, state in walk] for walk in schedules.covering()
    ]


@dataclass
class Real:
    """The table, its writers and the controller's action that is stopped."""

    bed: Bed
    model: Model
    sessions: GatedSessions
    table: ShadowTable
    idle: list[psycopg.Connection[Any]] = field(default_factory=list)
    writers: dict[int, psycopg.Connection[Any]] = field(default_factory=dict)
    gate: Gate = field(default_factory=Gate)
    action: asyncio.Task[Any] | None = None
    done: list[str] = field(default_factory=list)
    ahead: bool = False
    """More of the log is in the shadow than the model knows."""

    @classmethod
    async def on(cls, bed: Bed, model: Model) -> Real:
        """Put the scheduler into the layouts of a bed, and make the table."""
        sessions = GatedSessions(bed.layouts._sessions.connect)
        bed.layouts._sessions = sessions
        bed.make("pair", "id int PRIMARY KEY, v int")
        table = (await bed.aim("pair")).tables[0]
        real = cls(bed, model, sessions, table)
        real._fill()
        return real

    def _fill(self) -> None:
        self.bed.ddl(
            "DELETE FROM pair; INSERT INTO pair "
            f"SELECT g, {FIRST_VALUE} + g FROM generate_series(0, {KEYS - 1}) g"
        )

    async def anew(self) -> None:
        """The table as at the beginning, and another change: what was begun comes to an end."""
        await self.die()
        self.abandon()
        work = self.bed.work
        if work.direction == "back":
            await self.bed.layouts.contract(work)
        else:
            await self.bed.layouts.discard(work)
        number = work.change_id + 1
        shadow = f"t{self.table.table_id}s{number}"
        table = replace(self.table, live=work.tables[0].live, shadow=shadow)
        self.bed.work = replace(
            work, change_id=number, epoch=1, direction="forward", tables=(table,)
        )
        self._fill()
        self.done.clear()
        self.ahead = False

    async def close(self) -> None:
        """End the writers' connections."""
        await self.die()
        self.abandon()
        while self.idle:
            self.idle.pop().close()

    async def take(self, label: str, world: World) -> None:
        """Do one action of the model, and look."""
        self.done.append(label)
        verb, _, number = label.partition(" ")
        if verb in ("begin", "commit"):
            self._write(verb, int(number))
        elif label in self._plain:
            await self._plain[label](self)
        elif label.endswith(": snapshot"):
            backfill = label.startswith("chunk")
            await self._until_gate(self._feed(backfill=backfill))
        elif label.endswith(": commit"):
            await self._release()
        self._look(world)

    # ------------------------------------------------------------ writers

    def _write(self, verb: str, number: int) -> None:
        if verb == "commit":
            client = self.writers.pop(number)
            client.commit()
            self.idle.append(client)
            return
        write = self.model.writes[number]
        client = self.idle.pop() if self.idle else psycopg.connect(self.bed.server.dsn)
        self.writers[number] = client
        if write.delete:
            client.execute("DELETE FROM pair WHERE id = %s", (write.key,))
        else:
            client.execute(
                "INSERT INTO pair VALUES (%s, %s) ON CONFLICT (id) DO UPDATE SET v = excluded.v",
                (write.key, number),
            )

    def abandon(self) -> None:
        """Open transactions of writers end without COMMIT."""
        for client in self.writers.values():
            client.rollback()
            self.idle.append(client)
        self.writers.clear()

    # ------------------------------------------------------------ the controller

    async def _until_gate(self, work: Awaitable[Any]) -> None:
        self.action = asyncio.ensure_future(work)
        reached = asyncio.ensure_future(self.gate.reached.wait())
        async with asyncio.timeout(DEADLINE_S):
            await asyncio.wait([self.action, reached], return_when=asyncio.FIRST_COMPLETED)
        reached.cancel()
        if self.action.done():
            self.action.result()
            raise AssertionError(f"{self.done[-1]} did not stop at its gate")

    def _feed(self, *, backfill: bool) -> Awaitable[Any]:
        self.gate = self.sessions.gate = Gate()
        layouts = self.bed.layouts
        return layouts._feed(self.bed.work, backfill=backfill)

    async def _release(self) -> Any:
        assert self.action is not None
        action, self.action = self.action, None
        self.gate.tell()
        async with asyncio.timeout(DEADLINE_S):
            return await action

    async def die(self) -> None:
        """What the controller does breaks off."""
        action, self.action = self.action, None
        if action is not None:
            self.gate.tell(dies=True)
            async with asyncio.timeout(DEADLINE_S):
                result = (await asyncio.gather(action, return_exceptions=True))[0]
            assert isinstance(result, Died), result

    async def _capture(self) -> None:
        await self.bed.layouts.begin(self.bed.work)

    async def _copied(self) -> None:
        while not self._copied_all():  # the row at the bound is gone: it has to look once more
            await self.bed.layouts.advance(self.bed.work)
            self.ahead = True

    async def _finish(self) -> None:
        assert await self.bed.layouts.finish(self.bed.work) == []

    async def _lock(self) -> None:
        gate = self.gate = Gate()

        async def flip(tx: Transaction) -> None:
            await self.bed.flip(tx)
            await gate.stop()

        cut_over = self.bed.layouts.cut_over
        await self._until_gate(cut_over(self.bed.work, deadline_s=30.0, verify=verify, flip=flip))

    async def _flip(self) -> None:
        result = await self._release()
        assert result.done, result.reason
        self.bed.turn()

    async def _server_dies(self) -> None:
        await self.die()
        self.abandon()

    async def _claim(self) -> None:
        self.bed.work = replace(self.bed.work, epoch=self.bed.work.epoch + 1)

    async def _remove(self) -> None:
        await self.bed.layouts.discard(self.bed.work)

    _plain: dict[str, Callable[[Real], Awaitable[None]]] = field(
        default_factory=lambda: {
            "capture": Real._capture,
            "copied": Real._copied,
            "caught up": Real._finish,
            "lock": Real._lock,
            "flip": Real._flip,
            "flip back": Real._flip,
            "timeout": Real.die,
            "controller dies": Real.die,
            "server dies": Real._server_dies,
            "claim": Real._claim,
            "claim and unfence": Real._claim,
            "remove": Real._remove,
        },
        init=False,
    )

    # ------------------------------------------------------------ looking

    def _look(self, world: World) -> None:
        if world.locked:
            return  # whoever looks waits now
        seen = dict(self.bed.client.execute("SELECT id, v FROM pair").fetchall())
        assert seen == _values(world.serving), f"after {', '.join(self.done)}"
        if world.capture and world.change.phase is not Phase.DISCARDED:
            waits = bool(world.log & {*world.order})
            self.ahead &= not self.done[-1].endswith(": commit")
            assert self._waits() == waits or self.ahead, f"the log after {', '.join(self.done)}"
        complete = world.cursor == KEYS and world.change.phase is not Phase.DISCARDED
        if complete and self.done[-1].endswith(": commit") and self._copied_all():
            shadow = dict(self.bed.rows(self.bed.work.tables[0].shadow))
            assert shadow == _values(world.shadow), f"after {', '.join(self.done)}"

    def _waits(self) -> bool:
        """Whether the log has records that the shadow does not have yet."""
        query = (
            f"SELECT count(*) > 0 FROM {log_name(self.table.table_id)} l, morph_log.shadows s "
            f"WHERE s.change_id = {self.bed.work.change_id} AND {new_records('s.checkpoint', '')}"
        )
        return self.bed.root.execute(query).fetchall() == [(True,)]

    def _copied_all(self) -> bool:
        query = "SELECT bool_and(copied) FROM morph_log.shadows"
        return self.bed.root.execute(query).fetchall() == [(True,)]


def _values(rows: tuple[int | None, ...]) -> dict[int, int]:
    return {
        key: FIRST_VALUE + key if value == INITIAL else value
        for key, value in enumerate(rows)
        if value is not None
    }
