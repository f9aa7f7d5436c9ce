"""RowChanges → CQL: inserts, updates and deletes that do not lose or overwrite by accident.

CQL's own writes are blind. To mean what SQL says they are lightweight transactions: INSERT … IF NOT
EXISTS (a key that exists is 23505), UPDATE and DELETE … IF the columns are as they were read
(40001). Rows of one partition go in one conditional batch, which is applied as a whole or not at
all; over several partitions there is no such thing, and the error's detail says what stayed.
Counters are changed by the difference. See docs/backends/cassandra.md.
"""

from __future__ import annotations

import struct
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import pyarrow as pa

from backends.base import RowChanges, Scope
from backends.cassandra.facts import ColumnFacts, TableFacts, quote_cql, relation_cql
from backends.cassandra.incoming import plain_values
from backends.cassandra.link import UNSET, Link, Statement
from backends.cassandra.pages import Page
from backends.cassandra.parallel import gather
from backends.cassandra.pushdown import stored_name
from catalog.model import Table
from core.encoding.family import to_text_carrier
from core.errors import (
    FeatureNotSupported,
    MorphError,
    NotNullViolation,
    SerializationFailure,
    UndefinedColumn,
    UniqueViolation,
    WrongObjectType,
)
from core.types import type_by_name

BATCH_ROWS: Final = 50
"""Rows of one partition that go in one conditional batch."""

Key = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class _Rows:
    """A batch of changes by stored names: its Arrow columns with their types as declared."""

    count: int
    columns: dict[str, tuple[pa.Array, str]]

    def text(self, name: str, row: int) -> str:
        """A value as PostgreSQL prints it, for messages."""
        column, declared = self.columns[name]
        shown = to_text_carrier(column.slice(row, 1), type_by_name(declared))[0].as_py()
        return "null" if shown is None else str(shown)


@dataclass(frozen=True, slots=True)
class _Step:
    """One statement of a row with the values of its markers.

    `tests`: it has a condition and may not be applied. `shared`: it sets static columns, so the
    rows of a partition have it in common and it is sent once.
    """

    text: str
    values: tuple[Any, ...]
    tests: bool = True
    shared: bool = False


@dataclass(slots=True)
class _Group:
    """Steps of one partition that are applied together; `rows` are their numbers."""

    steps: list[_Step] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)


