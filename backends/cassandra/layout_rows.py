"""Rows of a layout as a change sees them: values for PostgreSQL, and the bytes as they are stored.

What does not change from one layout to the other is copied as stored bytes, so that it stays what
it is where PostgreSQL's type cannot hold it, too (a time with nanoseconds, a text with a zero byte,
a decimal with a negative scale).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from backends.cassandra.decoding import rows_to_batch
from backends.cassandra.facts import TableFacts, quote_cql, relation_cql
from backends.cassandra.pages import Page
from backends.cassandra.places import Place
from backends.cassandra.pushdown import NativeScan, stored_name
from backends.cassandra.shadow_tables import POSITION
from backends.change_store import StoreRow
from catalog.model import Table
from core.encoding.family import to_text_carrier
from core.types import type_by_name

Stored = Mapping[str, bytes | None]
"""The stored bytes of each column of a row, by name."""


@dataclass(frozen=True, slots=True)
class Columns:
    """How rows of a table are read: the model's columns first (`ids` with their `types`), then the
    stored ones that the model does not have; the token of the row behind them all.
    """

    facts: TableFacts
    ids: tuple[int, ...]
    key_ids: tuple[int, ...]
    types: tuple[str, ...]
    names: tuple[str, ...]

    @property
    def select(self) -> str:
        """SELECT … FROM the table, without a condition."""
        partition = ", ".join(quote_cql(each.name) for each in self.facts.partition)
        listed = ", ".join(map(quote_cql, self.names))
        relation = relation_cql(self.facts.keyspace, self.facts.name)
        return f"SELECT {listed}, token({partition}) FROM {relation}"


def columns_of(table: Table, facts: TableFacts) -> Columns:
    """The columns of `table`, which the model has, and those that Cassandra has besides."""
    shown = [each for each in table.columns if facts.column(stored_name(each) or "") is not None]
    names = [stored_name(each) or "" for each in shown]
    names += [each.name for each in facts.columns if each.name not in names]
    return Columns(
        facts,
        tuple(each.id for each in shown),
        table.key,
        tuple(each.type for each in shown),
        tuple(names),
    )


def read_rows(columns: Columns, page: Page) -> list[StoreRow]:
    """The rows of a page of `columns.select`, in its order."""
    if not page.count:
        return []
    texts = _texts(columns, page)
    stored = page.stored()
    key = [columns.names.index(each.name) for each in columns.facts.key]
    width = len(columns.facts.partition)
    lsn = columns.names.index(POSITION) if POSITION in columns.names else None
    rows = []
    for shown, raw in zip(texts, stored, strict=True):
        token = int.from_bytes(raw[-1] or b"", "big", signed=True)
        found = tuple(raw[position] for position in key)
        values = dict(zip(columns.ids, shown, strict=True))
        position = None if lsn is None else raw[lsn]
        seen = zip(columns.ids, shown, raw, strict=False)
        lost = (column_id for column_id, text, bits in seen if bits and text is None)
        rows.append(
            StoreRow(
                key=_key(columns, values, found),
                position=str(Place(token, found[:width], found[width:])),
                values=values,
                raw=dict(zip(columns.names, raw, strict=False)),
                lsn=0 if position is None else int.from_bytes(position, "big", signed=True),
                misfits=tuple(lost),
            )
        )
    return rows


def _key(
    columns: Columns, values: Mapping[int, str | None], stored: Sequence[bytes | None]
) -> tuple[str, ...]:
    """The key as PostgreSQL prints it; the bytes of a value that it cannot hold."""
    shown = []
    for column_id, raw in zip(columns.key_ids, stored, strict=True):
        text = values.get(column_id)
        shown.append(text if text is not None else "\\x" + (raw or b"").hex())
    return tuple(shown)


def _texts(columns: Columns, page: Page) -> list[tuple[str | None, ...]]:
    native = NativeScan(
        "full",
        "",
        selected=columns.names,
        types=columns.types,
        columns=columns.ids,
        shown=len(columns.ids),
    )
    batch = rows_to_batch(native, page.layout, page.rows(), None)
    lists = [
        to_text_carrier(column, type_by_name(declared)).to_pylist()
        for column, declared in zip(batch.columns, columns.types, strict=True)
    ]
    return list(zip(*lists, strict=True)) if lists else [()] * page.count
