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


async def answer(server: RunningServer, **parts: str) -> str:
    """The tables' names, or the SQLSTATE of what went wrong."""
    parts = {"host": server.host, "port": str(server.port), "directconnection": "true", **parts}
    backend = MongoBackend("shop", StoreOptions(parts=parts, connect_timeout=8.0))
    scope = Scope(deadline=asyncio.get_running_loop().time() + 20)
    try:
        found = await backend.list_tables("shop", scope)
        return " ".join(each.native[-1] for each in found)
    except MorphError as error:
        return error.sqlstate
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
    assert await answer(guarded, user="morph", password="wrong") == "28000"
    assert await answer(guarded) == "28000"


@pytest.fixture(scope="module")
def encrypted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server that takes encrypted connections only."""
    files = ("--tls-cert-file", CERTIFICATES / "server.pem")
    files += ("--tls-key-file", CERTIFICATES / "server.key")
    options = f"&tls=true&tlsCAFile={CERTIFICATES / 'ca.pem'}"
    server = start_secantus(tmp_path_factory.mktemp("tls"), *files, uri_options=options)
    client: MongoClient[dict[str, Any]] = MongoClient(server.uri)
    with client:
        client.shop.orders.insert_one({"_id": 1})
    try:
        yield server
    finally:
        server.stop()


# TLS: the server's certificate is checked
async def test_tls(encrypted: RunningServer) -> None:
    ca, stranger = str(CERTIFICATES / "ca.pem"), str(CERTIFICATES / "stranger.pem")
    assert await answer(encrypted, tls="true", tlscafile=ca) == "orders"
    assert await answer(encrypted, tls="true", tlscafile=stranger) == "08001"
    assert await answer(encrypted, tls="true", tlsallowinvalidcertificates="true") == "orders"
    assert await answer(encrypted) == "08001"
