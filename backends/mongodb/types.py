"""The type table of MongoDB: which BSON values a column of a PostgreSQL type shows.

A field may hold anything, whatever was sampled. A value of a BSON type that the column's row lists,
and within the row's bounds, is shown exactly; any other is NULL and counted (`Misfit`). The rules
are those of docs/types.md: an integer is a double up to 2^53, a double in a numeric column is its
shortest decimal, an ObjectId in a text column is its 24 hex digits, documents and arrays are jsonb.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import pyarrow as pa

from core.expr import base_type
from core.types import type_by_name

Family = Literal[
    "integer", "float", "numeric", "text", "boolean", "instant", "uuid", "bytea", "json"
]

DOUBLE_EXACT_MAX: Final = 2**53
"""Every integer up to here is a double (docs/types.md, rule 2)."""

# PostgreSQL's timestamps in milliseconds since 1970: 4714-11-24 BC to the end of 294276.
INSTANT_MS_MIN: Final = -210_866_803_200_000
INSTANT_MS_MAX: Final = 9_224_318_016_000_000 - 1


@dataclass(frozen=True, slots=True)
class MongoType:
    """One row: `bson` are the aliases of the BSON types that a column of `name` shows, `low` and
    `high` the bounds of integers.
    """

    name: str
    family: Family
    bson: tuple[str, ...]
    low: int = 0
    high: int = 0

    @property
    def arrow(self) -> pa.DataType:
        """The Arrow carrier of the column."""
        return type_by_name(self.name).arrow


_INTEGERS: Final = ("int", "long", "double")
_NUMBERS: Final = ("int", "long", "double", "decimal")
_TEXTS: Final = ("string", "objectId")

TYPES: Final[tuple[MongoType, ...]] = (
    MongoType("smallint", "integer", _INTEGERS, -(2**15), 2**15 - 1),
    MongoType("integer", "integer", _INTEGERS, -(2**31), 2**31 - 1),
    MongoType("bigint", "integer", _INTEGERS, -(2**63), 2**63 - 1),
    MongoType("double precision", "float", _INTEGERS),
    MongoType("numeric", "numeric", _NUMBERS),
    MongoType("text", "text", _TEXTS),
    MongoType("boolean", "boolean", ("bool",)),
    MongoType("timestamp with time zone", "instant", ("date",)),
    MongoType("uuid", "uuid", ("binData",)),
    MongoType("bytea", "bytea", ("binData",)),
    MongoType("jsonb", "json", ("any",)),
    MongoType("json", "json", ("any",)),
)

_FINE_ENOUGH: Final = frozenset(f"timestamp({n}) with time zone" for n in range(3, 7))
"""Modifiers that every instant of BSON fits: it has milliseconds."""

_BY_NAME: Final = {each.name: each for each in TYPES}


def type_row(sql_type: str) -> MongoType | None:
    """The row of a type; None for one that is not listed, or that has a modifier that some value
    does not fit: such values are left out, which no filter of the store says.
    """
    return _BY_NAME.get("timestamp with time zone" if sql_type in _FINE_ENOUGH else sql_type)


def shown_as(sql_type: str) -> MongoType | None:
    """The row that decodes a column, its modifier left aside: the decoder checks that one."""
    name = base_type(sql_type)
    if name in ("character varying", "bpchar"):
        name = "text"
    return _BY_NAME.get(name)


def shows_object_ids(store_type: str) -> bool:
    """Whether a text column shows ObjectIds: one that was found to hold strings only does not, so
    that its filters need not look for them.
    """
    return not store_type or "objectId" in store_type.split("|")
