"""The connection of an instance: its options, who answers, and what that server can do.

Capabilities are probed at the first use and cached. A probe reads a collection that is not there,
so it needs no data and leaves no trace.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from bson.codec_options import CodecOptions, DatetimeConversion
from bson.datetime_ms import DatetimeMS
from pymongo import AsyncMongoClient
from pymongo.errors import OperationFailure, PyMongoError
from pymongo.read_preferences import ReadPreference

from backends.base import ServerInfo
from backends.mongodb.errors import COMMAND_NOT_FOUND, UNAUTHORIZED, translated
from backends.mongodb.heartbeats import Heartbeats
from backends.stores import StoreOptions
from core.errors import CannotConnect, InvalidParameterValue

CODEC: Final[CodecOptions[dict[str, Any]]] = CodecOptions(
    dict,
    tz_aware=False,
    datetime_conversion=DatetimeConversion.DATETIME_AUTO,
    unicode_decode_error_handler="surrogateescape",
)
"""Values as backends/mongodb/decode.py reads them: no value makes the decoder raise."""

_PROBED: Final = "morph_probe_of_capabilities"
_WIDE_MS: Final = 10**15
_WIRE_TRANSACTIONS: Final = 7
DEFAULT_DATABASE: Final = "test"

# Names of parts that go to the driver as they are, with what reads them.
_FLAGS: Final = (
    "tls",
    "directConnection",
    "tlsAllowInvalidCertificates",
    "tlsAllowInvalidHostnames",
)
_TEXTS: Final = (
    "authSource",
    "authMechanism",
    "replicaSet",
    "readPreference",
    "readConcernLevel",
    "tlsCAFile",
    "tlsCertificateKeyFile",
    "w",
)
_WITH_PASSWORD: Final = ("", "DEFAULT", "PLAIN", "SCRAM-SHA-1", "SCRAM-SHA-256")
"""Mechanisms that always take one; a certificate, for one, does not."""
_ALIASES: Final = {"dbname": "database", "username": "user"}
_OWN: Final = ("host", "port", "database", "user", "password", "sample_rows", "describe")


def client_arguments(options: StoreOptions) -> dict[str, Any]:
    """What AsyncMongoClient takes. Raises InvalidParameterValue (22023) for an unknown part."""
    parts = named_parts(options.parts)
    made: dict[str, Any] = {
        "host": options.dsn or (parts.get("host") or "127.0.0.1").split(","),
        "appname": "morphgres",
        "serverSelectionTimeoutMS": round(options.connect_timeout * 1000),
        "connectTimeoutMS": round(options.connect_timeout * 1000),
        "maxPoolSize": options.connections_max,
        "retryReads": False,
        "retryWrites": False,
        # Else a second task connects for each server, whose state heartbeats.py cannot know.
        "serverMonitoringMode": "poll",
    }
    if not options.dsn:
        made["port"] = _number(parts, "port") or 27017
    if parts.get("user"):
        made["username"] = parts["user"]
        if "password" in parts or parts.get("authMechanism", "") in _WITH_PASSWORD:
            made["password"] = parts.get("password", "")
    for name in _TEXTS:
        if name in parts:
            made[name] = parts[name]
    for name in _FLAGS:
        if name in parts:
            made[name] = parts[name].lower() in ("true", "on", "1", "yes")
    return made


def named_parts(parts: Mapping[str, str]) -> dict[str, str]:
    """The parts by the driver's names; they are given in any case, as SQL folds them.

    Raises InvalidParameterValue (22023) for one that is not known.
    """
    known = {name.lower(): name for name in (*_FLAGS, *_TEXTS, *_OWN)} | _ALIASES
    unknown = [name for name in parts if name.lower() not in known]
    if unknown:
        raise InvalidParameterValue(f'invalid option "{unknown[0]}" for stores of kind mongodb')
    return {known[name.lower()]: value for name, value in parts.items()}


def _number(parts: Mapping[str, str], name: str) -> int:
    """The number of a part; 0 when it is not given."""
    text = parts.get(name, "0")
    if not text.isascii() or not text.isdigit():
        raise InvalidParameterValue(f'option "{name}" must be a number')
    return int(text)


@dataclass(frozen=True, slots=True)
class Features:
    """What was found out about a server."""

    sessions: bool
    transactions: bool
    wide_dates: bool
    bits: bool
    expressions: bool
    """It has the aggregation expressions of MongoDB 4.4, $type among them."""
    lookups: bool
    """It has $lookup, from any collection of the database."""
    direct: bool
    """Every command goes to one and the same server, whatever the read preference."""


@dataclass(frozen=True, slots=True)
class Connected:
    """A server that answered."""

    client: AsyncMongoClient[dict[str, Any]]
    info: ServerInfo
    features: Features


class Connection:
    """Connects when it is first asked; a failed attempt is made again at the next."""

    def __init__(self, instance: str, options: StoreOptions) -> None:
        self._instance = instance
        self._options = options
        self._client: AsyncMongoClient[dict[str, Any]] | None = None
        self._heartbeats = Heartbeats()
        self._connected: Connected | None = None
        self._lock = asyncio.Lock()

    @property
    def database(self) -> str:
        """The database that the options name, for probes."""
        return self._options.parts.get("database", "") or DEFAULT_DATABASE

    @property
    def expressions(self) -> bool:
        """Whether groupings can be asked: not before it is known who answers."""
        return self._connected is not None and self._connected.features.expressions

    @property
    def connected(self) -> Connected | None:
        """Who answered, when somebody did."""
        return self._connected

    @property
    def lookups(self) -> bool:
        """Whether partners can be looked for: not before it is known who answers."""
        return self._connected is not None and self._connected.features.lookups

    async def use(self, deadline: float | None) -> Connected:
        """The client, probed. CannotConnect (08001), StoreLoginRefused (28000), QueryCanceled."""
        if self._connected is not None:
            return self._connected
        async with self._lock:
            if self._connected is None:
                with translated(self._instance):
                    async with asyncio.timeout_at(deadline):
                        self._connected = await self._connect()
        return self._connected

    async def _connect(self) -> Connected:
        if self._client is None:
            self._client = self._make()
        return await probe(self._client, self.database)

    def _make(self) -> AsyncMongoClient[dict[str, Any]]:
        """The driver's client, not yet connected. CannotConnect (08001) for what it refuses."""
        arguments = client_arguments(self._options)
        self._heartbeats = Heartbeats()
        try:
            return AsyncMongoClient(**arguments, event_listeners=[self._heartbeats])
        except (OSError, TypeError, ValueError) as error:  # a certificate's file, a word unknown
            message = f'could not connect to instance "{self._instance}"'
            raise CannotConnect(message, detail=str(error)) from error

    def without_bits(self) -> Connected:
        """The connection to a server that turned out not to know $bitsAllClear: a server that does
        not look at the filter of an empty collection told nothing when it was probed.
        """
        assert self._connected is not None
        features = replace(self._connected.features, bits=False)
        told = {**self._connected.info.features, "bitwise_filters": False}
        info = replace(self._connected.info, features=told)
        self._connected = replace(self._connected, features=features, info=info)
        return self._connected

    def without_lookups(self) -> Connected:
        """The same for $lookup."""
        assert self._connected is not None
        features = replace(self._connected.features, lookups=False)
        told = {**self._connected.info.features, "lookups": False}
        info = replace(self._connected.info, features=told)
        self._connected = replace(self._connected, features=features, info=info)
        return self._connected

    async def look_again(self, deadline: float | None) -> ServerInfo:
        """Asks the server once more: the health check."""
        connected = await self.use(deadline)
        with translated(self._instance):
            async with asyncio.timeout_at(deadline):
                await connected.client.admin.command("ping")
        return connected.info

    async def close(self) -> None:
        """Gives up all connections; no socket is open when it returns."""
        client, self._client, self._connected = self._client, None, None
        if client is not None:
            await self._heartbeats.pause()
            await client.close()


