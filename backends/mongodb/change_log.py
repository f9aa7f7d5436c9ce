"""The log of a collection: a reserved collection beside it, one document for each dirty row.

`_id` is {l: position, w: worker}; nothing depends on its order. A record is durable on a majority,
in the journal, before `append` returns; or it is part of the client's own transaction.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

from bson.int64 import Int64
from pymongo.asynchronous.client_session import AsyncClientSession

from backends.base import Scope
from backends.change_store import Intent, LogPlace
from backends.mongodb.client import CODEC, Connection
from backends.mongodb.errors import DUPLICATE_KEY, translated
from backends.mongodb.transaction import session_of
from core.errors import StoreError, UndefinedTable

DURABLE: Final = {"w": "majority", "j": True}
PART: Final = 1_000
"""Documents of one command."""


class Commands:
    """Commands to the databases of an instance, under the deadline of a scope."""

    def __init__(self, instance: str, connection: Connection) -> None:
        self.instance = instance
        self._connection = connection

    async def run(
        self,
        database: str,
        command: dict[str, Any],
        scope: Scope,
        session: AsyncClientSession | None = None,
    ) -> dict[str, Any]:
        """The server's reply; errors are those of the tree."""
        connected = await self._connection.use(scope.deadline)
        with translated(self.instance, str(next(iter(command.values())))):
            async with asyncio.timeout_at(scope.deadline):
                return await connected.client[database].command(
                    command, session=session, codec_options=CODEC
                )

    async def session(self, scope: Scope) -> AsyncClientSession | None:
        """A session of its own, for commands of one cursor; None when the server has none."""
        connected = await self._connection.use(scope.deadline)
        return connected.client.start_session() if connected.features.sessions else None

    async def write(
        self,
        database: str,
        command: dict[str, Any],
        scope: Scope,
        *,
        ignoring: Sequence[int] = (),
        durable: bool = True,
    ) -> dict[str, Any]:
        """A write; StoreError for rows that were refused, but for these codes. One that is not
        `durable` may be undone by a crash of the server.
        """
        session = session_of(scope)
        if session is None and durable:
            command = {**command, "writeConcern": DURABLE}
        reply = await self.run(database, command, scope, session)
        for error in reply.get("writeErrors", ()):
            if error.get("code") not in ignoring:
                raise StoreError(
                    f'instance "{self.instance}" refused a write of a change',
                    detail=str(error.get("errmsg", "")),
                )
        unsafe = reply.get("writeConcernError")
        if unsafe:
            raise StoreError(
                f'instance "{self.instance}" wrote, but not durably',
                detail=str(unsafe.get("errmsg", "")),
            )
        return reply

    async def find(
        self, database: str, collection: str, condition: dict[str, Any], scope: Scope, **more: Any
    ) -> list[dict[str, Any]]:
        """The documents that a find gives; `more` are `sort` and `limit`."""
        connected = await self._connection.use(scope.deadline)
        with translated(self.instance, collection):
            async with asyncio.timeout_at(scope.deadline):
                found = connected.client[database].get_collection(collection, codec_options=CODEC)
                return await found.find(condition, **more).to_list()

    async def indexes(self, database: str, collection: str, scope: Scope) -> list[dict[str, Any]]:
        """The indexes of a collection but for the one on `_id`."""
        try:
            reply = await self.run(database, {"listIndexes": collection}, scope)
        except UndefinedTable:
            return []
        return [dict(each) for each in reply["cursor"]["firstBatch"] if each["name"] != "_id_"]

    async def make(self, database: str, collection: str, scope: Scope) -> None:
        """Create a collection unless it is there."""
        if await self._exists(database, collection, scope):
            return
        try:
            await self.run(database, {"create": collection}, scope)
        except StoreError:
            if not await self._exists(database, collection, scope):
                raise

    async def drop(self, database: str, collection: str, scope: Scope) -> None:
        """Remove a collection, if it is there."""
        if await self._exists(database, collection, scope):
            with suppress(UndefinedTable):
                await self.run(database, {"drop": collection}, scope)

    async def _exists(self, database: str, collection: str, scope: Scope) -> bool:
        named = {"listCollections": 1, "filter": {"name": collection}, "cursor": {}}
        reply = await self.run(database, named, scope)
        return any(each["name"] == collection for each in reply["cursor"]["firstBatch"])


class ChangeLog:
    """See backends.change_store.LogStore."""

    def __init__(self, commands: Commands) -> None:
        self._commands = commands

    async def make_log(self, place: LogPlace, scope: Scope) -> None:
        """See LogStore."""
        await self._commands.make(place.namespace, place.name, scope)

    async def drop_log(self, place: LogPlace, scope: Scope) -> None:
        """See LogStore."""
        await self._commands.drop(place.namespace, place.name, scope)

    async def append(self, place: LogPlace, intents: Sequence[Intent], scope: Scope) -> None:
        """See LogStore."""
        for at in range(0, len(intents), PART):
            documents = [_document(each) for each in intents[at : at + PART]]
            command = {"insert": place.name, "documents": documents, "ordered": True}
            # A duplicate is this very record: the answer to the first try was lost.
            await self._commands.write(place.namespace, command, scope, ignoring=(DUPLICATE_KEY,))

    async def done(self, place: LogPlace, intents: Sequence[Intent], scope: Scope) -> None:
        """See LogStore."""
        for at in range(0, len(intents), PART):
            names = [_name(each) for each in intents[at : at + PART]]
            update = {"q": {"_id": {"$in": names}}, "u": {"$set": {"done": True}}, "multi": True}
            command = {"update": place.name, "updates": [update]}
            # One that a crash undoes is late, not lost: it is open until its deadline.
            await self._commands.write(place.namespace, command, scope, durable=False)

    async def read(self, place: LogPlace, limit: int, scope: Scope) -> Sequence[Intent]:
        """See LogStore."""
        found = await self._commands.find(
            place.namespace, place.name, {}, scope, sort=[("_id", 1)], limit=limit
        )
        return [_intent(each) for each in found]

    async def remove(self, place: LogPlace, intents: Sequence[Intent], scope: Scope) -> None:
        """See LogStore."""
        for at in range(0, len(intents), PART):
            names = [_name(each) for each in intents[at : at + PART]]
            statement = {"q": {"_id": {"$in": names}}, "limit": 0}
            command = {"delete": place.name, "deletes": [statement]}
            # One that a crash brings back is applied once more.
            await self._commands.write(place.namespace, command, scope, durable=False)


def _name(intent: Intent) -> dict[str, Any]:
    return {"l": Int64(intent.lsn), "w": Int64(intent.writer)}


def _document(intent: Intent) -> dict[str, Any]:
    return {
        "_id": _name(intent),
        "key": list(intent.key),
        "op": intent.op,
        "epoch": Int64(intent.epoch),
        "changes": list(intent.change_ids),
        "deadline": Int64(intent.deadline_us),
        "touched": list(intent.touched),
        "session": intent.session,
        "stmt": Int64(intent.stmt_hash),
        "ts": Int64(intent.ts_us),
        "done": intent.done,
    }


def _intent(found: dict[str, Any]) -> Intent:
    name = found["_id"]
    return Intent(
        lsn=int(name["l"]),
        writer=int(name["w"]),
        key=tuple(found["key"]),
        op=found["op"],
        epoch=int(found["epoch"]),
        change_ids=tuple(found["changes"]),
        deadline_us=int(found["deadline"]),
        touched=tuple(found["touched"]),
        session=found["session"],
        stmt_hash=int(found["stmt"]),
        ts_us=int(found["ts"]),
        done=bool(found["done"]),
    )
