"""The servers of one test run: each started once, when a test first asks, and stopped at the end.

The first to ask starts all that the run will need at the same time, for their starts are mostly
waiting. The threads that start them live until the servers are stopped (see `process.spawn`).
"""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from tests.services.servers.process import RunningServer
from tests.services.servers.registry import SERVERS

READY_TIMEOUT_S = 1_100.0  # the first start on a machine downloads


class Fleet:
    """Servers by their name in the registry."""

    def __init__(self, directory: Path, wanted: Iterable[str] = ()) -> None:
        self._directory = directory
        self._wanted = set(wanted)
        self._threads = ThreadPoolExecutor(len(SERVERS), "server")
        self._starts: dict[str, Future[RunningServer]] = {}

    def get(self, name: str) -> RunningServer:
        """The running server; ServerFailed, again each time, when it does not start."""
        for one in self._wanted | {name}:
            if one not in self._starts:
                start = SERVERS[one].start
                self._starts[one] = self._threads.submit(start, self._directory / one)
        return self._starts[name].result(READY_TIMEOUT_S)

    def started(self) -> list[RunningServer]:
        """All servers that came up."""
        return [
            start.result()
            for start in self._starts.values()
            if start.done() and start.exception() is None
        ]

    def stop(self) -> None:
        """Wait for starts under way, then stop all servers at the same time."""
        for start in self._starts.values():
            start.exception(READY_TIMEOUT_S)
        ends = [self._threads.submit(server.stop) for server in self.started()]
        self._threads.shutdown(wait=True)
        for end in ends:
            end.result()
