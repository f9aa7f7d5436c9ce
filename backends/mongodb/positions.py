"""Where a document stands in the order of its collection: by `_id`, across BSON's types.

A comparison in a filter only meets values of its own type, so a range is one find for each type
(MongoDB manual, "Comparison/Sort Order"; ids are of few types, and most finds give nothing).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import bson
from bson import json_util
from bson.binary import Binary
from bson.datetime_ms import DatetimeMS
from bson.decimal128 import Decimal128
from bson.objectid import ObjectId
from bson.timestamp import Timestamp

from core.errors import FeatureNotSupported

_NUMBERS: Final = ("double", "int", "long", "decimal")
_ORDER: Final[tuple[tuple[str, ...], ...]] = (
    ("null",),
    _NUMBERS,
    ("string",),
    ("object",),
    ("binData",),
    ("objectId",),
    ("bool",),
    ("date",),
    ("timestamp",),
)
"""Types of keys in the order in which MongoDB sorts them."""
_RANKS: Final[dict[type, int]] = {
    type(None): 0,
    bool: 6,
    int: 1,
    bson.int64.Int64: 1,
    float: 1,
    Decimal128: 1,
    str: 2,
    dict: 3,
    bytes: 4,
    Binary: 4,
    ObjectId: 5,
    DatetimeMS: 7,
    Timestamp: 8,
}


def position_of(key: Any) -> str:
    """An `_id` as text, exactly."""
    return json_util.dumps({"_id": key}, json_options=json_util.CANONICAL_JSON_OPTIONS)


def key_at(position: str) -> Any:
    """The opposite of `position_of`."""
    return json_util.loads(position, json_options=json_util.CANONICAL_JSON_OPTIONS)["_id"]


def _rank(key: Any) -> int:
    rank = _RANKS.get(type(key))
    if rank is None and hasattr(key, "isoformat"):
        rank = 7
    if rank is None:
        raise FeatureNotSupported(f"a key of type {type(key).__name__} has no place in an order")
    return rank


def ranges(after: str | None, until: str | None) -> Iterator[dict[str, Any]]:
    """Filters that, one after the other, meet the keys with `after` < key <= `until` in order."""
    first = key_at(after) if after is not None else None
    last = key_at(until) if until is not None else None
    low = _rank(first) if after is not None else 0
    high = _rank(last) if until is not None else len(_ORDER) - 1
    if after is None and until is None:
        yield {}
        return
    for rank in range(low, high + 1):
        bounds: dict[str, Any] = {}
        if after is not None and rank == low:
            bounds["$gt"] = first
        if until is not None and rank == high:
            bounds["$lte"] = last
        if bounds:
            yield {"_id": bounds}
        else:
            yield {"$or": [{"_id": {"$type": name}} for name in _ORDER[rank]]}
