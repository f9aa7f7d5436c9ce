"""How a command reaches the store: through the server that runs in the data directory, or by
starting the private PostgreSQL there itself.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

from config.settings import Settings
from core.errors import DataDirectoryError
from private_pg.identity import SYSTEM_HOME
from proxy.server import prepare_database, start_private_pg

_PID_FILE_DIRECTORY_LINE = 4  # postmaster.pid: the fifth line is the socket's directory
_PID_FILE_STATUS_LINE = 7


def running_socket(data: Path) -> str | None:
    """The socket directory of the private PostgreSQL that runs in a data directory.

    None if there is none that takes connections; DataDirectoryError if it is not ours to use.
    """
    data = data.absolute()
    digest = hashlib.sha256(str(data).encode()).hexdigest()[:16]
    for home in (data, SYSTEM_HOME / f"data-{digest}"):
        try:
            lines = (home / "pg" / "postmaster.pid").read_text().split("\n")
        except FileNotFoundError:
            continue
        except PermissionError:
            raise DataDirectoryError(
                f"data directory {data} is in use by another user's Morphgres",
                hint="Load as the user who runs it, or as root.",
            ) from None
        except OSError:
            continue
        ready = len(lines) > _PID_FILE_STATUS_LINE
        if ready and lines[_PID_FILE_STATUS_LINE].strip() == "ready":
            return lines[_PID_FILE_DIRECTORY_LINE]
    return None


@contextlib.asynccontextmanager
async def socket_directory(settings: Settings) -> AsyncIterator[str]:
    """The socket directory of a private PostgreSQL with the fixed objects in it."""
    data = settings.data.directory
    try:
        supervisor = await start_private_pg(settings)
    except DataDirectoryError as error:
        running = running_socket(data) if "in use" in error.primary else None
        if running is None or not os.access(running, os.X_OK):
            raise
        yield running
        return
    try:
        await prepare_database(supervisor.cluster, settings)
        yield str(supervisor.cluster.socket_directory)
    finally:
        await supervisor.stop()
