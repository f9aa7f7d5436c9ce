"""Other layouts of a collection: collections beside it, whose documents have a position `_l`.

An image is the document as it was read, whatever it has, with the fields of the new columns in the
place of the old ones. It is put with `_l` below its own as the condition, by one upsert on `_id`: a
duplicate key says that somebody's newer one is there, which is as good. A tombstone (`_d`) keeps
what was deleted from coming back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from bson.int64 import Int64
from bson.objectid import ObjectId

from backends.base import Scope
from backends.change_store import Image, Key, StoreChunk, StoreRow
from backends.mongodb import writes
from backends.mongodb.change_log import PART, Commands
from backends.mongodb.decode import ColumnSpec, MisfitCounter, decode_column, values_at
from backends.mongodb.encode import encode
from backends.mongodb.errors import DUPLICATE_KEY
from backends.mongodb.positions import key_at, position_of, ranges
from backends.mongodb.pushdown import column_spec
from catalog.model import Column, Native, Table
from core.encoding import to_text_carrier
from core.errors import SerializationFailure, StoreError
from core.types import type_by_name

KEY: Final = writes.KEY
POSITION: Final = writes.POSITION
DEAD: Final = "_d"
DEAD_INDEX: Final = "morph_tombstones"
_KEYS_A_FIND: Final = 500
_OF_SERVER: Final = ("v", "ns", "background")
Document = dict[str, Any]


class Layouts:
    """See backends.change_store.ShadowStore."""

    def __init__(self, commands: Commands) -> None:
        self._commands = commands

    def new_key(self, table: Table) -> Key:
        """See ShadowStore: a new ObjectId."""
        del table
        return (str(ObjectId()),)

    async def make_shadow(self, live: Table, shadow: Table, scope: Scope) -> None:
        """See ShadowStore. Tombstones have an index: inside of the fence nobody has the time to
        look for them in the whole collection.
        """
        del live
        await self._commands.make(*_place(shadow), scope)
        index = {"key": {DEAD: 1}, "name": DEAD_INDEX, "sparse": True}
        command = {"createIndexes": shadow.native[1], "indexes": [index]}
        await self._commands.run(shadow.native[0], command, scope)

    async def drop(self, shadow: Table, scope: Scope) -> None:
        """See ShadowStore."""
        await self._commands.drop(*_place(shadow), scope)

    # ------------------------------------------------------------------ reading

    async def bound(self, table: Table, scope: Scope) -> tuple[str | None, int]:
        """See ShadowStore."""
        database, collection = _place(table)
        last = await self._commands.find(
            database, collection, {}, scope, sort=[(KEY, -1)], limit=1, projection={KEY: 1}
        )
        if not last:
            return None, 0
        reply = await self._commands.run(database, {"count": collection}, scope)
        return position_of(last[0][KEY]), int(reply["n"])

    async def chunk(
        self, table: Table, after: str | None, until: str | None, rows: int, scope: Scope
    ) -> StoreChunk:
        """See ShadowStore."""
        found: list[Document] = []
        for condition in ranges(after, until):
            left = rows - len(found) if rows else 0
            found += await self._commands.find(
                *_place(table), condition, scope, sort=[(KEY, 1)], limit=left
            )
            if rows and len(found) >= rows:
                break
        last = position_of(found[-1][KEY]) if found else None
        return StoreChunk(shown(table, found), last, not rows or len(found) < rows)

    async def reread(self, table: Table, keys: Sequence[Key], scope: Scope) -> Sequence[StoreRow]:
        """See ShadowStore."""
        return shown(table, await self._documents(table, keys, scope))

    async def _documents(self, table: Table, keys: Sequence[Key], scope: Scope) -> list[Document]:
        found: list[Document] = []
        for at in range(0, len(keys), _KEYS_A_FIND):
            texts = [key[0] for key in keys[at : at + _KEYS_A_FIND]]
            condition = writes.key_filter(table, _key_column(table), texts)
            found += await self._commands.find(*_place(table), condition, scope)
        return writes.keyed(table, found)

    async def at(self, table: Table, positions: Sequence[str], scope: Scope) -> Sequence[StoreRow]:
        """See ShadowStore."""
        found: list[Document] = []
        for at in range(0, len(positions), _KEYS_A_FIND):
            keys = [key_at(each) for each in positions[at : at + _KEYS_A_FIND]]
            found += await self._commands.find(*_place(table), {KEY: {"$in": keys}}, scope)
        return shown(table, found)

    # ------------------------------------------------------------------ writing

    async def put(
        self, live: Table, shadow: Table, images: Sequence[Image], lsn: int, scope: Scope
    ) -> None:
        """See ShadowStore."""
        gone = [image.key for image in images if image.source is None]
        dead = await self._ids(shadow, gone, scope)
        documents = [
            _image(live, shadow, image) for image in images if image.source is not None
        ] + [{KEY: key, DEAD: True} for key in dead]
        updates = [
            {
                "q": {KEY: document[KEY], POSITION: {"$not": {"$gte": Int64(lsn)}}},
                "u": {**document, POSITION: Int64(lsn)},
                "upsert": True,
            }
            for document in documents
        ]
        for at in range(0, len(updates), PART):
            part = updates[at : at + PART]
            command = {"update": shadow.native[1], "updates": part, "ordered": False}
            await self._commands.write(shadow.native[0], command, scope, ignoring=(DUPLICATE_KEY,))

    async def _ids(self, table: Table, keys: Sequence[Key], scope: Scope) -> list[Any]:
        """The `_id` of each key: what the layout has, or what a write of the key would make."""
        if not keys:
            return []
        found = await self._documents(table, keys, scope)
        known = [document[KEY] for document in found]
        there = set(writes.found_by_key(table, found).by_key)
        column = _key_column(table)
        spec, pg = column_spec(table, column), type_by_name(column.type)
        return known + [
            encode(key[0], pg, spec.store_type)
            for key in dict.fromkeys(keys)
            if key[0] not in there
        ]

    async def put_back(
        self, live: Table, old: Table, images: Sequence[Image], lsn: int, scope: Scope
    ) -> None:
        """See ShadowStore: a document is only replaced as it was found."""
        del lsn
        updates: list[Document] = []
        deletes: list[Document] = []
        for image in images:
            found = image.found.raw if image.found is not None else None
            assert found is None or isinstance(found, dict)
            if image.source is None:
                if found is not None:
                    deletes.append({"q": writes.as_found(found), "limit": 1})
                continue
            document = _image(live, old, image)
            if found == document and list(found) == list(document):
                continue
            query = {KEY: document[KEY]} if found is None else writes.as_found(found)
            # Without a document before, an upsert that meets one fails by its key.
            where = {**query, POSITION: {"$exists": False}} if found is None else query
            updates.append({"q": where, "u": document, "upsert": found is None})
        if deletes:
            command = {"delete": old.native[1], "deletes": deletes, "ordered": False}
            reply = await self._commands.write(old.native[0], command, scope)
            _all_done(reply, len(deletes))
        for at in range(0, len(updates), PART):
            part = updates[at : at + PART]
            command = {"update": old.native[1], "updates": part, "ordered": False}
            reply = await self._commands.write(old.native[0], command, scope)
            _all_done(reply, len(part))

    async def copy_indexes(self, live: Table, shadow: Table, scope: Scope) -> Sequence[str]:
        """See ShadowStore. An index that is UNIQUE is refused: tombstones would collide in it, and
        what it refuses could not be told from a newer image.
        """
        database, collection = _place(live)
        found = await self._commands.indexes(database, collection, scope)
        there = {each["name"] for each in await self._commands.indexes(*_place(shadow), scope)}
        refused = [each["name"] for each in found if each.get("unique")]
        missing = [each for each in found if each["name"] not in there and not each.get("unique")]
        if missing:
            specs = [{k: v for k, v in each.items() if k not in _OF_SERVER} for each in missing]
            command = {"createIndexes": shadow.native[1], "indexes": specs}
            await self._commands.run(database, command, scope)
        return [f'a layout cannot keep unique index "{name}" of the collection' for name in refused]

    async def settle(self, shadow: Table, lsn: int, scope: Scope) -> None:
        """See ShadowStore: documents written by clients need no position."""
        del shadow, lsn, scope

    async def clean(self, shadow: Table, scope: Scope) -> None:
        """See ShadowStore."""
        statement = {"q": {DEAD: True, POSITION: {"$exists": True}}, "limit": 0}
        command = {"delete": shadow.native[1], "deletes": [statement]}
        await self._commands.write(shadow.native[0], command, scope)

    async def tidy(self, table: Table, scope: Scope) -> None:
        """See ShadowStore."""
        update = {
            "q": {POSITION: {"$exists": True}},
            "u": {"$unset": {POSITION: ""}},
            "multi": True,
        }
        command = {"update": table.native[1], "updates": [update]}
        await self._commands.write(table.native[0], command, scope)
        database, collection = _place(table)
        names = {each["name"] for each in await self._commands.indexes(database, collection, scope)}
        if DEAD_INDEX in names:
            command = {"dropIndexes": collection, "index": DEAD_INDEX}
            await self._commands.run(database, command, scope)


def _place(table: Table) -> tuple[str, str]:
    database, collection = table.native
    return database, collection


def _all_done(reply: Mapping[str, Any], wanted: int) -> None:
    if int(reply["n"]) != wanted:
        raise SerializationFailure("a document of the old layout was changed meanwhile")


def _key_column(table: Table) -> Column:
    column = table.column_by_id(table.key[0]) if len(table.key) == 1 else None
    assert column is not None, "the key is `_id`"
    return column


def shown(table: Table, found: Sequence[Document]) -> list[StoreRow]:
    """Documents as rows; tombstones are none."""
    alive = [each for each in found if not (DEAD in each and POSITION in each)]
    specs = [
        column_spec(table, column)
        for column in table.columns
        if isinstance(column.source, Native) and column.source.path
    ]
    texts = {spec.column_id: _texts(alive, spec) for spec in specs}
    raw = {spec.column_id: values_at(alive, spec.path) for spec in specs}
    key_id = table.key[0]
    rows = []
    for at, document in enumerate(alive):
        values = {column_id: column[at] for column_id, column in texts.items()}
        misfits = tuple(
            column_id
            for column_id, value in values.items()
            if value is None and raw[column_id][at] is not None
        )
        position = document.get(POSITION, 0)
        rows.append(
            StoreRow(
                (str(values[key_id]),), position_of(document[KEY]), values, document,
                int(position) if isinstance(position, int) else 0, misfits,
            )
        )  # fmt: skip
    return rows


def _texts(documents: Sequence[Document], spec: ColumnSpec) -> list[str | None]:
    column = decode_column(values_at(documents, spec.path), spec, MisfitCounter())
    texts: list[str | None] = to_text_carrier(column, type_by_name(spec.sql_type)).to_pylist()
    return texts


def _image(source: Table, target: Table, image: Image) -> Document:
    """The document of a row in the other layout."""
    row = image.source
    assert row is not None
    assert isinstance(row.raw, dict)
    document = writes.copied(row.raw)
    document.pop(POSITION, None)
    here, there = {c.id for c in target.columns}, {c.id for c in source.columns}
    found = image.found.raw if image.found is not None else None
    paths = _paths(target)
    replaced = {c.id: c for c in source.columns if c.id not in here}
    added = {c.id: c for c in target.columns if c.id not in there}
    kept_places = {paths[c] for c in added}
    for column in replaced.values():
        path = column.source.path if isinstance(column.source, Native) else ()
        if path and path not in kept_places:
            document = writes.without(document, path)
    for column_id, column in added.items():
        path = paths[column_id]
        text = image.values.get(column_id)
        stays = column_id in image.kept or column_id not in image.values
        if stays and isinstance(found, dict):
            value = values_at([found], path)[0]
            present = value is not None
        else:
            present, spec = text is not None, column_spec(target, column)
            pg = type_by_name(column.type)
            value = None if text is None else encode(text, pg, spec.store_type)
        document = writes.put(document, path, value) if present else writes.without(document, path)
    if not isinstance(document, dict) or KEY not in document:
        raise StoreError("a document without a key")
    return document


def _paths(table: Table) -> dict[int, tuple[str, ...]]:
    return {c.id: c.source.path for c in table.columns if isinstance(c.source, Native)}
