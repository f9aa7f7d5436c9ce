"""CALL morph.<procedure> of operators that ALTER TABLE has no words for: what they take.

Arguments are texts that are written out, by place or by name; sets of columns are array literals or
JSON objects in a text.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

from catalog.model import Column, Lens, Table
from core.encoding.arrays import parse_array_text
from core.errors import BadCopyFormat, InvalidParameterValue, UndefinedFunction
from rewrite.tree import Node, ast

OPTIONAL: Final = "?"
ARGUMENTS: Final[Mapping[str, tuple[str, ...]]] = {
    "split_column": ("relation", "column_name", "parts", "back"),
    "merge_columns": ("relation", "column_name", "expression", "back"),
    "nest_columns": ("relation", "column_name", "columns"),
    "unnest_column": ("relation", "column_name", "columns"),
    "split_table": ("relation", "part", "predicate", "rest?", "rest_predicate?"),
    "merge_tables": ("relation", "other", "result"),
    "decompose_table": ("relation", "part", "columns"),
    "join_tables": ("relation", "other", "result"),
}
"""Procedure → its arguments; what may be left out ends in OPTIONAL."""


class Reshape(Protocol):
    """Columns instead of others: what PostgreSQL judges, and what the model gets."""

    @property
    def kind(self) -> str:
        """The name under which it is recorded."""
        ...

    @property
    def unders(self) -> tuple[Column, ...]:
        """The columns that the new version does not show."""
        ...

    @property
    def names(self) -> list[str]:
        """The names of the new columns."""
        ...

    def alter_text(self, table: Table) -> str:
        """The ALTER TABLE for the scratch copy."""
        ...

    def carry_out(
        self, table: Table, shown: Sequence[Column], new_id: Callable[[], int]
    ) -> tuple[list[Column], Lens | None, list[str]]:
        """The new columns as the version shows them (`shown` have their ids), the lens they are
        read through if they need one, and statements for the store.
        """
        ...


def call_arguments(node: Node) -> tuple[str, dict[str, str]]:
    """The procedure and its arguments by name. UndefinedFunction (42883) for others."""
    name = str(node.funccall.funcname[-1].sval)
    names = [n.removesuffix(OPTIONAL) for n in ARGUMENTS[name]]
    needed = {n for n in ARGUMENTS[name] if not n.endswith(OPTIONAL)}
    values: dict[str, str] = {}
    for number, argument in enumerate(node.funccall.args or ()):
        key = names[number] if number < len(names) else ""
        if isinstance(argument, ast.NamedArgExpr):
            key, argument = argument.name, argument.arg
        text = _text(argument)
        if key not in names or key in values or text is None:
            raise _unknown(name)
        values[key] = text
    if not needed <= set(values):
        raise _unknown(name)
    return name, values


def _unknown(name: str) -> UndefinedFunction:
    names = [n.removesuffix(OPTIONAL) for n in ARGUMENTS[name] if not n.endswith(OPTIONAL)]
    more = [n.removesuffix(OPTIONAL) for n in ARGUMENTS[name] if n.endswith(OPTIONAL)]
    told = f", and may take {', '.join(more)}" if more else ""
    return UndefinedFunction(f"morph.{name} takes the texts {', '.join(names)}{told}")


def _text(argument: Node) -> str | None:
    while isinstance(argument, ast.TypeCast):
        argument = argument.arg
    text: str | None = getattr(getattr(argument, "val", None), "sval", None)
    return text


def read_names(text: str, key: str) -> list[str]:
    """The names of an array literal. InvalidParameterValue (22023) for anything else."""
    try:
        found = parse_array_text(text) if text.strip().startswith("{") else None
    except BadCopyFormat:
        found = None
    names = [n for n in found.elements if n] if found is not None else []
    if found is None or not names or len(names) < len(found.elements) or len(found.bounds) != 1:
        raise InvalidParameterValue(
            f"{key} must be an array of names", hint="For example '{street,city}'."
        )
    if len(set(names)) < len(names):
        raise InvalidParameterValue(f"{key} names a column twice")
    return names


def read_types(text: str, key: str) -> dict[str, str]:
    """Names and types: of a JSON object, or of an array literal, whose columns are of type text."""
    try:
        found = json.loads(text)
    except ValueError:
        return dict.fromkeys(read_names(text, key), "text")
    if (
        not isinstance(found, dict)
        or not found
        or not all(k and isinstance(v, str) for k, v in found.items())
    ):
        raise InvalidParameterValue(
            f"{key} must be an array of names, or a JSON object of names and types",
            hint='For example \'{street,city}\' or \'{"street": "text", "number": "integer"}\'.',
        )
    return found
