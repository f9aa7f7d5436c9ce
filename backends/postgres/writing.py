"""What a statement changed, as INSERT, UPDATE and DELETE of the store (the texts are pure).

Values travel as arrays of texts in the server's own output form and are cast there, so every type
goes the same way. Rows are found by their key; what was read of them must still be so (optimistic
concurrency): a row that another one changed meanwhile is not found, and the write is undone.
Where it is asked for, the rows come back as the server has them then: with its sequences, defaults,
generated columns and what its triggers did.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import asyncpg
import pyarrow as pa
import pyarrow.compute as pc

from backends.base import RowChanges, WriteResult
from backends.embedded.types import type_sql
from backends.postgres.copying import text_batch
from backends.postgres.faults import translated
from backends.postgres.pushdown import relation_sql
from backends.postgres.types import StoreColumn, known, native_columns, store_column
from catalog.model import Column, Table
from core.encoding.family import to_text_carrier
from core.errors import FeatureNotSupported, SerializationFailure
from core.expr import base_type
from core.types import type_by_name

CHUNK_ROWS: Final = 5000
"""Rows of one statement."""
_NO_EQUALITY: Final = frozenset(("json", "xml"))
_MODIFIER: Final = re.compile(r"\([^()]*\)")


Kind = Literal["deleted", "updated", "inserted"]


@dataclass(frozen=True, slots=True)
class Write:
    """One statement; `columns` are its parameters' arrays, each with a text or NULL a row. `places`
    are the numbers of its rows in the batch of its kind. With `returns` they come back: inserted
    ones in this order, updated ones with their place in it, from 1, in front.
    """

    kind: Kind
    text: str
    columns: tuple[pa.Array, ...]
    places: Sequence[int]
    returns: bool = False

    @property
    def rows(self) -> int:
        """How many it writes."""
        return len(self.places)


def writes(table: Table, changes: RowChanges) -> Iterator[Write]:
    """The statements for the changes: deletions first, so that a key can be used again."""
    returns = changes.returning
    if changes.deleted is not None:
        for chunk, places in _chunks(changes.deleted):
            yield _delete(table, chunk, places)
    if changes.updated is not None:
        assert changes.before is not None
        pairs = zip(_chunks(changes.updated), _chunks(changes.before), strict=True)
        for (chunk, places), (before, _) in pairs:
            yield _update(table, chunk, before, places, returns=returns)
    if changes.inserted is not None:
        for chunk, places in _chunks(changes.inserted):
            for part, rows in _by_filled(table, chunk):
                yield _insert(table, part, [places[row] for row in rows], returns=returns)


async def write(
    connection: asyncpg.Connection,
    table: Table,
    changes: RowChanges,
    instance: str,
    deadline: float | None,
) -> WriteResult:
    """Run them in the connection's transaction. Raises SerializationFailure (40001) when a row is
    not as it was read, and what the server raises.
    """
    rows = 0
    back: dict[Kind, dict[int, Sequence[Any]]] = {"inserted": {}, "updated": {}}
    for each in writes(table, changes):
        values = [column.to_pylist() for column in each.columns]
        with translated(instance):
            async with asyncio.timeout_at(deadline):
                if each.returns:
                    found = await connection.fetch(each.text, *values)
                    done = len(found)
                else:
                    tag = await connection.execute(each.text, *values)
                    done = int(tag.rsplit(" ", 1)[-1])
        _check_count(table, done, each.rows)
        if each.returns:
            back[each.kind] |= _placed(each, found)
        rows += done
    return WriteResult(
        rows,
        inserted=_completed(table, back["inserted"]),
        updated=_completed(table, back["updated"]),
    )


def _check_count(table: Table, done: int, wanted: int) -> None:
    if done < wanted:
        raise SerializationFailure(
            "could not serialize access due to concurrent update",
            detail=f'{wanted - done} rows of table "{table.name}" are not as they were read.',
            hint="Run the transaction again.",
        )
    if done > wanted:
        raise FeatureNotSupported(
            f'the key of foreign table "{table.name}" does not identify its rows',
            hint="ALTER FOREIGN TABLE … OPTIONS (SET key '…') names other columns.",
        )


def _placed(write: Write, found: Sequence[Any]) -> dict[int, Sequence[Any]]:
    """The rows that came back, by their numbers in the batch."""
    if write.kind == "updated":
        return {write.places[row[0] - 1]: tuple(row)[1:] for row in found}
    return {place: tuple(row) for place, row in zip(write.places, found, strict=True)}


def _completed(table: Table, rows: Mapping[int, Sequence[Any]]) -> pa.RecordBatch | None:
    """Rows as the store has them, in the order in which they were given."""
    if not rows:
        return None
    columns = [list(column) for column in zip(*(rows[n] for n in sorted(rows)), strict=True)]
    there = native_columns(table)
    fields = [type_by_name(store_column(each).fetched) for each in there]
    batch = text_batch(columns, fields)
    return pa.RecordBatch.from_arrays(batch.columns, [f"c{each.id}" for each in there])


def _chunks(batch: pa.RecordBatch) -> Iterator[tuple[pa.RecordBatch, Sequence[int]]]:
    """Pieces of a batch with the numbers of their rows."""
    for start in range(0, batch.num_rows, CHUNK_ROWS):
        yield batch.slice(start, CHUNK_ROWS), range(batch.num_rows)[start : start + CHUNK_ROWS]


# ------------------------------------------------------------------ columns


@dataclass(frozen=True, slots=True)
class _Field:
    """A column of a batch and of the store."""

    column: Column
    store: StoreColumn
    values: pa.Array

    @property
    def cast(self) -> str:
        """The store's type without modifier: assignment applies that, and refuses a long value."""
        sql = self.store.type.sql or self.column.type
        return type_sql(base_type(sql)) or _MODIFIER.sub("", sql)

    def same(self, parameter: str) -> str:
        """SQL: the column's value is still that of the parameter."""
        name = f"t.{self.store.name}"
        base = base_type(self.store.type.sql)
        if not known(base) or base.removesuffix("[]") in _NO_EQUALITY:
            return f"{name}::pg_catalog.text IS NOT DISTINCT FROM {parameter}"
        if self.store.type.collation == "other":
            name += ' COLLATE pg_catalog."C"'
        return f"{name} IS NOT DISTINCT FROM {parameter}::{self.cast}"


