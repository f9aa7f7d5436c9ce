"""What is written to a collection past Morphgres, from its change stream.

A stream is opened for each look at the last token and closed again: nothing is held in between,
and whoever owns the change next goes on from the token in the catalog. A replica set or a sharded
cluster has streams; a lone server has not, nor a login without the privilege.

MongoDB manual, "Change Streams": a token is behind all events up to it, of writes that a majority
has. An empty batch says that there is no more for now, but a first batch may be empty although
there is: a sharded cluster asks its shards only then.
"""

from __future__ import annotations

from typing import Any, Final

from bson import json_util
from bson.int64 import Int64
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.errors import OperationFailure

from backends.base import Scope
from backends.change_store import Key, Tail, TailLost
from backends.mongodb.change_log import Commands
from backends.mongodb.layouts import KEY, shown
from catalog.model import Table
from core.errors import InsufficientPrivilege, StoreError, UndefinedTable

FULLY_MS: Final = 20
"""How long a server is asked to look for more, of the one who wants all."""
_SHAPE: Final = {"operationType": 1, "documentKey": 1}
_BATCH: Final = "nextBatch"
_OF_ROWS: Final = ("insert", "update", "replace", "delete")
_LOST: Final = (9, 260, 280, 286)
"""FailedToParse, InvalidResumeToken, ChangeStreamFatalError, ChangeStreamHistoryLost."""
Document = dict[str, Any]


class ChangeTail:
    """See backends.change_store.TailStore."""

    def __init__(self, commands: Commands) -> None:
        self._commands = commands

    async def tail_token(self, table: Table, scope: Scope) -> str | None:
        """See TailStore."""
        session = await self._commands.session(scope)
        if session is None:
            return None
        try:
            async with session:
                found = await self._look(table, {}, 1, scope, session)
        except (InsufficientPrivilege, UndefinedTable):
            return None
        except StoreError as error:
            if isinstance(error.__cause__, OperationFailure):
                return None  # it has no streams: 40573 of a lone server, others of other products
            raise
        token = found.get("postBatchResumeToken")
        return None if token is None else _text(token)

    async def tail(
        self, table: Table, token: str, limit: int, scope: Scope, *, fully: bool = False
    ) -> Tail:
        """See TailStore."""
        after = {"resumeAfter": json_util.loads(token)}
        session = await self._commands.session(scope)
        if session is None:
            raise TailLost(f'the server of table "{table.name}" has no change streams any more')
        try:
            async with session:
                found = await self._look(table, after, limit, scope, session, fully=fully)
        except StoreError as error:
            cause = error.__cause__
            if isinstance(cause, OperationFailure) and cause.code in _LOST:
                raise TailLost(
                    f'the change stream of table "{table.name}" cannot be resumed',
                    detail=error.detail,
                ) from error
            raise
        events = found[_BATCH]
        if any(each["operationType"] not in _OF_ROWS for each in events):
            raise TailLost(f'the collection of table "{table.name}" was dropped or renamed')
        behind = found.get("postBatchResumeToken") or (events[-1][KEY] if events else None)
        return Tail(
            token if behind is None else _text(behind), _keys(table, events), len(events) < limit
        )

    async def _look(
        self,
        table: Table,
        after: Document,
        rows: int,
        scope: Scope,
        session: AsyncClientSession,
        *,
        fully: bool = False,
    ) -> Document:
        """One batch of events, in `nextBatch`."""
        database, collection = table.native
        command = {
            "aggregate": collection,
            "pipeline": [{"$changeStream": after}, {"$project": _SHAPE}],
            "cursor": {"batchSize": rows},
        }
        found: Document = (await self._commands.run(database, command, scope, session))["cursor"]
        found[_BATCH] = found.pop("firstBatch")
        cursor = Int64(found["id"])
        if fully and cursor and not found[_BATCH]:
            more = {"getMore": cursor, "collection": collection, "batchSize": rows}
            asked = {**more, "maxTimeMS": FULLY_MS}
            found = (await self._commands.run(database, asked, scope, session))["cursor"]
        if found["id"]:
            closed = {"killCursors": collection, "cursors": [cursor]}
            await self._commands.run(database, closed, scope, session)
        return found


def _keys(table: Table, events: list[Document]) -> list[Key]:
    """The keys of the rows, each once; a document that the table does not show has none."""
    found = {json_util.dumps(each["documentKey"][KEY]): each["documentKey"] for each in events}
    documents = [{KEY: each[KEY]} for each in found.values()]
    return [row.key for row in shown(table, documents) if table.key[0] not in row.misfits]


def _text(token: Document) -> str:
    return json_util.dumps(token, json_options=json_util.CANONICAL_JSON_OPTIONS)
