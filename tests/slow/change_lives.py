"""The life of a change with a kill at every turn, beside clients who know what was acknowledged.

A life: built, promoted, fed back, rolled back, fed again, promoted again, and contracted; or
discarded when it was rolled back. In each stage some of its fault points are armed one after the
other, the server is killed there, starts again, and everything is compared. The product goes on
with the stage by itself; only a call that was broken off is made again.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import psycopg

from tests.integration.changes.prices import CHANGE, change_type, rows, state
from tests.integration.changes.storm import Writer, everything
from tests.integration.fresh_catalog import empty_catalog
from tests.integration.server_process import ServerProcess, alive, descendants, eventually
from tests.slow.fault_points import AFTER, SETUP, Point

VICTIMS = ("backend",) * 6 + ("postgres",) * 4 + ("morphgres", "everything")
ROWS = 999
"""The writers' keys begin at 1000."""
WAIT_S = 120.0
POINT_S = 20.0
PAUSE_S = 0.03
NAP_S = 0.005
KILLED = ("57", "08")
"""Classes of SQLSTATE that say that the server went away."""


@dataclass(frozen=True)
class Stage:
    """A part of a life: `ends` are the states in which it is over, `call` brings it there.
    `points` are in the order in which they come; `kills` of them are used.
    """

    name: str
    ends: tuple[str, ...]
    call: str
    kills: int
    points: tuple[str, ...]


BUILD = Stage("build", ("ready",), "", 8, (
    "step Started", "after Started", "CREATE TABLE shadowing", "feed made",
    "CREATE TRIGGER shadowing", "bound frozen", "step Begun", "after Begun", "chunk copied",
    "log applied backfilling", "step Copied", "after Copied", "CREATE INDEX catching_up",
    "finished", "log applied catching_up", "step CaughtUp", "after CaughtUp", "report running",
    "log applied validating", "report done", "step Validated", "after Validated",
))  # fmt: skip
PROMOTE = Stage("promote", ("promoted",), "CALL morph.promote(2)", 5, (
    "step Revalidate", "log applied ready", "step Fence", "after Fence", "ALTER VIEW fenced",
    "log applied fenced", "ALTER INDEX fenced", "CREATE VIEW fenced", "layouts turned back",
    "step Flipped", "after Flipped",
))  # fmt: skip
REVERSE = Stage("reverse", (), "", 3, ("log applied promoted",))
ROLL_BACK = Stage("roll back", ("rolled back",), "CALL morph.rollback(2)", 5, (
    "step FenceBack", "after FenceBack", "ALTER VIEW rb_fenced", "log applied rb_fenced",
    "CREATE VIEW rb_fenced", "layouts turned forward", "step FlippedBack", "after FlippedBack",
))  # fmt: skip
RESTING = Stage("resting", (), "", 3, ("log applied rolled_back",))
DISCARD = Stage("discard", ("discarded",), "CALL morph.discard(2)", 3, (
    "step Discard", "after Discard", "DROP TRIGGER discarded", "DROP TABLE discarded",
    "feed removed", "step Settled", "after Settled",
))  # fmt: skip
CONTRACT = Stage("contract", ("completed",), "CALL morph.contract(2)", 3, (
    "step Contract", "after Contract", "DROP TABLE contracting", "feed removed",
    "step Contracted", "after Contracted",
))  # fmt: skip
LIVES = (
    (BUILD, PROMOTE, REVERSE, ROLL_BACK, RESTING, PROMOTE, CONTRACT),
    (BUILD, PROMOTE, REVERSE, ROLL_BACK, DISCARD),
)
POINTS = frozenset(point for stages in LIVES for stage in stages for point in stage.points)
"""All the named points."""


@dataclass
class Tally:
    """What was done: kills at each point (and by each means), and points that did not come."""

    kills: Counter[str] = field(default_factory=Counter)
    victims: Counter[str] = field(default_factory=Counter)
    missed: Counter[str] = field(default_factory=Counter)
    lives: int = 0
    writes: int = 0
    looks: int = 0

    def __str__(self) -> str:
        return (
            f"{sum(self.kills.values())} kills in {self.lives} lives ({dict(self.victims)}), "
            f"{self.writes} writes acknowledged, {self.looks} reads of both versions; "
            f"points {dict(self.kills)}; did not come {dict(self.missed)}"
        )


