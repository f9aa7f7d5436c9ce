"""Does what a later load brought still fit the column? `widen` judges, the caller acts.

A column's type only ever grows within the family of numbers, where every old and new value stays
exactly itself. A value of another family is a misfit: changing the type under the clients would
break their queries, so the loader keeps the value in the document, counts it and tells.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Final, Literal

from catalog.inference.csv_text import MASK_TYPES
from catalog.inference.csv_text import NUMERIC as NUMERIC_CELL
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
from catalog.inference.rules import (
    BIGINT,
    BOOLEAN,
    DOUBLE,
    JSONB,
    NUMERIC,
    TEXT,
    choose_number,
    choose_type,
)
from catalog.inference.statistics import PathStats

_NULLS: Final = frozenset({Kind.NULL, Kind.EMPTY})
_ALL: Final = frozenset(Kind)

# The kinds whose every value a type holds exactly (specials need a physical column).
EXACT_KINDS: Final[dict[str, AbstractSet[Kind]]] = {
    BIGINT: INTEGERS,
    DOUBLE: DOUBLES,
    NUMERIC: NUMBERS,
    TEXT: TEXTS | CELLS,
    BOOLEAN: frozenset({Kind.BOOL}),
    JSONB: _ALL,
    "json": _ALL,
    **{pg_type: frozenset({kind}) for kind, pg_type in PHYSICAL_TYPES.items()},
}

# Types that inference never chooses: the family is judged here, the value by PostgreSQL's cast.
FAMILY_KINDS: Final[dict[str, AbstractSet[Kind]]] = {
    "smallint": INTEGERS,
    "integer": INTEGERS,
    "real": DOUBLES,
    NUMERIC: NUMBERS,
    "character varying": TEXTS | CELLS,
    "character": TEXTS | CELLS,
    **{pg_type: frozenset({kind}) for kind, pg_type in PHYSICAL_TYPES.items()},
}

ALIASES: Final = {
    "int8": BIGINT,
    "int4": "integer",
    "int2": "smallint",
    "float8": DOUBLE,
    "float4": "real",
    "bool": BOOLEAN,
    "decimal": NUMERIC,
    "varchar": "character varying",
    "timestamptz": "timestamp with time zone",
    "timestamp": "timestamp without time zone",
    "time": "time without time zone",
}

_MODIFIER: Final = re.compile(r" ?\([^)]*\)")  # as in numeric(10,2)

_NUMBER_KINDS: Final[Mapping[str, frozenset[Kind]]] = {
    BIGINT: INTEGERS,
    DOUBLE: frozenset({Kind.FLOAT}),
    NUMERIC: frozenset({Kind.DECIMAL}),
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """`fits`: nothing to do. `widened`: give the column `pg_type` (and a physical column, if so).

    `misfit`: `misfits` values do not fit and the type stays. `certain` is False for types that
    inference never chooses: the kinds fit, but only a cast tells about each value.
    """

    outcome: Literal["fits", "widened", "misfit"]
    pg_type: str
    physical: bool
    misfits: int = 0
    certain: bool = True


def widen(
    existing: str, new: PathStats, *, physical: bool = False, old: PathStats | None = None
) -> Verdict:
    """Judge the values of `new` against a column of type `existing`.

    `old`, if the caller has it, says what the column holds so far: then integers that are all
    doubles may widen to double precision, and a column that held nothing takes the new type.
    """
    choice = choose_type(new)
    if old is not None and choice.known and not choose_type(old).known:
        same = choice.pg_type == _canonical(existing) and physical >= choice.physical
        return Verdict("fits" if same else "widened", choice.pg_type, choice.physical or physical)
    base = _canonical(existing)
    if not base.endswith("[]"):
        return _judge(existing, base, new, physical, old)
    others = sum(new.counts.values()) - _count(new.counts, {Kind.ARRAY, *_NULLS})
    if new.element is None or others:
        return Verdict("misfit" if others else "fits", existing, physical, others)
    below = old.element if old else None
    verdict = _judge(base[:-2], base[:-2], new.element, physical, below)
    pg_type = existing if verdict.outcome != "widened" else f"{verdict.pg_type}[]"
    return Verdict(verdict.outcome, pg_type, verdict.physical, verdict.misfits, verdict.certain)


def _judge(
    existing: str, base: str, new: PathStats, physical: bool, old: PathStats | None
) -> Verdict:
    certain = base in EXACT_KINDS
    kinds = EXACT_KINDS.get(base) or FAMILY_KINDS.get(_MODIFIER.sub("", base), frozenset())
    if not physical and base != JSONB:
        kinds = kinds - SPECIALS
    misfits = new.total - _count(new.counts, kinds | _NULLS | {Kind.CSV})
    if Kind.CSV in new.counts and Kind.CSV not in kinds:
        misfits += _cell_misfits(base, new.cells)
    if not misfits:
        return Verdict("fits", existing, physical, certain=certain)
    return _wider(base, new, physical, old) or Verdict("misfit", existing, physical, misfits)


def _cell_misfits(base: str, cells: Mapping[int, int]) -> int:
    """CSV cells that are not the canonical text of a value of the type."""
    bit = next((bit for bit, pg_type in MASK_TYPES if pg_type == base), 0)
    return sum(count for mask, count in cells.items() if not mask & bit)


def _wider(base: str, new: PathStats, physical: bool, old: PathStats | None) -> Verdict | None:
    """The number type that holds the old values and the new ones, if both are numbers."""
    if base not in _NUMBER_KINDS:
        return None
    kinds = new.counts.keys() - _NULLS
    if kinds == {Kind.CSV} and base == BIGINT and all(mask & NUMERIC_CELL for mask in new.cells):
        return Verdict("widened", NUMERIC, physical)
    if not kinds <= NUMBERS:
        return None
    held = _NUMBER_KINDS[base] if old is None else frozenset(old.counts.keys() & NUMBERS)
    choice = choose_number(set(held | kinds))
    return Verdict("widened", choice.pg_type, choice.physical or physical)


def _count(counts: Mapping[Kind, int], kinds: AbstractSet[Kind]) -> int:
    return sum(count for kind, count in counts.items() if kind in kinds)


def _canonical(pg_type: str) -> str:
    """The type as format_type() prints it."""
    brackets = "[]" if pg_type.endswith("[]") else ""
    name = pg_type.removesuffix("[]").strip()
    return ALIASES.get(name, name) + brackets
