"""SQL by which a side of the embedded store reads its rows in the form of lines.py."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from catalog.sqltext import quote_literal
from evolution.layouts.base import SideColumn
from evolution.validation.canonical import base_type
from evolution.validation.lines import key_values

SETTINGS: Final = (
    "SET LOCAL TimeZone = 'UTC'",
    "SET LOCAL DateStyle = 'ISO, YMD'",
    "SET LOCAL IntervalStyle = 'postgres'",
    "SET LOCAL bytea_output = 'hex'",
    "SET LOCAL extra_float_digits = 1",
    "SET LOCAL lc_monetary = 'C'",
    "SET LOCAL search_path = pg_catalog, pg_temp",
    "SET LOCAL ROLE morph_owner",
)
"""What output functions depend on. Expressions of lenses run as the owner, never as superuser."""


@dataclass(frozen=True, slots=True)
class SqlColumn:
    """A column of a side and the expression that reads it, over the alias in `source`."""

    column: SideColumn
    sql: str


@dataclass(frozen=True, slots=True)
class SideSelect:
    """How one side is read.

    `source` is a FROM item, `key` identifies a row: never NULL, best an index of the table in this
    order. `columns` are all that is compared, with those of the key; both sides have the same ones.
    `lsn` is a bigint, `condition` bounds what is compared ("" for all rows), `pending` is a query
    that gives the keys in flight as the snapshot sees them, in the types of the key ("" for none).
    """

    source: str
    key: tuple[SqlColumn, ...]
    columns: tuple[SqlColumn, ...]
    lsn: str = "0"
    condition: str = ""
    pending: str = ""


class SideQueries:
    """The queries of one side. Keys are those of lines.py."""

    def __init__(self, select: SideSelect) -> None:
        self._select = select
        self._key = ", ".join(c.sql for c in select.key)
        self._fields = ", ".join(_readable(c) for c in select.key)
        self.shown = shown_columns(select)
        values = ", ".join(_readable(c) for c in self.shown) or "''"
        self._row = f"{self._fields}, {select.lsn}, {values}"

    def rows(self, after: bytes | None, until: bytes | None, limit: int, pending: bool) -> str:
        """The rows of a range in key order."""
        return self._ordered(self._row, self._range(after, until), limit, pending)

    def keys(self, after: bytes | None, until: bytes | None, limit: int, pending: bool) -> str:
        """Their keys."""
        return self._ordered(self._fields, self._range(after, until), limit, pending)

    def those(self, keys: Sequence[bytes], pending: bool) -> str:
        """The rows with these keys."""
        members = ", ".join(self._literal(key) for key in keys)
        return self._ordered(self._row, [f"{self._row_key()} IN ({members})"], 0, pending)

    def in_flight(self, after: bytes | None, until: bytes | None) -> str:
        """The keys in flight in a range."""
        return self._pending_keys(lambda row: self._bounds(row, after, until))

    def in_flight_of(self, keys: Sequence[bytes]) -> str:
        """Those of these keys that are in flight."""
        members = ", ".join(self._literal(key) for key in keys)
        return self._pending_keys(lambda row: [f"{row} IN ({members})"])

    def _pending_keys(self, where_of: Callable[[str], list[str]]) -> str:
        names = [f"k{n}" for n in range(len(self._select.key))]
        fields = ", ".join(
            _canonical_sql(c.column.type, name)
            for c, name in zip(self._select.key, names, strict=True)
        )
        where = where_of(f"({', '.join(names)})" if len(names) > 1 else names[0])
        text = f"SELECT DISTINCT {fields} FROM ({self._select.pending}) p({', '.join(names)})"
        return f"{text} WHERE {' AND '.join(where)}" if where else text

    def _pending_set(self) -> str:
        """The keys in flight, read once a statement into a hash table. Through arrays: PostgreSQL
        expects few elements of them, and so it neither joins (which would read all of a range to
        its end, LIMIT or not) nor gives up hashing.
        """
        names = [f"k{n}" for n in range(len(self._select.key))]
        listed = ", ".join(names)
        arrays = ", ".join(
            f"pg_catalog.unnest(ARRAY(SELECT {name} FROM ({self._select.pending}) p({listed}) "
            f"ORDER BY {listed}))"
            for name in names
        )
        return f"SELECT {listed} FROM ROWS FROM ({arrays}) u({listed})"

    def any_in_flight(self) -> str:
        """True when a key is in flight."""
        return f"SELECT EXISTS ({self._select.pending})" if self._select.pending else "SELECT false"

    def _row_key(self) -> str:
        return f"({self._key})" if len(self._select.key) > 1 else self._key

    def _literal(self, key: bytes) -> str:
        values = ", ".join(quote_literal(value) for value in key_values(key))
        return f"({values})" if len(self._select.key) > 1 else values

    def _bounds(self, row: str, after: bytes | None, until: bytes | None) -> list[str]:
        where = []
        if after is not None:
            where.append(f"{row} > {self._literal(after)}")
        if until is not None:
            where.append(f"{row} <= {self._literal(until)}")
        return where

    def _range(self, after: bytes | None, until: bytes | None) -> list[str]:
        return self._bounds(self._row_key(), after, until)

    def _ordered(self, fields: str, where: list[str], limit: int, pending: bool) -> str:
        select = self._select
        if select.condition:
            where = [*where, f"({select.condition})"]
        if pending:
            where = [*where, f"{self._row_key()} NOT IN ({self._pending_set()})"]
        text = f"SELECT {fields} FROM {select.source}"
        if where:
            text += f" WHERE {' AND '.join(where)}"
        text += f" ORDER BY {self._key}"
        return f"{text} LIMIT {limit}" if limit else text


def shown_columns(select: SideSelect) -> tuple[SqlColumn, ...]:
    """The columns that stand behind the key in a line."""
    keys = {c.column.id for c in select.key}
    return tuple(c for c in select.columns if c.column.id not in keys)


def _readable(column: SqlColumn) -> str:
    return _canonical_sql(column.column.type, column.sql)


def _canonical_sql(sql_type: str, sql: str) -> str:
    if base_type(sql_type) == "numeric":
        return f"pg_catalog.trim_scale({sql})"
    return sql