@dataclass
class Clients:
    """Writers, and a reader who sees both versions in one statement."""

    server: ServerProcess
    writers: list[Writer]
    tally: Tally
    halt: threading.Event = field(default_factory=threading.Event)
    threads: list[threading.Thread] = field(default_factory=list)
    unequal: list[Any] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    def start(self, operator: Callable[[], None]) -> None:
        """All begin; `operator` beside them."""
        self.halt.clear()
        targets = [lambda w=writer: w.run(self.server, self.halt) for writer in self.writers]
        self.threads = [threading.Thread(target=t) for t in (*targets, self._read, operator)]
        for thread in self.threads:
            thread.start()

    def _read(self) -> None:
        query = (
            "SELECT (SELECT coalesce(sum(x), 0) FROM v1.price), "
            "(SELECT coalesce(sum(x) * 100, 0)::bigint FROM v2.price)"
        )
        try:
            with self.server.connect() as client:
                while not self.halt.is_set():
                    if len(self.writers[0].versions) == 1:
                        time.sleep(NAP_S)
                        continue
                    old, new = rows(client, query)[0]
                    self.tally.looks += 1
                    if old != new:
                        self.unequal.append((old, new))
        except psycopg.Error as error:
            if error.sqlstate is not None:
                self.refused.append(f"{error.sqlstate} {error}")

    def stop(self) -> None:
        """All come to their end."""
        self.halt.set()
        for thread in self.threads:
            thread.join(WAIT_S)
            assert not thread.is_alive(), "a client hangs (DESIGN 7.10)"


