"""Connection options and errors of MongoDB (issue 4 points 1 and 4)."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest
from pymongo import errors as driver

from backends.base import Scope
from backends.mongodb.backend import MongoBackend
from backends.mongodb.client import client_arguments
from backends.mongodb.errors import translated
from backends.stores import StoreOptions, make_backend
from core.errors import CannotConnect, InvalidParameterValue, MorphError


def _arguments(dsn: str = "", **parts: str) -> dict[str, Any]:
    return client_arguments(StoreOptions(dsn=dsn, parts=parts, connect_timeout=2.5))


def test_parts() -> None:
    made = _arguments(host="a,b", port="27018", user="u", password="p", replicaset="rs0")
    assert made["host"] == ["a", "b"]
    assert made["port"] == 27018
    assert (made["username"], made["password"]) == ("u", "p")
    assert made["replicaSet"] == "rs0"
    assert made["serverSelectionTimeoutMS"] == 2_500
    assert _arguments(port="0")["port"] == 27017


# A login by certificate has no password, any other at least an empty one
def test_password() -> None:
    assert _arguments(user="u")["password"] == ""
    assert _arguments(user="u", authmechanism="SCRAM-SHA-1")["password"] == ""
    assert "password" not in _arguments(user="CN=u", authmechanism="MONGODB-X509")


# SQL folds the names of options
def test_names_in_any_case() -> None:
    made = _arguments(directconnection="true", readpreference="nearest", TLS="off", dbname="x")
    assert made["directConnection"] is True
    assert made["readPreference"] == "nearest"
    assert made["tls"] is False


def test_dsn() -> None:
    made = _arguments("mongodb://h:1/?tls=true", user="u", password="p")
    assert made["host"] == "mongodb://h:1/?tls=true"
    assert "port" not in made
    assert made["username"] == "u"


@pytest.mark.parametrize("parts", [{"colour": "red"}, {"port": "many"}])
def test_bad_options(parts: dict[str, str]) -> None:
    with pytest.raises(InvalidParameterValue):
        _arguments(**parts)


# What the driver refuses before it connects is an error of the instance too
@pytest.mark.parametrize(
    ("parts", "detail"),
    [
        ({"tls": "true", "tlscafile": "/nowhere/ca.pem"}, "/nowhere/ca.pem"),
        ({"tls": "true", "tlscafile": __file__}, "no certificate"),
        ({"tls": "true", "tlscertificatekeyfile": "/nowhere/own.pem"}, "/nowhere/own.pem"),
        ({"tls": "true", "tlscertificatekeyfile": __file__}, "certificate"),
        ({"user": "u", "authmechanism": "NONE"}, "authMechanism"),
        ({"readpreference": "any"}, "any"),
    ],
)
async def test_parts_that_the_driver_refuses(parts: dict[str, str], detail: str) -> None:
    backend = MongoBackend("shop", StoreOptions(parts=parts))
    with pytest.raises(CannotConnect, match='"shop"') as caught:
        await backend.server(Scope())
    assert detail in caught.value.detail
    await backend.close()


# R6.3: a password is in no text of the backend
def test_no_password_is_printed() -> None:
    options = StoreOptions(dsn="mongodb://u:s3cret@h/", parts={"password": "s3cret"})
    backend = make_backend("mongodb", "shop", options)
    assert isinstance(backend, MongoBackend)
    assert "s3cret" not in repr(options) + repr(backend) + repr(vars(backend))


@pytest.mark.parametrize(
    ("error", "sqlstate"),
    [
        (driver.ServerSelectionTimeoutError("none"), "08001"),
        (driver.AutoReconnect("gone"), "08006"),
        (driver.NetworkTimeout("late"), "08006"),
        (driver.NotPrimaryError("stepped down"), "08006"),
        (driver.CursorNotFound("gone", 43), "08006"),
        (driver.OperationFailure("login", 18), "28000"),
        (driver.OperationFailure("no such command: 'saslStart'", 59), "28000"),
        (driver.OperationFailure("rights", 13), "42501"),
        (driver.OperationFailure("nowhere", 26), "42P01"),
        (driver.OperationFailure("late", 50), "57014"),
        (driver.OperationFailure("killed", 11601), "57014"),
        (driver.OperationFailure("dropped", 175), "08006"),
        (driver.WriteError("twice", 11000), "23505"),
        (driver.OperationFailure("conflict", 112), "40001"),
        (driver.OperationFailure("other", 8000), "58000"),
        (driver.InvalidURI("no"), "08001"),
        (driver.DocumentTooLarge("16 MB"), "54000"),
        (TimeoutError(), "57014"),
    ],
)
def test_errors(error: Exception, sqlstate: str) -> None:
    with pytest.raises(MorphError) as caught, translated("shop", "orders"):
        raise error
    assert caught.value.sqlstate == sqlstate
    assert '"shop"' in caught.value.primary


def test_a_transient_error_is_a_serialization_failure() -> None:
    details = {"errorLabels": ["TransientTransactionError"]}
    with pytest.raises(MorphError) as caught, translated("shop"):
        raise driver.OperationFailure("later", 246, details)
    assert caught.value.sqlstate == "40001"


def test_planning_needs_no_server() -> None:
    backend = MongoBackend("shop", StoreOptions())
    assert backend.capabilities.writes
    asyncio.run(backend.close())


# R0.5: a client that is closed while it connects leaves no socket behind
async def test_no_socket_outlives_close(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = asyncio.get_running_loop()
    connect, connecting = loop.sock_connect, asyncio.Event()
    sockets: list[socket.socket] = []

    async def slowly(sock: socket.socket, address: tuple[str, int]) -> None:
        sockets.append(sock)
        connecting.set()
        await asyncio.sleep(0.2)
        await connect(sock, address)

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1")
    monkeypatch.setattr(loop, "sock_connect", slowly)
    port = str(server.sockets[0].getsockname()[1])
    backend = MongoBackend("shop", StoreOptions(parts={"port": port}, connect_timeout=30.0))
    asking = asyncio.create_task(backend.server(Scope()))
    await connecting.wait()
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    await backend.close()
    await asyncio.sleep(0)  # a transport closes its socket in the loop's next round
    left = [each for each in sockets if each.fileno() != -1]
    for each in left:
        each.close()
    server.close()
    await server.wait_closed()
    assert sockets
    assert left == []
