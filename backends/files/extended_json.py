"""Extended JSON v2, canonical and relaxed (MongoDB specification "Extended JSON").

Two steps, so that text and value always agree:
1. `plain_text` rewrites in the *text* what JSON has a form for: `{"$numberLong":"5"}` becomes 5,
   `{"$oid":"…"}` a string of 24 hex digits. In valid JSON `{"$` outside of an escape can only begin
   an object, and the pattern refuses places where a key could stand, so no string is touched and
   no invalid text becomes valid.
2. `object_hook` turns what is left (`$date`, `$binary`, NaN …) into `Typed` values; in the text,
   and so in jsonb, these stay in their extended form.
A wrapper that is not well formed (`{"$date": "soon"}`, `{"$money": 5}`) is an ordinary object.
"""

from __future__ import annotations

import base64
import binascii
import re
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

from backends.files.instants import timestamp_text
from backends.files.json_text import to_json
from catalog.inference.kinds import Kind, Typed, number_text

# Ends every Decimal128 literal in rewritten text; the parser takes such a literal for a decimal
# even if a double could hold it, and to jsonb it means nothing (10^0 keeps the scale).
DECIMAL_MARK: Final = "E+00000"

_INT = r"-?(?:0|[1-9][0-9]{0,18})"
_DOUBLE = r"-?(?:0|[1-9][0-9]{0,308})(?:\.[0-9]{1,400})?(?:[eE][+-]?[0-9]{1,3})?"
_DECIMAL = r"-?(?=[0-9.]{1,35}(?![0-9.]))[0-9]*\.?[0-9]+(?:[eE][+-]?[0-9]{1,4})?"
_WRAPPED = re.compile(
    r'\{\s*"\$(?:'
    r'(?P<keep>date)"\s*:\s*\{\s*"\$numberLong"\s*:\s*"[^"]*"\s*\}'
    r'|oid"\s*:\s*"(?P<oid>[0-9a-fA-F]{24})"'
    rf'|number(?:Int|Long)"\s*:\s*"(?P<int>{_INT})"'
    rf'|numberDouble"\s*:\s*"(?P<double>{_DOUBLE})"'
    rf'|numberDecimal"\s*:\s*"(?P<decimal>{_DECIMAL})"'
    r")\s*\}(?!\s*:)",
    re.ASCII,
)
_ISO_DATE = re.compile(
    r"\d{4}-\d\d-\d\dT\d\d:\d\d(?::\d\d(?:\.\d{1,6})?)?(?:Z|[+-]\d\d:?\d\d)", re.ASCII
)
_FLOAT_SPECIALS: Final = frozenset({"NaN", "Infinity", "-Infinity", "-0.0"})
_INT64: Final = re.compile(r"-?[0-9]{1,19}", re.ASCII)


def plain_text(text: str) -> str:
    """The JSON text with numbers and ObjectIds unwrapped."""
    return _WRAPPED.sub(_plain, text)


def _plain(match: re.Match[str]) -> str:
    kind = match.lastgroup
    if kind == "oid":
        return f'"{match["oid"].lower()}"'
    if kind == "int":
        return match["int"]
    if kind == "decimal":
        return number_text(Decimal(match["decimal"])) + DECIMAL_MARK
    if kind == "double":
        literal = match["double"]
        if literal[0] == "-" and not float(literal):
            return match[0]  # minus zero is a double that JSON numbers in jsonb cannot be
        return literal if any(c in literal for c in ".eE") else literal + ".0"
    return match[0]


def object_hook(fields: dict[str, Any]) -> Any:
    """For `json`: a wrapper as a `Typed`, any other object as it is."""
    for key in fields:
        if key[:1] != "$":
            return fields
        convert = _CONVERTERS.get(key)
        if convert is None:
            return fields
        typed = convert(fields)
        return fields if typed is None else typed
    return fields


