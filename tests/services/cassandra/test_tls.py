"""TLS to Cassandra: encrypted, and refused when the certificate is not the one asked for (R6.3).

The node speaks plainly; a proxy in front of it ends TLS, as many clusters have it.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from backends.base import Scope
from backends.cassandra.backend import CassandraBackend
from backends.stores import StoreOptions
from core.errors import CannotConnect
from tests.services.servers.process import RunningServer

pytestmark = pytest.mark.services

CERTIFICATES = Path(__file__).parents[2] / "integration" / "certificates"
CA = str(CERTIFICATES / "ca.pem")


@asynccontextmanager
async def _tls_in_front(
    server: RunningServer, certificate: str, client_ca: str = "", host: str = "127.0.0.1"
) -> AsyncIterator[int]:
    """The port of a TLS end in front of the node."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=client_ca or None)
    context.load_cert_chain(
        CERTIFICATES / f"{certificate}.pem", CERTIFICATES / f"{certificate}.key"
    )
    if client_ca:
        context.verify_mode = ssl.CERT_REQUIRED

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answers, node = await asyncio.open_connection(server.host, server.port)
        await asyncio.gather(pump(reader, node), pump(answers, writer))

    listening = await asyncio.start_server(serve, host, 0, ssl=context)
    try:
        yield listening.sockets[0].getsockname()[1]
    finally:
        listening.close()


async def _version(port: int, host: str = "127.0.0.1", **parts: str) -> str:
    options = StoreOptions(parts={"host": host, "port": str(port), **parts}, connect_timeout=5.0)
    backend = CassandraBackend("ring", options)
    try:
        return (await backend.server(Scope())).version
    finally:
        await backend.close()


# R6.3: each level of TLS, with the right certificate
@pytest.mark.parametrize("parts", [{"tls": "require"}, {"tls": "verify-full", "tls_ca": CA}])
async def test_encrypted(cassandra: RunningServer, parts: dict[str, str]) -> None:
    async with _tls_in_front(cassandra, "server") as port:
        assert await _version(port, **parts) == "5.0.9"


# R6.3: verify-full refuses a certificate of another authority, and one for another name
async def test_wrong_certificate(cassandra: RunningServer) -> None:
    async with _tls_in_front(cassandra, "stranger") as port:
        assert await _version(port, tls="require") == "5.0.9"
        with pytest.raises(CannotConnect):
            await _version(port, tls="verify-full", tls_ca=CA)
    async with _tls_in_front(cassandra, "server") as port:
        with pytest.raises(CannotConnect):
            await _version(port, tls="verify-full")
    async with _tls_in_front(cassandra, "server", host="127.0.0.2") as port:
        assert await _version(port, host="127.0.0.2", tls="require") == "5.0.9"
        with pytest.raises(CannotConnect):
            await _version(port, host="127.0.0.2", tls="verify-full", tls_ca=CA)


# R6.3: a client's certificate is shown to a server that asks for it
async def test_client_certificate(cassandra: RunningServer) -> None:
    shown = {
        "tls_certificate": str(CERTIFICATES / "client.pem"),
        "tls_key": str(CERTIFICATES / "client.key"),
    }
    async with _tls_in_front(cassandra, "server", CA) as port:
        with pytest.raises(CannotConnect):
            await _version(port, tls="verify-full", tls_ca=CA)
        assert await _version(port, tls="verify-full", tls_ca=CA, **shown) == "5.0.9"


# R6.3: a server without TLS is not spoken to in plain text when TLS was asked for
async def test_no_fallback_to_plain(cassandra: RunningServer) -> None:
    with pytest.raises(CannotConnect):
        await _version(cassandra.port, tls="require")
