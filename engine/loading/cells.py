"""CSV cells on their way to typed values.

A cell is a string in the document until its column has a type; then boolean and number cells become
JSON booleans and numbers, so that the column is read like any other field.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Final

from backends.embedded.fitting import FLOATS, INT_RANGES, base_of
from backends.files.json_text import to_json
from backends.files.records import RawDocument
from catalog.inference.csv_text import FLOAT8, INT8, NUMERIC, cell_mask
from catalog.inference.infer import InferredTable
from catalog.inference.kinds import CsvCell, Kind, Typed, float_or_decimal
from catalog.inference.statistics import TableStats

CELL_KIND: Final = Kind.CSV.name.lower()
_NUMBERS: Final = frozenset({"numeric", *INT_RANGES, *FLOATS})
_NUMBER_MASK: Final = INT8 | FLOAT8 | NUMERIC
_NEGATIVE_ZERO: Final = Typed(Kind.FLOAT_SPECIAL, "-0", '{"$numberDouble":"-0.0"}')
_BOOLEANS: Final = {"true": True, "false": False}


def typed_cells(document: RawDocument, types: Mapping[str, str]) -> RawDocument:
    """The document with cells as values of the columns that exist; a cell that does not fit stays
    text. `types` are the columns' types by field; other fields are left alone.
    """
    value: dict[str, Any] = dict(document.value)
    for key, cell in value.items():
        if type(cell) is CsvCell and cell and key in types:
            value[key] = _typed(cell, base_of(types[key]))
    return document._replace(text=to_json(value), value=value)


def _typed(cell: CsvCell, base: str) -> Any:
    if base == "boolean":
        return _BOOLEANS.get(cell, str(cell))
    if base in _NUMBERS and (mask := cell_mask(cell)) & _NUMBER_MASK:
        if mask & INT8:
            return int(cell)
        return _NEGATIVE_ZERO if not cell.strip("-0.") else float_or_decimal(cell)
    return str(cell)


def exact_cells(inferred: InferredTable, stats: TableStats) -> InferredTable:
    """Columns of doubles with a cell that a JSON number would change (-0) become physical."""
    columns = []
    for column in inferred.columns:
        node = stats.path(column.path)
        if column.pg_type == "double precision" and node and _only_doubles(node.cells):
            column = replace(column, physical=True)
        columns.append(column)
    return replace(inferred, columns=tuple(columns))


def _only_doubles(masks: Iterable[int]) -> bool:
    return any(mask & FLOAT8 and not mask & NUMERIC for mask in masks)


def cell_columns(inferred: InferredTable) -> dict[str, str]:
    """The fields whose cells are to become JSON values, with their types."""
    return {
        column.path[0]: column.pg_type
        for column in inferred.columns
        if CELL_KIND in column.counts
        and not column.physical
        and (column.pg_type == "boolean" or column.pg_type in _NUMBERS)
    }