def _date(fields: dict[str, Any]) -> Typed | None:
    value = fields["$date"]
    if len(fields) != 1:
        return None
    if isinstance(value, str):
        pg = _iso_instant(value)
        return None if pg is None else Typed(Kind.TIMESTAMPTZ, pg, f'{{"$date":"{value}"}}')
    if isinstance(value, dict) and value.keys() == {"$numberLong"}:
        value = value["$numberLong"]
        if not isinstance(value, str) or not _INT64.fullmatch(value):
            return None
    elif type(value) is not int:
        return None
    ms = int(value)
    json = f'{{"$date":{{"$numberLong":"{ms}"}}}}'
    pg = timestamp_text(ms * 1_000, "+00")
    # BSON reaches 292 million years, PostgreSQL 294,276 AD: the rest lives in jsonb.
    return Typed(Kind.EXTENDED, "", json) if pg is None else Typed(Kind.TIMESTAMPTZ, pg, json)


def _iso_instant(text: str) -> str | None:
    if not _ISO_DATE.fullmatch(text):
        return None
    try:
        moment = datetime.fromisoformat(text)
        if text[-1] == "Z":
            return f"{text[:10]} {text[11:-1]}+00"
        return moment.astimezone(UTC).isoformat(sep=" ")
    except (ValueError, OverflowError):
        return None


def _binary(fields: dict[str, Any]) -> Typed | None:
    value = fields["$binary"]
    if isinstance(value, dict) and value.keys() == {"base64", "subType"} and len(fields) == 1:
        encoded, subtype = value["base64"], value["subType"]
    elif fields.keys() == {"$binary", "$type"}:  # legacy
        encoded, subtype = value, fields["$type"]
    else:
        return None
    try:
        data = base64.b64decode(encoded, validate=True)
        number = int(subtype, 16)
    except (TypeError, ValueError, binascii.Error):
        return None
    json = to_json(fields)
    if number in {3, 4} and len(data) == 16:
        return Typed(Kind.UUID, str(uuid.UUID(bytes=data)), json)
    return Typed(Kind.BYTES, "\\x" + data.hex(), json)


def _uuid(fields: dict[str, Any]) -> Typed | None:
    value = fields["$uuid"]
    if len(fields) != 1 or not isinstance(value, str):
        return None
    try:
        return Typed(Kind.UUID, str(uuid.UUID(value)), to_json(fields))
    except ValueError:
        return None


def _double(fields: dict[str, Any]) -> Typed | None:
    value = fields["$numberDouble"]
    if len(fields) != 1 or not isinstance(value, str):
        return None
    if value in {"-0", "-0.0"}:
        return Typed(Kind.FLOAT_SPECIAL, "-0", to_json(fields))
    return Typed(Kind.FLOAT_SPECIAL, value, to_json(fields)) if value in _FLOAT_SPECIALS else None


def _decimal(fields: dict[str, Any]) -> Typed | None:
    value = fields["$numberDecimal"]
    if len(fields) != 1 or value not in {"NaN", "Infinity", "-Infinity"}:
        return None
    return Typed(Kind.DECIMAL_SPECIAL, value, to_json(fields))


def _opaque(*keys: str) -> Callable[[dict[str, Any]], Typed | None]:
    """Wrappers that PostgreSQL has no type for; `keys` are all that may stand in them."""
    allowed = frozenset(keys)

    def convert(fields: dict[str, Any]) -> Typed | None:
        if not fields.keys() <= allowed:
            return None
        return Typed(Kind.EXTENDED, "", to_json(fields))

    return convert


_CONVERTERS: Final[dict[str, Callable[[dict[str, Any]], Typed | None]]] = {
    "$date": _date,
    "$binary": _binary,
    "$type": lambda fields: _binary(fields) if "$binary" in fields else None,
    "$uuid": _uuid,
    "$numberDouble": _double,
    "$numberDecimal": _decimal,
    "$timestamp": _opaque("$timestamp"),
    "$regularExpression": _opaque("$regularExpression"),
    "$regex": _opaque("$regex", "$options"),
    "$options": _opaque("$regex", "$options"),
    "$dbPointer": _opaque("$dbPointer"),
    "$code": _opaque("$code", "$scope"),
    "$symbol": _opaque("$symbol"),
    "$undefined": _opaque("$undefined"),
    "$minKey": _opaque("$minKey"),
    "$maxKey": _opaque("$maxKey"),
}
