"""What PostgreSQL's casts do to values, by pairs of types: facts measured by casting probe values
of each type to each other and back (7,990 probes; docs/changes/change_type.md).

"lossless" is a statement about the probes, not a proof; a change of the text alone (1 to 1.00)
counts as lossy. "checked": some values are errors, the others come back. Pairs of these types that
are not here have no cast.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, Literal

Coercion = Literal[
    "lossless",
    "lossless-oneway",
    "lossy",
    "checked",
    "checked-lossy",
    "never",
    "impossible",
    "unmeasured",
]

_MEASURED: Final[Mapping[str, Mapping[Coercion, tuple[str, ...]]]] = {
    "boolean": {
        "lossless": ("integer", "text", "character varying(10)", "character(5)"),
    },
    "smallint": {
        "lossless": (
            "integer",
            "bigint",
            "real",
            "double precision",
            "numeric",
            "numeric(10,2)",
            "numeric(5,0)",
            "text",
            "character varying(10)",
        ),
        "lossy": ("character(5)",),
        "lossless-oneway": ("oid",),
    },
    "integer": {
        "lossy": ("boolean", "real", "character varying(10)", "character(5)", "bit(8)"),
        "checked": ("smallint", "numeric(10,2)", "numeric(5,0)"),
        "lossless": ("bigint", "double precision", "numeric", "text", "oid"),
        "lossless-oneway": ("money",),
    },
    "bigint": {
        "checked": ("smallint", "integer", "numeric(10,2)", "numeric(5,0)", "money", "oid"),
        "lossy": ("real", "double precision", "character varying(10)", "character(5)", "bit(8)"),
        "lossless": ("numeric", "text"),
    },
    "real": {
        "checked-lossy": ("smallint", "integer", "bigint", "numeric(10,2)", "numeric(5,0)"),
        "lossless": ("double precision", "text"),
        "lossy": ("numeric", "character(5)"),
        "lossless-oneway": ("character varying(10)",),
    },
    "double precision": {
        "checked-lossy": ("smallint", "integer", "bigint", "real", "numeric(10,2)", "numeric(5,0)"),
        "lossy": ("numeric", "character varying(10)", "character(5)"),
        "lossless": ("text",),
    },
    "numeric": {
        "checked-lossy": (
            "smallint",
            "integer",
            "bigint",
            "numeric(10,2)",
            "numeric(5,0)",
            "money",
        ),
        "lossy": ("real", "double precision", "character varying(10)", "character(5)"),
        "lossless": ("text",),
    },
    "numeric(10,2)": {
        "checked-lossy": ("smallint", "numeric(5,0)"),
        "lossy": ("integer", "bigint", "character varying(10)", "character(5)"),
        "lossless-oneway": ("real",),
        "lossless": ("double precision", "numeric", "text", "money"),
    },
    "numeric(5,0)": {
        "checked": ("smallint",),
        "lossless": (
            "integer",
            "bigint",
            "real",
            "double precision",
            "numeric",
            "numeric(10,2)",
            "text",
            "character varying(10)",
            "character(5)",
            "money",
        ),
    },
    "text": {
        "checked-lossy": (
            "boolean",
            "smallint",
            "integer",
            "bigint",
            "real",
            "double precision",
            "numeric",
            "numeric(10,2)",
            "numeric(5,0)",
            "date",
            "time without time zone",
            "time with time zone",
            "timestamp without time zone",
            "timestamp with time zone",
            "interval",
            "jsonb",
            "cidr",
            "bit(8)",
            "money",
            "oid",
        ),
        "lossy": ("character varying(10)", "character(5)", "bytea"),
        "checked": (
            "uuid",
            "json",
            "inet",
            "bit varying",
            "integer[]",
            "bigint[]",
            "text[]",
            "jsonb[]",
        ),
        "never": ("macaddr", "point"),
    },
    "character varying(10)": {
        "checked": (
            "boolean",
            "smallint",
            "date",
            "time without time zone",
            "timestamp without time zone",
            "timestamp with time zone",
            "json",
            "jsonb",
            "bit varying",
        ),
        "checked-lossy": (
            "integer",
            "bigint",
            "real",
            "double precision",
            "numeric",
            "numeric(10,2)",
            "numeric(5,0)",
            "time with time zone",
            "interval",
            "cidr",
            "bit(8)",
            "money",
            "oid",
        ),
        "lossless": ("text",),
        "lossy": ("character(5)", "bytea"),
        "never": ("uuid", "inet", "macaddr", "integer[]", "bigint[]", "text[]", "jsonb[]", "point"),
    },
    "character(5)": {
        "checked": (
            "boolean",
            "smallint",
            "integer",
            "bigint",
            "real",
            "double precision",
            "numeric",
            "numeric(5,0)",
            "json",
            "jsonb",
            "oid",
        ),
        "checked-lossy": ("numeric(10,2)", "interval", "money"),
        "lossless": ("text", "character varying(10)"),
        "lossy": ("bytea",),
        "never": (
            "date",
            "time without time zone",
            "time with time zone",
            "timestamp without time zone",
            "timestamp with time zone",
            "uuid",
            "inet",
            "cidr",
            "macaddr",
            "bit(8)",
            "bit varying",
            "integer[]",
            "bigint[]",
            "text[]",
            "jsonb[]",
            "point",
        ),
    },
    "bytea": {
        "lossless": ("text",),
        "lossy": ("character varying(10)",),
        "lossless-oneway": ("character(5)",),
    },
    "date": {
        "lossless": ("text", "timestamp without time zone", "timestamp with time zone"),
        "lossy": ("character varying(10)",),
        "lossless-oneway": ("character(5)",),
    },
    "time without time zone": {
        "lossless": ("text", "time with time zone"),
        "lossy": ("character varying(10)", "character(5)", "interval"),
    },
    "time with time zone": {
        "lossless": ("text",),
        "lossy": ("character varying(10)", "character(5)", "time without time zone"),
    },
    "timestamp without time zone": {
        "lossless": ("text", "timestamp with time zone"),
        "lossy": ("character varying(10)", "date"),
        "lossless-oneway": ("character(5)", "time without time zone"),
    },
    "timestamp with time zone": {
        "lossless": ("text", "timestamp without time zone"),
        "lossy": ("character varying(10)", "date"),
        "lossless-oneway": ("character(5)", "time without time zone", "time with time zone"),
    },
    "interval": {
        "lossless": ("text",),
        "lossy": ("character varying(10)", "time without time zone"),
        "lossless-oneway": ("character(5)",),
    },
    "uuid": {
        "lossless": ("text",),
        "lossless-oneway": ("character varying(10)", "character(5)"),
    },
    "json": {
        "lossless": ("text",),
        "lossy": ("character varying(10)", "character(5)", "jsonb"),
    },
    "jsonb": {
        "checked": (
            "boolean",
            "smallint",
            "integer",
            "bigint",
            "real",
            "double precision",
            "numeric",
            "numeric(10,2)",
            "numeric(5,0)",
        ),
        "lossless": ("text", "json"),
        "lossy": ("character varying(10)", "character(5)"),
    },
    "inet": {
        "lossless": ("text",),
        "lossless-oneway": ("character varying(10)",),
        "lossy": ("character(5)", "cidr"),
    },
    "cidr": {
        "lossless": ("text", "inet"),
        "lossless-oneway": ("character varying(10)",),
        "lossy": ("character(5)",),
    },
    "macaddr": {
        "lossless": ("text",),
        "lossless-oneway": ("character varying(10)", "character(5)"),
    },
    "bit(8)": {
        "lossless": ("integer", "bigint", "text", "character varying(10)", "bit varying"),
        "lossy": ("character(5)",),
    },
    "bit varying": {
        "lossless": ("text", "character varying(10)"),
        "lossy": ("character(5)", "bit(8)"),
    },
    "money": {
        "lossless": ("numeric", "text"),
        "checked": ("numeric(10,2)",),
        "checked-lossy": ("numeric(5,0)",),
        "lossy": ("character varying(10)", "character(5)"),
    },
    "oid": {
        "lossless": ("integer", "bigint", "text", "character varying(10)"),
        "lossy": ("character(5)",),
    },
    "integer[]": {
        "lossless": ("text", "bigint[]", "text[]"),
        "lossless-oneway": ("character varying(10)", "character(5)"),
    },
    "bigint[]": {
        "lossless": ("text", "text[]"),
        "lossless-oneway": ("character varying(10)", "character(5)"),
        "checked": ("integer[]",),
    },
    "text[]": {
        "lossless": ("text",),
        "lossless-oneway": ("character varying(10)", "character(5)"),
        "checked": ("integer[]", "bigint[]", "jsonb[]"),
    },
    "jsonb[]": {
        "lossless": ("text", "text[]"),
        "lossless-oneway": ("character varying(10)", "character(5)"),
        "checked": ("integer[]", "bigint[]"),
    },
    "point": {
        "lossless": ("text", "character varying(10)", "character(5)"),
    },
}
_LENGTH: Final = re.compile(r"\((\d+)(?:,\s*(-?\d+))?\)")
_STAND_INS: Final[Mapping[str, str]] = {
    "character varying": "character varying(10)",
    "character": "character(5)",
    "bit": "bit(8)",
    "bit varying": "bit varying",
    "numeric": "numeric(10,2)",
}


def coercion(source: str, target: str) -> Coercion:
    """What a cast does to values, by types as format_type() prints them; "unmeasured" for types
    that the facts are not about.
    """
    if source == target:
        return "lossless"
    if _name(source) == _name(target) and (length := _lengths(source, target)) is not None:
        return length
    measured = {_known(t) for t in (source, target)}
    if not all(
        t in _MEASURED or any(t in d for c in _MEASURED.values() for d in c.values())
        for t in measured
    ):
        return "unmeasured"
    for found, targets in _MEASURED.get(_known(source), {}).items():
        if _known(target) in targets:
            return found
    return "impossible"


def _name(sql_type: str) -> str:
    return _LENGTH.sub("", sql_type).strip()


def _known(sql_type: str) -> str:
    """The measured type that stands for it."""
    if sql_type in _MEASURED or not _LENGTH.search(sql_type):
        return sql_type
    return _STAND_INS.get(_name(sql_type), _name(sql_type))


def _lengths(source: str, target: str) -> Coercion | None:
    """Between two lengths of one type; None when that does not say it."""
    old, new = _LENGTH.search(source), _LENGTH.search(target)
    if new is None:
        return "lossless"
    if _name(source) == "numeric":
        if old is None:
            return "checked-lossy"
        whole = [int(m[1]) - int(m[2] or 0) for m in (old, new)]
        scales = [int(m[2] or 0) for m in (old, new)]
        if scales[1] < scales[0]:
            return "lossy" if whole[1] > whole[0] else "checked-lossy"
        return "lossless" if whole[1] >= whole[0] else "checked"
    if "time" in source or source.startswith("interval"):
        return "lossless" if old is not None and int(new[1]) >= int(old[1]) else "lossy"
    return "lossless" if old is not None and int(new[1]) >= int(old[1]) else "checked"
