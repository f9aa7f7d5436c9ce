"""A server process of our own: its log, its readiness, its end.

A server listens on 127.0.0.1 only. Its port is free and below the range from which the kernel
takes ports for outgoing connections: a port of that range can be held as a client's local end. The
process dies with the tests that started it, also when these are killed (`setpriv --pdeathsig`,
where there is one).
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from private_pg.identity import Identity

HOST = "127.0.0.1"
PORTS = range(20_000, 32_000)
START_TIMEOUT_S = 180.0
STOP_TIMEOUT_S = 30.0
POLL_S = 0.05
LOG_TAIL_LINES = 40
T = TypeVar("T")


class ServerFailed(AssertionError):
    """A server did not start or did not stop; the message has the end of its log."""


@dataclass
class OwnProcess:
    """One process that we started, and the file that holds what it wrote."""

    name: str
    log_path: Path
    popen: subprocess.Popen[bytes]
    stop_signal: signal.Signals = signal.SIGTERM

    @property
    def pid(self) -> int:
        """The process id."""
        return self.popen.pid

    @property
    def running(self) -> bool:
        """True until it has ended."""
        return self.popen.poll() is None

    @property
    def log(self) -> str:
        """All that it wrote to standard output and standard error."""
        return self.log_path.read_text("utf-8", "replace")

    def wait_ready(self, probe: Callable[[], T | None], timeout_s: float = START_TIMEOUT_S) -> T:
        """The probe's first value that is not None; ServerFailed when it ends or takes too long."""
        deadline = time.monotonic() + timeout_s
        while True:
            if not self.running:
                raise self.failed(f"ended with status {self.popen.returncode} before it was ready")
            value = probe()
            if value is not None:
                return value
            if time.monotonic() > deadline:
                self.kill()
                raise self.failed(f"is not ready after {timeout_s:.0f} s")
            time.sleep(POLL_S)

    def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> None:
        """End it in its own way; ServerFailed when it had to be killed. Idempotent."""
        if not self.running:
            return
        self.popen.send_signal(self.stop_signal)
        try:
            self.popen.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()
            raise self.failed(
                f"still ran {timeout_s:.0f} s after {self.stop_signal.name}"
            ) from None

    def kill(self) -> None:
        """kill -9."""
        self.popen.kill()
        self.popen.wait()

    def failed(self, what: str) -> ServerFailed:
        """The error that says `what` of this server, with the end of its log."""
        tail = "\n".join(self.log.splitlines()[-LOG_TAIL_LINES:])
        return ServerFailed(f"{self.name} {what}; the end of {self.log_path}:\n{tail}")


@dataclass(frozen=True, slots=True)
class RunningServer:
    """A server that answers. `version` is the product's own, as the server or its package tells it;
    `speaks` is what it claims to be compatible with, empty for the genuine product."""

    kind: str
    product: str
    version: str
    host: str
    port: int
    uri: str
    speaks: str = ""
    process: OwnProcess | None = field(default=None, compare=False, repr=False)

    @property
    def label(self) -> str:
        """Product and version, for reports."""
        return f"{self.product} {self.version}" + (f" ({self.speaks})" if self.speaks else "")

    @property
    def pid(self) -> int | None:
        """The process id; None for a server that somebody else runs."""
        return self.process.pid if self.process else None

    def stop(self) -> None:
        """End the process, if it is ours."""
        if self.process is not None:
            self.process.stop()


def spawn(
    name: str,
    command: Sequence[str | Path],
    directory: Path,
    *,
    identity: Identity = Identity(None, None),  # noqa: B008 (immutable)
    environment: Mapping[str, str] | None = None,
    stop_signal: signal.Signals = signal.SIGTERM,
    orphan_signal: signal.Signals = signal.SIGKILL,
) -> OwnProcess:
    """Start `command` with its log in `directory`; do not wait for it.

    The caller's thread must live as long as the server: the kernel sends `orphan_signal` when the
    thread that started the process ends.
    """
    log_path = directory / f"{name}.log"
    prefix: list[str] = []
    if setpriv := shutil.which("setpriv"):
        prefix = [setpriv, "--pdeathsig", orphan_signal.name.removeprefix("SIG"), "--"]
    with log_path.open("ab") as log:
        popen = subprocess.Popen(
            [*prefix, *(str(word) for word in command)],
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(environment or {})},
            start_new_session=True,
            user=identity.uid,
            group=identity.gid,
            extra_groups=[] if identity.changes_user else None,
        )
    return OwnProcess(name, log_path, popen, stop_signal)


def free_port() -> int:
    """A port of PORTS on which nothing listens now."""
    for port in random.sample(PORTS, k=200):
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind((HOST, port))
            return port
    raise ServerFailed(f"no free port between {PORTS.start} and {PORTS.stop}")
