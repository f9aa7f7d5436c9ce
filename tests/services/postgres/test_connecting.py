"""Connecting to a PostgreSQL store: TLS, several hosts, no connection left (R1.6, R1.9, R6.3)."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from backends.base import Scope
from backends.postgres.backend import PostgresBackend
from core.errors import CannotConnect, MorphError, QueryCanceled
from private_pg.identity import choose_identity, give
from tests.services.postgres.stores import options
from tests.services.servers.postgres import start_postgres
from tests.services.servers.process import RunningServer

pytestmark = pytest.mark.services
CERTIFICATES = Path(__file__).parents[2] / "integration" / "certificates"


def soon(seconds: float = 20.0) -> Scope:
    """A scope with a deadline."""
    return Scope(deadline=asyncio.get_running_loop().time() + seconds)


@pytest.fixture(scope="module")
def encrypted(open_home: Path) -> Iterator[RunningServer]:
    """A server that takes encrypted connections only."""
    identity = choose_identity()
    for name in ("server.pem", "server.key"):
        copy = Path(shutil.copy(CERTIFICATES / name, open_home / name))
        give(copy, identity)
        copy.chmod(0o600)
    settings = {
        "ssl": "on",
        "ssl_cert_file": str(open_home / "server.pem"),
        "ssl_key_file": str(open_home / "server.key"),
    }
    access = "hostssl all all 127.0.0.1/32 trust"
    server = start_postgres(open_home / "pg", settings=settings, access=access)
    try:
        yield server
    finally:
        server.stop()


async def answer(server: RunningServer, **parts: str) -> str:
    """The product, or the SQLSTATE of what went wrong."""
    backend = PostgresBackend("shop", options(server, "postgres", parts=parts, connect_timeout=3.0))
    try:
        return (await backend.server(soon())).product
    except MorphError as error:
        return error.sqlstate
    finally:
        await backend.close()


# asyncpg leaves the socket of a handshake that failed to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
async def test_tls(encrypted: RunningServer) -> None:  # R6.3
    ca = str(CERTIFICATES / "ca.pem")
    assert await answer(encrypted) == "PostgreSQL"  # prefer
    assert await answer(encrypted, sslmode="require") == "PostgreSQL"
    assert await answer(encrypted, sslmode="disable") == "28000"
    assert await answer(encrypted, sslmode="verify-full", sslrootcert=ca) == "PostgreSQL"
    other = str(CERTIFICATES / "stranger.pem")
    assert await answer(encrypted, sslmode="verify-full", sslrootcert=other) == "08001"


async def test_the_first_host_that_answers(postgres_store: RunningServer) -> None:  # R1.9
    host = postgres_store.host
    parts = {"host": f"{host},{host}", "port": f"1,{postgres_store.port}"}
    assert await answer(postgres_store, **parts) == "PostgreSQL"
    standby = {**parts, "target_session_attrs": "standby"}
    assert await answer(postgres_store, **standby) == "08001"


async def test_all_connections_in_use(postgres_store: RunningServer) -> None:  # R0.5
    backend = PostgresBackend("shop", options(postgres_store, "postgres", connections_max=2))
    held = [
        await backend.begin(soon(), isolation="read committed", read_only=True) for _ in range(2)
    ]
    with pytest.raises(QueryCanceled) as caught:
        await backend.list_tables("public", soon(0.3))
    # The server is well all the same, so its health is.
    assert (await backend.server(soon(0.3))).product == "PostgreSQL"
    assert caught.value.sqlstate == "57014"
    assert caught.value.detail == 'All connections to server "shop" are in use.'
    await held[0].rollback(None)
    assert (await backend.server(soon())).product == "PostgreSQL"
    await held[1].commit(soon().deadline)
    await backend.close()


async def test_a_server_that_is_full(postgres_store: RunningServer) -> None:  # R0.5
    """Its own limit: a role that may connect once."""
    admin = PostgresBackend("shop", options(postgres_store, "postgres"))
    async with admin._asking(soon()) as connection:
        await connection.execute("DROP ROLE IF EXISTS lonely")
        await connection.execute("CREATE ROLE lonely LOGIN CONNECTION LIMIT 1")
    backend = PostgresBackend("shop", options(postgres_store, "postgres", parts={"user": "lonely"}))
    held = await backend.begin(soon(), isolation="read committed", read_only=True)
    with pytest.raises(CannotConnect, match='"shop"') as caught:
        await backend.server(soon())
    assert "too many connections" in caught.value.detail
    await held.rollback(None)
    await backend.close()
    async with admin._asking(soon()) as connection:
        await connection.execute("DROP ROLE lonely")
    await admin.close()
