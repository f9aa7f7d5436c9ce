"""Runs statements on both layouts of a change, as a client's role and as of one moment.

A backend of its own reads in one REPEATABLE READ, READ ONLY transaction that is rolled back. The
version views over the shadow are made inside of it (evolution/layouts/embedded/stand_ins.py) with a
one-time code, so the statements themselves run with the client's rights and no others.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Final, Protocol, TypeVar

import asyncpg

from catalog.model import CatalogSnapshot, Table
from catalog.sqltext import PUBLIC, quote_ident, quote_literal, shape_schema
from catalog.store import authenticate
from core.encoding.arrays import array_text
from core.errors import ConnectionFailure, InternalError, MorphError
from core.types import type_by_oid
from engine.plans import Plan, make_plan
from evolution.layouts.base import ShadowWork
from evolution.layouts.embedded.stand_ins import StandIns, stand_ins
from evolution.validation.embedded.failures import translated
from evolution.validation.inline import ResultSum
from evolution.validation.replay import Answer, Layout
from proxy.backend import BackendConnection, BackendOwner, Piece, send_cancel
from proxy.protocol import requests
from proxy.protocol.body import encode_string, write_int16s, write_values
from proxy.protocol.descriptions import decode_parameter_description, decode_row_description
from proxy.protocol.framing import HEADER_BYTES, message, read_header
from proxy.protocol.message_types import ClientType, ServerType
from proxy.protocol.reports import decode_report
from proxy.protocol.startup import StartupMessage
from rewrite.namespaces import Namespaces

NO_TYPES: Final = b"\0\0"
NO_VALUES: Final = b"\0\0\0\0\0\0"
OPEN_S: Final = 30.0
GRACE_S: Final = 5.0
"""How long after its statement_timeout a backend may take to say so."""
_APPLY: Final = "SELECT morph_catalog.apply($1, $2, $3)"
_BEGIN: Final = "BEGIN ISOLATION LEVEL REPEATABLE READ; SET TRANSACTION SNAPSHOT {}"
_READ: Final = "SET TRANSACTION READ ONLY; SET LOCAL statement_timeout = {}"
_UNKNOWN: Final = "unknown"
Connect = Callable[[], Awaitable[asyncpg.Connection]]
_T = TypeVar("_T")
Make = Callable[[asyncpg.Connection], Awaitable[tuple[_T, Sequence[str]]]]
"""What is read of the catalog as of a moment, and the statements that morph_owner runs in it."""


@dataclass(frozen=True, slots=True)
class Read:
    """A statement: its text in a version's names, the raw end of a Parse (types of parameters), and
    of a Bind (parameters, formats). `path` is the search_path that its names are looked up in.
    """

    text: str
    path: tuple[str, ...]
    types: bytes = NO_TYPES
    values: bytes = NO_VALUES

    def plan(self, snapshot: CatalogSnapshot) -> Plan:
        """What the backend gets for it. Raises what `make_plan` raises."""
        return make_plan(self.text, Namespaces(snapshot, self.path), pushdown=True)


class BothAnswers(Protocol):
    """Both layouts as of one moment."""

    async def ask(self, layout: Layout, read: Read) -> Answer:
        """The answer of one layout; an error of the statement is one, too."""


class LayoutReader(Protocol):
    """Reads both layouts of changes, on a connection of its own. `connect` is for the catalog."""

    connect: Connect

    async def open(self) -> None:
        """Log in. Raises ConnectionFailure (08006), StartupRefused."""

    def close(self) -> None:
        """End the connection, and whatever runs on it."""

    def reading(
        self, work: ShadowWork, uses: Mapping[int, Iterable[Table]], timeout_s: float
    ) -> AbstractAsyncContextManager[BothAnswers]:
        """One moment of a change: both layouts for statements that read `uses` (by version). A
        statement may take `timeout_s`.

        Raises ObjectNotInPrerequisiteState (55000) for a shadow that is not complete.
        """


def version_path(number: int) -> tuple[str, ...]:
    """The search_path of somebody who reads one version."""
    return (shape_schema(number),)


class _Exchange(BackendOwner):
    """What a backend answers up to ReadyForQuery: rows are summed as they come."""

    def __init__(self) -> None:
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.rows = ResultSum()
        self.columns: tuple[tuple[str, str], ...] = ()
        self.parameters: tuple[int, ...] = ()
        self.error: dict[str, str] = {}
        self._rest = b""

    def backend_pieces(self, pieces: list[Piece], *, still_open: bool) -> None:
        """See BackendOwner."""
        for kind, raw, _ in pieces:
            if kind == ServerType.DATA_ROW:
                self._rest = add_rows(self.rows, self._rest + raw)
            elif kind == ServerType.ROW_DESCRIPTION:
                fields = decode_row_description(raw[HEADER_BYTES:])
                self.columns = tuple((f.name, _type_name(f.type_oid, f.typmod)) for f in fields)
            elif kind == ServerType.PARAMETER_DESCRIPTION:
                self.parameters = decode_parameter_description(raw[HEADER_BYTES:])
            elif kind == ServerType.ERROR_RESPONSE and not self.error:
                self.error = decode_report(raw[HEADER_BYTES:])
            elif kind == ServerType.READY_FOR_QUERY and not self.done.done():
                self.rows.end()
                self.done.set_result(None)

    def backend_lost(self, error: MorphError | None) -> None:
        """See BackendOwner."""
        if not self.done.done():
            self.done.set_exception(ConnectionFailure("lost the private PostgreSQL while reading"))
            self.done.exception()

    def backend_writable(self, writable: bool) -> None:
        """See BackendOwner: what is written is small."""


def add_rows(rows: ResultSum, data: bytes) -> bytes:
    """Sum the DataRows that are complete; the rest."""
    end = 0
    while len(data) - end >= HEADER_BYTES:
        following = end + read_header(data, end)[1] + 1
        if following > len(data):
            break
        end = following
    rows.add_data_rows(data[:end])
    return data[end:]


def _type_name(oid: int, typmod: int) -> str:
    try:
        return type_by_oid(oid, typmod).sql
    except (MorphError, KeyError):
        return f"{_UNKNOWN} {oid}"


class BothLayouts:
    """A backend as one role. `secret` authenticates the control plane (catalog.store)."""

    def __init__(
        self, connect: Connect, socket: str, secret: bytes, parameters: Mapping[str, str]
    ) -> None:
        self.connect = connect
        self._secret = secret
        self._socket = socket
        self._backend = BackendConnection(socket, StartupMessage(0, dict(parameters)))

    async def open(self) -> None:
        """Log in. Raises ConnectionFailure (08006), StartupRefused."""
        await self._backend.open(OPEN_S)

    def close(self) -> None:
        """End the connection, and whatever runs on it."""
        self._backend.owner = None
        self._backend.close()

    @asynccontextmanager
    async def reading(
        self, work: ShadowWork, uses: Mapping[int, Iterable[Table]], timeout_s: float
    ) -> AsyncIterator[Moment]:
        """See LayoutReader."""

        async def make(
            control: asyncpg.Connection,
        ) -> tuple[Mapping[Layout, StandIns], Sequence[str]]:
            made = await stand_ins(control, work, uses, self._backend.pid)
            return made, [s for each in made.values() for s in each.statements]

        async with self.transaction(make, timeout_s) as made:
            yield Moment(self, made, timeout_s)

    @asynccontextmanager
    async def transaction(self, make: Make[_T], timeout_s: float) -> AsyncIterator[_T]:
        """Inside, the backend reads as of the moment at which `make` read the catalog."""
        with translated():
            made = await self._made(make, timeout_s)
        try:
            yield made
        finally:
            if self._backend.alive:
                await self._run("ROLLBACK", OPEN_S)

    async def _made(self, make: Make[_T], timeout_s: float) -> _T:
        """Take the moment, and run in it what is to be run first."""
        control = await self.connect()
        try:
            # It ends with its transaction: who is cut off could not roll back.
            await control.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            moment = await control.fetchval("SELECT pg_export_snapshot()")
            made, statements = await make(control)
            await self._begin(moment, statements, timeout_s)
        finally:
            control.terminate()
        return made

    async def _begin(self, moment: str, statements: Sequence[str], timeout_s: float) -> None:
        await self._run(_BEGIN.format(quote_literal(moment)), OPEN_S)
        if statements:
            nonce = secrets.token_hex(16)
            code = authenticate(self._secret, self._backend.pid, nonce, list(statements))
            values = [each.encode() for each in (array_text(statements), nonce, code)]
            bound = write_int16s(()) + write_values(values) + write_int16s(())
            exchange = await self.exchange(_APPLY, NO_TYPES, bound, OPEN_S)
            if exchange.error:
                raise InternalError(
                    "the shadow cannot be shown", detail=exchange.error.get("M", "")
                )
        await self._run(_READ.format(max(round(timeout_s * 1000), 1)), OPEN_S)

    async def _run(self, text: str, limit_s: float) -> None:
        exchange = _Exchange()
        self._backend.owner = exchange
        self._backend.write(message(ClientType.QUERY, encode_string(text)))
        await self._wait(exchange, limit_s)
        if exchange.error:
            raise InternalError(
                "the moment to compare at was lost", detail=exchange.error.get("M", "")
            )

    async def exchange(self, text: str, types: bytes, values: bytes, limit_s: float) -> _Exchange:
        """One statement by the extended protocol."""
        bind = message(ClientType.BIND, b"\0\0" + values)
        asked = (bind, requests.DESCRIBE_PORTAL, requests.EXECUTE_ALL)
        return await self._ask(text, types, asked, limit_s)

    async def _ask(
        self, text: str, types: bytes, asked: Iterable[bytes], limit_s: float
    ) -> _Exchange:
        exchange = _Exchange()
        self._backend.owner = exchange
        parse = message(ClientType.PARSE, b"\0" + encode_string(text) + types)
        self._backend.write(b"".join((parse, *asked, requests.SYNC)))
        await self._wait(exchange, limit_s)
        return exchange

    async def _wait(self, exchange: _Exchange, limit_s: float) -> None:
        if not self._backend.alive:
            raise ConnectionFailure("lost the private PostgreSQL while reading")
        try:
            async with asyncio.timeout(limit_s + GRACE_S):
                await exchange.done
        except TimeoutError as error:
            await self._give_up()
            raise ConnectionFailure("the private PostgreSQL did not answer in time") from error
        except asyncio.CancelledError:
            await self._give_up()
            raise

    async def _give_up(self) -> None:
        """End what runs: a backend does not look whether its client is there while it works."""
        backend = self._backend
        backend.owner = None
        await send_cancel(self._socket, backend.pid, backend.key, GRACE_S)
        backend.close()

    async def answer(
        self, read: Read, text: str, timeout_s: float, forms: Mapping[str, str] | None = None
    ) -> Answer:
        """The answer to `text`, which is what `read` comes to, under the settings `forms` besides
        the client's; whatever fails is undone.
        """
        await self._look_up(read.path, forms or {})
        begun = asyncio.get_running_loop().time()
        exchange = await self.exchange(text, read.types, read.values, timeout_s)
        seconds = asyncio.get_running_loop().time() - begun
        await self._run("ROLLBACK TO SAVEPOINT morph_read", OPEN_S)
        columns = () if exchange.error else exchange.columns
        return Answer(columns, exchange.rows, exchange.error.get("C", ""), seconds)

    async def parameters(self, read: Read, text: str, timeout_s: float) -> tuple[int, ...]:
        """The types of $n in a text, () when it cannot be parsed."""
        await self._look_up(read.path, {})
        asked = (requests.DESCRIBE_STATEMENT,)
        exchange = await self._ask(text, read.types, asked, timeout_s)
        await self._run("ROLLBACK TO SAVEPOINT morph_read", OPEN_S)
        return () if exchange.error else exchange.parameters

    async def _look_up(self, path: Sequence[str], forms: Mapping[str, str]) -> None:
        """Names mean what they mean to the client, until the savepoint is rolled back to."""
        names = ", ".join(quote_ident(schema) for schema in path or (PUBLIC,))
        texts = ["SAVEPOINT morph_read", f"SET LOCAL search_path = {names}"]
        texts += [f"SET LOCAL {name} = {quote_literal(value)}" for name, value in forms.items()]
        await self._run("; ".join(texts), OPEN_S)


@dataclass(frozen=True, slots=True)
class Moment:
    """See BothAnswers."""

    layouts: BothLayouts
    made: Mapping[Layout, StandIns]
    timeout_s: float

    async def ask(self, layout: Layout, read: Read) -> Answer:
        """See BothAnswers."""
        text = read.plan(self.made[layout].snapshot).wire_text
        return await self.layouts.answer(read, text, self.timeout_s)
