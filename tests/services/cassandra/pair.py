"""Two real nodes of Cassandra, one of which can be killed and started again."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from pathlib import Path

from tests.services.servers.cassandra import start_cassandra
from tests.services.servers.process import RunningServer, ServerFailed, free_port

SECOND = "127.0.0.2"
SMALL_HEAP = "320M"
TRIES = 4
SETTINGS = {
    "auto_bootstrap": False,  # both are empty when they meet
    "phi_convict_threshold": 5,  # the first node sees in about 15 s that the second is dead
    "read_request_timeout": "2000ms",
    "write_request_timeout": "2000ms",
    "cas_contention_timeout": "2000ms",
}


@dataclass
class Pair:
    """Two nodes of one datacenter; the second can be killed and started again."""

    directory: Path
    port: int = field(default_factory=free_port)
    storage_port: int = field(default_factory=free_port)

    def start(self, host: str) -> RunningServer:
        """A node, with what it had. One that hears of nobody in time gives up: then again."""
        for _ in range(TRIES - 1):
            with contextlib.suppress(ServerFailed):
                return self._start(host)
        return self._start(host)

    def _start(self, host: str) -> RunningServer:
        return start_cassandra(
            self.directory / host,
            host=host,
            port=self.port,
            storage_port=self.storage_port,
            heap=SMALL_HEAP,
            durable=True,
            settings=SETTINGS,
        )

    def start_both(self) -> None:
        """One after the other: the second one joins the first."""
        self.first = self.start("127.0.0.1")
        self.second = self.start(SECOND)

    async def kill_second(self) -> None:
        """kill -9."""
        assert self.second.process is not None
        await asyncio.to_thread(self.second.process.kill)

    async def start_second(self) -> None:
        """Again, on what it had."""
        self.second = await asyncio.to_thread(self.start, SECOND)

    def stop(self) -> None:
        """Both."""
        for server in (self.first, self.second):
            assert server.process is not None
            server.process.kill()
