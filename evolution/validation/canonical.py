"""The canonical bytes of a value by its SQL type: equal bytes, equal value (EVOLUTION 8).

| type | canonical bytes |
| --- | --- |
| smallint, integer, bigint, oid | decimal ASCII |
| numeric | decimal ASCII without exponent and trailing zeros: 1.0 and 1.00 are one value |
| real, double precision | IEEE 754 big-endian; one NaN, -0 apart from 0 |
| timestamp, timestamptz | microseconds since 1970-01-01 UTC, decimal ASCII |
| json, jsonb | sorted keys, last duplicate wins, shortest numbers |
| arrays | recursive, by element; NULL elements and lower bounds count |
| all others | the bytes of the value's text; no Unicode normalisation |

NULL has a tag, so it differs from the empty text. Values come as PostgreSQL prints them (see
lines.py). Equal texts are equal values, so the bytes here are made for texts that differ only.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from core.checksum import value_hash

_MODIFIER: Final = re.compile(r"\([^)]*\)")
_STAMP: Final = re.compile(
    rb"(\d{4,})-(\d\d)-(\d\d) (\d\d):(\d\d):(\d\d)(?:\.(\d{1,6}))?(\+00)?( BC)?$"
)
_PLAIN: Final = re.compile(rb'[^",{}]+')
_MICROSECONDS: Final = 1_000_000
_NULL_TAG: Final = b"\0"
_VALUE_TAG: Final = b"\1"


def base_type(sql_type: str) -> str:
    """The type without its modifier: `numeric` of `numeric(10,2)`."""
    return _MODIFIER.sub("", sql_type)


def canonical(sql_type: str, text: bytes) -> bytes:
    """The canonical bytes of a value that is not NULL."""
    name = base_type(sql_type)
    if name.endswith("[]"):
        return _array(name[:-2], text)
    encode = _ENCODERS.get(name)
    return encode(text) if encode is not None else text


def same_value(sql_type: str, one: bytes | None, other: bytes | None) -> bool:
    """True when both are the same value, or both NULL."""
    if one == other:
        return True
    if one is None or other is None:
        return False
    return canonical(sql_type, one) == canonical(sql_type, other)


def hash_of(sql_type: str, text: bytes | None) -> str:
    """The hash of the value that reports show, 16 hexadecimal digits; that of NULL for None."""
    return value_hash(tagged(None if text is None else canonical(sql_type, text)))


def tagged(value: bytes | None) -> bytes:
    """Canonical bytes among which NULL is one of its own."""
    return _NULL_TAG if value is None else _VALUE_TAG + value


def _numeric(text: bytes) -> bytes:
    if b"." not in text:
        return text
    return text.rstrip(b"0").rstrip(b".")


def _float(pack: struct.Struct) -> Callable[[bytes], bytes]:
    def encode(text: bytes) -> bytes:
        return b"NaN" if text == b"NaN" else pack.pack(float(text))

    return encode


def days_from_civil(year: int, month: int, day: int) -> int:
    """Days since 1970-01-01 in the proleptic Gregorian calendar; year 0 is 1 BC."""
    year -= month <= 2
    era, of_era = divmod(year, 400)
    of_year = (153 * (month - 3 if month > 2 else month + 9) + 2) // 5 + day - 1
    return era * 146097 + of_era * 365 + of_era // 4 - of_era // 100 + of_year - 719468


def microseconds(text: bytes) -> int | None:
    """A timestamp in microseconds since 1970; None for the infinities."""
    found = _STAMP.match(text)
    if found is None:
        return None
    year, month, day, hour, minute, second = (int(part) for part in found.groups()[:6])
    days = days_from_civil(1 - year if found[9] else year, month, day)
    seconds = days * 86400 + hour * 3600 + minute * 60 + second
    return seconds * _MICROSECONDS + int((found[7] or b"0").ljust(6, b"0"))


def _timestamp(text: bytes) -> bytes:
    value = microseconds(text)
    return text if value is None else b"%d" % value


@dataclass(frozen=True, slots=True)
class _Number:
    """A JSON number, kept as its text."""

    text: str


def _shortest(text: str) -> str:
    sign, digits, exponent = Decimal(text).as_tuple()
    plain = "".join(map(str, digits)).lstrip("0")
    shown = plain.rstrip("0")
    if not shown or not isinstance(exponent, int):
        return "0"
    exponent += len(plain) - len(shown)
    return f"{'-' if sign else ''}{shown}" + (f"e{exponent}" if exponent else "")


def _json(text: bytes) -> bytes:
    try:
        value = json.loads(text, parse_float=_Number, parse_int=_Number)
        return b"".join(_json_parts(value))
    except (RecursionError, ValueError):
        return text


def _json_parts(value: Any) -> Iterator[bytes]:
    if isinstance(value, _Number):
        yield _shortest(value.text).encode()
    elif isinstance(value, dict):
        yield b"{"
        for key in sorted(value):
            yield json.dumps(key).encode() + b":"
            yield from _json_parts(value[key])
            yield b","
        yield b"}"
    elif isinstance(value, list):
        yield b"["
        for item in value:
            yield from _json_parts(item)
            yield b","
        yield b"]"
    else:
        yield json.dumps(value).encode()


def _array(element: str, text: bytes) -> bytes:
    """Each element by its own rule; the braces and bounds stay as they are."""
    encode = _ENCODERS.get(element)
    if encode is None:
        return text
    parts: list[bytes] = []
    at = text.index(b"=") + 1 if text.startswith(b"[") else 0
    parts.append(text[:at])
    while at < len(text):
        if text[at : at + 1] == b'"':
            value, at = _quoted(text, at + 1)
        elif (found := _PLAIN.match(text, at)) is not None:
            at = found.end()
            value = found[0]
            if value == b"NULL":
                parts.append(_NULL_TAG)
                continue
        else:
            parts.append(text[at : at + 1])
            at += 1
            continue
        made = encode(value)
        parts.append(_VALUE_TAG + b"%d:" % len(made) + made)
    return b"".join(parts)


def _quoted(text: bytes, at: int) -> tuple[bytes, int]:
    value = bytearray()
    while text[at] != ord('"'):
        at += text[at] == ord("\\")
        value.append(text[at])
        at += 1
    return bytes(value), at + 1


_ENCODERS: Final[dict[str, Callable[[bytes], bytes]]] = {
    "numeric": _numeric,
    "real": _float(struct.Struct(">f")),
    "double precision": _float(struct.Struct(">d")),
    "timestamp without time zone": _timestamp,
    "timestamp with time zone": _timestamp,
    "json": _json,
    "jsonb": _json,
}
"""Types with more than one text for a value, or another form here than their text."""
