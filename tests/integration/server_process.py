"""`morphgres serve` as a subprocess: started, its ready line read, stopped without a trace."""

from __future__ import annotations

import contextlib
import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import psycopg

READY = re.compile(r"^ready: psql -h (\S+) -p (\d+) -U morph morph$", re.MULTILINE)
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 30.0
POLL_S = 0.01
IN_USE = "is in use"
PORTS = range(10_000, 20_000)
"""Below those that the kernel gives to clients: a server that starts again finds its own free."""
T = TypeVar("T")


def eventually(probe: Callable[[], T], *, timeout_s: float = 30.0, what: str = "") -> T:
    """The first true value of `probe`; AssertionError when there is none in time."""
    deadline = time.monotonic() + timeout_s
    while True:
        value = probe()
        if value:
            return value
        assert time.monotonic() < deadline, f"did not happen in {timeout_s} s: {what or probe}"
        time.sleep(POLL_S)


def _stat(pid: int) -> tuple[str, int] | None:
    """(state, parent) of a process, None when it is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    state, parent = text.rsplit(")", 1)[1].split()[:2]
    return state, int(parent)


def alive(pid: int) -> bool:
    """True while the process runs (a zombie does not)."""
    stat = _stat(pid)
    return stat is not None and stat[0] != "Z"


def descendants(pid: int) -> set[int]:
    """All processes below `pid`."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (stat := _stat(int(entry.name))) is not None:
            parents[int(entry.name)] = stat[1]
    found = {pid}
    while True:
        more = {child for child, parent in parents.items() if parent in found} - found
        if not more:
            return found - {pid}
        found |= more


def rss_bytes(pid: int) -> int:
    """Resident memory of one process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _free_port() -> int:
    """A port of PORTS on which nothing listens now."""
    while True:
        port = random.choice(PORTS)
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return port


@dataclass
class ServerProcess:
    """One running `morphgres serve`. `config` is the text of its configuration file."""

    data: Path
    config: str = ""
    arguments: tuple[str, ...] = ()
    port: int = 0
    environment: dict[str, str] = field(default_factory=dict)
    host: str = ""
    durable: bool = False
    preexec: Callable[[], None] | None = None
    user: int | None = None
    config_path: Path | None = None
    _process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process id of morphgres itself."""
        assert self._process is not None
        return self._process.pid

    @property
    def postmaster_pid(self) -> int:
        """The process id of the private PostgreSQL."""
        return int((self.data / "pg" / "postmaster.pid").read_text().split("\n", 1)[0])

    @property
    def socket_directory(self) -> Path:
        """Where the private PostgreSQL listens."""
        return Path((self.data / "pg" / "postmaster.pid").read_text().split("\n")[4])

    @property
    def dsn(self) -> str:
        """The libpq DSN of an ordinary client."""
        return f"host={self.host} port={self.port} user=morph dbname=morph connect_timeout=20"

    @property
    def output(self) -> str:
        """What it wrote to standard output and standard error until now."""
        return self._log_path.read_text("utf-8", "replace")

    def launch(self) -> None:
        """Start the process; do not wait for it."""
        self._write_config()
        sink = self._log_path.open("wb")  # a file: a pipe that nobody reads would stop it
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-m", "proxy.main", "serve"),
                *("--data", str(self.data), "--port", str(self.port)),
                *("--config", str(self._config_path), *self.arguments),
            ],
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            env={**os.environ, **self.environment},
            preexec_fn=self.preexec,  # noqa: PLW1509 (limits of the child only)
            user=self.user,
        )
        sink.close()

    @property
    def _log_path(self) -> Path:
        return self._config_path.with_suffix(".log")

    @property
    def _config_path(self) -> Path:
        return self.config_path or self.data.with_name(self.data.name + ".toml")

    def _write_config(self) -> None:
        text = self.config
        if not self.durable:
            section = "[private_pg]\n"
            head, found, rest = text.partition(section)
            text = f"{head}{found or section}durable = false\n{rest}"
        self._config_path.write_text(text)
        self._config_path.chmod(0o644)

    def start(self, timeout_s: float = START_TIMEOUT_S) -> ServerProcess:
        """Start it and wait for its ready line."""
        chosen = self.port == 0
        self.port = self.port or _free_port()
        self.launch()
        deadline = time.monotonic() + timeout_s
        while (match := READY.search(self.output)) is None:
            assert self._process is not None
            if self._process.poll() is not None:
                if chosen and IN_USE in self.output:  # somebody was faster
                    self.port = _free_port()
                    self.launch()
                    continue
                raise AssertionError(f"morphgres ended early:\n{self.output}")
            assert time.monotonic() < deadline, f"not ready in {timeout_s} s:\n{self.output}"
            time.sleep(POLL_S)
        self.host, self.port = match[1], int(match[2])
        return self

    def wait(self, timeout_s: float = STOP_TIMEOUT_S) -> int:
        """Wait for the end of the process; its exit status."""
        assert self._process is not None
        deadline = time.monotonic() + timeout_s
        while self._process.poll() is None:
            if time.monotonic() > deadline:
                self.kill()
                raise AssertionError(f"still running after {timeout_s} s:\n{self.output}")
            time.sleep(POLL_S)
        return self._process.returncode

    def kill(self) -> None:
        """kill -9."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """SIGTERM; asserts a clean exit that leaves no process behind."""
        family = descendants(self.pid)
        os.kill(self.pid, signal.SIGTERM)
        status = self.wait()
        assert status == 0, f"exit status {status}:\n{self.output}"
        left = eventually_gone(family)
        assert left == set(), f"left behind: {left}"
        assert "Traceback" not in self.output, self.output

    def connect(self, **parameters: Any) -> psycopg.Connection[Any]:
        """A psycopg connection with autocommit."""
        parameters = {"autocommit": True, "user": "morph", "dbname": "morph", **parameters}
        return psycopg.connect(host=self.host, port=self.port, connect_timeout=20, **parameters)

    def root(self) -> psycopg.Connection[Any]:
        """A superuser's connection to the private PostgreSQL itself, past Morphgres."""
        return psycopg.connect(
            host=str(self.socket_directory),
            port=5432,
            user="morph_root",
            dbname="morph",
            autocommit=True,
        )


def eventually_gone(pids: set[int], timeout_s: float = 30.0) -> set[int]:
    """The processes that still run when the time is over: none, if all is well."""
    deadline = time.monotonic() + timeout_s
    while left := {pid for pid in pids if alive(pid)}:
        if time.monotonic() > deadline:
            return left
        time.sleep(POLL_S)
    return set()


@contextlib.contextmanager
def running(
    data: Path, config: str = "", *arguments: str, **options: Any
) -> Iterator[ServerProcess]:
    """A server for the length of a with block; stopped cleanly, or killed when the block fails."""
    server = ServerProcess(data, config, arguments, **options)
    try:
        server.start()
        yield server
    except BaseException:
        if server._process is not None:
            server.kill()
        raise
    server.stop()
