"""Connections to one PostgreSQL server: a pool that opens them as they are needed.

Every connection has settings that make values print the same way everywhere, a search_path on which
nobody but the server put anything, and no password that the process happens to have in its
environment: only what the instance says is ever sent.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import shlex
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

import asyncpg

from backends.postgres.faults import translated
from backends.stores import StoreOptions
from core.errors import FeatureNotSupported, InvalidParameterValue, QueryCanceled

CLOSE_S: Final = 1.0
"""Time for connections to say goodbye; those that still work are cut then."""
VERSION_MIN: Final = 140000
DEFAULT_PORT: Final = 5432
_KEYWORDS: Final = ("host", "port", "dbname", "database", "user", "password", "sslmode")
_SSL: Final = (
    "sslcert", "sslkey", "sslrootcert", "sslcrl", "sslpassword", "ssl_min_protocol_version",
    "ssl_max_protocol_version", "sslnegotiation",
)  # fmt: skip
_OTHER: Final = ("target_session_attrs", "krbsrvname", "gsslib", "application_name")
SETTINGS: Final[Mapping[str, str]] = {
    "client_encoding": "UTF8",
    "search_path": "pg_catalog",
    "datestyle": "ISO, YMD",
    "intervalstyle": "postgres",
    "timezone": "UTC",
    "extra_float_digits": "1",
    "bytea_output": "hex",
    "lc_monetary": "C",
    "xmlbinary": "base64",
    "standard_conforming_strings": "on",
    "statement_timeout": "0",
}
"""What values are printed and read with: the text carrier of core/types.py."""
_LOOK: Final = (
    "SELECT pg_catalog.current_setting('server_version'), "
    "pg_catalog.current_setting('server_version_num')::int, "
    "pg_catalog.current_setting('server_encoding'), pg_catalog.pg_is_in_recovery()"
)
_EQUALS: Final = re.compile(r"\s*([A-Za-z_]+)\s*=\s*")


class NoConnectionFree(QueryCanceled):
    """All connections were in use until the deadline."""


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """What a server said of itself."""

    version: str
    number: int
    encoding: str
    in_recovery: bool

    @property
    def utf8(self) -> bool:
        """Whether it has every text that we have."""
        return self.encoding == "UTF8"


def connect_arguments(options: StoreOptions) -> dict[str, Any]:
    """What asyncpg.connect gets: never without host and password, for which it would look in this
    process's environment and files. Raises InvalidParameterValue (22023).

    Unix sockets are refused: one of them leads to the private PostgreSQL, past all walls.
    """
    given = {**_from_dsn(options.dsn), **options.parts}
    if "dbname" in given:
        given.setdefault("database", given.pop("dbname"))
    for name in given:
        if name not in (*_KEYWORDS, *_SSL, *_OTHER):
            raise InvalidParameterValue(
                f'invalid option "{name}" of a PostgreSQL server',
                hint=f"There are {', '.join((*_KEYWORDS, *_SSL, *_OTHER))}.",
            )
    hosts = [host.strip() for host in given.pop("host", "localhost").split(",")]
    if not all(hosts) or any(host[0] in "/@" for host in hosts):
        raise InvalidParameterValue("a PostgreSQL server is named by host names or addresses")
    texts = given.pop("port", "").split(",")
    if not all(text.isdecimal() or not text for text in texts):
        raise InvalidParameterValue("a port is a number")
    ports = [int(text or DEFAULT_PORT) for text in texts]
    arguments: dict[str, Any] = {
        "host": hosts,
        "port": ports * len(hosts) if len(ports) == 1 else ports,
        "password": given.pop("password", ""),
        "user": given.pop("user", None),
        "database": given.pop("database", None),
    }
    if len(arguments["port"]) != len(hosts):
        raise InvalidParameterValue("there must be one port, or as many as hosts")
    settings = {"application_name": given.pop("application_name", "morphgres"), **SETTINGS}
    # asyncpg takes the rest of libpq's words in a connection string only.
    dsn = f"postgresql://?{urlencode(given)}" if given else None
    return {"dsn": dsn, "server_settings": settings, **arguments}


def _from_dsn(dsn: str) -> dict[str, str]:
    if not dsn.startswith(("postgres://", "postgresql://")):
        return _keyword_value(dsn)
    try:
        parts = urlsplit(dsn)
        given = dict(
            parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
        )
    except ValueError:
        raise _bad_dsn() from None
    login, at, places = parts.netloc.rpartition("@")
    if at:
        user, found, password = login.partition(":")
        given.setdefault("user", unquote(user))
        if found:
            given.setdefault("password", unquote(password))
    if places:
        pairs = [_place(place) for place in places.split(",")]
        given.setdefault("host", ",".join(host for host, _ in pairs))
        given.setdefault("port", ",".join(port for _, port in pairs))
    if database := parts.path.lstrip("/"):
        given.setdefault("database", unquote(database))
    return given


def _place(text: str) -> tuple[str, str]:
    """Host and port of `h:1`, `[::1]:1`."""
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        return unquote(host), rest.removeprefix(":")
    host, _, port = text.partition(":")
    return unquote(host), port


def _bad_dsn() -> InvalidParameterValue:
    return InvalidParameterValue("the connection string of a PostgreSQL server is not valid")


def _keyword_value(dsn: str) -> dict[str, str]:
    """libpq's other form, `host=… dbname=…`."""
    try:
        words = shlex.split(_EQUALS.sub(r" \1=", dsn))
    except ValueError:
        raise _bad_dsn() from None
    pairs = {}
    for word in words:
        name, found, value = word.partition("=")
        if not found or not name:
            raise _bad_dsn()
        pairs[name] = value
    return pairs


