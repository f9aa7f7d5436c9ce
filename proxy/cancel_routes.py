"""CancelRequests between workers: the kernel gives one to any worker, its key names the right one.

Every worker of several listens on a Unix socket beside the private PostgreSQL's (a 0700 directory)
and takes the packets that others received.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from pathlib import Path

from core.errors import MorphError
from proxy.protocol.startup import CancelRequest, StartupReader

PACKET_TIMEOUT_S = 5.0
PACKET_BYTES_MAX = 1024


def _path(directory: str, number: int) -> Path:
    return Path(directory) / f"worker-{number}.cancel"


async def listen(
    directory: str, number: int, take: Callable[[CancelRequest], Awaitable[None]]
) -> asyncio.Server:
    """Take the packets for worker `number`."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(PACKET_TIMEOUT_S):
                packet = StartupReader().feed(await reader.read(PACKET_BYTES_MAX))
            if isinstance(packet, CancelRequest):
                await take(packet)
        except (TimeoutError, MorphError, OSError):
            pass
        finally:
            writer.close()

    path = _path(directory, number)
    path.unlink(missing_ok=True)
    return await asyncio.start_unix_server(serve, str(path))


async def forward(directory: str, number: int, request: CancelRequest) -> None:
    """Give a packet to the worker that it is for; returns when that has taken it."""
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(PACKET_TIMEOUT_S):
            reader, writer = await asyncio.open_unix_connection(str(_path(directory, number)))
            writer.write(request.encode())
            await writer.drain()
            await reader.read()
            writer.close()
