"""CQL types: their texts as system_schema writes them, and PostgreSQL's type for each.

Pure; the driver is not needed to know a type. A scalar has a row in TYPES. A list, set or vector of
scalars is an array, every other collection, tuple and user-defined type is jsonb. A type outside
the table (a custom Java class, DateRangeType) is bytea: its bytes as they are stored.

What PostgreSQL's type cannot hold of a CQL type is in `fits`: such a value is delivered as NULL and
reported as a Misfit, and no predicate is pushed that could see it.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from typing import Final

import pyarrow as pa

from core.errors import InvalidParameterValue
from core.types import type_by_name


@dataclass(frozen=True, slots=True)
class CassandraType:
    """A scalar of CQL: `name` in CQL, `postgres` as format_type() prints it, its Arrow carrier.

    `fits`: every value of the CQL type is a value of the PostgreSQL type.
    """

    name: str
    postgres: str
    arrow: pa.DataType
    fits: bool = True


def _row(name: str, postgres: str, fits: bool = True) -> CassandraType:
    return CassandraType(name, postgres, type_by_name(postgres).arrow, fits)


TYPES: Final[tuple[CassandraType, ...]] = (
    _row("ascii", "text", False),
    _row("text", "text", False),
    _row("varchar", "text", False),
    _row("boolean", "boolean"),
    _row("tinyint", "smallint"),
    _row("smallint", "smallint"),
    _row("int", "integer"),
    _row("bigint", "bigint"),
    _row("counter", "bigint"),
    _row("varint", "numeric", False),
    _row("decimal", "numeric", False),
    _row("float", "real"),
    _row("double", "double precision"),
    _row("timestamp", "timestamp(3) with time zone", False),
    _row("date", "date", False),
    _row("time", "time without time zone", False),
    _row("uuid", "uuid"),
    _row("timeuuid", "uuid"),
    _row("inet", "inet"),
    _row("blob", "bytea"),
    _row("duration", "interval", False),
)
"""`fits` is False for: text with a zero byte; numerics beyond PostgreSQL's 131072 digits; instants
and days beyond its calendar; times with nanoseconds; durations with nanoseconds.
"""

_BY_NAME: Final = {each.name: each for each in TYPES}
COLLECTIONS: Final = frozenset(("list", "set", "map", "tuple", "vector"))


@dataclass(frozen=True, slots=True)
class CqlType:
    """A parsed type: `name` is a scalar's, list, set, map, tuple, vector, or a user type's.

    `size` is the dimension of a vector.
    """

    name: str
    args: tuple[CqlType, ...] = ()
    frozen: bool = False
    size: int = 0

    @property
    def scalar(self) -> CassandraType | None:
        """The row of the table; None for collections, user types and unknown classes."""
        return None if self.args else _BY_NAME.get(self.name)

    @property
    def is_array(self) -> bool:
        """A list, set or vector whose elements are scalars."""
        return self.name in ("list", "set", "vector") and self.args[0].scalar is not None

    @property
    def is_custom(self) -> bool:
        """A Java class, written as a quoted name."""
        return self.name.startswith("'")

    @property
    def postgres(self) -> str:
        """PostgreSQL's type as format_type() prints it."""
        if self.scalar is not None:
            return self.scalar.postgres
        if self.is_array:
            element = self.args[0].scalar
            assert element is not None
            return f"{element.postgres}[]"
        return "bytea" if self.is_custom else "jsonb"


_TOKEN: Final = re.compile(r"""\s*('(?:[^']|'')*'|"(?:[^"]|"")*"|[\w.]+|[<>,])\s*""")


@functools.lru_cache(maxsize=4096)
def parse_type(text: str) -> CqlType:
    """The type that system_schema writes so; InvalidParameterValue (22023) for what is no type.

    >>> parse_type("frozen<map<text, int>>").name
    'map'
    """
    tokens = []
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise InvalidParameterValue(f'"{text}" is not a type of CQL')
        tokens.append(match[1])
        at = match.end()
    tokens.reverse()
    try:
        found = _parse(tokens)
    except IndexError:
        tokens = [text]
    if tokens:
        raise InvalidParameterValue(f'"{text}" is not a type of CQL')
    return found


def _parse(tokens: list[str]) -> CqlType:
    """Takes one type off the end of `tokens`, which are in reverse."""
    name = tokens.pop()
    if not tokens or tokens[-1] != "<":
        return CqlType(name[1:-1].replace('""', '"') if name.startswith('"') else name)
    tokens.pop()
    args = [_parse(tokens)]
    while (mark := tokens.pop()) == ",":
        args.append(_parse(tokens))
    if mark != ">":
        raise IndexError(mark)
    if name == "frozen":
        inner = args[0]
        return CqlType(inner.name, inner.args, True, inner.size)
    if name == "vector":
        return CqlType(name, (args[0],), size=int(args[1].name))
    return CqlType(name, tuple(args))


def postgres_type(cql: str) -> str:
    """PostgreSQL's type for a CQL type by its text.

    >>> postgres_type("set<text>"), postgres_type("tuple<int, text>")
    ('text[]', 'jsonb')
    """
    return parse_type(cql).postgres
