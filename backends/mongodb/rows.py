"""Replies as Arrow batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import bson
import pyarrow as pa
import pyarrow.compute as pc

from backends.mongodb.client import CODEC
from backends.mongodb.columnar import ColumnarReader, KnownShapes
from backends.mongodb.decode import (
    ColumnSpec,
    MisfitCounter,
    decode_batch,
    rows_without_columns,
)
from backends.mongodb.grouping import Folding
from backends.mongodb.query import COUNT, MongoQuery
from backends.mongodb.reply import is_empty

SMALL_BYTES: Final = 8_192
"""Replies that are decoded by the driver: finding their shape would take longer."""
EMPTY_ROWS_MAX: Final = 65_536
"""Rows of a batch that has no columns."""


def documents_of(reply: bytes) -> list[Any]:
    """The documents of a reply, decoded."""
    cursor = bson.decode(reply, CODEC)["cursor"]
    found = cursor["firstBatch"] if "firstBatch" in cursor else cursor["nextBatch"]
    return list(found)


class RowMaker:
    """Turns the replies of one scan into batches."""

    def __init__(
        self,
        query: MongoQuery,
        misfits: MisfitCounter,
        shapes: KnownShapes | None = None,
        *,
        quick: bool = False,
    ) -> None:
        self._query = query
        self._misfits = misfits
        self._columnar = ColumnarReader(query.specs, shapes, (query.database, query.collection))
        self._folding = None if query.grouped is None else Folding(query.grouped, quick=quick)

    def batches(self, reply: bytes) -> Iterator[pa.RecordBatch]:
        """The rows of one reply."""
        if self._query.answers == "count":
            yield from counted_rows(documents_of(reply))
            return
        if is_empty(reply):
            return
        if self._folding is not None:
            self._folding.add(documents_of(reply))
            return
        batch = self._columnar.batch(reply) if len(reply) > SMALL_BYTES else None
        if batch is None:
            batch = decode_batch(documents_of(reply), self._query.specs, self._misfits)
        yield self._shown(batch)

    def decoded(self, documents: Sequence[Any]) -> pa.RecordBatch:
        """The rows of some documents."""
        return self._shown(decode_batch(documents, self._query.specs, self._misfits))

    def finish(self) -> Iterator[pa.RecordBatch]:
        """What the scan's end gives: the groups."""
        if self._folding is not None:
            yield self._folding.batch()

    def _shown(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The rows that the filter means, and the columns that were asked for."""
        query = self._query
        for column_id in query.required:
            column = batch.column(f"c{column_id}")
            if column.null_count:
                batch = batch.filter(column.is_valid())
        return batch if query.width is None else batch.select(list(range(query.width)))


def counted_rows(documents: Sequence[dict[str, Any]]) -> Iterator[pa.RecordBatch]:
    """As many rows without columns as the documents say."""
    for document in documents:
        left = int(document[COUNT])
        while left > 0:
            rows = min(left, EMPTY_ROWS_MAX)
            yield rows_without_columns(rows)
            left -= rows


def first_rows(query: MongoQuery, found: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
    """The rows that come first in the order that the segments are merged by."""
    assert query.merged_by is not None
    column_id, descending = query.merged_by
    if not found:
        return empty_batch(query.specs)
    rows = pa.Table.from_batches(found)
    direction = "descending" if descending else "ascending"
    order = pc.sort_indices(rows, sort_keys=[(f"c{column_id}", direction)])
    taken = rows.take(order[: query.limit]).combine_chunks()
    return taken.to_batches()[0]


def empty_batch(specs: Sequence[ColumnSpec]) -> pa.RecordBatch:
    """No rows of these columns."""
    return decode_batch([], specs, MisfitCounter())
