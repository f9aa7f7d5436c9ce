"""CSV cells as values (R7.1)."""

from __future__ import annotations

from decimal import Decimal

import pytest

from backends.files.records import RawDocument
from catalog.inference.infer import infer_table
from catalog.inference.kinds import CsvCell, Typed
from catalog.inference.statistics import Observer
from engine.loading.cells import cell_columns, exact_cells, typed_cells


@pytest.mark.parametrize(
    ("cell", "pg_type", "value"),
    [
        ("5", "bigint", 5),
        ("-5", "numeric(6,2)", -5),
        ("1.50", "numeric", 1.5),
        ("0.1234567890123456789", "numeric", Decimal("0.1234567890123456789")),
        ("1e-05", "double precision", 1e-05),
        ("true", "boolean", True),
        ("yes", "boolean", "yes"),
        ("007", "bigint", "007"),
        ("x", "bigint", "x"),
        ("5", "text", "5"),
        ("2024-01-01", "date", "2024-01-01"),
    ],
)
def test_a_cell_as_its_columns_type(cell: str, pg_type: str, value: object) -> None:  # R7.1
    document = RawDocument(1, 2, "", {"a": CsvCell(cell), "b": CsvCell("9"), "c": CsvCell("")})
    typed = typed_cells(document, {"a": pg_type})
    assert typed.value["a"] == value
    assert type(typed.value["a"]) is type(value)
    assert type(typed.value["b"]) is CsvCell  # not a column yet
    assert typed.text.endswith('"b":"9","c":null}')


def test_a_negative_zero_stays_one() -> None:  # R7.1
    typed = typed_cells(RawDocument(1, 1, "", {"a": CsvCell("-0")}), {"a": "double precision"})
    assert isinstance(typed.value["a"], Typed)
    assert typed.value["a"].pg == "-0"


def test_which_columns_of_a_new_table_are_physical() -> None:  # R7.1
    observer = Observer()
    rows = [("1", "1.5", "-0", "2024-01-01", "x"), ("2", "2.5", "7", "2024-01-02", "5")]
    for number, row in enumerate(rows, 1):
        cells = {key: CsvCell(cell) for key, cell in zip("abcde", row, strict=True)}
        observer.observe(cells, number)
    inferred = exact_cells(infer_table("t", observer.stats), observer.stats)
    assert {c.name for c in inferred.columns if c.physical} == {"c", "d"}
    assert cell_columns(inferred) == {"a": "bigint", "b": "double precision"}
