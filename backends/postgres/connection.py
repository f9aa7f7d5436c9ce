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
from urllib.parse import parse_qs, quote, urlencode, urlsplit

import asyncpg

from backends.postgres.faults import translated
from backends.stores import StoreOptions
from core.errors import FeatureNotSupported, InvalidParameterValue, QueryCanceled

CLOSE_S: Final = 1.0
"""Time for connections to say goodbye; those that still work are cut then."""
VERSION_MIN: Final = 140000
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
_SUPERSEDED = re.compile(r"\s*([A-Za-z_]+)\s*=\s*")


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


def dsn_of(options: StoreOptions) -> tuple[str, str | None]:
    """The connection string as a URI, and the password to give beside it: "" where it has none,
    so that asyncpg looks for none in the environment. Raises InvalidParameterValue (22023).
    """
    if options.dsn.startswith(("postgres://", "postgresql://")):
        parts = urlsplit(options.dsn)
        given = ":" in parts.netloc.rpartition("@")[0] or "password" in parse_qs(parts.query)
        if not given and "password" in options.parts:
            return options.dsn, options.parts["password"]
        return options.dsn, None if given else ""
    parts_given = {**_keyword_value(options.dsn), **options.parts}
    unknown = [n for n in parts_given if n not in (*_KEYWORDS, *_SSL, *_OTHER)]
    if unknown:
        raise InvalidParameterValue(
            f'invalid option "{unknown[0]}" of a PostgreSQL server',
            hint=f"There are {', '.join((*_KEYWORDS, *_SSL, *_OTHER))}.",
        )
    password = parts_given.pop("password", "")
    query = {
        "host": parts_given.pop("host", "localhost"),
        "port": parts_given.pop("port", "5432"),
        **parts_given,
    }
    database = query.pop("database", "") or query.pop("dbname", "")
    query.pop("dbname", None)
    hosts = query["host"].split(",")
    ports = query["port"].split(",")
    query["port"] = ",".join(ports * len(hosts) if len(ports) == 1 else ports)
    path = f"/{quote(database, safe='')}" if database else ""
    return f"postgresql://{path}?{urlencode(query)}", password


def _keyword_value(dsn: str) -> dict[str, str]:
    """libpq's other form, `host=… dbname=…`."""
    try:
        words = shlex.split(_SUPERSEDED.sub(r" \1=", dsn))
    except ValueError:
        words = ["="]
    pairs = {}
    for word in words:
        name, found, value = word.partition("=")
        if not found or not name:
            raise InvalidParameterValue("the connection string of a PostgreSQL server is not valid")
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
                raise QueryCanceled(
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
                dsn, password = dsn_of(self._options)
                given: dict[str, Any] = {} if password is None else {"password": password}
                with translated(self._name, connecting=True):
                    self._pool = asyncpg.create_pool(
                        dsn,
                        min_size=0,
                        max_size=self._options.connections_max,
                        timeout=self._options.connect_timeout,
                        server_settings={"application_name": "morphgres", **SETTINGS},
                        init=self._look,
                        reset=_keep,
                        **given,
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
