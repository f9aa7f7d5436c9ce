"""The copy of a foreign table that a statement changes, in the session's own backend: filled with
the rows that it may change, and compared with them afterwards (engine/changes.py).

A partitioned table's copy is a partitioned table with the same bounds, so PostgreSQL itself says to
which partition a row belongs, and which row belongs to none (23514). The difference comes in
windows of bounded size, in the order in which the rows were staged.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Iterable, Iterator
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from itertools import count

import pyarrow as pa
import pyarrow.compute as pc

from backends.base import RowChanges
from catalog.sqltext import PUBLIC, quote_ident, quote_literal
from core.encoding.rows import COPY_HEADER, COPY_TRAILER, encode_copy_rows
from core.types import type_by_name
from engine.changes import (
    MARK_TEXT,
    Difference,
    Target,
    bare_text,
    create_texts,
    difference,
    load_columns,
    lost_value_text,
    numbered,
    read_back_text,
    shown_text,
)
from engine.lensed_columns import PROMOTE_HINT, lensed_columns, not_kept, unread_function
from engine.partitions import Place
from engine.scan_copy import ScanReader, copy_text
from proxy.relay import BackendError
from proxy.row_spool import Spool
from proxy.session_store import SessionStore
from proxy.temporary_tables import temporary

_numbers = count(1)


@dataclass(slots=True)
class _Part:
    """The rows of one place: `first` is the number of the first one, `relation` its copy."""

    place: Place
    relation: str
    before: Spool
    first: int = 0


@dataclass(slots=True)
class StagedCopy:
    """The copy under `name`; its parts are one for each place of the target."""

    store: SessionStore
    target: Target
    name: str
    batch_bytes: int
    parts: list[_Part] = field(default_factory=list)
    _rows: int = 0
    _loaded: str = "0"

    @property
    def relation(self) -> str:
        """The copy as statements call it."""
        return temporary(self.name)

    @property
    def nbytes(self) -> int:
        """The size of the rows that were read."""
        return sum(part.before.nbytes for part in self.parts)

    async def create(self, names: list[str]) -> None:
        """Makes it; `names` are those of the partitions' copies."""
        for text in create_texts(self.name, self.target, names):
            await self.store.fetch(text)

    async def fill(self, place: Place, relation: str, before: Spool) -> None:
        """Brings the rows of a place, which were read from its store."""
        part = _Part(place, relation, before, self._rows)
        self.parts.append(part)
        self._rows += before.rows
        await self._load(part)

    async def restore(self) -> None:
        """Brings back the rows as they were before the statement."""
        await self.store.fetch(f"TRUNCATE {self.relation}")
        for part in self.parts:
            await self._load(part)

    async def _load(self, part: _Part) -> None:
        if part.before.rows:
            rows = numbered(part.before.batches(), part.first)
            await load_rows(self.store, self.target, part.relation, rows)
        if part.before.rows and self.target.repairs:
            [(loaded,)] = await self.store.fetch(f"SELECT cmin FROM {part.relation} LIMIT 1")
            self._loaded = str(loaded)

    async def check(self) -> None:
        """ValueNotKept (22000), or PostgreSQL's error of class 22, for a value that the store could
        not give back as it is; nothing is written then.
        """
        text = lost_value_text(self.target, self.relation, self._loaded)
        if not text:
            return
        table = self.target.table
        try:
            lost = await self.store.fetch(text)
        except BackendError as error:
            if error.fields.get("C", "").startswith("22"):
                error.fields.setdefault("H", PROMOTE_HINT)
            raise
        for number, value, back in lost:
            column = lensed_columns(table)[int(number or 0)]
            raise not_kept(table, column, value, back)

    async def size(self) -> int:
        """About how many bytes the rows take now."""
        listed = " OPERATOR(pg_catalog.+) ".join(
            f"pg_catalog.pg_relation_size({quote_literal(part.relation)})" for part in self.parts
        )
        [(size,)] = await self.store.fetch(f"SELECT {listed or 0}")
        return int(size or 0)

    def close(self) -> None:
        """Give up what was read."""
        for part in self.parts:
            part.before.close()

    # ------------------------------------------------------------------ the difference

    async def differences(
        self, window_bytes: int
    ) -> AsyncGenerator[tuple[Place, Difference], None]:
        """What became of the rows of each place: changes of the rows that were there first, then
        the rows that are new in it. Must be read to its end.
        """
        for part in self.parts:
            target = self.target.at(part.place)
            async with aclosing(self._compared(target, part, window_bytes)) as found:
                async for each in found:
                    if each.changes != RowChanges():
                        yield part.place, each

    async def _compared(
        self, target: Target, part: _Part, window_bytes: int
    ) -> AsyncGenerator[Difference, None]:
        """Rows of the part come in the order of their numbers, then all others."""
        windows = _Windows(part.before.windows(window_bytes), part.first)
        held: list[pa.RecordBatch] = []
        late: list[Difference] = []
        size = 0
        async with aclosing(self._rows_after(part)) as batches:
            async for batch in batches:
                while batch.num_rows:
                    count = windows.rows_of(batch)
                    held.append(batch.slice(0, count))
                    size += held[-1].nbytes
                    batch = batch.slice(count)
                    if batch.num_rows or (size > window_bytes and windows.passed(held[-1])):
                        found = difference(target, windows.window, held, windows.first)
                        yield found if windows.last else _without_arrived(found, late)
                        windows.advance()
                        held, size = [], 0
        while True:
            found = difference(target, windows.window, held, windows.first)
            if windows.last:
                break
            yield _without_arrived(found, late)
            windows.advance()
            held = []
        yield found
        for each in late:
            yield each

    async def _rows_after(self, part: _Part) -> AsyncGenerator[pa.RecordBatch, None]:
        """The rows of a part after the statement, with their numbers behind."""
        rows, loaded = part.before.rows, self._loaded
        columns = read_back_text(part.relation, self.target, part.first, rows, loaded)
        reader = ScanReader([columns], self.batch_bytes)
        async with (
            self.store.carrier_forms(),
            aclosing(self.store.copy_out(copy_text([columns]))) as chunks,
        ):
            async for chunk in chunks:
                for _, batch in reader.feed(chunk):
                    yield batch
        for _, batch in reader.finish():
            yield batch