class Connections:
    """The pool of one instance; it is made at the first use."""

    def __init__(self, name: str, options: StoreOptions) -> None:
        self._name = name
        self._options = options
        self._pool: asyncpg.Pool | None = None
        self._lock = asyncio.Lock()
        self._closed = False
        self.facts: ServerFacts | None = None

    @asynccontextmanager
    async def use(self, deadline: float | None) -> AsyncIterator[asyncpg.Connection]:
        """A connection for the length of a with block."""
        connection = await self.acquire(deadline)
        try:
            yield connection
        finally:
            await self.release(connection)

    async def acquire(self, deadline: float | None) -> asyncpg.Connection:
        """A connection of one's own. Raises CannotConnect, StoreLoginRefused, QueryCanceled."""
        pool = await self._made()
        connect_by = asyncio.get_running_loop().time() + self._options.connect_timeout
        # With all connections in use one waits as long as the work may take.
        unknown = self.facts is None
        bound = connect_by if unknown and (deadline is None or connect_by < deadline) else deadline
        limit = asyncio.timeout_at(bound)
        with translated(self._name, connecting=True):
            try:
                async with limit:
                    connection: asyncpg.Connection = await pool.acquire()
            except TimeoutError:
                if unknown or not limit.expired():
                    raise
                raise NoConnectionFree(
                    "canceling statement due to statement timeout",
                    detail=f'All connections to server "{self._name}" are in use.',
                    hint="See stores.max_connections.",
                ) from None
        return connection

    async def release(self, connection: asyncpg.Connection) -> None:
        """Give a connection back; one that broke is forgotten."""
        pool = self._pool
        with contextlib.suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
            if pool is None:  # closed meanwhile
                cut(connection)
            else:
                await pool.release(connection, timeout=self._options.connect_timeout)

    async def expire(self) -> None:
        """Connections that wait in the pool may be as dead as the one that failed."""
        if self._pool is not None:
            await self._pool.expire_connections()

    async def _made(self) -> asyncpg.Pool:
        async with self._lock:
            if self._closed:
                raise _closed(self._name)
            if self._pool is None:
                arguments = connect_arguments(self._options)
                with translated(self._name, connecting=True):
                    self._pool = asyncpg.create_pool(
                        min_size=0,
                        max_size=self._options.connections_max,
                        timeout=self._options.connect_timeout,
                        init=self._look,
                        reset=_keep,
                        **arguments,
                    )
                    await self._pool
            return self._pool

    async def _look(self, connection: asyncpg.Connection) -> None:
        """What the server is; a pool asks each new connection, so a change is seen."""
        version, number, encoding, recovery = await connection.fetchrow(_LOOK)
        if number < VERSION_MIN:
            raise FeatureNotSupported(
                f'server "{self._name}" is PostgreSQL {version}',
                hint=f"PostgreSQL {VERSION_MIN // 10000} or newer is needed.",
            )
        self.facts = ServerFacts(version, number, encoding, recovery)

    async def close(self) -> None:
        """Close all; work that still runs is cut off."""
        async with self._lock:
            self._closed = True
            pool, self._pool = self._pool, None
        if pool is None:
            return
        try:
            async with asyncio.timeout(CLOSE_S):
                await pool.close()
        except (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            pool.terminate()


def cut(connection: asyncpg.Connection) -> None:
    """Close the socket at once; the server rolls back. Harmless when it is closed."""
    # The pool takes back a connection that broke, and its handle then knows nothing any more.
    with contextlib.suppress(asyncpg.InterfaceError):
        connection.terminate()


def alive(connection: asyncpg.Connection) -> bool:
    """Whether the connection can be asked something."""
    try:
        return not connection.is_closed()
    except asyncpg.InterfaceError:
        return False


async def _keep(connection: asyncpg.Connection) -> None:
    """Nothing to reset: no work leaves anything but a transaction, which asyncpg ends."""
    del connection


def _closed(name: str) -> FeatureNotSupported:
    return FeatureNotSupported(f'server "{name}" was altered or dropped meanwhile')
