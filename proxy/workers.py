"""Several worker processes on one port (SO_REUSEPORT): the parent keeps the private PostgreSQL and
the workers alive, each worker is `morphgres serve` with a number and the parent's socket directory.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Sequence

from core.errors import CannotConnectNow
from core.parent_death import follow_parent
from core.telemetry.log import Log

LOG = Log("workers")
NUMBER_VARIABLE = "_MORPHGRES_WORKER"
READY_LINE = "worker ready"
RESTART_PAUSE_S = 0.5


def worker_identity() -> tuple[int, int, str] | None:
    """(number, port, socket directory) when this process is a worker of another, else None."""
    text = os.environ.get(NUMBER_VARIABLE)
    if not text:
        return None
    number, port, directory = text.split(":", 2)
    return int(number), int(port), directory


class WorkerProcesses:
    """The workers of one parent. They are started with the parent's own command line. A worker has
    `start_s` to accept clients.
    """

    def __init__(self, count: int, port: int, socket_directory: str, start_s: float) -> None:
        self._count = count
        self._start_s = start_s
        self._port = port
        self._socket_directory = socket_directory
        self._processes: dict[int, asyncio.subprocess.Process] = {}
        self._watchers: list[asyncio.Task[None]] = []
        self._stopping = False

    async def start(self) -> None:
        """Start all and wait until each accepts clients; CannotConnectNow (57P03) when one does not
        in time.
        """
        for number in range(1, self._count + 1):
            await self._launch(number)
            task = asyncio.create_task(self._watch(number), name=f"worker-{number}")
            self._watchers.append(task)

    async def _launch(self, number: int) -> None:
        process = await asyncio.create_subprocess_exec(
            *_command(sys.argv),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            env={
                **os.environ,
                NUMBER_VARIABLE: f"{number}:{self._port}:{self._socket_directory}",
            },
            preexec_fn=follow_parent(signal.SIGTERM, os.getpid()),
        )
        self._processes[number] = process
        assert process.stdout is not None
        try:
            async with asyncio.timeout(self._start_s):
                line = await process.stdout.readline()
        except TimeoutError:
            process.kill()
            raise CannotConnectNow(
                f"worker {number} did not start in {self._start_s:g} s",
                hint="More time is server.worker_start_timeout.",
            ) from None
        if line.decode().strip() != READY_LINE:
            raise CannotConnectNow(f"worker {number} ended before it accepted clients")

    async def _watch(self, number: int) -> None:
        while not self._stopping:
            code = await self._processes[number].wait()
            if self._stopping:
                return
            LOG.error("worker.died", worker=number, code=code)
            await asyncio.sleep(RESTART_PAUSE_S)
            with contextlib.suppress(CannotConnectNow):
                await self._launch(number)

    async def stop(self, timeout_s: float) -> None:
        """SIGTERM to all; SIGKILL to those that do not end in time."""
        self._stopping = True
        for process in self._processes.values():
            if process.returncode is None:
                process.terminate()
        for process in self._processes.values():
            try:
                async with asyncio.timeout(timeout_s):
                    await process.wait()
            except TimeoutError:
                process.kill()
        for task in self._watchers:
            task.cancel()
        await asyncio.gather(*self._watchers, return_exceptions=True)


def _command(arguments: Sequence[str]) -> list[str]:
    return [sys.executable, "-m", "proxy.main", *arguments[1:]]
