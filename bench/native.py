"""Native PostgreSQL: a second cluster made from the same binaries, in the same way, on TCP."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from pathlib import Path

import psycopg

from config.settings import Settings
from private_pg.binaries import find_binaries
from private_pg.cluster import SUPERUSER, Cluster, ClusterLimits, prepare_cluster
from private_pg.identity import choose_identity

HOST = "127.0.0.1"
START_TIMEOUT_S = 60.0
POLL_S = 0.02


def free_port() -> int:
    """A TCP port that nobody uses just now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def _prepare(directory: Path) -> Cluster:
    private = Settings().private_pg
    limits = ClusterLimits(
        backends_max=private.max_backends,
        shared_buffers=private.shared_buffers,
        work_mem=private.work_mem,
        temp_file_limit=private.temp_file_limit,
        durable=True,
    )
    cluster = prepare_cluster(
        directory, find_binaries(private.binaries), choose_identity(private.run_as), limits
    )
    with (cluster.pg / "pg_hba.conf").open("a") as hba:
        hba.write(f"host all all {HOST}/32 trust\n")
    return cluster


class NativePostgres:
    """The server; its settings are those of the private PostgreSQL but for the TCP address."""

    host = HOST
    user = "morph"
    database = "morph"

    def __init__(self, directory: Path) -> None:
        self._cluster = _prepare(directory)
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The postmaster."""
        assert self._process is not None
        return self._process.pid

    @property
    def pg_pids(self) -> tuple[int, ...]:
        """The postmasters to measure: this one."""
        return (self.pid,)

    def start(self) -> None:
        """Start and make role and database."""
        cluster = self._cluster
        with cluster.log.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    str(cluster.binaries.postgres), "-D", str(cluster.pg),
                    "-c", f"listen_addresses={HOST}", "-c", f"port={self.port}",
                ],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                user=cluster.identity.uid, group=cluster.identity.gid,
                extra_groups=[] if cluster.identity.changes_user else None, cwd="/",
            )  # fmt: skip
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            try:
                self._make_database()
            except psycopg.OperationalError:
                if time.monotonic() > deadline or self._process.poll() is not None:
                    self.stop()
                    raise
                time.sleep(POLL_S)
            else:
                return

    def _make_database(self) -> None:
        with psycopg.connect(
            host=str(self._cluster.socket_directory), port=self.port, user=SUPERUSER,
            dbname="postgres", autocommit=True,
        ) as root:  # fmt: skip
            if not root.execute("SELECT 1 FROM pg_roles WHERE rolname = 'morph'").fetchone():
                root.execute("CREATE ROLE morph LOGIN")
                root.execute("CREATE DATABASE morph OWNER morph TEMPLATE template0")

    def connect(self) -> psycopg.Connection[tuple[object, ...]]:
        """A connection with autocommit."""
        return psycopg.connect(
            host=self.host, port=self.port, user=self.user, dbname=self.database, autocommit=True
        )

    def stop(self) -> None:
        """Fast shutdown."""
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(2)
            process.wait(60)
        os.close(self._cluster.lock_fd)