async def probe(client: AsyncMongoClient[dict[str, Any]], database: str) -> Connected:
    """Who answers and what it can do."""
    modern = True
    try:
        hello = await client.admin.command("hello")
    except OperationFailure as error:
        if error.code != COMMAND_NOT_FOUND or "sasl" in str(error):
            raise
        modern = False  # every server since MongoDB 4.4.2 knows hello
        hello = await client.admin.command("isMaster")
    build = await client.admin.command("buildInfo")
    sessions = hello.get("logicalSessionTimeoutMinutes") is not None
    grouped = "setName" in hello or hello.get("msg") == "isdbgrid"
    features = Features(
        sessions=sessions,
        transactions=sessions and grouped and hello.get("maxWireVersion", 0) >= _WIRE_TRANSACTIONS,
        wide_dates=await _understands(client, database, {"a": DatetimeMS(_WIDE_MS)}),
        bits=await _understands(client, database, {"a": {"$bitsAllClear": 0}}),
        expressions=modern,
        lookups=hello.get("msg") != "isdbgrid" and await _looks_up(client, database),
        direct=hello.get("msg") != "isdbgrid"
        and ("setName" not in hello or client.read_preference == ReadPreference.PRIMARY),
    )
    told = {
        "sessions": features.sessions,
        "transactions": features.transactions,
        "bitwise_filters": features.bits,
        "dates_beyond_9999": features.wide_dates,
        "expressions": features.expressions,
        "lookups": features.lookups,
    }
    info = ServerInfo(_product(build), str(build.get("version", "")), told)
    return Connected(client, info, features)


async def _understands(
    client: AsyncMongoClient[dict[str, Any]], database: str, condition: dict[str, Any]
) -> bool:
    try:
        await client[database].command({"find": _PROBED, "filter": condition, "limit": 1})
    except OperationFailure as error:
        return error.code == UNAUTHORIZED
    return True


async def _looks_up(client: AsyncMongoClient[dict[str, Any]], database: str) -> bool:
    looked = {"from": _PROBED, "localField": "a", "foreignField": "_id", "as": "b"}
    pipeline = [{"$lookup": looked}, {"$unwind": "$b"}]
    command = {"aggregate": _PROBED, "pipeline": pipeline, "cursor": {}}
    try:
        await client[database].command(command)
    except OperationFailure as error:
        return error.code == UNAUTHORIZED
    return True


def _product(build: Mapping[str, Any]) -> str:
    """MongoDB, or the name that a server that speaks its protocol gives itself."""
    for key in build:
        name = key.removesuffix("Version").removesuffix("_version")
        if name != key and name.isalpha() and name not in ("git", "storage"):
            return f"MongoDB ({name})"
    return "MongoDB (ferretdb)" if "ferretdb" in build else "MongoDB"


async def quietly(client: AsyncMongoClient[dict[str, Any]], database: str, command: Any) -> Any:
    """A command whose failure does not matter: what it ends has ended then."""
    try:
        return await client[database].command(command)
    except PyMongoError:
        return None
