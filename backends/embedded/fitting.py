"""Does a JSON value fit a type, and the value as that type: SQL over jsonb expressions.

`fits` is what `catalog.inference.widen` says in counts, for a single value and for every type that
a client can declare: exactly representable, not merely castable (1.234 does not fit numeric(10,2),
'now' is no date). A value is a jsonb expression and, where JSON has no form for it, its text.
All expressions are safe to evaluate on any value.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from catalog.sqltext import quote_literal

INT_RANGES: Final = {
    "smallint": (-(2**15), 2**15 - 1),
    "integer": (-(2**31), 2**31 - 1),
    "bigint": (-(2**63), 2**63 - 1),
}
FLOATS: Final = ("real", "double precision")
EXTENDED: Final = {
    "timestamp with time zone": "$date",
    "uuid": "$uuid",
    "bytea": "$binary",
}
_TEXTS: Final = ("text", "character varying", "character", "bpchar", "name", "citext")
_MODIFIER: Final = re.compile(r" ?\([^)]*\)")
# Input that PostgreSQL takes but that is not the value: it moves with the clock, or has parts (a
# time, a zone, nanoseconds) that the type would drop.
_MOVING: Final = "^\\s*(now|today|tomorrow|yesterday|allballs|epoch)|[.][0-9]{7}"
_DROPPED: Final = {
    "date": "|:",
    "timestamp without time zone": "|:.*[Zz+-]",
    "time without time zone": "|[Zz+-]",
}


@dataclass(frozen=True, slots=True)
class Value:
    """A jsonb expression, and the expression of its special text ("" if there is none).

    `specials`: a text like "NaN" stands for the number (readers take it so).
    """

    json: str
    special: str = ""
    specials: bool = False

    @property
    def text(self) -> str:
        """The value as PostgreSQL's input text."""
        plain = f"({self.json} #>> '{{}}')"
        return f"coalesce({self.special}, {plain})" if self.special else plain

    @property
    def is_null(self) -> str:
        """True for missing and for null."""
        return f"coalesce({self.json}, 'null'::jsonb) = 'null'::jsonb"


def base_of(pg_type: str) -> str:
    """The type without its modifier."""
    return _MODIFIER.sub("", pg_type)


def _typeof(value: Value, name: str) -> str:
    return f"pg_catalog.jsonb_typeof({value.json}) = '{name}'"


def _valid(text: str, pg_type: str) -> str:
    valid = f"pg_catalog.pg_input_is_valid({text}, {quote_literal(pg_type)})"
    base = base_of(pg_type)
    if not base.startswith(("date", "time")):
        return valid
    return f"({valid} AND {text} !~* {quote_literal(_MOVING + _DROPPED.get(base, ''))})"


def fits(value: Value, pg_type: str) -> str:
    """A condition that is true for every non-null value that fits; never NULL for those."""
    base = base_of(pg_type)
    if base in ("jsonb", "json"):
        return "true"
    if pg_type.endswith("[]"):
        return _array_fits(value, pg_type.removesuffix("[]"))
    if base == "boolean":
        return _typeof(value, "boolean")
    if base in INT_RANGES:
        return _integer_fits(value, base)
    if base == "numeric" or base in FLOATS:
        return _number_fits(value, pg_type)
    if base in _TEXTS:
        condition = _typeof(value, "string")
        return condition if base == pg_type == "text" else _and(condition, value, pg_type)
    return _other_fits(value, pg_type)


def _and(condition: str, value: Value, pg_type: str) -> str:
    return f"CASE WHEN {condition} THEN {_valid(value.text, pg_type)} ELSE false END"


def _integer_fits(value: Value, base: str) -> str:
    low, high = INT_RANGES[base]
    number = f"({value.json} #>> '{{}}')::numeric"
    return (
        f"CASE WHEN {_typeof(value, 'number')} THEN {number} BETWEEN {low} AND {high} "
        f"AND pg_catalog.trunc({number}) = {number} ELSE false END"
    )


def _number_fits(value: Value, pg_type: str) -> str:
    text = f"({value.json} #>> '{{}}')"
    exact = "true"
    if pg_type in FLOATS:
        exact = f"({text}::{pg_type})::text::numeric = {text}::numeric"
    elif pg_type != "numeric":
        exact = f"{text}::{pg_type} = {text}::numeric"
    number = (
        f"CASE WHEN {_typeof(value, 'number')} THEN CASE WHEN {_valid(text, pg_type)} "
        f"THEN {exact} ELSE false END ELSE false END"
    )
    if value.special:
        valid = _valid(value.special, pg_type)
        return f"CASE WHEN {value.special} IS NOT NULL THEN {valid} ELSE {number} END"
    if value.specials:
        return (
            f"CASE WHEN {_typeof(value, 'string')} THEN {_valid(text, pg_type)} ELSE {number} END"
        )
    return number