def _fields(table: Table, batch: pa.RecordBatch) -> list[_Field]:
    by_name = {f"c{column.id}": column for column in table.columns}
    fields = []
    for name, values in zip(batch.schema.names, batch.columns, strict=True):
        column = by_name[name]
        text = to_text_carrier(values, type_by_name(column.type))
        fields.append(_Field(column, store_column(column), text))
    return fields


def _names(letter: str, fields: Sequence[_Field]) -> list[str]:
    return [f"{letter}{n}" for n in range(len(fields))]


def _rows_sql(names: Sequence[str], *, numbered: bool = False) -> str:
    """The parameters as rows u(names): unnest of several arrays goes by its bare name only. With
    `numbered` they have their place from 1 on, too.
    """
    arrays = ", ".join(f"${n}::pg_catalog.text[]" for n in range(1, len(names) + 1))
    if numbered:
        return f"unnest({arrays}) WITH ORDINALITY AS u({', '.join([*names, 'place'])})"
    return f"unnest({arrays}) AS u({', '.join(names)})"


def _returning(table: Table, *first: str) -> str:
    """RETURNING of all columns in the server's own output form; t is the table."""
    values = []
    for column in native_columns(table):
        name = store_column(column).name
        value = name if name.startswith("(") else f"t.{name}"
        # Not a cast: that has other words for booleans, and cuts blanks.
        shown = f"pg_catalog.format('%s', {value})"
        values.append(f"CASE WHEN pg_catalog.num_nulls({value}) = 0 THEN {shown} END")
    return f" RETURNING {', '.join([*first, *values])}"


# ------------------------------------------------------------------ statements


