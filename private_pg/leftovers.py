"""What a killed Morphgres or a killed postmaster leaves behind: processes and lock files."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable
from pathlib import Path

from core.errors import DataDirectoryError
from private_pg.cluster import Cluster

POLL_S = 0.01
QUIT_S = 7.0  # the postmaster itself kills its processes 5 s after SIGQUIT
KILL_S = 10.0
REAP_S = 1.0
PROCESSES = Path("/proc")


def _lock_files(cluster: Cluster) -> tuple[Path, Path]:
    """The postmaster's, of its data and of its socket: the first line is its process number."""
    socket = cluster.socket
    return cluster.pg / "postmaster.pid", socket.with_name(socket.name + ".lock")


def _read_pid(lock_file: Path) -> int:
    try:
        return int(lock_file.read_text().split("\n", 1)[0])
    except (OSError, ValueError):
        return 0


def _runs_in(pid: int, home: Path) -> bool:
    """True when `pid` is a live PostgreSQL process whose working directory is `home`."""
    process = PROCESSES / str(pid)
    try:
        return (
            Path(os.readlink(process / "cwd")) == home
            and Path(os.readlink(process / "exe")).name.split()[0] == "postgres"
        )
    except PermissionError:  # root in a container, without the capability to look at others
        return _is_postmaster(process, home)
    except OSError:
        return False


def _is_postmaster(process: Path, home: Path) -> bool:
    """True for the postmaster itself, by its command line, which everybody may read."""
    try:
        words = (process / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return len(words) > 2 and words[1] == b"-D" and Path(os.fsdecode(words[2])).resolve() == home


def _processes_in(home: Path) -> set[int]:
    """All live PostgreSQL processes of the cluster in `home` (Linux; elsewhere none are found)."""
    if not PROCESSES.is_dir():
        return set()
    pids = (int(entry.name) for entry in PROCESSES.iterdir() if entry.name.isdigit())
    return {pid for pid in pids if _runs_in(pid, home)}


def _send(pids: set[int], signum: int) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signum)


async def _becomes_true(condition: Callable[[], bool], timeout_s: float) -> bool:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout_s
    while not condition():
        if loop.time() >= deadline:
            return False
        await asyncio.sleep(POLL_S)
    return True


async def stop_leftover(cluster: Cluster, stop_timeout_s: float) -> None:
    """Stop what a killed Morphgres, or a killed postmaster, left behind in this cluster.

    A backend without a postmaster usually ends by itself, but not one that waits for a lock of a
    killed process; PostgreSQL does not start while one is there. Nothing is lost by killing them:
    what was acknowledged is in the log. Raises DataDirectoryError (58000) when one does not end.
    """
    home = cluster.pg.resolve()
    postmaster = _read_pid(cluster.pg / "postmaster.pid")
    if postmaster > 0 and _runs_in(postmaster, home):
        for signum, timeout_s in ((signal.SIGINT, stop_timeout_s), (signal.SIGQUIT, QUIT_S)):
            _send({postmaster}, signum)
            if await _becomes_true(lambda: not _runs_in(postmaster, home), timeout_s):
                break

    def none_left() -> bool:
        left = _processes_in(home)  # again and again: a postmaster among them has new children
        _send(left, signal.SIGKILL)
        return not left

    if not await _becomes_true(none_left, KILL_S):
        pids = ", ".join(str(pid) for pid in sorted(_processes_in(home)))
        raise DataDirectoryError(f"another PostgreSQL (process {pids}) still runs in {home}")
    for lock_file in _lock_files(cluster):
        pid = _read_pid(lock_file)
        if pid > 0 and not await _becomes_true(lambda: _is_free(pid), REAP_S):  # noqa: B023
            _forget(lock_file)


def _is_free(pid: int) -> bool:
    """True when PostgreSQL takes a lock file with this number for one of a dead process."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, PermissionError):
        return True
    return False


def _forget(lock_file: Path) -> None:
    """Remove the lock file of a postmaster that is dead and not reaped, or whose number belongs to
    another process by now: PostgreSQL would not start beside it. Only where we can see that no
    process of the cluster is left.
    """
    if PROCESSES.is_dir() and not any(_is_hidden(entry) for entry in PROCESSES.iterdir()):
        lock_file.unlink(missing_ok=True)


def _is_hidden(process: Path) -> bool:
    """True for a PostgreSQL process whose working directory we may not know."""
    try:
        if (process / "comm").read_text() == "postgres\n":
            os.readlink(process / "cwd")
    except PermissionError:
        return True
    except OSError:
        return False
    return False
