"""Types of a PostgreSQL store: what a column becomes in the model, and how it is read there.

A type that the type table has is the same here and there; a domain is its base type; every other
one (enum, range, composite, types of extensions) is text, as the server prints it. The store's own
word for a type is format_type() under search_path = pg_catalog, so that it names the type wherever
it is, with what matters of the collation behind it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from catalog.model import Column, Native, Table
from catalog.sqltext import quote_ident
from core.errors import MorphError
from core.expr import base_type
from core.types import type_by_name

Collation = Literal["", "C", "other"]

TEXTS: Final = frozenset(("text", "character varying", "bpchar", "name", '"char"'))
"""Types that have a collation here or there."""
_COLLATE: Final = " collate "
_FILLED: Final = " filled"


@dataclass(frozen=True, slots=True)
class StoreType:
    """A column's type there: `sql` with its modifier, and its collation where it matters: "C" when
    it sorts by code points, "other" when it is neither that nor the database's own. `filled`: the
    store fills it in (serial, identity, generated, a default of its own).
    """

    sql: str
    collation: Collation = ""
    filled: bool = False

    def __str__(self) -> str:
        text = self.sql + (f"{_COLLATE}{self.collation}" if self.collation else "")
        return text + (_FILLED if self.filled else "")


def parse_store_type(text: str) -> StoreType:
    """What `str` of a StoreType wrote; "" is a type that nobody has looked at."""
    filled = text.endswith(_FILLED)
    sql, _, collation = text.removesuffix(_FILLED).partition(_COLLATE)
    assert collation in ("", "C", "other"), text
    return StoreType(sql, collation, filled)  # type: ignore[arg-type]


def known(sql: str) -> bool:
    """Whether the type table has the type."""
    try:
        type_by_name(sql)
    except MorphError:
        return False
    return True


def model_type(sql: str) -> str:
    """The type that a column of the store's type has in the model."""
    return sql if known(sql) else "text"


@dataclass(frozen=True, slots=True)
class StoreColumn:
    """A column as SQL of the store: its quoted `name`, the type that its `declared` one is there.

    `exact`: the declared type is the store's, so values and comparisons mean the same. `printed`:
    the store has a type of its own, and the column is its text.
    """

    name: str
    declared: str
    type: StoreType

    @property
    def filled(self) -> bool:
        """Whether the store gives it a value where a row has none."""
        return self.type.filled

    @property
    def exact(self) -> bool:
        return self.type.sql == self.declared

    @property
    def printed(self) -> bool:
        return self.declared == "text" and bool(self.type.sql) and not known(self.type.sql)

    @property
    def fetched(self) -> str:
        """The type as which its output is decoded: text where it may not fit the declared one."""
        return self.declared if self.exact else "text"

    @property
    def collates(self) -> bool:
        """Whether comparisons of it depend on a collation."""
        return base_type(self.declared) in TEXTS


def native_columns(table: Table) -> tuple[Column, ...]:
    """The columns that the store has: not those that are computed here."""
    return tuple(column for column in table.columns if isinstance(column.source, Native))


def store_columns(table: Table) -> Mapping[int, StoreColumn]:
    """The columns of a foreign table by id; remembered, as a plan asks for them each time."""
    known = _COLUMNS.get(id(table))
    if known is not None and known[0] is table:
        return known[1]
    columns = {column.id: store_column(column) for column in native_columns(table)}
    if len(_COLUMNS) >= _COLUMNS_MAX:
        _COLUMNS.clear()
    _COLUMNS[id(table)] = table, columns
    return columns


_COLUMNS_MAX: Final = 1000
_COLUMNS: dict[int, tuple[Table, Mapping[int, StoreColumn]]] = {}


def store_column(column: Column) -> StoreColumn:
    """The column of a foreign table as it is in the store."""
    source = column.source
    assert isinstance(source, Native), column.name
    first, *fields = source.path
    name = quote_ident(first)
    if fields:  # inside a composite value
        name = f"({name}){''.join(f'.{quote_ident(field)}' for field in fields)}"
    return StoreColumn(name, column.type, parse_store_type(source.store_type))
