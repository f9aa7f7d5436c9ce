"""Starts the private PostgreSQL, watches it, restarts it when it dies, stops it.

The server gets SIGINT (fast shutdown) from the kernel when Morphgres dies (Linux parent-death
signal), so kill -9 of Morphgres leaves no server behind; a server that is still there at the next
start is stopped first. After the crash of one of its processes the server ends as a whole and is
started anew: when PostgreSQL starts over by itself and its startup process dies, it waits for ever.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import signal
import subprocess
from collections.abc import Callable
from dataclasses import dataclass

from core.errors import CannotConnectNow, DataDirectoryError, DiskFull
from core.parent_death import follow_parent
from private_pg.cluster import Cluster
from private_pg.leftovers import QUIT_S, stop_leftover

POLL_S = 0.01
LOG_MAX_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class SupervisorTimes:
    """How long the server may take, and the pauses between restarts; from the settings."""

    start_s: float = 60.0
    stop_s: float = 30.0
    backoff_first_s: float = 0.1
    backoff_max_s: float = 10.0


def _child_setup() -> Callable[[], None]:
    follow = follow_parent(signal.SIGINT, os.getpid())

    def run() -> None:
        os.umask(0o077)
        follow()

    return run


class Supervisor:
    """Owns the server process. `on_down` and `on_up` are called at a crash and after a restart."""

    def __init__(self, cluster: Cluster, times: SupervisorTimes | None = None) -> None:
        self.cluster = cluster
        self.restarts = 0
        self.on_down: Callable[[], None] = lambda: None
        self.on_up: Callable[[], None] = lambda: None
        self._times = times or SupervisorTimes()
        self._process: subprocess.Popen[bytes] | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._stopping = False
        self.ready = asyncio.Event()

    async def start(self) -> None:
        """Start the server and watch it; returns when it accepts connections."""
        await stop_leftover(self.cluster, self._times.stop_s)
        await self._launch(self._times.start_s)
        self._watcher = asyncio.create_task(self._watch(), name="private-pg-watch")

    async def _launch(self, timeout_s: float) -> None:
        log = self.cluster.log
        if log.exists() and log.stat().st_size > LOG_MAX_BYTES:
            log.replace(log.with_suffix(".log.1"))
        log_start = log.stat().st_size if log.exists() else 0
        with log.open("ab") as sink:
            self._process = subprocess.Popen(  # noqa: ASYNC220 (fork and exec only)
                [str(self.cluster.binaries.postgres), "-D", str(self.cluster.pg)],
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
                cwd="/",
                user=self.cluster.identity.uid,
                group=self.cluster.identity.gid,
                extra_groups=[] if self.cluster.identity.changes_user else None,
                env={"LC_ALL": "C", "TZ": "UTC", "PATH": "/usr/bin:/bin"},
                start_new_session=True,
                preexec_fn=_child_setup(),  # noqa: PLW1509 (before threads; only prctl)
            )
        await self._await_ready(log_start, timeout_s)
        self.ready.set()

    async def _await_ready(self, log_start: int, timeout_s: float) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        assert self._process is not None
        while loop.time() < deadline:
            if self._process.poll() is not None:
                raise self._start_error(log_start)
            if self._reports_ready():
                return
            await asyncio.sleep(POLL_S)
        raise CannotConnectNow(
            "the private PostgreSQL did not become ready in time",
            hint="Recovery from a crash can take long; raise private_pg.start_timeout.",
        )

    def _reports_ready(self) -> bool:
        # Line 8 of postmaster.pid is the postmaster's own status (miscadmin.h).
        assert self._process is not None
        try:
            lines = (self.cluster.pg / "postmaster.pid").read_text().split("\n")
        except OSError:
            return False
        return (
            len(lines) > 7
            and lines[0].strip() == str(self._process.pid)
            and lines[7].strip() == "ready"
        )

    def _start_error(self, log_start: int) -> DataDirectoryError | DiskFull:
        with self.cluster.log.open("rb") as log:
            log.seek(log_start)
            tail = log.read(8192).decode("utf-8", "replace").splitlines()
        fatal = [line for line in tail if "FATAL" in line or "PANIC" in line] or tail[-1:]
        text = fatal[0].split("  ", 1)[-1] if fatal else ""
        if "No space left" in text:
            return DiskFull("the private PostgreSQL did not start: no space left on device")
        return DataDirectoryError("the private PostgreSQL did not start", detail=text)

    async def _watch(self) -> None:
        backoff_s = self._times.backoff_first_s
        while not self._stopping:
            process = self._process
            assert process is not None
            await asyncio.to_thread(process.wait)
            if self._stopping:
                return
            self.ready.clear()
            self.restarts += 1
            self.on_down()
            while not self._stopping:
                try:
                    await stop_leftover(self.cluster, self._times.stop_s)
                    # However long the recovery takes: a new one would begin where it began.
                    await self._launch(math.inf)
                except (DataDirectoryError, DiskFull, OSError):
                    await asyncio.sleep(backoff_s)
                    backoff_s = min(backoff_s * 2, self._times.backoff_max_s)
                    continue
                backoff_s = self._times.backoff_first_s
                self.on_up()
                break

    @property
    def pid(self) -> int:
        """The postmaster's process id, 0 when it is not running."""
        return self._process.pid if self._process and self._process.poll() is None else 0

    async def stop(self) -> None:
        """Fast shutdown; harder when that takes too long. Gives up the directory's lock."""
        self._stopping = True
        await self._end_process()
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.gather(self._watcher, return_exceptions=True)
            await self._end_process()  # it may just have started the server again
        self.cluster.release()

    async def _end_process(self) -> None:
        process = self._process
        if process is None or process.poll() is not None:
            return
        for signum, timeout_s in ((signal.SIGINT, self._times.stop_s), (signal.SIGQUIT, QUIT_S)):
            process.send_signal(signum)
            with contextlib.suppress(subprocess.TimeoutExpired):
                await asyncio.to_thread(process.wait, timeout_s)
                return
        process.kill()
        await asyncio.to_thread(process.wait)
        await stop_leftover(self.cluster, 0.0)
