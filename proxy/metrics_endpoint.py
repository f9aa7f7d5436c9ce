"""The HTTP endpoint of one worker: /metrics for Prometheus, /healthz for probes.

HTTP/1.1 with one request a connection (RFC 9112): read to the end of the head, answer, close. What
is not counted as it happens is gathered when it is asked for.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from core.errors import ConfigError
from core.telemetry.exposition import CONTENT_TYPE, Exposition

if TYPE_CHECKING:
    from proxy.worker import Worker

HEAD_BYTES_MAX = 8192
REQUEST_TIMEOUT_S = 5.0
PLAIN = "text/plain; charset=utf-8"


def gather(worker: Worker) -> None:
    """Bring the metrics that mirror a state to this moment."""
    metrics = worker.metrics
    metrics.connections.value = worker.connections
    metrics.plan_cache_hits.value = worker.cache_counts.hits
    metrics.plan_cache_misses.value = worker.cache_counts.misses
    metrics.plan_cache_entries.value = worker.plans_cached
    metrics.backends_attached.value = worker.pool.attached
    metrics.backends_waiting.value = worker.pool.waiting


class MetricsEndpoint:
    """Listens while its worker runs; `address` None is off."""

    def __init__(self, worker: Worker, address: tuple[str, int] | None) -> None:
        self._worker = worker
        self._address = address
        self._exposition = Exposition(worker.metrics)
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen; several workers take the ports above the one that is set, by their number."""
        if self._address is None:
            return
        host, port = self._address
        port += self._worker.number if port else 0
        try:
            self._server = await asyncio.start_server(self._serve, host, port, limit=HEAD_BYTES_MAX)
        except (OSError, OverflowError) as error:
            raise ConfigError(
                f"could not listen on {host}:{port} for metrics: {error}",
                hint="Choose another address for metrics.listen.",
            ) from None

    def stop(self) -> None:
        """Accept no more requests."""
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT_S):
                head = await reader.readuntil(b"\r\n\r\n")
                writer.write(self._answer(head))
                await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # the asker went away, or is no HTTP client
        finally:
            with contextlib.suppress(OSError):
                writer.close()

    def _answer(self, head: bytes) -> bytes:
        method, _, rest = head.partition(b"\r\n")[0].partition(b" ")
        path = rest.partition(b" ")[0].partition(b"?")[0]
        if method not in (b"GET", b"HEAD"):
            status, kind, body = "405 Method Not Allowed", PLAIN, b"only GET and HEAD\n"
        elif path == b"/metrics":
            gather(self._worker)
            status, kind, body = "200 OK", CONTENT_TYPE, self._exposition.render()
        elif path == b"/healthz":
            fault = self._fault()
            status = "503 Service Unavailable" if fault else "200 OK"
            kind, body = PLAIN, f"{fault or 'ok'}\n".encode()
        else:
            status, kind, body = "404 Not Found", PLAIN, b"there are /metrics and /healthz\n"
        lines = (
            f"HTTP/1.1 {status}",
            f"Content-Type: {kind}",
            f"Content-Length: {len(body)}",
            "Connection: close",
        )
        answer = "\r\n".join(lines).encode() + b"\r\n\r\n"
        return answer if method == b"HEAD" else answer + body

    def _fault(self) -> str:
        if self._worker.stopping:
            return "shutting down"
        return "" if self._worker.admin is not None else "no connection to the private PostgreSQL"