def _array_fits(value: Value, element: str) -> str:
    each = f"coalesce({value.special}, {value.json})" if value.special else value.json
    inside = Value("x.value")
    ok = fits(inside, element)
    if value.special:  # elements may be texts of special values
        text = "(x.value #>> '{}')"
        ok = f"CASE WHEN {value.special} IS NOT NULL THEN {_valid(text, element)} ELSE {ok} END"
    return (
        f"CASE WHEN pg_catalog.jsonb_typeof({each}) = 'array' THEN NOT EXISTS (SELECT FROM "
        f"pg_catalog.jsonb_array_elements({each}) x(value) "
        f"WHERE x.value <> 'null'::jsonb AND NOT {ok}) ELSE false END"
    )


def _other_fits(value: Value, pg_type: str) -> str:
    """Types that JSON has no form for: their text, or a string that says the same."""
    text = f"({value.json} #>> '{{}}')"
    string = _valid(text, pg_type)
    if pg_type == "bytea":
        string = f"{_valid(text, pg_type)} AND {text} ~ '^[\\\\]x'"
    plain = f"CASE WHEN {_typeof(value, 'string')} THEN {string} ELSE false END"
    if not value.special:
        return plain
    return (
        f"CASE WHEN {value.special} IS NOT NULL THEN {_valid(value.special, pg_type)} "
        f"ELSE {plain} END"
    )


def cast(value: Value, pg_type: str) -> str:
    """The value as the type, for values that fit and for nulls."""
    base = base_of(pg_type)
    if base in ("jsonb", "json"):
        return f"NULLIF({value.json}, 'null'::jsonb)::{pg_type}"
    if base in INT_RANGES:
        return f"{value.text}::numeric::{pg_type}"  # 2.0 is an integer too
    if not pg_type.endswith("[]"):
        return f"{value.text}::{pg_type}"
    each = f"coalesce({value.special}, {value.json})" if value.special else value.json
    element = pg_type.removesuffix("[]")
    read = "x.value" if element == "jsonb" else "(x.value #>> '{}')"
    return (
        f"CASE WHEN pg_catalog.jsonb_typeof({each}) = 'array' THEN ARRAY(SELECT "
        f"{read}::{element} FROM pg_catalog.jsonb_array_elements({each}) x(value)) END"
    )


def reads(value: Value, pg_type: str, *, clean: bool) -> str:
    """`fits`, for a value that stays in the document: in a form that its reader knows."""
    key = EXTENDED.get(pg_type)
    if key is not None:
        return _extended_reads(value, pg_type, key)
    if clean and base_of(pg_type) in INT_RANGES:
        # The plain reader casts the text, and 2.0 is no input of an integer type.
        digits = f"({value.json} #>> '{{}}') ~ '^-?[0-9]+$'"
        return f"({fits(value, pg_type)} AND {digits})"
    return fits(value, pg_type)


def _extended_reads(value: Value, pg_type: str, key: str) -> str:
    inner = f"({value.json} ->> '{key}')"
    ok = _valid(inner, pg_type)
    if pg_type == "bytea":
        inner = f"({value.json} #>> '{{$binary,base64}}')"
        ok = f"{inner} ~ '^[A-Za-z0-9+/]*={{0,2}}$' AND pg_catalog.length({inner}) % 4 = 0"
    return f"CASE WHEN {inner} IS NOT NULL THEN {ok} ELSE false END"


def reader_raises(value: Value, pg_type: str) -> str:
    """A condition for misfits that even the guarded reader cannot read as NULL: it would raise, or
    it would read nothing at all any more. "false" for types with a whole guard.
    """
    base = base_of(pg_type)
    if pg_type in ("text", "boolean", "jsonb", "text[]", "jsonb[]", *INT_RANGES):
        return "false"
    if base in ("numeric", *FLOATS) and not pg_type.endswith("[]"):
        valid = _valid(f"({value.json} #>> '{{}}')", pg_type)
        return f"CASE WHEN {_typeof(value, 'number')} THEN NOT {valid} ELSE false END"
    if pg_type.endswith("[]"):
        return f"CASE WHEN {_typeof(value, 'array')} THEN NOT {fits(value, pg_type)} ELSE false END"
    if (key := EXTENDED.get(pg_type)) is not None:
        ok = _extended_reads(value, pg_type, key)
        return f"CASE WHEN {value.json} ->> '{key}' IS NOT NULL THEN NOT {ok} ELSE false END"
    return f"NOT {fits(value, pg_type)}"
