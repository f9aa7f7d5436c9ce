"""What inference has to tell: every place where a column does not say all about its values.

No value of a minority type turns into NULL or into another type without one of these.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from catalog.inference.kinds import Kind
from catalog.inference.rules import NUMERIC, TEXT, TypeChoice
from catalog.inference.statistics import PathStats
from catalog.naming import Path

EventKind = Literal[
    "mixed_types",  # several types, none of them rare: the column is jsonb
    "minority_type",  # one type but for a few values: the column is jsonb all the same
    "numbers_widened",  # integers and doubles that only numeric holds all exactly
    "cells_kept_text",  # a CSV column that would have a type but for some cells
    "unknown_type",  # nothing but nulls, empty arrays or empty cells so far
    "too_deep",  # keys below depth_max stay in jsonb
    "too_wide",  # more keys or columns than the limit; the rest stays in jsonb
    "too_many_children",  # arrays of documents without a child table
    "too_many_paths",  # nodes_max reached: only top-level fields became columns
    "name_cut",  # the column's name is longer than 63 bytes
    "key_generated",  # the documents have no usable key
]

MAJORITY: Final = 0.95


@dataclass(frozen=True, slots=True)
class InferenceEvent:
    """One notice. `counts` has values by family, `firsts` the ordinal where each was first seen."""

    kind: EventKind
    path: Path
    column: str
    message: str
    counts: Mapping[str, int] = field(default_factory=dict)
    firsts: Mapping[str, int] = field(default_factory=dict)


def type_events(path: Path, name: str, node: PathStats, choice: TypeChoice) -> list[InferenceEvent]:
    """The events that the choice of a type gives."""
    source = node
    if set(node.counts) - {Kind.NULL} == {Kind.ARRAY} and node.element is not None:
        source = node.element
    if choice.mixed:
        return [_mixed(path, name, source, choice)]
    if not choice.known:
        message = f"only nulls or empty values so far, {choice.pg_type} for now"
        return [InferenceEvent("unknown_type", path, name, message, named_counts(source))]
    if choice.pg_type.startswith(NUMERIC) and len(_number_kinds(source)) > 1:
        message = "numbers of several kinds that only numeric holds all exactly"
        return [_event("numbers_widened", path, name, message, source)]
    if choice.pg_type == TEXT and Kind.CSV in source.counts:
        return _kept_text(path, name, source)
    return []


def _mixed(path: Path, name: str, node: PathStats, choice: TypeChoice) -> InferenceEvent:
    ordered = choice.families
    total = sum(count for _, count in ordered)
    shown = ", ".join(f"{family} {count}" for family, count in ordered)
    kind: EventKind = "minority_type" if ordered[0][1] >= MAJORITY * total else "mixed_types"
    return _event(kind, path, name, f"{shown}: the column is jsonb", node)


def _kept_text(path: Path, name: str, node: PathStats) -> list[InferenceEvent]:
    """Tell if almost all cells would allow another type."""
    total = sum(node.cells.values())
    text_only = sum(count for mask, count in node.cells.items() if not mask)
    if not text_only or text_only > (1 - MAJORITY) * total:
        return []
    message = f"{text_only} of {total} cells are not canonical numbers or dates: text for all"
    counts = {"typed": total - text_only, "text": text_only}
    return [InferenceEvent("cells_kept_text", path, name, message, counts)]


def _number_kinds(node: PathStats) -> set[Kind]:
    """Kinds of numbers that differ for the reader: all integers are one."""
    integers = {Kind.INT, Kind.LONG, Kind.BIGINT}
    kinds = node.counts.keys() - {Kind.NULL, Kind.CSV, Kind.EMPTY}
    return {Kind.INT if kind in integers else kind for kind in kinds}


def _event(kind: EventKind, path: Path, name: str, message: str, node: PathStats) -> InferenceEvent:
    return InferenceEvent(kind, path, name, message, named_counts(node), _firsts(node))


def _firsts(node: PathStats) -> dict[str, int]:
    return {kind.name.lower(): first for kind, first in sorted(node.firsts.items())}


def named_counts(node: PathStats) -> dict[str, int]:
    """Counts by the kind's name, for columns and reports."""
    return {kind.name.lower(): count for kind, count in sorted(node.counts.items())}