class Writer:
    """The writes of one statement into one table."""

    def __init__(
        self, link: Link, table: Table, facts: TableFacts, scope: Scope, *, upsert: bool
    ) -> None:
        self._link = link
        self._table = table
        self._facts = facts
        self._scope = scope
        self._upsert = upsert
        self._relation = relation_cql(facts.keyspace, facts.name)
        self._written = 0

    async def apply(self, changes: RowChanges) -> int:
        """How many rows were written; see Backend.apply for the errors."""
        if self._facts.is_view:
            raise WrongObjectType(f'materialized view "{self._facts.name}" cannot be written')
        try:
            if changes.deleted is not None and changes.deleted.num_rows:
                await self._delete(self._rows(changes.deleted))
            if changes.updated is not None and changes.updated.num_rows:
                before = None if changes.before is None else self._rows(changes.before)
                await self._update(self._rows(changes.updated), before)
            if changes.inserted is not None and changes.inserted.num_rows:
                await self._insert(self._rows(changes.inserted))
        except MorphError as error:
            raise self._with_what_stayed(error) from error
        return self._written

    def _with_what_stayed(self, error: MorphError) -> MorphError:
        if not self._written:
            return error
        stayed = f"{self._written} rows of the statement were written before and stay."
        error.detail = f"{error.detail} {stayed}".strip()
        return error

    def _rows(self, batch: pa.RecordBatch) -> _Rows:
        columns = {}
        for name, array in zip(batch.schema.names, batch.columns, strict=True):
            column = self._table.column_by_id(int(name.removeprefix("c")))
            stored = None if column is None else stored_name(column)
            if column is None or stored is None or self._facts.column(stored) is None:
                raise UndefinedColumn(f'column {name} is not in Cassandra table "{self._relation}"')
            columns[stored] = (array, column.type)
        missing = [each.name for each in self._facts.key if each.name not in columns]
        if missing:
            raise NotNullViolation(
                f'null value in column "{missing[0]}" of relation "{self._table.name}" '
                "violates not-null constraint"
            )
        return _Rows(batch.num_rows, columns)

    # Inserts

    async def _insert(self, rows: _Rows) -> None:
        if self._facts.has_counter:
            raise FeatureNotSupported(
                f'rows of counter table "{self._table.name}" are made by UPDATE only'
            )
        names = list(rows.columns)
        text = f"INSERT INTO {self._relation} ({', '.join(map(quote_cql, names))})"
        text += f" VALUES ({', '.join('?' * len(names))})"
        statement = await self._prepare(text if self._upsert else f"{text} IF NOT EXISTS")
        values = self._values(statement, rows, names)
        keys = self._keys(names, values)
        self._refuse_null_keys(keys)
        hashable = [_hashable(key) for key in keys]
        if not self._upsert:
            self._refuse_twins(rows, hashable)
            # What is missing is left out: a null would be stored as a tombstone.
            values = [tuple(UNSET if each is None else each for each in row) for row in values]
        steps = [[_Step(statement.text, row, not self._upsert)] for row in values]
        groups = self._groups(hashable, steps)
        if not self._upsert and len(groups) > 1:
            await self._refuse_existing(rows, keys)
        await self._run(groups, rows, self._taken_key)

    def _refuse_null_keys(self, keys: list[Key]) -> None:
        names = [each.name for each in self._facts.key]
        for key in keys:
            for name, value in zip(names, key, strict=True):
                if value is None:
                    raise NotNullViolation(
                        f'null value in column "{name}" of relation "{self._table.name}" '
                        "violates not-null constraint"
                    )

    def _refuse_twins(self, rows: _Rows, keys: list[Key]) -> None:
        seen: set[Key] = set()
        for number, key in enumerate(keys):
            if key in seen:
                raise self._duplicate(rows, number)
            seen.add(key)

    async def _refuse_existing(self, rows: _Rows, keys: list[Key]) -> None:
        """Looks before it writes: over several partitions nothing could be taken back."""
        statement = await self._prepare(self._look_up())

        async def look(number: int) -> int | None:
            bound = statement.bind(keys[number], idempotent=True)
            page = await self._link.run(bound, self._scope.deadline)
            return number if page is not None and page.count else None

        for number in await gather(look, range(len(keys))):
            if number is not None:
                raise self._duplicate(rows, number)

    async def _taken_key(self, group: _Group, rows: _Rows) -> MorphError:
        """Which key of a batch there was: the batch does not say."""
        names = [each.name for each in self._facts.key]
        if len(group.rows) > 1:
            columns = {n: (c.take(group.rows), t) for n, (c, t) in rows.columns.items()}
            some = _Rows(len(group.rows), columns)
            statement = await self._prepare(self._look_up())
            await self._refuse_existing(some, self._values(statement, some, names))
        return self._duplicate(rows, group.rows[0])

    def _look_up(self) -> str:
        first = quote_cql(self._facts.partition[0].name)
        return f"SELECT {first} FROM {self._relation} WHERE {self._where(self._facts.key)}"

    def _duplicate(self, rows: _Rows, number: int) -> UniqueViolation:
        names = [each.name for each in self._facts.key]
        shown = ", ".join(rows.text(name, number) for name in names)
        return UniqueViolation(
            f'duplicate key value violates unique constraint "{self._table.name}_pkey"',
            detail=f"Key ({', '.join(names)})=({shown}) already exists.",
        )

    # Updates

    async def _update(self, rows: _Rows, before: _Rows | None) -> None:
        key_names = {each.name for each in self._facts.key}
        changed = [name for name in rows.columns if name not in key_names]
        if self._facts.has_counter:
            await self._count(rows, before, changed)
            return
        tests = [] if before is None else [n for n in before.columns if n not in key_names]
        static, regular = self._by_role(changed)
        static_tests, regular_tests = self._by_role(tests)
        steps: list[list[_Step]] = [[] for _ in range(rows.count)]
        if regular:
            sets = ", ".join(f"{quote_cql(name)} = ?" for name in regular)
            text = f"UPDATE {self._relation} SET {sets} WHERE {self._where(self._facts.key)}"
            text += self._condition(regular_tests, exists=True)
            key = [each.name for each in self._facts.key]
            await self._add_steps(steps, text, rows, before, (regular, key, regular_tests))
        if static:
            sets = ", ".join(f"{quote_cql(name)} = ?" for name in static)
            text = f"UPDATE {self._relation} SET {sets} WHERE {self._where(self._facts.partition)}"
            text += self._condition(static_tests, exists=False)
            key = [each.name for each in self._facts.partition]
            await self._add_steps(steps, text, rows, before, (static, key, static_tests))
        keys = await self._keys_of(rows)
        self._refuse_two_statics(steps, keys, static)
        await self._run(self._groups(keys, steps), rows, self._changed_meanwhile)

    def _by_role(self, names: Iterable[str]) -> tuple[list[str], list[str]]:
        static = {each.name for each in self._facts.columns if each.role == "static"}
        listed = list(names)
        return [n for n in listed if n in static], [n for n in listed if n not in static]

    async def _add_steps(
        self,
        steps: list[list[_Step]],
        text: str,
        rows: _Rows,
        before: _Rows | None,
        names: tuple[list[str], list[str], list[str]],
    ) -> None:
        """A step for each row: the new values, the key, the values it must still have."""
        new, key, tests = names
        tested, shared = bool(tests) or text.endswith(" IF EXISTS"), len(key) < len(self._facts.key)
        statement = await self._prepare(text)
        shapes = statement.shapes
        columns = [
            plain_values(*self._typed(rows, name), shape)
            for name, shape in zip([*new, *key], shapes, strict=False)
        ]
        if before is not None:
            columns += [
                plain_values(*self._typed(before, name), shape)
                for name, shape in zip(tests, shapes[len(columns) :], strict=True)
            ]
        for into, values in zip(steps, zip(*columns, strict=True), strict=True):
            into.append(_Step(text, values, tested, shared))

    def _refuse_two_statics(
        self, steps: list[list[_Step]], keys: list[Key], static: list[str]
    ) -> None:
        """A static column has one value a partition: rows cannot set it to different ones."""
        if not static:
            return
        seen: dict[Key, str] = {}
        width = len(self._facts.partition)
        for row, key in zip(steps, keys, strict=True):
            partition, shown = key[:width], repr(row[-1].values)
            if seen.setdefault(partition, shown) != shown:
                raise FeatureNotSupported(
                    f'static column "{static[0]}" has one value for all rows of a partition'
                )

    async def _count(self, rows: _Rows, before: _Rows | None, changed: list[str]) -> None:
        """Counters take differences: the new value less the one that was read."""
        if before is None or any(name not in before.columns for name in changed):
            raise FeatureNotSupported(
                f'a counter of "{self._table.name}" cannot be set, only changed by an amount',
                hint="Write SET counter = counter + 1.",
            )
        sets = ", ".join(f"{quote_cql(n)} = {quote_cql(n)} + ?" for n in changed)
        text = f"UPDATE {self._relation} SET {sets} WHERE {self._where(self._facts.key)}"
        statement = await self._prepare(text)
        names = [*changed, *(each.name for each in self._facts.key)]
        new = self._values(statement, rows, names)
        old = [plain_values(*self._typed(before, name), statement.shapes[0]) for name in changed]
        for number, row in enumerate(new):
            amounts = [(row[i] or 0) - (old[i][number] or 0) for i in range(len(changed))]
            bound = statement.bind([*amounts, *row[len(changed) :]], idempotent=False)
            await self._link.run(bound, self._scope.deadline, writes=True)
            self._written += 1

    # Deletes

    async def _delete(self, rows: _Rows) -> None:
        if self._facts.has_counter:
            raise FeatureNotSupported(
                f'rows of counter table "{self._table.name}" are not deleted through SQL',
                detail="Cassandra cannot delete a counter and count again.",
            )
        key_names = {each.name for each in self._facts.key}
        _, tests = self._by_role(name for name in rows.columns if name not in key_names)
        text = f"DELETE FROM {self._relation} WHERE {self._where(self._facts.key)}"
        text += self._condition(tests, exists=True)
        statement = await self._prepare(text)
        names = [*(each.name for each in self._facts.key), *tests]
        values = self._values(statement, rows, names)
        keys = [_hashable(key) for key in self._keys(names, values)]
        if any(None in key for key in keys):
            raise FeatureNotSupported(
                "a row without clustering values holds static values only and is not deleted "
                "through SQL",
                hint="Set its static columns to NULL.",
            )
        steps = [[_Step(text, row)] for row in values]
        await self._run(self._groups(keys, steps), rows, self._changed_meanwhile)

    # Statements

    def _where(self, columns: Sequence[ColumnFacts]) -> str:
        return " AND ".join(f"{quote_cql(each.name)} = ?" for each in columns)

    def _condition(self, tests: Sequence[str], *, exists: bool) -> str:
        if tests:
            return " IF " + " AND ".join(f"{quote_cql(name)} = ?" for name in tests)
        return " IF EXISTS" if exists else ""

    async def _prepare(self, text: str) -> Statement:
        return await self._link.prepare(text, self._scope.deadline)

    def _typed(self, rows: _Rows, name: str) -> tuple[pa.Array, Any]:
        column, declared = rows.columns[name]
        return column, type_by_name(declared)

    def _values(self, statement: Statement, rows: _Rows, names: Sequence[str]) -> list[Key]:
        columns = [
            plain_values(*self._typed(rows, name), shape)
            for name, shape in zip(names, statement.shapes, strict=True)
        ]
        return list(zip(*columns, strict=True))

    def _keys(self, names: Sequence[str], values: Sequence[Key]) -> list[Key]:
        positions = [list(names).index(each.name) for each in self._facts.key]
        return [tuple(row[i] for i in positions) for row in values]

    async def _keys_of(self, rows: _Rows) -> list[Key]:
        statement = await self._prepare(self._look_up())
        names = [each.name for each in self._facts.key]
        keys = self._keys(names, self._values(statement, rows, names))
        return [_hashable(key) for key in keys]

    # Running

    def _groups(self, keys: Sequence[Key], steps: Sequence[Sequence[_Step]]) -> list[_Group]:
        """Steps by partition, in chunks; a shared step once a partition."""
        width = len(self._facts.partition)
        open_groups: dict[Key, _Group] = {}
        done: list[_Group] = []
        sent: set[Key] = set()
        for number, (key, row) in enumerate(zip(keys, steps, strict=True)):
            partition = key[:width]
            group = open_groups.setdefault(partition, _Group())
            if len(group.rows) >= BATCH_ROWS:
                done.append(group)
                group = open_groups[partition] = _Group()
            group.rows.append(number)
            group.steps += [each for each in row if not (each.shared and partition in sent)]
            sent.add(partition)
        return [*done, *open_groups.values()]

    async def _run(
        self,
        groups: Sequence[_Group],
        rows: _Rows,
        refused: Callable[[_Group, _Rows], Awaitable[MorphError]],
    ) -> None:
        async def run(group: _Group) -> None:
            page = await self._send(group)
            tested = any(step.tests for step in group.steps)
            if tested and page is not None and not page.rows()[0][0]:
                raise await refused(group, rows)
            self._written += len(group.rows)

        await gather(run, groups)

    async def _send(self, group: _Group) -> Page | None:
        bound = []
        for step in group.steps:
            statement = await self._prepare(step.text)
            bound.append(statement.bind(step.values, idempotent=not step.tests))
        if not bound:
            return None
        idempotent = all(each.is_idempotent for each in bound)
        request = bound[0] if len(bound) == 1 else self._link.batch(bound, idempotent=idempotent)
        return await self._link.run(request, self._scope.deadline, writes=True)

    async def _changed_meanwhile(self, group: _Group, rows: _Rows) -> MorphError:
        names = [each.name for each in self._facts.key]
        shown = ", ".join(rows.text(name, group.rows[0]) for name in names)
        others = " or another one of its partition" if len(group.rows) > 1 else ""
        return SerializationFailure(
            "could not serialize access due to concurrent update",
            detail=f"The row with ({', '.join(names)})=({shown}){others} is not as it was read.",
        )


def _hashable(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return tuple(map(_hashable, value))
    return struct.pack(">d", value) if isinstance(value, float) else value
