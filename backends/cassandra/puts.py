"""Rows put at a position: the last one wins, whatever the order in which puts arrive.

A row goes into a shadow as one mutation: DELETE … USING TIMESTAMP lsn, INSERT … USING TIMESTAMP
lsn + 1; a row that is gone is the DELETE alone. Cassandra keeps what has the highest timestamp, so
a put at a higher position hides all of a lower one and is not touched by it. (A collection that is
written whole has a tombstone of its own one microsecond before it, at lsn, where the row's is.)

Two puts of one row never have one position: their cells would mix, and a list would be there twice.
So a put into a table with lists is not sent again by the driver or by us.

Into a table that is not ours (`back`) no row tombstone is written for a row that is there: columns
that the model does not know stay. All others are written, NULLs too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa
from cassandra.query import BoundStatement

from backends.base import Scope
from backends.cassandra.facts import TableFacts, quote_cql, relation_cql
from backends.cassandra.incoming import plain_values
from backends.cassandra.link import UNSET, Link, Statement, packed
from backends.cassandra.parallel import gather
from backends.cassandra.pushdown import stored_name
from backends.cassandra.shadow_tables import POSITION
from backends.cassandra.shapes import Shape
from backends.change_store import Image, Key
from catalog.model import Table
from core.errors import InternalError
from core.types import type_by_name

BATCH_STATEMENTS: Final = 100
"""Statements of one partition in one mutation."""

Values = tuple[bytes | None, ...]


@dataclass(frozen=True, slots=True)
class Target:
    """The layout that rows are put into, and the one that they come from."""

    source: Table
    source_facts: TableFacts
    table: Table
    facts: TableFacts

    def copied(self) -> dict[str, str]:
        """Stored columns of the target that are the source's as they are: name here, name there.

        Those of the model go by their id, those that it does not have by their name.
        """
        there = {each.id: stored_name(each) or "" for each in self.source.columns}
        known_there, known_here = set(there.values()), set()
        made = {}
        for each in self.table.columns:
            name = stored_name(each) or ""
            known_here.add(name)
            if each.id in there:
                made[name] = there[each.id]
        for column in self.facts.columns:
            name = column.name
            besides = name not in known_here and name not in known_there and name != POSITION
            if besides and self.source_facts.column(name) is not None:
                made[name] = name
        return made

    def computed(self) -> dict[str, tuple[int, str]]:
        """Stored columns that an image brings: id and PostgreSQL type by name."""
        there = {each.id for each in self.source.columns}
        return {
            stored_name(each) or "": (each.id, each.type)
            for each in self.table.columns
            if each.id not in there
        }


class Puts:
    """Puts into one target at one position."""

    def __init__(self, link: Link, target: Target, lsn: int, scope: Scope, *, back: bool) -> None:
        self._link = link
        self._target = target
        self._facts = target.facts
        self._lsn = lsn
        self._scope = scope
        self._back = back
        self._relation = relation_cql(target.facts.keyspace, target.facts.name)
        types = (each.cql for each in target.facts.columns)
        self._repeatable = not any(cql.name == "list" and not cql.frozen for cql in types)

    async def put(self, images: Sequence[Image]) -> None:
        """All of them. When it fails, some may have arrived: it is done again, at another
        position.
        """
        gone = [each for each in images if each.source is None]
        there = [each for each in images if each.source is not None]
        delete = await self._link.prepare(self._delete_text(), self._scope.deadline)
        mutations: list[tuple[Values, list[BoundStatement]]] = []
        keys = stored_keys(self._target.table, self._facts, delete.shapes[1:], gone)
        mutations += [(key, [self._bound(delete, (_bigint(self._lsn), *key))]) for key in keys]
        if there:
            mutations += await self._inserts(there, delete)
        if len({key for key, _ in mutations}) < len(mutations):
            raise InternalError("a row is put twice at one position")
        await gather(self._send, self._batches(mutations))

    async def _inserts(
        self, images: Sequence[Image], delete: Statement
    ) -> list[tuple[Values, list[BoundStatement]]]:
        copied, computed = self._target.copied(), self._target.computed()
        names = [*copied, *computed, *(() if self._back else (POSITION,))]
        insert = await self._link.prepare(self._insert_text(names), self._scope.deadline)
        shapes = insert.shapes[len(copied) :]
        made = [
            _computed(images, name, column_id, declared, shape)
            for (name, (column_id, declared)), shape in zip(computed.items(), shapes, strict=False)
        ]
        key = [names.index(each.name) for each in self._facts.key]
        missing = None if self._back else UNSET
        mutations = []
        for number, image in enumerate(images):
            assert image.source is not None
            stored: Any = image.source.raw
            row = [stored[name] for name in copied.values()] + [each[number] for each in made]
            if not self._back:
                row.append(_bigint(self._lsn))
            found = tuple(row[position] for position in key)
            values = [missing if each is None else each for each in row]
            both = [self._bound(insert, (*values, _bigint(self._lsn + 1)))]
            if not self._back:
                both.insert(0, self._bound(delete, (_bigint(self._lsn), *found)))
            mutations.append((found, both))
        return mutations

    def _bound(self, statement: Statement, values: Sequence[Any]) -> BoundStatement:
        return statement.bind_stored(values, idempotent=self._repeatable)

    def _delete_text(self) -> str:
        where = " AND ".join(f"{quote_cql(each.name)} = ?" for each in self._facts.key)
        return f"DELETE FROM {self._relation} USING TIMESTAMP ? WHERE {where}"

    def _insert_text(self, names: Sequence[str]) -> str:
        listed = ", ".join(map(quote_cql, names))
        marks = ", ".join("?" * len(names))
        return f"INSERT INTO {self._relation} ({listed}) VALUES ({marks}) USING TIMESTAMP ?"

    def _batches(
        self, mutations: Sequence[tuple[Values, list[BoundStatement]]]
    ) -> list[list[BoundStatement]]:
        """Statements of one partition together, a row's never apart."""
        width = len(self._facts.partition)
        parts: dict[Values, list[list[BoundStatement]]] = {}
        for key, statements in mutations:
            batches = parts.setdefault(key[:width], [[]])
            if len(batches[-1]) >= BATCH_STATEMENTS:
                batches.append([])
            batches[-1] += statements
        return [batch for batches in parts.values() for batch in batches]

    async def _send(self, bound: list[BoundStatement]) -> None:
        request = bound[0]
        if len(bound) > 1:
            request = self._link.batch(bound, idempotent=self._repeatable)
        await self._link.run(request, self._scope.deadline)