@dataclass
class Life:
    """One server, and one change after the other on it."""

    server: ServerProcess
    rng: random.Random = field(default_factory=random.Random)
    tally: Tally = field(default_factory=Tally)
    story: list[str] = field(default_factory=list)
    clients: Clients = field(init=False)

    def set_up(self) -> None:
        """Put the fault points into the server's PostgreSQL."""
        with self.server.root() as root:
            root.execute(SETUP)

    def live(self, number: int, stages: tuple[Stage, ...]) -> None:
        """From an empty catalog to the end of the change; `number` is the seed."""
        self.rng = random.Random(number)
        self.story = [f"life {number}"]
        empty_catalog(self.server)
        with self.server.connect() as client:
            client.execute("CREATE TABLE price (id int PRIMARY KEY, x int, note text DEFAULT 'n')")
            client.execute("CREATE INDEX price_note ON price (note)")
            client.execute(
                f"INSERT INTO price (id, x) SELECT g, g * 10 FROM generate_series(1, {ROWS}) g"
            )
        writers = [Writer(number, self.rng.randrange(1 << 30)) for number in (1, 2)]
        self.clients = Clients(self.server, writers, self.tally)
        for stage in stages:
            for place in sorted(self.rng.choices(range(len(stage.points)), k=stage.kills)):
                self._kill_at(stage, stage.points[place])
            self._settle(stage)
        self.tally.lives += 1
        self.tally.writes += sum(writer.writes for writer in writers)

    # ------------------------------------------------------------ one kill

    def _kill_at(self, stage: Stage, name: str) -> None:
        victim = self.rng.choice(VICTIMS)
        self.story.append(f"{stage.name}: {victim} at {name}")
        ended = threading.Event()
        with self.server.connect() as client:
            self._changed(client)
        with contextlib.suppress(psycopg.Error), self.server.root() as root:
            point = Point.arm(root, name)
            self.clients.start(lambda: self._operate(stage, ended))
            who = self._reach(point, ended)
            time.sleep(self.rng.uniform(0.0, PAUSE_S))
            self._kill(victim, who if not name.startswith(AFTER) else 0)
        (self.tally.kills if who else self.tally.missed)[name] += 1
        self.tally.victims[victim] += 1
        self.clients.stop()
        self._back(victim)
        self._check()

    def _reach(self, point: Point, ended: threading.Event) -> int:
        """Wait until the point is reached, the stage is over, or it takes too long."""
        until = time.monotonic() + POINT_S
        while not (who := point.who()) and time.monotonic() < until:
            if ended.is_set():
                return point.who()
            time.sleep(NAP_S)
        return who

    def _kill(self, victim: str, who: int) -> None:
        self._old = self.server.postmaster_pid
        if victim == "backend" and who:
            os.kill(who, signal.SIGKILL)
        elif victim in ("postgres", "backend"):
            os.kill(self._old, signal.SIGKILL)
        elif victim == "morphgres":
            self.server.kill()
        else:
            family = descendants(self.server.pid)
            for pid in (self.server.pid, *family):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self.server.kill()
            eventually(lambda: not any(alive(pid) for pid in family), timeout_s=WAIT_S)

    def _back(self, victim: str) -> None:
        if victim in ("morphgres", "everything"):
            self.server.start()
        else:
            eventually(self._postgres_is_back, timeout_s=WAIT_S, what="PostgreSQL is back")

    def _postgres_is_back(self) -> bool:
        try:
            if self.server.postmaster_pid == self._old:
                return False
            with self.server.connect() as client:
                return rows(client, "SELECT 1") == [(1,)]
        except (OSError, IndexError, ValueError, psycopg.Error):  # not there yet
            return False

    # ------------------------------------------------------------ the operator

    def _operate(self, stage: Stage, ended: threading.Event) -> None:
        """Bring the stage to its end, or as far as the server lives."""
        try:
            with self.server.connect() as client:
                while not self.clients.halt.is_set():
                    if self._advance(client, stage):
                        ended.set()
                        return
                    time.sleep(NAP_S)
        except psycopg.Error as error:
            if error.sqlstate is not None and error.sqlstate[:2] not in KILLED:
                self.clients.refused.append(f"{error.sqlstate} {error}")

    def _advance(self, client: psycopg.Connection[Any], stage: Stage) -> bool:
        """One look and one call; True when the stage is over."""
        if not self._changed(client):
            change_type(client)
            self._changed(client)
        if state(client) in stage.ends:
            return True
        if stage.call:
            with contextlib.suppress(psycopg.errors.ObjectNotInPrerequisiteState):
                client.execute(stage.call)
        return False

    def _changed(self, client: psycopg.Connection[Any]) -> bool:
        """Whether version 2 is there; then the writers use it."""
        there = rows(client, "SELECT max(version) FROM morph.versions") == [(2,)]
        for writer in self.clients.writers:
            writer.versions = ("v1", "v2") if there else ("v1",)
        return there

    def _settle(self, stage: Stage) -> None:
        """To the end of the stage without a kill; then both layouts are compared."""
        with self.server.connect() as client:
            if stage.ends:
                eventually(
                    lambda: self._advance(client, stage),
                    timeout_s=WAIT_S,
                    what=f"{stage.ends}, after {self.story}",
                )
            if state(client) in ("ready", "promoted", "rolled back"):
                pending = "SELECT pending FROM morph.progress WHERE change_id = 2"
                eventually(lambda: rows(client, pending) == [(0,)], timeout_s=WAIT_S)
                eventually(self._equal_layouts, timeout_s=WAIT_S, what=f"DESIGN 7.2 {self.story}")
        self._check()

    # ------------------------------------------------------------ what must hold

    def _layouts(self) -> list[tuple[str, list[str]]]:
        with self.server.root() as root:
            return root.execute(
                "SELECT c.relname, array_agg(a.attname::text ORDER BY a.attnum) "
                "FILTER (WHERE a.attname ~ '^c[0-9]+$') FROM pg_class c "
                "JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT attisdropped "
                "WHERE c.relnamespace = 'morph_store'::regnamespace AND c.relkind = 'r' GROUP BY 1"
            ).fetchall()

    def _equal_layouts(self) -> bool:
        """Whether both tables have the same rows, as they are stored."""
        found = []
        with self.server.root() as root:
            for name, (key, old, _, new) in self._layouts():
                query = (
                    f"SELECT {key}, coalesce(({new} * 100)::int, {old}) "
                    f'FROM morph_store."{name}" ORDER BY 1'
                )
                found.append(root.execute(query).fetchall())
        return len(found) == 2 and found[0] == found[1]

    def _check(self) -> None:
        story = f"after {self.story}"
        clients = self.clients
        failures = [f for w in clients.writers for f in w.failures if f[:2] not in KILLED]
        assert failures == [], f"DESIGN 7.6, 7.9, a writer met the change: {failures} {story}"
        refused = [each for each in clients.refused if each[:2] not in KILLED]
        assert refused == [], f"DESIGN 7.9, a reader or the operator: {refused} {story}"
        assert clients.unequal == [], f"DESIGN 7.5, one statement, two states {story}"
        assert len(self._layouts()) <= 2, f"DESIGN 7.4, more than two layouts {story}"
        eventually(lambda: self._compare(story), timeout_s=WAIT_S, what="a server that answers")

    def _compare(self, story: str) -> bool:
        try:
            with self.server.connect() as client:
                old = everything(client, "v1")
                versions = rows(client, "SELECT max(version) FROM morph.versions")
                new = everything(client, "v2") if versions == [(2,)] else old
                now = state(client, CHANGE)
                seeded = rows(client, "SELECT count(*), sum(x) FROM v1.price WHERE id < 1000")
        except psycopg.OperationalError:
            return False
        for writer in self.clients.writers:
            writer.settle(old)
        known = {
            key: value
            for writer in self.clients.writers
            for key, value in writer.sure.items()
            if value is not None
        }
        rule = "7.3, after a rollback" if now == "rolled back" else "7.1, acknowledged"
        assert old == known, f"DESIGN {rule}: {_differences(old, known)} {story}"
        assert new == known, f"DESIGN 7.2, version 2 shows {_differences(new, known)} {story}"
        assert seeded == [(999, 4995000)], f"DESIGN 7.1, rows nobody wrote: {seeded} {story}"
        return True


def _differences(found: dict[int, int], known: dict[int, int]) -> dict[int, Any]:
    keys = {key for key in {*found, *known} if found.get(key) != known.get(key)}
    return {key: (found.get(key), known.get(key)) for key in sorted(keys)[:5]}
