"""A store's server of a test's own with a table `price`: stopped in its tracks, killed, started
again on its data.
"""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from pymongo import MongoClient

from tests.services.changes import dying
from tests.services.changes.goods import REPLICATION, session_on
from tests.services.federation.placing import create_server_text
from tests.services.servers.cassandra import start_cassandra
from tests.services.servers.process import RunningServer, free_port
from tests.services.servers.secantus import start_secantus

NAMESPACE = "outage"
ROWS = 300


class Store(Protocol):
    """What a test needs to know of a kind of store."""

    shown: str
    """The foreign table of version 1."""

    def start(self, directory: Path, port: int) -> RunningServer:
        """A server whose acknowledged writes are on its disk, with what it had there."""

    def address(self, server: RunningServer) -> str:
        """CREATE SERVER s."""

    def load(self, server: RunningServer) -> None:
        """The table of version 1 with its rows."""

    def tables(self, server: RunningServer) -> set[str]:
        """All that there is beside it, and itself."""


class CassandraStore:
    """One node."""

    shown = f"""CREATE FOREIGN TABLE price (id int NOT NULL, x int)
      SERVER s OPTIONS (keyspace '{NAMESPACE}', table_name 'price', key 'id')"""

    def start(self, directory: Path, port: int) -> RunningServer:
        """See Store."""
        return start_cassandra(directory, port=port, durable=True)

    def address(self, server: RunningServer) -> str:
        """See Store."""
        return create_server_text("s", server, keyspace=NAMESPACE)

    def load(self, server: RunningServer) -> None:
        """See Store."""
        with session_on(server) as session:
            for text in (
                f"CREATE KEYSPACE {NAMESPACE} WITH replication = {REPLICATION % 1}",
                f"CREATE TABLE {NAMESPACE}.price (id int PRIMARY KEY, x int)",
            ):
                session.execute(text, timeout=60)
            for number in range(1, ROWS + 1):
                values = f"({number}, {number * 10})"
                session.execute(f"INSERT INTO {NAMESPACE}.price (id, x) VALUES {values}")

    def tables(self, server: RunningServer) -> set[str]:
        """See Store."""
        text = f"SELECT table_name FROM system_schema.tables WHERE keyspace_name = '{NAMESPACE}'"
        with session_on(server) as session:
            return {name for (name,) in session.execute(text, timeout=60)}


class MongodbStore:
    """SecantusDB, a replica set of one node."""

    shown = dying.TABLE

    def start(self, directory: Path, port: int) -> RunningServer:
        """See Store."""
        return start_secantus(directory, "--sync-on-commit", port=port)

    def address(self, server: RunningServer) -> str:
        """See Store."""
        return create_server_text("s", server, database=NAMESPACE)

    def load(self, server: RunningServer) -> None:
        """See Store."""
        client: MongoClient[dict[str, Any]] = MongoClient(server.uri)
        with client:
            rows = [{"_id": n, "x": n * 10} for n in range(1, ROWS + 1)]
            client[NAMESPACE].price.insert_many(rows)

    def tables(self, server: RunningServer) -> set[str]:
        """See Store."""
        client: MongoClient[dict[str, Any]] = MongoClient(server.uri)
        with client:
            return set(client[NAMESPACE].list_collection_names())


@dataclass
class MortalServer:
    """Always on the same port and data."""

    store: Store
    directory: Path
    port: int = field(default_factory=free_port)
    _running: RunningServer | None = None

    @property
    def server(self) -> RunningServer:
        """As it was started last."""
        assert self._running is not None
        return self._running

    def start(self) -> None:
        """Ready when this returns. By the thread of the test: a server ends with the thread that
        has started it.
        """
        self._running = self.store.start(self.directory, self.port)

    def pause(self) -> None:
        """It answers nothing, and its connections stay."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """It goes on after a pause."""
        self._signal(signal.SIGCONT)

    def _signal(self, what: signal.Signals) -> None:
        assert self.server.pid is not None
        os.kill(self.server.pid, what)

    def kill(self) -> None:
        """kill -9."""
        if self._running is not None and self._running.process is not None:
            self._running.process.kill()
