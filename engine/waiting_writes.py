"""Writes that wait for COMMIT, and what a transaction sees of them (pure).

A store without transactions hears of a transaction's writes at its COMMIT only. Until then the
scans of the same transaction lay what waits over the rows that the store sends: rows that were
deleted are left out, rows that were updated have their new values, inserted ones follow at the end.
Such a scan takes no condition but those on the key, which no UPDATE changes, and no LIMIT; the
private PostgreSQL runs the client's own statement over the rows, so that nothing else is needed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import pyarrow as pa
import pyarrow.compute as pc

from backends.base import RowChanges
from catalog.model import Column, Native, Table
from core import expr as ir
from core.encoding.family import to_text_carrier
from core.errors import FeatureNotSupported, UniqueViolation
from core.expr import Expr, split_and
from core.types import PgType, type_by_name
from engine.scans import Scan

_SEPARATOR = "\0"
"""Between the parts of a key in text form: no text of PostgreSQL has it."""
_AFTER_COMMIT = "COMMIT first, or leave morph.store_writes = refuse and write outside of a block."


@dataclass(frozen=True, slots=True)
class Waiting:
    """What one statement changed in a table."""

    table: Table
    changes: RowChanges

    @property
    def nbytes(self) -> int:
        """The memory that it takes."""
        parts = (
            self.changes.inserted,
            self.changes.updated,
            self.changes.before,
            self.changes.deleted,
        )
        return sum(each.nbytes for each in parts if each is not None)


def _whole(column: Column) -> bool:
    """Whether it is the hidden column of whole documents."""
    return isinstance(column.source, Native) and column.source.path == ()


def same_place(one: Table, other: Table) -> bool:
    """Whether two tables of a store show the same rows, or parts of them."""
    return one.native == other.native


# ------------------------------------------------------------------ writing


def to_wait(table: Table, changes: RowChanges, before: Sequence[Waiting]) -> Waiting:
    """The changes as they wait. What the store would only say at COMMIT is said now where it can
    be known: FeatureNotSupported (0A000) for a row whose key the store would make, and
    UniqueViolation (23505) for a key that was inserted twice.
    """
    if changes.inserted is not None:
        _check_keys(table, changes.inserted, before)
    deleted = changes.deleted
    if deleted is not None and before:
        # The whole document is not as it was read any more: the transaction itself changed it.
        ids = {f"c{c.id}" for c in table.columns if not _whole(c)}
        deleted = deleted.select([name for name in deleted.schema.names if name in ids])
    return Waiting(table, replace(changes, deleted=deleted))


def _check_keys(table: Table, inserted: pa.RecordBatch, before: Sequence[Waiting]) -> None:
    names = [f"c{each}" for each in table.key]
    types = _types(table, table.key)
    if any(inserted.column(name).null_count for name in names):
        raise FeatureNotSupported(
            f'a row without key cannot wait for COMMIT: the store of "{table.name}" would make it',
            hint="Give the key, or write outside of a transaction block.",
        )
    live: set[str] = set()
    for each in before:
        if not same_place(each.table, table) or len(each.table.key) != len(names):
            continue
        own, kinds = [f"c{c}" for c in each.table.key], _types(each.table, each.table.key)
        if each.changes.deleted is not None:
            live -= set(_keys(each.changes.deleted, own, kinds).to_pylist())
        if each.changes.inserted is not None:
            live |= set(_keys(each.changes.inserted, own, kinds).to_pylist())
    for key in _keys(inserted, names, types).to_pylist():
        if key in live:
            columns = ", ".join(_name(table, each) for each in table.key)
            raise UniqueViolation(
                f'duplicate key value violates unique constraint "{table.name}_pkey"',
                detail=f"Key ({columns})=({key.replace(_SEPARATOR, ', ')}) already exists.",
            )
        live.add(key)


def _name(table: Table, column_id: int) -> str:
    column = table.column_by_id(column_id)
    assert column is not None
    return column.name


def _types(table: Table, ids: Iterable[int]) -> list[PgType]:
    by_id = {c.id: type_by_name(c.type) for c in table.columns}
    return [by_id[each] for each in ids]


def _keys(batch: pa.RecordBatch, names: Sequence[str], types: Sequence[PgType]) -> pa.Array:
    """The key of each row as one text."""
    columns = [batch.column(name) for name in names]
    return _joined(columns, types)


def _joined(columns: Sequence[pa.Array], types: Sequence[PgType]) -> pa.Array:
    texts = [to_text_carrier(c, pg) for c, pg in zip(columns, types, strict=True)]
    if len(texts) == 1:
        return texts[0]
    return pc.binary_join_element_wise(*texts, _SEPARATOR)


# ------------------------------------------------------------------ reading


def overlaid_scan(scan: Scan, *, names_document: bool) -> Scan:
    """The scan of rows that writes are laid over: by its key only, all of them.

    Raises FeatureNotSupported (0A000) when the statement names the whole document, which the writes
    change in the store only.
    """
    if names_document:
        raise FeatureNotSupported(
            f'"_doc" of "{scan.placed.table.name}" cannot be read while writes to it wait for '
            "COMMIT",
            hint=_AFTER_COMMIT,
        )
    key = set(scan.placed.table.key)
    parts = [] if scan.predicate is None else list(split_and(scan.predicate))
    kept = [part for part in parts if _columns(part) and _columns(part) <= key]
    predicate: Expr | None = None
    if kept and not scan.whole:
        predicate = kept[0] if len(kept) == 1 else ir.And(tuple(kept))
    more = tuple(each for each in scan.placed.table.key if each not in scan.columns)
    return replace(
        scan,
        columns=(*scan.columns, *more),
        predicate=predicate,
        limit=None,
        order=(),
        joins=(),
        partner=None,
    )


def _columns(part: Expr) -> set[int]:
    return {node.column_id for node in ir.walk(part) if isinstance(node, ir.ColumnRef)}


@dataclass(slots=True)
class Overlay:
    """Lays what waits over the batches of one scan, whose columns are `columns` (ids of `table`);
    the first `shown` of them are wanted. Raises FeatureNotSupported (0A000) for a table that shows
    the rows in another way than the one that was written to.
    """

    table: Table
    columns: tuple[int, ...]
    shown: int
    waiting: tuple[Waiting, ...]
    _types: list[PgType] = field(init=False)
    _fields: list[dict[int, str]] = field(init=False)

    def __post_init__(self) -> None:
        self._types = _types(self.table, self.columns)
        self._fields = [self._matched(each.table) for each in self.waiting]

    def _matched(self, written: Table) -> dict[int, str]:
        """Position of a column in the scan → its field in the changes."""
        by_path = {c.source.path: c for c in written.columns if isinstance(c.source, Native)}
        fields = {}
        for position, column_id in enumerate(self.columns):
            column = self.table.column_by_id(column_id)
            assert column is not None
            source = column.source
            same = by_path.get(source.path) if isinstance(source, Native) else None
            if same is None or same.type != column.type or self.table.parent_path:
                raise FeatureNotSupported(
                    f'"{self.table.name}" cannot be read while writes to "{written.name}" wait for '
                    "COMMIT",
                    detail=f'Both show rows of one table of server "{self.table.instance}", column '
                    f'"{column.name}" in different ways.',
                    hint=_AFTER_COMMIT,
                )
            fields[position] = f"c{same.id}"
        return fields

    def over(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The rows of the store as the transaction sees them."""
        return self._shown(self._after(list(batch.columns), 0))

    def added(self) -> Iterator[pa.RecordBatch]:
        """The rows that the transaction inserted, as it sees them now."""
        for number, each in enumerate(self.waiting):
            inserted = each.changes.inserted
            if inserted is not None:
                fields = self._fields[number]
                columns = [inserted.column(fields[n]) for n in range(len(self.columns))]
                batch = self._shown(self._after(columns, number + 1))
                if batch.num_rows:
                    yield batch

    def _shown(self, columns: Sequence[pa.Array]) -> pa.RecordBatch:
        wanted = columns[: self.shown]
        if not wanted:  # rows without columns; the key came for the overlay's sake
            return pa.RecordBatch.from_struct_array(pa.array([{}] * len(columns[0]), pa.struct([])))
        return pa.RecordBatch.from_arrays(wanted, [f"n{n}" for n in range(len(wanted))])

    def _after(self, columns: list[pa.Array], first: int) -> list[pa.Array]:
        for number in range(first, len(self.waiting)):
            changes, fields = self.waiting[number].changes, self._fields[number]
            if changes.deleted is not None:
                gone = pc.is_in(
                    self._key(columns), value_set=self._changed(changes.deleted, fields)
                )
                stay = pc.invert(gone)
                columns = [column.filter(stay) for column in columns]
            if changes.updated is not None:
                at = pc.index_in(
                    self._key(columns), value_set=self._changed(changes.updated, fields)
                )
                columns = [
                    self._replaced(column, n, changes.updated, fields, at)
                    for n, column in enumerate(columns)
                ]
        return columns

    def _replaced(
        self,
        old: pa.Array,
        position: int,
        updated: pa.RecordBatch,
        fields: dict[int, str],
        at: pa.Array,
    ) -> pa.Array:
        if fields[position] not in updated.schema.names:
            return old
        new = updated.column(fields[position])
        if new.type != old.type:
            pg = self._types[position]
            old, new = to_text_carrier(old, pg), to_text_carrier(new, pg)
        own = pa.array(range(len(old)), pa.int64())
        where = pc.if_else(pc.is_null(at), own, pc.add(pc.cast(at, pa.int64()), len(old)))
        return pa.concat_arrays([old, new]).take(where)

    def _key(self, columns: Sequence[pa.Array]) -> pa.Array:
        places = [self.columns.index(each) for each in self.table.key]
        return _joined([columns[n] for n in places], [self._types[n] for n in places])

    def _changed(self, batch: pa.RecordBatch, fields: dict[int, str]) -> pa.Array:
        places = [self.columns.index(each) for each in self.table.key]
        columns = [batch.column(fields[n]) for n in places]
        return _joined(columns, [self._types[n] for n in places])
