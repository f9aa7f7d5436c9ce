"""Running what writes.py made: all of it, or else an error that says what stayed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import pyarrow as pa
from bson.objectid import ObjectId
from pymongo.asynchronous.client_session import AsyncClientSession

from backends.base import RowChanges, Scope, WriteResult
from backends.mongodb import writes
from backends.mongodb.client import CODEC, Connected
from backends.mongodb.errors import DUPLICATE_KEY, translated
from backends.mongodb.transaction import MongoTransaction, session_of
from catalog.model import Table
from core.errors import (
    MorphError,
    SerializationFailure,
    StatementCompletionUnknown,
    StoreError,
    UniqueViolation,
)

STATEMENTS_MAX: Final = 1_000
"""Statements of one write command; the server's own limits are 100,000 and 48 MB."""
KEYS_MAX: Final = 1_000
"""Rows that are read by their keys at a time."""
_WRITE_CONFLICT: Final = 112


@dataclass
class Writer:
    """One call of Backend.apply."""

    instance: str
    connected: Connected
    table: Table
    scope: Scope
    _written: int = 0
    _inserted: list[Any] = field(default_factory=list)

    async def apply(self, changes: RowChanges) -> WriteResult:
        """See Backend.apply."""
        if self.scope.transaction is not None:
            return await self._all(changes, session_of(self.scope))
        if not self.connected.features.transactions or _rows(changes) <= 1:
            return await self._alone(changes)
        transaction = MongoTransaction(self.instance, self.connected)
        await transaction.start(self.scope.deadline)
        try:
            result = await self._all(changes, transaction.session)
        except BaseException:
            await transaction.rollback(None)
            raise
        await transaction.commit(self.scope.deadline)
        return result

    async def _alone(self, changes: RowChanges) -> WriteResult:
        """Without a transaction: what was inserted is taken back, the rest is told of."""
        try:
            return await self._all(changes, None)
        except MorphError as error:
            stayed = self._written - await self._taken_back()
            if stayed > 0:
                told = (
                    f"{stayed} rows were written before and stay: the server has no transactions."
                )
                error.detail = f"{error.detail} {told}".strip()
            raise

    async def _taken_back(self) -> int:
        """Deletes the documents that this call inserted; how many."""
        if not self._inserted:
            return 0
        try:
            statement = {"q": {writes.KEY: {"$in": self._inserted}}, "limit": 0}
            reply = await self._command({"delete": self._collection, "deletes": [statement]}, None)
            return int(reply["n"])
        except MorphError:
            return 0

    async def _all(self, changes: RowChanges, session: AsyncClientSession | None) -> WriteResult:
        if changes.deleted is not None:
            await self._delete(changes.deleted, session)
        if changes.updated is not None:
            assert changes.before is not None
            await self._update(changes.updated, changes.before, session)
        if changes.inserted is not None:
            await self._insert(changes.inserted, session)
        return WriteResult(self._written)

    @property
    def _collection(self) -> str:
        return self.table.native[1]

    async def _delete(self, batch: pa.RecordBatch, session: AsyncClientSession | None) -> None:
        for part in _slices(batch, KEYS_MAX):
            current = await self._current(part, part, session)
            for statements in _chunks(list(writes.deletes(current))):
                command = {"delete": self._collection, "deletes": statements, "ordered": True}
                await self._matched(command, len(statements), session)

    async def _update(
        self, batch: pa.RecordBatch, before: pa.RecordBatch, session: AsyncClientSession | None
    ) -> None:
        for start in range(0, batch.num_rows, KEYS_MAX):
            part = batch.slice(start, KEYS_MAX)
            current = await self._current(part, before.slice(start, KEYS_MAX), session)
            for statements in _chunks(list(writes.updates(self.table, part, current))):
                command = {"update": self._collection, "updates": statements, "ordered": True}
                await self._matched(command, len(statements), session)

    async def _insert(self, batch: pa.RecordBatch, session: AsyncClientSession | None) -> None:
        for part in _slices(batch, STATEMENTS_MAX):
            documents = [_keyed(each) for each in writes.documents(self.table, part)]
            command = {"insert": self._collection, "documents": documents, "ordered": True}
            reply = await self._command(command, session)
            # The first failure ends an ordered insert; `n` is not to be trusted for what is undone.
            failures = [int(error["index"]) for error in reply.get("writeErrors", ())]
            done = min([int(reply["n"]), *failures])
            self._written += done
            self._inserted += [d[writes.KEY] for d in documents[:done]]
            self._check(reply, documents)

    async def _current(
        self, batch: pa.RecordBatch, before: pa.RecordBatch, session: AsyncClientSession | None
    ) -> list[dict[str, Any]]:
        """The documents of the rows as they are; SerializationFailure when one is not as it was."""
        condition = writes.rows_filter(self.table, batch)
        database = self.connected.client[self.table.native[0]]
        with translated(self.instance, self._collection):
            async with asyncio.timeout_at(self.scope.deadline):
                collection = database.get_collection(self._collection, codec_options=CODEC)
                found = await collection.find(condition, session=session).to_list()
        by_key = writes.found_by_key(self.table, found)
        current = writes.matched(self.table, batch, before, by_key)
        if current is None:
            raise self._changed_meanwhile()
        return current

    def _changed_meanwhile(self) -> SerializationFailure:
        return SerializationFailure(
            "could not serialize access due to concurrent update",
            detail=f'A row of table "{self.table.name}" was changed in instance "{self.instance}" '
            "after it was read.",
        )

    async def _matched(
        self, command: dict[str, Any], wanted: int, session: AsyncClientSession | None
    ) -> None:
        reply = await self._command(command, session)
        self._written += int(reply["n"])
        self._check(reply, ())
        if reply["n"] != wanted:
            raise self._changed_meanwhile()

    async def _command(
        self, command: dict[str, Any], session: AsyncClientSession | None
    ) -> dict[str, Any]:
        client = self.connected.client
        concern = client.write_concern.document
        if concern and session is None:
            command = {**command, "writeConcern": concern}
        try:
            with translated(self.instance, self._collection):
                async with asyncio.timeout_at(self.scope.deadline):
                    return await client[self.table.native[0]].command(command, session=session)
        except MorphError as error:
            if session is None and error.sqlstate in ("08006", "57014"):
                raise StatementCompletionUnknown(
                    f'whether instance "{self.instance}" wrote is not known', detail=error.primary
                ) from error
            raise

    def _check(self, reply: dict[str, Any], documents: Sequence[dict[str, Any]]) -> None:
        """Raises for the first row that was not written."""
        for error in reply.get("writeErrors", ()):
            code = error.get("code")
            if code == DUPLICATE_KEY:
                raise self._duplicate(error, documents)
            if code == _WRITE_CONFLICT:
                raise self._changed_meanwhile()
            raise StoreError(
                f'instance "{self.instance}" refused a row', detail=str(error.get("errmsg", ""))
            )
        unsafe = reply.get("writeConcernError")
        if unsafe:
            raise StatementCompletionUnknown(
                f'instance "{self.instance}" wrote, but not as safely as asked',
                detail=str(unsafe.get("errmsg", "")),
            )

    def _duplicate(
        self, error: dict[str, Any], documents: Sequence[dict[str, Any]]
    ) -> UniqueViolation:
        pattern = error.get("keyPattern") or {writes.KEY: 1}
        value = error.get("keyValue")
        if value is None and error.get("index", -1) < len(documents):
            value = {key: documents[error["index"]].get(key) for key in pattern}
        names = ", ".join(pattern)
        shown = ", ".join(str(each) for each in (value or {}).values())
        index = "pkey" if list(pattern) == [writes.KEY] else "_".join([*pattern, "key"])
        return UniqueViolation(
            f'duplicate key value violates unique constraint "{self.table.name}_{index}"',
            detail=f"Key ({names})=({shown}) already exists." if value else str(error["errmsg"]),
        )


def _rows(changes: RowChanges) -> int:
    batches = (changes.inserted, changes.updated, changes.deleted)
    return sum(batch.num_rows for batch in batches if batch is not None)


def _keyed(document: dict[str, Any]) -> dict[str, Any]:
    """The document with an `_id`: what the server makes by itself could not be taken back."""
    return document if writes.KEY in document else {writes.KEY: ObjectId(), **document}


def _slices(batch: pa.RecordBatch, size: int) -> Iterator[pa.RecordBatch]:
    for start in range(0, batch.num_rows, size):
        yield batch.slice(start, size)


def _chunks(statements: Sequence[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    for start in range(0, len(statements), STATEMENTS_MAX):
        yield list(statements[start : start + STATEMENTS_MAX])