async def load_rows(
    store: SessionStore, target: Target, relation: str, batches: Iterable[pa.RecordBatch]
) -> None:
    """Brings rows of the store, with their numbers behind, into a copy: of a table with lenses by
    way of a table for what the store has.
    """
    columns = load_columns(target.table)
    fields = [type_by_name(each) for each in columns.types]
    listed = ", ".join(map(quote_ident, columns.names))

    def pieces() -> Iterator[bytes]:
        yield COPY_HEADER
        for batch in batches:
            yield bytes(encode_copy_rows(batch, fields))
        yield COPY_TRAILER

    into = relation
    if target.table.lenses:
        name = f"_morph_bare{next(_numbers)}"
        into = temporary(name)
        await store.fetch(bare_text(name, target.table))
    await store.copy_in(f"COPY {into} ({listed}) FROM STDIN (FORMAT binary)", pieces())
    if into != relation:
        await _show_rows(store, target, into, relation)
        await store.fetch(f"DROP TABLE {into}")


async def _show_rows(store: SessionStore, target: Target, bare: str, relation: str) -> None:
    if not target.repairs:
        await store.fetch(shown_text(relation, bare, target))
        return
    unread = temporary(f"_morph_unread{next(_numbers)}")
    repaired = [c for c in lensed_columns(target.table) if c.id in target.repairs]
    await store.fetch(unread_function(unread, bare, target.table, repaired))
    await store.fetch(shown_text(relation, bare, target, unread))
    await store.fetch(f"DROP FUNCTION {unread}({bare})")


class _Windows:
    """The rows that were there before, window by window. The last one has all rows that came from
    elsewhere, too; after it an empty one.
    """

    def __init__(self, windows: Iterator[list[pa.RecordBatch]], first: int) -> None:
        self._ahead: list[pa.RecordBatch] | None = next(windows)
        self._windows = windows
        self._end = first
        self.window: list[pa.RecordBatch] = []
        self.first = first
        self.advance()

    @property
    def last(self) -> bool:
        """Whether no window follows that has rows."""
        return self._ahead is None

    def advance(self) -> None:
        """Go on to the next one."""
        self.window, self._ahead = self._ahead or [], next(self._windows, None)
        self.first = self._end
        self._end += sum(batch.num_rows for batch in self.window)

    def passed(self, batch: pa.RecordBatch) -> bool:
        """Whether a batch of the last window ends with rows from elsewhere."""
        if not self.last:
            return False
        number = batch.column(batch.num_columns - 1)[-1].as_py()
        return number is None or not self.first <= number < self._end

    def rows_of(self, batch: pa.RecordBatch) -> int:
        """How many of the batch's first rows belong to the window."""
        if self.last:
            return int(batch.num_rows)
        numbers = batch.column(batch.num_columns - 1)
        inside = pc.and_(
            pc.greater_equal(numbers, self.first), pc.less(numbers, self._end)
        ).fill_null(False)
        return int(pc.sum(inside).as_py() or 0)


def _without_arrived(found: Difference, late: list[Difference]) -> Difference:
    """What can be written before the rows of all windows have gone: a row under another key may
    take that of one that goes later.
    """
    if found.changes.inserted is None:
        return found
    late.append(Difference(RowChanges(inserted=found.changes.inserted), found.arrived))
    return Difference(replace(found.changes, inserted=None))


_NUMBER = re.compile(rf"(?:, {MARK_TEXT}, .*|, (?:null|-?\d+))\)\.\Z", re.DOTALL)


def own_words(fields: dict[str, str]) -> None:
    """An error about a row of the copy, as the client knows the table: without the number and what
    lenses read.
    """
    if not fields.get("s", "").startswith("pg_temp"):
        return
    fields["s"] = PUBLIC
    if fields.get("D", "").startswith("Failing row contains ("):
        fields["D"] = _NUMBER.sub(").", fields["D"])
