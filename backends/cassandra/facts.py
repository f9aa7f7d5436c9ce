"""What is known of a table in Cassandra: keys, clustering order, static columns, indexes.

Pure values; `schema.py` reads them from system_schema. Pushdown needs them, because CQL answers
only what keys and indexes allow.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from backends.cassandra.types import CqlType, parse_type

Role = Literal["partition_key", "clustering", "static", "regular"]
IndexKind = Literal["sai", "secondary"]


@dataclass(frozen=True, slots=True)
class ColumnFacts:
    """A column: `type` as system_schema writes it; `descending` of a clustering column."""

    name: str
    type: str
    role: Role = "regular"
    descending: bool = False

    @property
    def cql(self) -> CqlType:
        """The type, parsed."""
        return parse_type(self.type)


@dataclass(frozen=True, slots=True)
class IndexFacts:
    """An index over one whole column, built and ready to answer (others are not listed)."""

    name: str
    column: str
    kind: IndexKind


@dataclass(frozen=True, slots=True)
class TableFacts:
    """A table or materialized view; `partition` and `clustering` are in their order in the key."""

    keyspace: str
    name: str
    columns: tuple[ColumnFacts, ...]
    partition: tuple[ColumnFacts, ...]
    clustering: tuple[ColumnFacts, ...] = ()
    indexes: tuple[IndexFacts, ...] = ()
    is_view: bool = False
    comment: str = ""

    def column(self, name: str) -> ColumnFacts | None:
        """The column called so, or None."""
        return next((each for each in self.columns if each.name == name), None)

    @property
    def key(self) -> tuple[ColumnFacts, ...]:
        """Partition key and clustering columns: what identifies a row."""
        return (*self.partition, *self.clustering)

    @property
    def has_static(self) -> bool:
        """Some column is static, so a partition may have a row without clustering values."""
        return any(each.role == "static" for each in self.columns)

    @property
    def has_counter(self) -> bool:
        """It counts: rows are made and changed by UPDATE only."""
        return any(each.type == "counter" for each in self.columns)


def quote_cql(name: str) -> str:
    """An identifier in CQL's quotes: always quoted, so case and keywords do not matter."""
    return '"' + name.replace('"', '""') + '"'


def relation_cql(keyspace: str, name: str) -> str:
    """keyspace.table, quoted."""
    return f"{quote_cql(keyspace)}.{quote_cql(name)}"
