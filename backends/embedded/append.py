"""Staged documents into a store table that exists: what goes where, row by row.

A field that a store column holds goes there if its value fits the column's type exactly; else it
stays in the document under its key. Conditions that inference has proved for all rows are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from backends.embedded.fitting import Value, cast, fits
from backends.embedded.ingest import STAGING
from catalog.sqltext import STORE_SCHEMA, quote_ident, quote_literal

STAGING_NAME: Final = STAGING.rpartition(".")[2]
RECORD_CHARS_MAX: Final = 64 * 1024
WHERE_FROM: Final = f"source, line, left(doc::text, {RECORD_CHARS_MAX})"


@dataclass(frozen=True, slots=True)
class StoreColumn:
    """A column of the store's table. `key` is the field that it holds; `default` is SQL or "".

    `certain`: every staged value is known to fit. `nulls`: some are JSON null.
    """

    name: str
    type: str
    key: str
    not_null: bool = False
    default: str = ""
    always: bool = False
    certain: bool = False
    nulls: bool = True

    @property
    def staged(self) -> Value:
        """The staged value (alias s)."""
        key = quote_literal(self.key)
        arrow = "->" if self.type.endswith("[]") else "->>"
        return Value(f"(s.doc->{key})", f"(s.phys{arrow}{key})")

    @property
    def given(self) -> str:
        """The staged value as the column's type; NULL if there is none that fits."""
        value = self.staged
        if self.certain:
            return cast(value, self.type)
        return (
            f"CASE WHEN {value.is_null} THEN NULL WHEN {fits(value, self.type)} "
            f"THEN {cast(value, self.type)} END"
        )

    @property
    def stored(self) -> str:
        """What the column gets: the default if the document lacks the field."""
        if not self.default:
            return self.given
        return (
            f"CASE WHEN s.doc ? {quote_literal(self.key)} THEN {self.given} ELSE {self.default} END"
        )

    @property
    def misfit(self) -> str:
        """True for a value that is there and does not fit."""
        value = self.staged
        return f"(NOT ({value.is_null}) AND NOT {fits(value, self.type)})"

    @property
    def taken_key(self) -> str:
        """The key if the column took the value out of the document, else NULL."""
        key = quote_literal(self.key)
        if self.certain and not self.nulls:
            return key
        moved = f"NOT ({self.staged.is_null})"
        if not self.certain:
            moved += f" AND {fits(self.staged, self.type)}"
        return f"CASE WHEN {moved} THEN {key} END"


@dataclass(frozen=True, slots=True)
class Target:
    """The store's table as rows go in; `key` names the columns of its primary key."""

    store: str
    columns: tuple[StoreColumn, ...]
    key: tuple[str, ...] = ()
    has_doc: bool = True

    @property
    def table(self) -> str:
        """The qualified name."""
        return f"{STORE_SCHEMA}.{quote_ident(self.store)}"

    @property
    def key_columns(self) -> list[StoreColumn]:
        """The columns of the primary key, [] if documents cannot give all of them."""
        columns = {c.name: c for c in self.columns}
        return [columns[name] for name in self.key if name in columns]

    @property
    def document(self) -> str:
        """What stays in the document."""
        if not self.columns:
            return "s.doc"
        keys = ", ".join(c.taken_key for c in self.columns)
        if all(c.certain and not c.nulls for c in self.columns):
            return f"s.doc - ARRAY[{keys}]"
        return f"s.doc - pg_catalog.array_remove(ARRAY[{keys}]::text[], NULL)"

    def insert_statement(self, *, replacing: bool = False, bounds: tuple[int, int] | None) -> str:
        """Move staged rows with ordinals within `bounds` (all of them: None)."""
        names = [quote_ident(c.name) for c in self.columns]
        values = [c.stored for c in self.columns]
        if self.has_doc:
            names.append("_doc")
            values.append(self.document)
        override = " OVERRIDING SYSTEM VALUE" if any(c.always for c in self.columns) else ""
        where = f" WHERE s.ordinal BETWEEN {bounds[0]} AND {bounds[1]}" if bounds else ""
        conflict = ""
        if replacing and self.key:
            keys = ", ".join(quote_ident(name) for name in self.key)
            sets = ", ".join(f"{n} = EXCLUDED.{n}" for n in self._settable())
            conflict = f" ON CONFLICT ({keys}) DO {f'UPDATE SET {sets}' if sets else 'NOTHING'}"
        return (
            f"INSERT INTO {self.table} ({', '.join(names)}){override} "
            f"SELECT {', '.join(values)} FROM {STAGING} s{where}{conflict}"
        )

    def _settable(self) -> list[str]:
        names = [c.name for c in self.columns if c.name not in self.key and not c.always]
        return [quote_ident(n) for n in (*names, *(["_doc"] if self.has_doc else []))]


def delete_where(condition: str) -> str:
    """Take rows out of the staging table; returns where they came from."""
    return f"DELETE FROM {STAGING} s WHERE {condition} RETURNING {WHERE_FROM}"


def delete_repeated(values: Sequence[str], *, keep_last: bool = False) -> str:
    """Take out staged rows whose key an earlier (or later) one has."""
    given = " AND ".join(f"({v}) IS NOT NULL" for v in values)
    order = "DESC" if keep_last else "ASC"
    return (
        f"DELETE FROM {STAGING} USING (SELECT s.ctid AS place, pg_catalog.row_number() OVER "
        f"(PARTITION BY {', '.join(values)} ORDER BY s.ordinal {order}) AS nth "
        f"FROM {STAGING} s WHERE {given}) d "
        f"WHERE {STAGING_NAME}.ctid = d.place AND d.nth > 1 RETURNING {WHERE_FROM}"
    )


def delete_known(target: Target) -> str:
    """Take out staged rows whose key the store's table has already."""
    same = " AND ".join(f"t.{quote_ident(c.name)} = ({c.given})" for c in target.key_columns)
    return f"DELETE FROM {STAGING} s USING {target.table} t WHERE {same} RETURNING {WHERE_FROM}"


def count_where(conditions: Sequence[str]) -> str:
    """How many staged rows meet each condition."""
    counts = ", ".join(f"pg_catalog.count(*) FILTER (WHERE {c})" for c in conditions)
    return f"SELECT {counts} FROM {STAGING} s"
