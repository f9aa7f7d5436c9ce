"""The arguments of CALL morph.promote, rollback, hold, … : constants, by place or by name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from core.errors import FeatureNotSupported, InvalidParameterValue, UndefinedFunction
from rewrite.tree import Node, ast

NUMBER: Final = "number"
FLAG: Final = "flag"
TEXT: Final = "text"
TEXTS: Final = "texts"
_VALUES: Final = {NUMBER: "ival", FLAG: "boolval", TEXT: "sval"}
_NODES: Final = {NUMBER: ast.Integer, FLAG: ast.Boolean, TEXT: ast.String}
_WORDS: Final = {
    NUMBER: "the number of a version",
    FLAG: "{0} as true or false",
    TEXT: "{0} as a text",
    TEXTS: "{0} as ARRAY['…', '…']",
}
_EMPTY: Final[dict[str, Any]] = {NUMBER: 0, FLAG: False, TEXT: "", TEXTS: ()}

ARGUMENTS: Final[dict[str, tuple[tuple[str, str], ...]]] = {
    "promote": (("change", NUMBER), ("lazy", FLAG)),
    "rollback": (("change", NUMBER), ("accept", FLAG)),
    "check_rollback": (("change", NUMBER),),
    "hold": (("change", NUMBER),),
    "resume": (("change", NUMBER),),
    "discard": (("change", NUMBER),),
    "contract": (("change", NUMBER),),
    "validate": (("change", NUMBER), ("method", TEXT), ("queries", TEXTS)),
    "repair": (("change", NUMBER), ("report", NUMBER)),
}
"""Procedure → its arguments and their kinds; the first must be given."""


@dataclass(frozen=True, slots=True)
class Arguments:
    """What a call was given; what it was not is empty."""

    change: int
    lazy: bool = False
    accept: bool = False
    method: str = ""
    report: int = 0
    queries: tuple[str, ...] = ()


def read_arguments(node: Node, name: str) -> Arguments:
    """The arguments of a CALL. UndefinedFunction (42883) for others than the procedure has,
    InvalidParameterValue (22023) for another type, FeatureNotSupported (0A000) for no constant.
    """
    known = dict(ARGUMENTS[name])
    places = list(known)
    values: dict[str, Any] = {}
    given = node.funccall.args or ()
    for place, argument in enumerate(given):
        key = places[place] if place < len(places) else ""
        if isinstance(argument, ast.NamedArgExpr):
            key, argument = argument.name, argument.arg
        if key in known and key not in values:
            values[key] = _constant(argument, key, known[key], name)
    if len(values) != len(given) or "change" not in values:
        wanted = _WORDS[NUMBER] if len(places) == 1 else " and ".join(places)
        raise UndefinedFunction(f"morph.{name} takes {wanted}")
    return Arguments(**values)


def _constant(argument: Node, key: str, kind: str, name: str) -> Any:
    while isinstance(argument, ast.TypeCast):
        argument = argument.arg
    if kind == TEXTS and isinstance(argument, ast.A_ArrayExpr):
        members = argument.elements or ()
        return tuple(_constant(member, key, TEXT, name) for member in members)
    if kind == TEXTS:
        raise InvalidParameterValue(f"morph.{name} takes {_WORDS[kind].format(key)}")
    value = getattr(argument, "val", None)
    if value is None:
        raise FeatureNotSupported(f"morph.{name} takes a constant")
    if not isinstance(value, _NODES[kind]):
        raise InvalidParameterValue(f"morph.{name} takes {_WORDS[kind].format(key)}")
    # pglast leaves out what is zero, false or empty
    return getattr(value, _VALUES[kind], None) or _EMPTY[kind]
