"""Logins and encryption, against servers of their own (issue 4.1: TLS and SCRAM)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient

from backends.base import Scope
from backends.mongodb.backend import MongoBackend
from backends.stores import StoreOptions
from core.errors import MorphError
from tests.services.servers.process import RunningServer
from tests.services.servers.secantus import start_secantus

pytestmark = [pytest.mark.services, pytest.mark.timeout(300)]
CERTIFICATES = Path(__file__).parents[2] / "integration" / "certificates"


REFUSED_S = 6.0
"""The driver asks again and again so long; the answer is what it saw last."""


async def answer(server: RunningServer, patience: float = 60.0, **parts: str) -> str:
    """The tables' names, or the SQLSTATE and the detail of what went wrong."""
    parts = {"host": server.host, "port": str(server.port), "directconnection": "true", **parts}
    backend = MongoBackend("shop", StoreOptions(parts=parts, connect_timeout=patience))
    scope = Scope(deadline=asyncio.get_running_loop().time() + 2 * patience)
    try:
        found = await backend.list_tables("shop", scope)
        return " ".join(each.native[-1] for each in found)
    except MorphError as error:
        return f"{error.sqlstate} {error.detail}"
    finally:
        await backend.close()


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server that wants a login, with a user who may do all."""
    home = tmp_path_factory.mktemp("guarded")
    server = start_secantus(home)
    client: MongoClient[dict[str, Any]] = MongoClient(server.uri)
    with client:
        client.shop.orders.insert_one({"_id": 1})
        client.admin.command({"createUser": "morph", "pwd": "p%w:d/@", "roles": ["root"]})
    server.stop()
    server = start_secantus(home, "--auth")
    try:
        yield server
    finally:
        server.stop()


# SCRAM: the right password, a wrong one, none
async def test_scram(guarded: RunningServer) -> None:
    assert await answer(guarded, user="morph", password="p%w:d/@") == "orders"
    assert (await answer(guarded, user="morph", password="wrong")).startswith("28000 ")
    assert (await answer(guarded)).startswith("28000 ")


@pytest.fixture(scope="module")
def encrypted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server that takes encrypted connections only."""
    certificate, key = CERTIFICATES / "server.pem", CERTIFICATES / "server.key"
    files = ("--tls-cert-file", certificate, "--tls-key-file", key)
    options = f"&tls=true&tlsCAFile={CERTIFICATES / 'ca.pem'}"
    server = start_secantus(tmp_path_factory.mktemp("tls"), *files, uri_options=options)
    client: MongoClient[dict[str, Any]] = MongoClient(server.uri)
    with client:
        client.shop.orders.insert_one({"_id": 1})
    try:
        yield server
    finally:
        server.stop()


# TLS: the server's certificate is checked. The server does one handshake after another: whoever is
# refused, or gives up, must have closed all sockets, or the next one waits in vain.
async def test_tls(encrypted: RunningServer) -> None:
    ca, stranger = str(CERTIFICATES / "ca.pem"), str(CERTIFICATES / "stranger.pem")
    assert await answer(encrypted, tls="true", tlscafile=ca) == "orders"
    refused = await answer(encrypted, REFUSED_S, tls="true", tlscafile=stranger)
    assert refused.startswith("08001 ")
    assert "certificate verify failed" in refused
    assert await answer(encrypted, tls="true", tlsallowinvalidcertificates="true") == "orders"
    refused = await answer(encrypted, REFUSED_S)
    assert refused.startswith("08001 ")
    assert await answer(encrypted, tls="true", tlscafile=ca) == "orders"


SUBJECT = "CN=certified"


@pytest.fixture(scope="module")
def certifying(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server that takes no client without a certificate; a user has its name."""
    home = tmp_path_factory.mktemp("certifying")
    server = start_secantus(home)
    client: MongoClient[dict[str, Any]] = MongoClient(server.uri)
    with client:
        client.shop.orders.insert_one({"_id": 1})
        user = {"createUser": SUBJECT, "roles": [{"role": "read", "db": "shop"}]}
        client["$external"].command({**user, "mechanisms": ["MONGODB-X509"]})
    server.stop()
    certificate, key, ca = (CERTIFICATES / name for name in ("server.pem", "server.key", "ca.pem"))
    files = ("--tls-cert-file", certificate, "--tls-key-file", key, "--tls-ca-file", ca)
    own = together("client", home)
    options = f"&tls=true&tlsCAFile={ca}&tlsCertificateKeyFile={own}"
    server = start_secantus(
        home, *files, "--tls-require-client-cert", "--auth", uri_options=options
    )
    try:
        yield server
    finally:
        server.stop()


def together(name: str, directory: Path) -> Path:
    """A certificate and its key in one file, as MongoDB's drivers want them."""
    made = directory / f"{name}-with-key.pem"
    made.write_text(
        (CERTIFICATES / f"{name}.pem").read_text() + (CERTIFICATES / f"{name}.key").read_text()
    )
    return made


# issue 4.1: a client shows a certificate, and logs in by it
async def test_client_certificate(certifying: RunningServer, tmp_path: Path) -> None:
    tls = {"tls": "true", "tlscafile": str(CERTIFICATES / "ca.pem")}
    own = {**tls, "tlscertificatekeyfile": str(together("client", tmp_path))}
    login = {"authmechanism": "MONGODB-X509"}
    assert await answer(certifying, **own, **login) == "orders"
    assert await answer(certifying, **own, **login, user=SUBJECT) == "orders"
    assert (await answer(certifying, **own)).startswith("28000 ")
    assert (await answer(certifying, **own, **login, user="CN=other")).startswith("28000 ")
    stranger = {**tls, "tlscertificatekeyfile": str(together("stranger", tmp_path))}
    for refused in (tls, {**stranger, **login}):
        assert (await answer(certifying, REFUSED_S, **refused)).startswith("08001 ")
