"""PostgreSQL as a store: the Debian package's server, or else the one in Morphgres's own wheel.

Not durable (a crash may lose data), `trust` authentication, superuser `postgres`.
"""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import psycopg

from private_pg.binaries import find_binaries
from private_pg.identity import Identity, choose_identity, give
from tests.services.servers.packages import debian_package
from tests.services.servers.process import HOST, RunningServer, ServerFailed, free_port, spawn

PRODUCT = "PostgreSQL"
MAJOR = "15"
PACKAGE = f"postgresql-{MAJOR}"
INSTALLED = Path("/usr/lib/postgresql")
INITDB_TIMEOUT_S = 120
PROBE_TIMEOUT_S = 5
SETTINGS = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "max_connections": "100",
    "shared_buffers": "64MB",
    "wal_level": "logical",
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
}


def start_postgres(
    directory: Path,
    *,
    port: int = 0,
    settings: Mapping[str, str] | None = None,
    access: str = "host all all 127.0.0.1/32 trust",
) -> RunningServer:
    """Start it with its data in `directory`; ready when it returns.

    `settings` come on top of SETTINGS. `access` is the text of pg_hba.conf.
    """
    programs = _programs()
    identity = choose_identity()
    directory.mkdir(parents=True, exist_ok=True)
    give(directory, identity)
    data = directory / "data"
    port = port or free_port()
    if not data.exists():
        _initialise(programs, data, identity)
    (data / "pg_hba.conf").write_text(access + "\n")
    merged = {**SETTINGS, **(settings or {}), "port": str(port)}
    process = spawn(
        PRODUCT,
        [
            *(programs / "postgres", "-D", data),
            *(word for name, value in merged.items() for word in ("-c", f"{name}={value}")),
        ],
        directory,
        identity=identity,
        stop_signal=signal.SIGINT,
        orphan_signal=signal.SIGQUIT,
    )
    uri = f"postgresql://postgres@{HOST}:{port}/postgres"
    process.wait_ready(lambda: _accepts(uri))
    version = _output([programs / "postgres", "--version"], Identity(None, None)).split()[2]
    return RunningServer("postgres", PRODUCT, version, HOST, port, uri, process=process)


def _programs() -> Path:
    """The directory of the server's programs: MAJOR, else another of the system, else the wheel."""
    found = _installed()
    if found is None:
        try:
            debian_package(PACKAGE)
        except ServerFailed:  # not root, or no such package on this system
            return find_binaries().directory
        found = _installed()
    return found or find_binaries().directory


def _installed() -> Path | None:
    of_system = sorted(INSTALLED.glob("*/bin/postgres"), key=lambda path: path.parts[-3] != MAJOR)
    return of_system[0].parent if of_system else None


def _initialise(programs: Path, data: Path, identity: Identity) -> None:
    _output(
        [
            *(programs / "initdb", "-D", data, "-U", "postgres", "-A", "trust"),
            *("-E", "UTF8", "--locale=C.UTF-8", "--no-sync"),
        ],
        identity,
    )


def _output(command: Sequence[str | Path], identity: Identity) -> str:
    result = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=INITDB_TIMEOUT_S,
        check=False,
        cwd="/",
        user=identity.uid,
        group=identity.gid,
        extra_groups=[] if identity.changes_user else None,
    )
    if result.returncode != 0:
        raise ServerFailed(f"status {result.returncode} of {command[0]}:\n{result.stderr}")
    return result.stdout


def _accepts(uri: str) -> bool | None:
    try:
        psycopg.connect(uri, connect_timeout=PROBE_TIMEOUT_S).close()
    except psycopg.OperationalError:
        return None
    return True
