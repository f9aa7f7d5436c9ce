"""Values as compact JSON text that jsonb takes and that agrees with the values exactly."""

from __future__ import annotations

from decimal import Decimal
from json.encoder import encode_basestring
from typing import Any

from catalog.inference.kinds import CsvCell, Typed, number_text


def to_json(value: Any) -> str:
    """The JSON text of a parsed value, carriers included."""
    kind = type(value)
    if kind is dict:
        fields = ",".join(f"{encode_basestring(k)}:{to_json(v)}" for k, v in value.items())
        return f"{{{fields}}}"
    if kind is list:
        return f"[{','.join(map(to_json, value))}]"
    if kind is CsvCell and not value:
        return "null"
    if isinstance(value, str):
        return encode_basestring(value)
    if value is None:
        return "null"
    if kind is bool:
        return "true" if value else "false"
    if kind is Typed:
        return str(value.json)
    return number_text(value) if kind is Decimal else repr(value)
