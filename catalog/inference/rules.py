"""The rules: from the kinds seen at one path to a PostgreSQL type (docs/types.md states them).

One type gives that type; integers with doubles give double precision while every integer is a
double, else numeric; text and ObjectIds give text; anything else mixed gives jsonb, which holds
every value as it was. Null and missing are NULL of any type.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from catalog.inference.csv_text import MASK_TYPES
from catalog.inference.kinds import (
    CELLS,
    DOUBLES,
    INTEGERS,
    NUMBERS,
    PHYSICAL_TYPES,
    SPECIALS,
    TEXTS,
    Kind,
)
from catalog.inference.statistics import PathStats

JSONB: Final = "jsonb"
BIGINT: Final = "bigint"
DOUBLE: Final = "double precision"
NUMERIC: Final = "numeric"
TEXT: Final = "text"
BOOLEAN: Final = "boolean"

# The families that count as one type each in events; the order is that of ties.
FAMILIES: Final[dict[Kind, str]] = {
    **dict.fromkeys(NUMBERS, "number"),
    **dict.fromkeys(TEXTS, "string"),
    **dict.fromkeys(CELLS, "cell"),
    **{kind: kind.name.lower() for kind in PHYSICAL_TYPES},
    Kind.BOOL: "bool",
    Kind.EXTENDED: "extended",
    Kind.OBJECT: "object",
    Kind.ARRAY: "array",
}


@dataclass(frozen=True, slots=True)
class TypeChoice:
    """The type of one path. `physical`: JSON has no form for it, so it needs a real column.

    `known` is False if only nulls were seen. `mixed` says that kinds of several families met, and
    `families` counts them. `element` is set for arrays that became a PostgreSQL array.
    """

    pg_type: str
    physical: bool = False
    known: bool = True
    mixed: bool = False
    families: tuple[tuple[str, int], ...] = ()


UNKNOWN: Final = TypeChoice(JSONB, known=False)


def choose_type(node: PathStats) -> TypeChoice:
    """The type of a path, arrays included."""
    kinds = set(node.counts) - {Kind.NULL}
    if not kinds:
        return UNKNOWN
    if kinds == {Kind.ARRAY}:
        # Arrays that were not looked into (inside of elements, beyond a limit) are jsonb.
        return choose_array(node.element) if node.arrays else TypeChoice(JSONB)
    return _choose_scalar(kinds, node)


def _choose_scalar(kinds: set[Kind], node: PathStats) -> TypeChoice:
    if kinds <= NUMBERS:
        return choose_number(kinds)
    if kinds <= TEXTS:
        return TypeChoice(TEXT)
    if kinds <= CELLS:
        return _choose_cells(kinds, node.cells)
    if kinds <= TEXTS | CELLS:  # cells beside strings: a CSV file with quoted empty cells
        return TypeChoice(TEXT)
    if len(kinds) == 1:
        (kind,) = kinds
        if kind in PHYSICAL_TYPES:
            return TypeChoice(PHYSICAL_TYPES[kind], physical=True)
        return TypeChoice(BOOLEAN if kind is Kind.BOOL else JSONB)
    return TypeChoice(JSONB, mixed=True, families=families(node.counts))


def choose_number(kinds: set[Kind]) -> TypeChoice:
    """The narrowest type that holds all these numbers exactly."""
    if kinds <= INTEGERS:
        return TypeChoice(BIGINT)
    physical = bool(kinds & SPECIALS)
    return TypeChoice(DOUBLE if kinds <= DOUBLES else NUMERIC, physical=physical)


def _choose_cells(kinds: set[Kind], cells: Mapping[int, int]) -> TypeChoice:
    """The type whose canonical text all cells are; text otherwise."""
    if Kind.CSV not in kinds:
        return TypeChoice(TEXT, known=False)
    common = -1
    for mask in cells:
        common &= mask
    for bit, pg_type in MASK_TYPES:
        if common & bit:
            return TypeChoice(pg_type, physical=pg_type in PHYSICAL_TYPES.values())
    return TypeChoice(TEXT)


def choose_array(element: PathStats | None) -> TypeChoice:
    """An array of scalars of one type is a PostgreSQL array; any other is jsonb."""
    if element is None:
        return UNKNOWN
    kinds = set(element.counts) - {Kind.NULL}
    if not kinds:
        return UNKNOWN
    if kinds <= {Kind.OBJECT, Kind.ARRAY, Kind.EXTENDED}:
        mixed = len(kinds) > 1
        return TypeChoice(JSONB, mixed=mixed, families=families(element.counts) if mixed else ())
    choice = _choose_scalar(kinds, element)
    if choice.pg_type == JSONB:
        return choice
    return TypeChoice(f"{choice.pg_type}[]", physical=choice.physical)


def holds_documents(node: PathStats) -> bool:
    """True if all values are arrays whose elements are documents: a child table."""
    kinds = node.counts.keys() - {Kind.NULL}
    if kinds != {Kind.ARRAY} or node.element is None:
        return False
    return node.element.counts.keys() - {Kind.NULL} == {Kind.OBJECT}


def holds_fields(node: PathStats) -> bool:
    """True if all values are documents: dotted columns."""
    return node.counts.keys() - {Kind.NULL} == {Kind.OBJECT}


def families(counts: Mapping[Kind, int]) -> tuple[tuple[str, int], ...]:
    """How many values of each family, most frequent first."""
    sums: dict[str, int] = {}
    for kind, count in counts.items():
        if kind in FAMILIES:
            sums[FAMILIES[kind]] = sums.get(FAMILIES[kind], 0) + count
    return tuple(sorted(sums.items(), key=lambda item: (-item[1], item[0])))
