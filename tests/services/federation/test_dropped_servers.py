"""A server that is altered or dropped leaves nothing behind: no connection and no thread of its
driver, in any worker, once `stores.drain` is over (R1.9).
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.integration.server_process import ServerProcess, descendants, eventually, running
from tests.services.federation.items import ITEMS, make_items
from tests.services.federation.loading import run
from tests.services.federation.placing import SINGLE, create_server_text
from tests.services.servers.fleet import Fleet
from tests.services.servers.process import RunningServer

pytestmark = [pytest.mark.services, pytest.mark.timeout(600)]
Connection = psycopg.Connection[Any]

CONFIG = '[server]\nworkers = 2\n[stores]\ndrain = "100ms"\n'
ROUNDS = 4
GONE_S = 60.0
THREADS_OF_A_POOL = 6
"""asyncio's own threads for blocking calls: as many as there were at a time, kept for ever."""
CHANGES = {
    "mongodb": "ADD sample_rows '77'",
    "cassandra": "ADD page_rows '77'",
    "postgres": "ADD application_name 'again'",
}
INODE = re.compile(r"socket:\[(\d+)\]")


@pytest.fixture(scope="module")
def morphgres(open_directory: Path) -> Iterator[ServerProcess]:
    """Two workers that give up replaced drivers soon."""
    with running(open_directory / "dropping", CONFIG) as process:
        yield process


@pytest.fixture(params=SINGLE)
def store(request: pytest.FixtureRequest, servers: Fleet) -> RunningServer:
    """One store after the other."""
    return servers.get(request.param)


def _workers(process: ServerProcess) -> set[int]:
    """All processes of Morphgres; not the private PostgreSQL's."""
    postmaster = process.postmaster_pid
    database = descendants(postmaster) | {postmaster}
    return (descendants(process.pid) | {process.pid}) - database


def _threads(pids: Iterable[int]) -> int:
    return sum(len(list(Path(f"/proc/{pid}/task").iterdir())) for pid in pids)


def _sockets(pid: int) -> set[str]:
    """The inodes of a process's sockets."""
    found = set()
    for each in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):  # closed meanwhile
            if match := INODE.match(str(each.readlink())):
                found.add(match[1])
    return found


def _connections(pids: Iterable[int], port: int) -> int:
    """How many connections the processes have to a port."""
    inodes = set().union(*(_sockets(pid) for pid in pids))
    count = 0
    for table in ("tcp", "tcp6"):
        for line in Path("/proc/net", table).read_text().splitlines()[1:]:
            fields = line.split()
            count += int(fields[2].rpartition(":")[2], 16) == port and fields[9] in inodes
    return count


def _read(client: Connection) -> None:
    """The rows; a worker hears of what another one did a moment later."""

    def rows() -> bool:
        try:
            found = client.execute("TABLE items").fetchall()
        except (psycopg.errors.FeatureNotSupported, psycopg.errors.UndefinedTable):
            return False
        return len(found) == len(ITEMS.rows)

    eventually(rows, timeout_s=GONE_S, what="rows")


def _use_and_drop(process: ServerProcess, store: RunningServer) -> None:
    """A server is made, used in both workers, altered, used and dropped."""
    clients = [process.connect() for _ in range(4)]  # the kernel deals them out to the workers
    try:
        run(clients[0], create_server_text("s", store))
        make_items(clients[0], store, "s")
        for client in clients:
            _read(client)
        assert _connections(_workers(process), store.port)
        run(clients[0], f"ALTER SERVER s OPTIONS ({CHANGES[store.kind]})")
        for client in clients:
            _read(client)
    finally:
        run(clients[0], "DROP SERVER IF EXISTS s CASCADE")
        for client in clients:
            client.close()


def test_nothing_is_left(morphgres: ServerProcess, store: RunningServer) -> None:
    pids = _workers(morphgres)
    assert len(pids) >= 2
    _use_and_drop(morphgres, store)

    def closed() -> bool:
        return _connections(pids, store.port) == 0

    eventually(closed, timeout_s=GONE_S, what=f"no connection to {store.label}")
    threads = _threads(pids)
    for _ in range(ROUNDS):
        _use_and_drop(morphgres, store)
    eventually(closed, timeout_s=GONE_S, what=f"no connection to {store.label}")
    limit = threads + THREADS_OF_A_POOL
    eventually(lambda: _threads(pids) <= limit, timeout_s=GONE_S, what=f"{limit} threads")
