"""Casts between the types of two layouts, as SQL over `"$1"`: to a type as an assignment does it,
and back to it as far as it goes (EVOLUTION 11).

The way back never fails: what the older type cannot hold is NULL there, and the lens keeps the
value itself as residue.
"""

from __future__ import annotations

import re
from typing import Final

from catalog.sqltext import quote_literal

VALUE: Final = '"$1"'
INTEGERS: Final = ("smallint", "integer", "bigint")
_RANGES: Final = {
    "smallint": ("-32768", "32767"),
    "integer": ("-2147483648", "2147483647"),
    "bigint": ("-9223372036854775808", "9223372036854775807"),
}
_FLOATS: Final = ("real", "double precision")
_TEXTS: Final = frozenset({"text", "character varying", "character", "name", "bpchar"})
_JSON: Final = frozenset({"json", "jsonb"})
_LENGTH: Final = re.compile(r"^(.*?)\((\d+)(?:,\s*-?\d+)?\)(.*)$")


def base_type(sql_type: str) -> str:
    """The type without length or precision: "numeric" of "numeric(10,2)"."""
    found = _LENGTH.match(sql_type)
    return (found[1] + found[3]).strip() if found else sql_type


def without_length(sql_type: str) -> str:
    """The type that takes every length of it: `character` alone would mean one character."""
    name = base_type(sql_type)
    return {"character": "pg_catalog.bpchar", "bit": "bit varying"}.get(name, name)


def assigned(expression: str, sql_type: str) -> str:
    """The expression as a value assigned to a column of the type: what is too long is 22001, which
    an explicit cast would cut off silently.
    """
    found = _LENGTH.match(sql_type)
    name, length = (found[1].strip(), int(found[2])) if found else (sql_type, 0)
    if found and name == "character varying":
        return f'pg_catalog."varchar"(({expression})::{name}, {length + 4}, false)'
    if found and name == "character":
        return f"pg_catalog.bpchar(({expression})::pg_catalog.bpchar, {length + 4}, false)"
    if found and name == "bit":
        return f'pg_catalog."bit"(({expression})::bit varying::"bit", {length}, false)'
    if found and name == "bit varying":
        return f"pg_catalog.varbit(({expression})::bit varying, {length}, false)"
    return f"({expression})::{sql_type}"


def back(shown: str, stored: str) -> str:
    """`"$1"` of type `shown` as a value of type `stored`, NULL where that has none for it."""
    cast = f"({VALUE})::{stored}"
    test = _test(base_type(shown), shown, base_type(stored), stored)
    return f"CASE WHEN {test} THEN {cast} END" if test else cast


def _test(old: str, shown: str, new: str, stored: str) -> str:
    """When a value of `shown` has one of `stored`; "" for always."""
    if old in _JSON and new not in _JSON and new not in _TEXTS:
        kind = {"boolean": "boolean"}.get(new, "number")
        text = f"({VALUE}::jsonb #>> '{{}}')"
        inner = _number(text, new, stored)
        return f"pg_catalog.jsonb_typeof({VALUE}::jsonb) = '{kind}'" + (
            f" AND {inner}" if inner and kind == "number" else ""
        )
    if old in _TEXTS and new not in _TEXTS:
        return f"pg_catalog.pg_input_is_valid(({VALUE})::text, {quote_literal(stored)})"
    exact = new == "numeric" and "(" in stored and shown != stored
    if _wide(old) > _wide(new) > 0 or (exact and _wide(old)):
        return _number(f"({VALUE})", new, stored)
    return ""


_WIDTHS: Final = {
    "smallint": 1, "integer": 2, "bigint": 3, "real": 4, "double precision": 5, "numeric": 6,
    "money": 0,
}  # fmt: skip


def _wide(name: str) -> int:
    return _WIDTHS.get(name, 0)


def _number(value: str, new: str, stored: str) -> str:
    if new in _RANGES:
        low, high = _RANGES[new]
        return f"({value})::numeric BETWEEN {low} AND {high}"
    if new in _FLOATS or "(" in stored:
        return f"pg_catalog.pg_input_is_valid(({value})::text, {quote_literal(stored)})"
    return ""
