"""BSON values in the text that PostgreSQL prints of them as jsonb, so that nothing has to parse and
print them again on their way to the client.

What a value is in JSON is said by `documents.py`. PostgreSQL puts keys in order (the shorter first,
then by bytes; of equal ones the last stays), a space behind `:` and `,`, and writes numbers without
exponent (jsonb.c, jsonb_util.c, numeric_out).
"""

from __future__ import annotations

import datetime as dt
import json
import math
from collections.abc import Callable, Mapping
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final

from bson.code import Code
from bson.datetime_ms import DatetimeMS
from bson.dbref import DBRef
from bson.decimal128 import Decimal128
from bson.int64 import Int64
from bson.objectid import ObjectId

from backends.mongodb.documents import decimal_text, json_text, string_json

_KEYS_MAX: Final = 1_024


def printed_json(value: Any) -> str:
    """The text. Raises NotJson."""
    write = _WRITERS.get(type(value))
    if write is not None:
        return write(value)
    return _document(value) if isinstance(value, Mapping) else _again(value)


@lru_cache(maxsize=_KEYS_MAX)
def keys_in_order(keys: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """The keys as PostgreSQL orders them, each with its text and the colon. Raises NotJson."""
    texts = {key: f"{string_json(key)}: " for key in keys}
    ordered = sorted(keys, key=lambda key: (len(key.encode()), key.encode()))
    return tuple((key, texts[key]) for key in ordered)


def printed_double(value: float) -> str:
    """A double: its shortest text, without exponent."""
    if math.isfinite(value) and (value or math.copysign(1, value) > 0):
        text = repr(value)
        return format(Decimal(text), "f") if "e" in text else text
    return _again(value)


def _document(value: Mapping[str, Any]) -> str:
    keys = keys_in_order(tuple(value))
    return "{" + ", ".join([f"{text}{printed_json(value[key])}" for key, text in keys]) + "}"


def _array(value: list[Any]) -> str:
    return "[" + ", ".join(map(printed_json, value)) + "]"


def _decimal(value: Decimal128) -> str:
    text = decimal_text(value)
    return text if text[-1].isdigit() else _again(value)


def _instant(value: dt.datetime | DatetimeMS) -> str:
    return json_text(value).replace('":', '": ')


def _code(value: Code) -> str:
    made = {"$code": str(value)}
    return printed_json(made if value.scope is None else {**made, "$scope": value.scope})


def _again(value: Any) -> str:
    """Rare values, whose Extended JSON is of texts and integers."""
    return printed_json(json.loads(json_text(value)))


_WRITERS: Final[Mapping[type, Callable[[Any], str]]] = {
    type(None): lambda _: "null",
    bool: lambda value: "true" if value else "false",
    int: repr,
    Int64: int.__repr__,
    float: printed_double,
    str: string_json,
    dict: _document,
    list: _array,
    ObjectId: lambda value: f'"{value}"',
    Decimal128: _decimal,
    dt.datetime: _instant,
    DatetimeMS: _instant,
    Code: _code,
    DBRef: lambda value: _document(value.as_doc()),
}
