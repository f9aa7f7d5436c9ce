"""BSON values as JSON text for jsonb columns, by the rules of docs/types.md.

What JSON has a form for takes it: numbers are numbers, an ObjectId is its 24 hex digits. Everything
else is Extended JSON as mongoexport writes it (relaxed: instants from 1970 to 9999 in ISO form).
"""

from __future__ import annotations

import base64
import datetime as dt
import math
from collections.abc import Callable, Mapping
from decimal import Decimal
from json.encoder import encode_basestring
from typing import Any, Final

from bson.binary import Binary
from bson.code import Code
from bson.datetime_ms import DatetimeMS
from bson.dbref import DBRef
from bson.decimal128 import Decimal128
from bson.int64 import Int64
from bson.max_key import MaxKey
from bson.min_key import MinKey
from bson.objectid import ObjectId
from bson.regex import Regex
from bson.timestamp import Timestamp

EPOCH: Final = dt.datetime(1970, 1, 1)  # noqa: DTZ001 (BSON's instants are decoded without zone)
_MILLISECOND: Final = dt.timedelta(milliseconds=1)
NUL: Final = "\0"
_RELAXED_MS_MAX: Final = 253_402_300_799_999  # the end of the year 9999


class NotJson(ValueError):
    """A document that jsonb cannot hold: it has U+0000 or text that is not valid UTF-8."""


def is_text(value: str) -> bool:
    """Whether PostgreSQL's text takes a string: no U+0000, valid UTF-8."""
    if NUL in value:
        return False
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            return False
    return True


def milliseconds(value: dt.datetime | DatetimeMS) -> int:
    """A BSON instant as milliseconds since 1970."""
    if isinstance(value, DatetimeMS):
        return int(value)
    return (value - EPOCH) // _MILLISECOND


def decimal_text(value: Decimal128) -> str:
    """A Decimal128 as PostgreSQL's numeric prints it, with its scale."""
    number = value.to_decimal()
    if number.is_finite():
        # numeric has no negative zero.
        return format(abs(number) if number.is_zero() else number, "f")
    if number.is_nan():
        return "NaN"
    return "-Infinity" if number < 0 else "Infinity"


def double_text(value: float) -> str:
    """A double as the decimal of its shortest text: what numeric shows of it."""
    if math.isfinite(value):
        return format(Decimal(repr(value)), "f").removesuffix(".0") if value else "0"
    if math.isnan(value):
        return "NaN"
    return "-Infinity" if value < 0 else "Infinity"


def json_text(value: Any) -> str:
    """The JSON text of a decoded BSON value. Raises NotJson."""
    write = _WRITERS.get(type(value))
    return _other(value) if write is None else write(value)


def string_json(value: str) -> str:
    """A string. Raises NotJson for what PostgreSQL's text refuses."""
    if NUL in value:
        raise NotJson("U+0000")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise NotJson("invalid UTF-8") from error
    return encode_basestring(value)


def _document(value: Mapping[str, Any]) -> str:
    return "{" + ",".join(f"{string_json(k)}:{json_text(v)}" for k, v in value.items()) + "}"


def _array(value: list[Any]) -> str:
    return "[" + ",".join(map(json_text, value)) + "]"


def _double(value: float) -> str:
    if math.isfinite(value) and (value or math.copysign(1, value) > 0):
        return repr(value)
    name = "NaN" if math.isnan(value) else ("-Infinity" if value < 0 else "Infinity")
    return f'{{"$numberDouble":"{name if value else "-0.0"}"}}'


def _decimal(value: Decimal128) -> str:
    text = decimal_text(value)
    return text if text[-1].isdigit() else f'{{"$numberDecimal":"{text}"}}'


def _instant(value: dt.datetime | DatetimeMS) -> str:
    ms = milliseconds(value)
    if not 0 <= ms <= _RELAXED_MS_MAX:
        return f'{{"$date":{{"$numberLong":"{ms}"}}}}'
    text = (EPOCH + ms * _MILLISECOND).isoformat(
        timespec="milliseconds" if ms % 1000 else "seconds"
    )
    return f'{{"$date":"{text}Z"}}'


def _binary(value: bytes) -> str:
    subtype = value.subtype if isinstance(value, Binary) else 0
    encoded = base64.b64encode(value).decode()
    return f'{{"$binary":{{"base64":"{encoded}","subType":"{subtype:02x}"}}}}'


def _regex(value: Regex[Any]) -> str:
    pattern = value.pattern if isinstance(value.pattern, str) else value.pattern.decode()
    return (
        f'{{"$regularExpression":{{"pattern":{string_json(pattern)},'
        f'"options":"{_options(value.flags)}"}}}}'
    )


def _options(flags: int) -> str:
    letters = ((2, "i"), (4, "l"), (8, "m"), (16, "s"), (32, "u"), (64, "x"))
    return "".join(letter for bit, letter in letters if flags & bit)


def _code(value: Code) -> str:
    scope = "" if value.scope is None else f',"$scope":{_document(value.scope)}'
    return f'{{"$code":{string_json(str(value))}{scope}}}'


def _reference(value: DBRef) -> str:
    return _document(value.as_doc())


_WRITERS: Final[Mapping[type, Callable[[Any], str]]] = {
    type(None): lambda _: "null",
    bool: lambda value: "true" if value else "false",
    int: repr,
    Int64: int.__repr__,
    float: _double,
    str: string_json,
    dict: _document,
    list: _array,
    ObjectId: lambda value: f'"{value}"',
    Decimal128: _decimal,
    dt.datetime: _instant,
    DatetimeMS: _instant,
    bytes: _binary,
    Binary: _binary,
    Regex: _regex,
    Code: _code,
    DBRef: _reference,
    Timestamp: lambda value: f'{{"$timestamp":{{"t":{value.time},"i":{value.inc}}}}}',
    MinKey: lambda _: '{"$minKey":1}',
    MaxKey: lambda _: '{"$maxKey":1}',
}


def _other(value: Any) -> str:
    if isinstance(value, Mapping):
        return _document(value)
    raise NotJson(type(value).__name__)
