"""One command's cursor: raw replies, one read at a time, and the end of the work in the server.

Nothing is read ahead: the next batch is asked for when the consumer comes back. An ordinary end is
the server's word (cursor id 0); everything else raises, so no scan ends short. Replies stay raw:
one object per batch, not per document.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import uuid
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, Final

import bson
from bson.codec_options import CodecOptions
from bson.int64 import Int64
from bson.raw_bson import RawBSONDocument
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.asynchronous.command_cursor import AsyncCommandCursor
from pymongo.errors import PyMongoError

from backends.mongodb.client import CODEC, Connected, quietly
from backends.mongodb.errors import translated
from backends.mongodb.quick_command import find_once
from backends.mongodb.reply import cursor_id

RAW: Final[CodecOptions[RawBSONDocument]] = CodecOptions(RawBSONDocument)
_RUN: Final = uuid.uuid4()
_NUMBERS: Final = itertools.count(1)
CLEANUP_S: Final = 2.0
"""How long the end of abandoned work in the server may take."""


class RawCursor:
    """Runs a find or an aggregate and gives its replies as raw BSON."""

    def __init__(
        self,
        instance: str,
        connected: Connected,
        database: str,
        *,
        deadline: float | None,
        batch_rows: int,
        session: AsyncClientSession | None = None,
    ) -> None:
        self._instance = instance
        self._connected = connected
        self._database = database
        self._deadline = deadline
        self._batch_rows = batch_rows
        self._given = session
        self._cursor = 0
        self._waiting = False
        self._comment = f"morph:{_RUN}:{os.getpid()}:{next(_NUMBERS)}"

    @property
    def open(self) -> bool:
        """Whether the server has more."""
        return bool(self._cursor)

    async def replies(
        self, command: dict[str, Any], collection: str
    ) -> AsyncGenerator[bytes, None]:
        """The raw replies of the command, the first one included."""
        session = self._given or self._own_session()
        if not self._connected.features.direct and self._given is None:
            async with aclosing(self._pinned(command, collection, session)) as pinned:
                async for raw in pinned:
                    yield raw
            return
        try:
            raw = await self._run(self._first(command), collection, session)
            while True:
                self._cursor = cursor_id(raw)
                yield raw
                if not self._cursor:
                    return
                more = {
                    "getMore": self._cursor,
                    "collection": collection,
                    "batchSize": self._batch_rows,
                }
                raw = await self._run(more, collection, session)
        finally:
            if self._cursor or self._waiting:
                await self._stop(collection, session)
            if session is not None and session is not self._given:
                await session.end_session()

    async def only(self, command: dict[str, Any], collection: str) -> list[Any] | None:
        """The documents of a command that has one reply: without a session, which only more would
        need, and decoded at once. None when there is more after all.
        """
        try:
            with translated(self._instance, collection):
                async with asyncio.timeout_at(self._deadline):
                    self._waiting = True
                    reply = await find_once(
                        self._connected.client, self._database, self._first(command), CODEC
                    )
                    self._waiting = False
            found = reply["cursor"]
            self._cursor = found["id"]
            return None if self._cursor else list(found["firstBatch"])
        finally:
            if self._cursor or self._waiting:
                await self._stop(collection, None)

    async def _pinned(
        self, command: dict[str, Any], collection: str, session: AsyncClientSession | None
    ) -> AsyncGenerator[bytes, None]:
        """The same by the driver's own cursor, which stays with the server that began it: where
        there are several to choose from (secondaries, mongos).
        """
        client = self._connected.client
        with translated(self._instance, collection):
            async with asyncio.timeout_at(self._deadline):
                cursor = await client[self._database].cursor_command(
                    self._first(command),
                    read_preference=client.read_preference,
                    codec_options=RAW,
                    session=session,
                )
        try:
            while True:
                with translated(self._instance, collection):
                    async with asyncio.timeout_at(self._deadline):
                        documents = await cursor.to_list(self._batch_rows)
                self._cursor = int(cursor.alive)
                inner = {"nextBatch": documents, "id": Int64(self._cursor)}
                yield bson.encode({"cursor": inner})
                if not self._cursor:
                    return
        finally:
            await self._close(cursor, session)

    async def _close(
        self, cursor: AsyncCommandCursor[Any], session: AsyncClientSession | None
    ) -> None:
        try:
            async with asyncio.timeout(CLEANUP_S):
                await cursor.close()
                if session is not None:
                    await session.end_session()
        except (TimeoutError, PyMongoError):
            return  # the server ends it by its own limits

    def _own_session(self) -> AsyncClientSession | None:
        """getMore must come from the session of its find."""
        if not self._connected.features.sessions:
            return None
        return self._connected.client.start_session(causal_consistency=False)

    def _first(self, command: dict[str, Any]) -> dict[str, Any]:
        made = dict(command)
        if "find" in made:
            made["batchSize"] = min(self._batch_rows, made.get("batchSize", self._batch_rows))
        else:
            made["cursor"] = {"batchSize": self._batch_rows}
        made["comment"] = self._comment
        level = self._connected.client.read_concern.document
        if level and self._given is None:
            made["readConcern"] = level
        if self._deadline is not None:
            left = self._deadline - asyncio.get_running_loop().time()
            made["maxTimeMS"] = max(1, round(left * 1000))
        return made

    async def _run(
        self, command: dict[str, Any], collection: str, session: AsyncClientSession | None
    ) -> bytes:
        client = self._connected.client
        preference = None if self._given is not None else client.read_preference
        with translated(self._instance, collection):
            async with asyncio.timeout_at(self._deadline):
                self._waiting = True
                reply = await client[self._database].command(
                    command, codec_options=RAW, session=session, read_preference=preference
                )
                self._waiting = False
        return bytes(reply.raw)

    async def _stop(self, collection: str, session: AsyncClientSession | None) -> None:
        """Ends what still runs in the server; the connection it ran on may be gone."""
        try:
            async with asyncio.timeout(CLEANUP_S):
                if self._cursor:
                    kill = {"killCursors": collection, "cursors": [self._cursor]}
                    await quietly(self._connected.client, self._database, kill)
                if self._waiting:
                    await self._kill_operation()
        except TimeoutError:
            return  # the server ends it by its own limits

    async def _kill_operation(self) -> None:
        client = self._connected.client
        found = await quietly(client, "admin", {"currentOp": 1, "$ownOps": True})
        for operation in (found or {}).get("inprog", ()):
            if operation.get("command", {}).get("comment") == self._comment:
                await quietly(client, "admin", {"killOp": 1, "op": operation["opid"]})
