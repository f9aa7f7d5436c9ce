"""Clients who come again when their connection breaks, for storms that go on through many deaths.

What a killed worker sent may come to effect for as long as a coordinator of Cassandra may take, so
the keys of such writes are left alone until everything is compared, after some more deaths.
"""

from __future__ import annotations

import contextlib
import random
import threading
from dataclasses import dataclass, field
from typing import Any

import psycopg

from tests.integration.changes.storm import KEYS, Storm, Writer
from tests.integration.server_process import ServerProcess, eventually

AGAIN_S = 0.05
STOP_S = 300.0
INSIST_S = 240.0


@dataclass
class PatientWriter(Writer):
    """It does not touch a key again whose write was not answered, until that is settled."""

    unsettled: dict[int, int | None] = field(default_factory=dict)

    def run(self, server: ServerProcess, halt: threading.Event) -> None:
        """Write until told to stop, over one connection after the other."""
        while not halt.is_set():
            super().run(server, halt)
            self.put_aside()
            halt.wait(AGAIN_S)

    def _write(self, client: psycopg.Connection[Any], rng: random.Random) -> None:
        free = [each for each in range(KEYS) if self.number * 1000 + each not in self.unsettled]
        assert free, "every key waits"
        super()._write(client, _Chosen(rng, free))

    def put_aside(self) -> None:
        """The last write was not answered."""
        if self.unsure is not None:
            (key, value), self.unsure = self.unsure, None
            self.unsettled[key] = value

    def settle(self, found: dict[int, int]) -> None:
        """Learn from the store what became of them."""
        for key, value in self.unsettled.items():
            assert found.get(key) in (value, self.sure.get(key)), f"key {key} is neither"
            self.sure[key] = found.get(key)
        self.unsettled.clear()


class _Chosen(random.Random):
    """Numbers of keys are of those that are free; all else is as `rng` says."""

    def __init__(self, rng: random.Random, free: list[int]) -> None:
        super().__init__()
        self._rng, self._free = rng, free

    def random(self) -> float:
        """See Random."""
        return self._rng.random()

    def randrange(self, start: int, stop: int | None = None, step: int = 1) -> int:
        """See Random."""
        if start == KEYS and stop is None:
            return self._rng.choice(self._free)
        return self._rng.randrange(start, stop, step)


@dataclass
class PatientStorm(Storm):
    """Its operator comes again, too, and has time for what he has begun."""

    def _operate(self) -> None:
        while not self.halt.is_set():
            super()._operate()
            self.halt.wait(AGAIN_S)

    def stop(self) -> None:
        """See Storm."""
        self.halt.set()
        for thread in self.threads:
            thread.join(STOP_S)
            assert not thread.is_alive(), "a client hangs"

    @property
    def written(self) -> int:
        """Acknowledged writes."""
        return sum(writer.writes for writer in self.writers)


def insist(client: psycopg.Connection[Any], call: str) -> None:
    """A CALL that is refused for now (55000) is tried again."""

    def done() -> bool:
        with contextlib.suppress(psycopg.errors.ObjectNotInPrerequisiteState):
            client.execute(call.encode())
            return True
        return False

    eventually(done, timeout_s=INSIST_S, what=call)
