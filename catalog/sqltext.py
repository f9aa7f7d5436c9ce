"""Quoting of identifiers and literals, and the fixed schema names."""

from __future__ import annotations

STORE_SCHEMA = "morph_store"
SYSTEM_SCHEMA = "morph"
PUBLIC = "public"
RESERVED_PREFIX = "morph_"


def quote_ident(name: str) -> str:
    """The identifier, always in double quotes (valid for every name but the empty one)."""
    return '"' + name.replace('"', '""') + '"'


def quote_literal(value: str) -> str:
    """The text as a literal that means the same under every standard_conforming_strings."""
    quoted = value.replace("'", "''")
    if "\\" in quoted:
        return " E'" + quoted.replace("\\", "\\\\") + "'"
    return f"'{quoted}'"


def shape_schema(version: int) -> str:
    """The namespace that clients see for a version."""
    return f"v{version}"


def view_schema(version: int) -> str:
    """The reserved schema with the version views that reads are spliced to."""
    return f"morph_v{version}"


def whole_schema(version: int) -> str:
    """The reserved schema with the version views that also show `_doc` and what writes need."""
    return f"morph_w{version}"


def reserved_schema(name: str) -> bool:
    """True for schemas that client SQL must not name."""
    return name.startswith(RESERVED_PREFIX)


def text_array(path: tuple[str, ...]) -> str:
    """A text[] literal expression for a path."""
    return "ARRAY[" + ", ".join(quote_literal(p) for p in path) + "]::text[]"
