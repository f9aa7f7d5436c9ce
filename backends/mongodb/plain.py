"""A few decoded documents as rows of plain values (core/encoding/plain_rows.py): what Arrow costs
in fixed time a batch is more than the documents themselves.

The rules are those of decode.py. A value that it would have to look at (a misfit, a double in an
integer column) makes all of the rows `None`: then decode.py reads them, and counts.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Final

from bson.int64 import Int64

from backends.mongodb.decode import ColumnSpec
from backends.mongodb.documents import is_text, milliseconds
from backends.mongodb.query import MongoQuery
from backends.mongodb.types import DOUBLE_EXACT_MAX, type_row

Take = Callable[[Any], Any]
"""A value that is not None → the plain value; raises _NotPlain."""


class _NotPlain(Exception):
    """The value needs a closer look."""


def _integer(low: int, high: int) -> Take:
    def take(value: Any) -> int:
        if type(value) not in (int, Int64) or not low <= value <= high:
            raise _NotPlain
        return value  # type: ignore[no-any-return]

    return take


def _float(value: Any) -> float:
    kind = type(value)
    if kind is float:
        return value  # type: ignore[no-any-return]
    if kind in (int, Int64) and -DOUBLE_EXACT_MAX <= value <= DOUBLE_EXACT_MAX:
        return float(value)
    raise _NotPlain


def _text(value: Any) -> str:
    if type(value) is not str or not is_text(value):
        raise _NotPlain
    return value


def _boolean(value: Any) -> bool:
    if type(value) is not bool:
        raise _NotPlain
    return value


def _instant(value: Any) -> int:
    if type(value) is not dt.datetime:
        raise _NotPlain
    return milliseconds(value) * 1_000


_TAKES: Final[dict[str, Take]] = {
    "float": _float,
    "text": _text,
    "boolean": _boolean,
    "instant": _instant,
}

Column = tuple[str, tuple[str, ...], Take]


@lru_cache(maxsize=1024)
def _columns(specs: tuple[ColumnSpec, ...]) -> tuple[Column, ...] | None:
    """Where each column's value lies and what reads it, or None when one is not plain."""
    found: list[Column] = []
    for spec in specs:
        row = type_row(spec.sql_type)
        if row is None or not spec.path:
            return None
        take = _integer(row.low, row.high) if row.family == "integer" else _TAKES.get(row.family)
        if take is None:
            return None
        found.append((spec.path[0], spec.path[1:], take))
    return tuple(found)


def plain_rows(documents: Sequence[Any], query: MongoQuery) -> list[tuple[Any, ...]] | None:
    """The rows that the query means, or None where some value is not plain."""
    columns = _columns(query.specs)
    if columns is None:
        return None
    try:
        rows = [tuple([_value(document, each) for each in columns]) for document in documents]
    except _NotPlain:
        return None
    if query.required:
        places = [n for n, s in enumerate(query.specs) if s.column_id in query.required]
        rows = [row for row in rows if all(row[place] is not None for place in places)]
    return rows if query.width is None else [row[: query.width] for row in rows]


def _value(document: Any, column: Column) -> Any:
    head, rest, take = column
    value = document.get(head)
    for key in rest:
        value = value.get(key) if type(value) is dict else None
    return None if value is None else take(value)
