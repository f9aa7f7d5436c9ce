"""PgBouncer as a contender, if its program is on the PATH: in front of native PostgreSQL.

One process, session pooling (its cheapest mode), TCP on both sides.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from bench.native import HOST, NativePostgres, free_port
from private_pg.identity import choose_identity, give

START_TIMEOUT_S = 10.0
CONFIGURATION = """[databases]
morph = host={host} port={server_port}
[pgbouncer]
listen_addr = {host}
listen_port = {port}
unix_socket_dir =
auth_type = trust
auth_file = {users}
pool_mode = session
default_pool_size = 100
"""


class PgBouncer:
    """The process; `pg_pids` are those of the PostgreSQL behind it."""

    host = HOST

    def __init__(self, process: subprocess.Popen[bytes], port: int, native: NativePostgres) -> None:
        self._process = process
        self.port = port
        self.pg_pids = native.pg_pids

    @property
    def pid(self) -> int:
        """The pooler."""
        return self._process.pid


def program() -> str | None:
    """Its path, or None."""
    return shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")


@contextlib.contextmanager
def running(directory: Path, native: NativePostgres) -> Iterator[PgBouncer]:
    """Started and stopped; it refuses to be root."""
    path, identity = program(), choose_identity()
    assert path is not None
    home = directory / "pgbouncer"
    home.mkdir(mode=0o755, exist_ok=True)
    users, settings, port = home / "users.txt", home / "pgbouncer.ini", free_port()
    users.write_text('"morph" ""\n')
    settings.write_text(
        CONFIGURATION.format(host=HOST, server_port=native.port, port=port, users=users)
    )
    give(home, identity)
    process = subprocess.Popen(
        [path, "-q", str(settings)], stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        user=identity.uid, group=identity.gid,
        extra_groups=[] if identity.changes_user else None, cwd="/", env=dict(os.environ),
    )  # fmt: skip
    try:
        _wait(port, process)
        yield PgBouncer(process, port, native)
    finally:
        process.terminate()
        process.wait(START_TIMEOUT_S)


def _wait(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        try:
            socket.create_connection((HOST, port), timeout=1).close()
        except OSError:
            if time.monotonic() > deadline or process.poll() is not None:
                raise
            time.sleep(0.02)
        else:
            return