def _computed(
    images: Sequence[Image], name: str, column_id: int, declared: str, shape: Shape
) -> list[Any]:
    """The stored bytes of one computed column. One that stays as it was found is written again, so
    that no late put of a lower position shows through; one without a value is left alone.
    """
    texts = _stored_texts([each.values.get(column_id) for each in images], declared, shape)
    values: list[Any] = []
    for image, text in zip(images, texts, strict=True):
        if column_id in image.kept and image.found is not None:
            found: Any = image.found.raw
            values.append(found[name])
        else:
            values.append(text if column_id in image.values else UNSET)
    return values


def stored_keys(
    table: Table, facts: TableFacts, shapes: Sequence[Shape], keys: Sequence[Image] | Sequence[Key]
) -> list[Values]:
    """The stored bytes of keys that PostgreSQL printed, in the order of the stored key."""
    texts = [each.key if isinstance(each, Image) else each for each in keys]
    declared = {}
    for position, column_id in enumerate(table.key):
        column = table.column_by_id(column_id)
        assert column is not None, column_id
        declared[stored_name(column)] = (position, column.type)
    columns = []
    for shape, each in zip(shapes, facts.key, strict=True):
        position, kind = declared[each.name]
        columns.append(_stored_texts([key[position] for key in texts], kind, shape))
    return list(zip(*columns, strict=True))


def _stored_texts(texts: Sequence[str | None], declared: str, shape: Shape) -> list[bytes | None]:
    values = plain_values(pa.array(texts, pa.string()), type_by_name(declared), shape)
    return [None if each is None else packed(shape, each) for each in values]


def _bigint(value: int) -> bytes:
    return value.to_bytes(8, "big", signed=True)
