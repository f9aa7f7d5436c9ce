"""PostgreSQL's values as BSON, for writes: exact, or an error; nothing is rounded.

Values come as PostgreSQL's text. jsonb takes the way back of backends/mongodb/documents.py. Where a
jsonb value replaces one, the parts that did not change keep their BSON values: jsonb does not show
whether a number is an int, a long or a Decimal128, nor that a string of hex digits is an ObjectId.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from bson.binary import Binary
from bson.code import Code
from bson.datetime_ms import DatetimeMS
from bson.decimal128 import Decimal128
from bson.int64 import Int64
from bson.max_key import MaxKey
from bson.min_key import MinKey
from bson.objectid import ObjectId
from bson.regex import Regex
from bson.timestamp import Timestamp

from backends.mongodb.documents import NotJson, json_text
from backends.mongodb.literals import NotPushed, decimal128, is_object_id
from backends.mongodb.types import shown_as
from core.encoding.arrays import parse_array_text
from core.errors import (
    DatetimeFieldOverflow,
    FeatureNotSupported,
    InvalidParameterValue,
    NumericValueOutOfRange,
)
from core.types import PgType

_INT32: Final = (-(2**31), 2**31 - 1)
_INT64: Final = (-(2**63), 2**63 - 1)
_INSTANT: Final = re.compile(
    r"(\d{4,6})-(\d\d)-(\d\d) (\d\d):(\d\d):(\d\d)(?:\.(\d{1,6}))?\+00( BC)?", re.ASCII
)
_CYCLE_MS: Final = 146_097 * 86_400_000  # 400 years
_SHORT: Final = 16


def encode(text: str, pg: PgType, store_type: str = "") -> Any:
    """The BSON value of a value in PostgreSQL's text form.

    NumericValueOutOfRange (22003), DatetimeFieldOverflow (22008) or InvalidParameterValue (22023)
    for one that BSON does not hold; FeatureNotSupported for a type without BSON values.
    """
    if pg.element is not None:
        parsed = parse_array_text(text)
        if not parsed.plain:
            raise InvalidParameterValue("an array in MongoDB has one dimension that starts at 1")
        inner = pg.element
        return [None if each is None else encode(each, inner) for each in parsed.elements]
    row = shown_as(pg.sql)
    if row is None:
        raise FeatureNotSupported(f"MongoDB has no values of type {pg.sql}")
    if row.family == "text":
        return _text(text, store_type)
    if row.family == "integer":
        return _integer(int(text), long="long" in store_type.split("|"))
    return _ENCODERS[row.family](text)


def _text(text: str, store_type: str) -> Any:
    if store_type.startswith("objectId") and is_object_id(text):
        return ObjectId(text)
    return text


def _integer(value: int, *, long: bool) -> int:
    if not long and _INT32[0] <= value <= _INT32[1]:
        return value
    return Int64(value)


def _numeric(text: str) -> Decimal128:
    try:
        return decimal128(Decimal(text))
    except NotPushed as error:
        raise NumericValueOutOfRange(
            f"numeric {_cut(text)} is out of the range of MongoDB's Decimal128",
            detail="It holds 34 digits.",
        ) from error


def _cut(text: str) -> str:
    return text if len(text) <= 40 else text[:40] + "…"


def _instant(text: str) -> DatetimeMS:
    match = _INSTANT.fullmatch(text)
    if match is None:
        raise DatetimeFieldOverflow(f'timestamp "{text}" is out of the range of MongoDB\'s dates')
    fraction = (match[7] or "").ljust(6, "0")
    if fraction[3:] != "000":
        raise DatetimeFieldOverflow(
            f'timestamp "{text}" is finer than a millisecond',
            hint="MongoDB's dates have milliseconds: date_trunc('milliseconds', …).",
        )
    year = 1 - int(match[1]) if match[8] else int(match[1])
    cycles, year = divmod(year - 1, 400)
    parts = (int(match[n]) for n in range(2, 7))
    moment = datetime(year + 1, *parts, tzinfo=UTC)  # type: ignore[arg-type, misc]
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    ms = since.days * 86_400_000 + since.seconds * 1_000 + int(fraction[:3])
    return DatetimeMS(ms + cycles * _CYCLE_MS)


def _json(text: str) -> Any:
    return from_json(parse_json(text))


_ENCODERS: Final[Mapping[str, Callable[[str], Any]]] = {
    "float": float,
    "numeric": _numeric,
    "boolean": lambda text: text in ("t", "true"),
    "instant": _instant,
    "uuid": lambda text: Binary(bytes.fromhex(text.replace("-", "")), 4),
    "bytea": lambda text: bytes.fromhex(text.removeprefix("\\x")),
    "json": _json,
}


# JSON


def parse_json(text: str) -> Any:
    """The JSON value with numbers as int or Decimal."""
    return json.loads(text, parse_float=Decimal)


def from_json(value: Any) -> Any:
    """A parsed JSON value as BSON; well-formed Extended JSON as the type that it stands for."""
    if isinstance(value, dict):
        for key in value:
            if key[:1] == "$":
                return _wrapped(value)
            break
        return {key: from_json(each) for key, each in value.items()}
    if isinstance(value, list):
        return [from_json(each) for each in value]
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return value
    return _json_number(value)


def _json_number(value: int | Decimal) -> Any:
    if isinstance(value, int):
        if _INT64[0] <= value <= _INT64[1]:
            return _integer(value, long=False)
        return _numeric(str(value))
    near = float(value)
    return near if Decimal(repr(near)) == value else _numeric(str(value))


def _wrapped(value: dict[str, Any]) -> Any:
    reader = _WRAPPERS.get(frozenset(value))
    if reader is not None:
        try:
            return reader(value)
        except (KeyError, TypeError, ValueError, AttributeError):
            pass  # not well formed: an ordinary document
    return {key: from_json(each) for key, each in value.items()}


def _date(value: Any) -> DatetimeMS:
    if isinstance(value, str):
        moment = datetime.fromisoformat(value)
        since = moment - datetime(1970, 1, 1, tzinfo=UTC)  # TypeError without a zone
        ms, rest = divmod(since, timedelta(milliseconds=1))
        if rest:
            raise ValueError(value)
        return DatetimeMS(ms)
    return DatetimeMS(int(value["$numberLong"]))


def _binary(value: dict[str, Any]) -> Binary | bytes:
    inner = value["$binary"]
    return Binary(base64.b64decode(inner["base64"], validate=True), int(inner["subType"], 16))


def _regex(value: dict[str, Any]) -> Regex[str]:
    inner = value["$regularExpression"]
    return Regex(inner["pattern"], inner["options"])


_WRAPPERS: Final[Mapping[frozenset[str], Callable[[dict[str, Any]], Any]]] = {
    frozenset(("$numberDouble",)): lambda v: float(v["$numberDouble"]),
    frozenset(("$numberDecimal",)): lambda v: Decimal128(v["$numberDecimal"]),
    frozenset(("$numberInt",)): lambda v: int(v["$numberInt"]),
    frozenset(("$numberLong",)): lambda v: Int64(v["$numberLong"]),
    frozenset(("$oid",)): lambda v: ObjectId(v["$oid"]),
    frozenset(("$date",)): lambda v: _date(v["$date"]),
    frozenset(("$binary",)): _binary,
    frozenset(("$regularExpression",)): _regex,
    frozenset(("$timestamp",)): lambda v: Timestamp(v["$timestamp"]["t"], v["$timestamp"]["i"]),
    frozenset(("$code",)): lambda v: Code(v["$code"]),
    frozenset(("$code", "$scope")): lambda v: Code(v["$code"], from_json(v["$scope"])),
    frozenset(("$minKey",)): lambda _: MinKey(),
    frozenset(("$maxKey",)): lambda _: MaxKey(),
}


def merged(new: Any, old: Any) -> Any:
    """The BSON of parsed JSON that replaces a BSON value: unchanged parts stay as they were, and
    the fields of a document keep their order.
    """
    try:
        if parse_json(json_text(old)) == new:
            return old
    except NotJson:
        pass
    if isinstance(new, dict) and isinstance(old, dict) and not any(k[:1] == "$" for k in new):
        order = [*(key for key in old if key in new), *(key for key in new if key not in old)]
        return {
            key: merged(new[key], old[key]) if key in old else from_json(new[key]) for key in order
        }
    if isinstance(new, list) and isinstance(old, list):
        pairs = zip(new, old, strict=False)
        return [*(merged(a, b) for a, b in pairs), *(from_json(each) for each in new[len(old) :])]
    return from_json(new)
