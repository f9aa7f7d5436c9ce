"""The store of a changing table dies, and is there again: in the middle of the backfill, while a
cut-over holds the writers, in the middle of the contraction. The state says where the change is,
clients get a clear error, no acknowledged write is lost, and the change goes on by itself (issue 5,
bad input; R1.9, R4.2; I1, I5, I6).
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest

from evolution.layouts.foreign.fence import LOCK_CLASS
from proxy.change_control import PINS_CHANNEL
from tests.integration.changes.prices import change_type, in_state, rows, state
from tests.integration.changes.storm import check
from tests.integration.server_process import ServerProcess, eventually, running
from tests.services.changes.mortal import ROWS, CassandraStore, MongodbStore, MortalServer, Store
from tests.services.changes.patient import PatientStorm, PatientWriter
from tests.services.conftest import PROPERTY

pytestmark = [pytest.mark.services, pytest.mark.timeout(900)]

CONFIG = (
    '[changes]\nidle_pause = "20ms"\nbackoff_min = "100ms"\nbackoff_max = "1s"\nfence_lag = "1s"\n'
    "fault_tries = 1000\nfence_tries = 1000\nrows_per_s = 60\n"
)
CLEAR = {"08006", "08001", "57014", "40003"}
"""What a client may hear of a store that is not there."""
NOT_DONE = {"08006", "08001"}
WAIT_S = 240.0
FENCED_S = 2.0
TRIES = 20
COPIED = "SELECT coalesce(max(rows), 0)::int FROM morph.progress"
REASON = "SELECT reason FROM morph.changes WHERE change_id = 2 AND reason <> ''"
TABLE_ID = "SELECT DISTINCT table_id FROM morph_log.foreign_feeds"
LOCK = f"pg_advisory_%s({LOCK_CLASS}, %s)"
FENCE = (
    "SELECT mode, granted FROM pg_locks WHERE locktype = 'advisory' "
    f"AND classid = {LOCK_CLASS} AND (granted OR mode = 'ExclusiveLock') ORDER BY mode"
)
ASKED = [("ExclusiveLock", False), ("ShareLock", True)]
"""The cut-over waits for the test alone: the writers of before have ended, others queue."""
GIVEN = [("ExclusiveLock", True)]


@dataclass
class OutageWriter(PatientWriter):
    """It believes an error that says that nothing was written."""

    def _write(self, client: psycopg.Connection[Any], rng: random.Random) -> None:
        try:
            super()._write(client, rng)
        except psycopg.Error as error:
            if error.sqlstate in NOT_DONE:
                self.unsure = None
            raise


class OutageStorm(PatientStorm):
    """The test itself is the operator."""

    def _operate(self) -> None:
        """Nothing."""

    @property
    def codes(self) -> list[str]:
        """The SQLSTATEs of all errors."""
        return [failure[:5] for writer in self.writers for failure in writer.failures]


@dataclass
class Call:
    """A CALL that waits, in a thread and session of its own."""

    server: ServerProcess
    text: str
    failure: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            with self.server.connect() as client:
                client.execute(self.text.encode())
        except psycopg.Error as error:
            self.failure.append(f"{error.sqlstate} {error}")

    def done(self) -> None:
        """It ends well."""
        self._thread.join(WAIT_S)
        assert not self._thread.is_alive(), self.text
        assert self.failure == []


@dataclass
class Scene:
    """The store, Morphgres over it, clients who write, and somebody who looks."""

    mortal: MortalServer
    server: ServerProcess
    client: psycopg.Connection[Any]
    storm: OutageStorm

    def is_out(self, where: str) -> None:
        """The store is dead: state and reason are shown, writers hear of it."""
        heard, instance = len(self.storm.codes), '"s"'
        eventually(lambda: len(self.storm.codes) > heard, timeout_s=WAIT_S, what="a writer's error")
        eventually(
            lambda: any(instance in reason for (reason,) in rows(self.client, REASON)),
            timeout_s=WAIT_S,
            what=f"a reason, it is {rows(self.client, REASON)}",
        )
        assert state(self.client) == where

    def is_back(self, where: str) -> None:
        """It is there again: the change goes on by itself, and so do the writers."""
        self.mortal.start()
        before = self.storm.written
        eventually(partial(in_state, self.client, where), timeout_s=WAIT_S, what=where)
        eventually(lambda: self.storm.written > before + 10, timeout_s=WAIT_S, what="writes")

    def judge(self) -> None:
        """Both versions show every acknowledged write and nothing else."""
        self.storm.stop()
        assert check(self.storm) > 0
        assert rows(self.client, f"SELECT count(*) FROM v1.price WHERE id <= {ROWS}") == [(ROWS,)]
        assert set(self.storm.codes) <= CLEAR, self.storm.codes
        self.storm.start()

    def dies_while_copying(self) -> None:
        """In the middle of the backfill."""
        change_type(self.client)
        self.storm.start()
        eventually(lambda: rows(self.client, COPIED) > [(0,)], timeout_s=WAIT_S, what="rows")
        eventually(lambda: self.storm.written > 10, timeout_s=WAIT_S, what="writes")
        self.mortal.kill()
        assert state(self.client) == "backfilling"
        self.is_out("backfilling")
        assert rows(self.client, COPIED) < [(ROWS,)]
        self.is_back("ready")
        self.judge()

    def dies_in_the_fence(self) -> None:
        """While the cut-over holds all writers, and asks the store for what is left."""
        with self.server.root() as root:
            table_id = rows(root, TABLE_ID)[0][0]
            held = LOCK % ("lock_shared", table_id)
            root.execute(f"SELECT {held}".encode())
            call = Call(self.server, "CALL morph.promote(2)")
            for _ in range(TRIES):
                eventually(lambda: rows(root, FENCE) == ASKED, timeout_s=WAIT_S, what="a fence")
                self.mortal.pause()
                root.execute(f"SELECT {LOCK % ('unlock_shared', table_id)}".encode())
                if self._gets_the_fence(root):
                    break
                self.mortal.resume()
                root.execute(f"SELECT {held}".encode())
            else:
                raise AssertionError("no cut-over came to hold the writers")
            assert state(self.client) == "fenced"
            self.mortal.kill()
        self.is_out("ready")
        self.is_back("promoted")
        call.done()
        self.judge()

    @staticmethod
    def _gets_the_fence(root: psycopg.Connection[Any]) -> bool:
        try:
            eventually(lambda: rows(root, FENCE) == GIVEN, timeout_s=FENCED_S)
        except AssertionError:
            return False
        return True

    def dies_while_contracting(self) -> None:
        """When it has been told to remove the old layout."""
        with self.server.root() as root, self.server.root() as listener:
            listener.execute(f"LISTEN {PINS_CHANNEL}".encode())
            with root.transaction():
                root.execute("LOCK TABLE morph_catalog.pins IN SHARE MODE")
                call = Call(self.server, "CALL morph.contract(2)")
                assert list(listener.notifies(timeout=WAIT_S, stop_after=1))
                self.mortal.pause()
            contracting = partial(in_state, self.client, "contracting")
            eventually(contracting, timeout_s=WAIT_S, what="contracting")
            self.mortal.kill()
        self.is_out("contracting")
        self.is_back("completed")
        call.done()
        self.judge()
        self.storm.stop()
        assert len(self.mortal.store.tables(self.mortal.server)) == 1


@pytest.fixture(params=[CassandraStore, MongodbStore], ids=lambda store: store.__name__)
def scene(
    request: pytest.FixtureRequest,
    directory: Path,
    record_property: Callable[[str, object], None],
) -> Iterator[Scene]:
    store: Store = request.param()
    mortal = MortalServer(store, directory / "store")
    try:
        mortal.start()
        record_property(PROPERTY, mortal.server.label)
        store.load(mortal.server)
        with running(directory / "data", CONFIG) as server, server.connect() as client:
            client.execute(store.address(mortal.server).encode())
            client.execute(store.shown.encode())
            storm = OutageStorm(server, [OutageWriter(number, number) for number in (1, 2)])
            try:
                yield Scene(mortal, server, client, storm)
            finally:
                storm.halt.set()
    finally:
        mortal.kill()


def test_it_dies_and_is_back(scene: Scene) -> None:
    scene.dies_while_copying()
    scene.dies_in_the_fence()
    scene.dies_while_contracting()