def _by_filled(
    table: Table, batch: pa.RecordBatch
) -> Iterator[tuple[pa.RecordBatch, Sequence[int]]]:
    """The rows apart by the columns that the store fills in: where one is NULL it is left out."""
    there = set(batch.schema.names)
    filled = [c for c in native_columns(table) if f"c{c.id}" in there and store_column(c).filled]
    if not filled:
        yield batch, range(batch.num_rows)
        return
    masks = [pc.is_null(batch.column(f"c{c.id}")).to_pylist() for c in filled]
    groups: dict[tuple[bool, ...], list[int]] = {}
    for row, mask in enumerate(zip(*masks, strict=True)):
        groups.setdefault(mask, []).append(row)
    for mask, rows in groups.items():
        left_out = {f"c{c.id}" for c, null in zip(filled, mask, strict=True) if null}
        part = batch.take(pa.array(rows)) if len(groups) > 1 else batch
        yield part.select([name for name in part.schema.names if name not in left_out]), rows


def _insert(table: Table, batch: pa.RecordBatch, places: Sequence[int], *, returns: bool) -> Write:
    fields = _fields(table, batch)
    into = f"INSERT INTO {relation_sql(table.native)}{' AS t' if returns else ''}"
    back = _returning(table) if returns else ""
    if not fields:  # all columns are left to the store
        text = f"{into} SELECT FROM pg_catalog.generate_series(1, {len(places)}){back}"
        return Write("inserted", text, (), places, returns)
    names = _names("n", fields)
    targets = ", ".join(field.store.name for field in fields)
    values = ", ".join(f"u.{n}::{f.cast}" for n, f in zip(names, fields, strict=True))
    text = f"{into} ({targets}) SELECT {values} FROM {_rows_sql(names)}{back}"
    return Write("inserted", text, tuple(f.values for f in fields), places, returns)


def _update(
    table: Table,
    batch: pa.RecordBatch,
    before: pa.RecordBatch,
    places: Sequence[int],
    *,
    returns: bool,
) -> Write:
    key, old = _parted(table, _fields(table, before))
    new_key, new = _parted(table, _fields(table, batch))
    new += [f for f, was in zip(new_key, key, strict=True) if not f.values.equals(was.values)]
    keys, news, olds = _names("k", key), _names("n", new), _names("o", old)
    assigned = ", ".join(
        f"{f.store.name} = u.{n}::{f.cast}" for n, f in zip(news, new, strict=True)
    )
    where = [f"t.{f.store.name} = u.{n}::{f.cast}" for n, f in zip(keys, key, strict=True)]
    where += [f.same(f"u.{n}") for n, f in zip(olds, old, strict=True)]
    text = (
        f"UPDATE {relation_sql(table.native)} AS t SET {assigned} "
        f"FROM {_rows_sql([*keys, *news, *olds], numbered=returns)} WHERE {' AND '.join(where)}"
        f"{_returning(table, 'u.place') if returns else ''}"
    )
    return Write("updated", text, tuple(f.values for f in (*key, *new, *old)), places, returns)


def _delete(table: Table, batch: pa.RecordBatch, places: Sequence[int]) -> Write:
    key, old = _parted(table, _fields(table, batch))
    keys, olds = _names("k", key), _names("o", old)
    where = [f"t.{f.store.name} = u.{n}::{f.cast}" for n, f in zip(keys, key, strict=True)]
    where += [f.same(f"u.{n}") for n, f in zip(olds, old, strict=True)]
    text = (
        f"DELETE FROM {relation_sql(table.native)} AS t "
        f"USING {_rows_sql([*keys, *olds])} WHERE {' AND '.join(where)}"
    )
    return Write("deleted", text, tuple(f.values for f in (*key, *old)), places)


def _parted(table: Table, fields: Sequence[_Field]) -> tuple[list[_Field], list[_Field]]:
    """The fields of the key, and the others."""
    key = [f for f in fields if f.column.id in table.key]
    return key, [f for f in fields if f.column.id not in table.key]
