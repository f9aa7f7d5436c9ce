"""What a later load brings, judged against the column that is there."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from catalog.inference.kinds import CsvCell, Kind, Typed
from catalog.inference.statistics import Observer, PathStats
from catalog.inference.widen import widen

NAN = Typed(Kind.FLOAT_SPECIAL, "NaN", '{"$numberDouble":"NaN"}')
DATE = Typed(Kind.TIMESTAMPTZ, "2024-01-01 00:00:00+00", "{}")


def seen(*values: Any) -> PathStats:
    observer = Observer()
    for ordinal, value in enumerate(values, 1):
        observer.observe({"v": value}, ordinal)
    return observer.stats.root.fields["v"]


# R1.3: fits, widens among the numbers, or is told as a misfit; never silently NULL.
@pytest.mark.parametrize(
    ("existing", "values", "outcome", "pg_type", "misfits"),
    [
        ("bigint", [1, None], "fits", "bigint", 0),
        ("int8", [2**60], "fits", "int8", 0),
        ("bigint", [1.5], "widened", "numeric", 0),
        ("bigint", [2**70], "widened", "numeric", 0),
        ("bigint", ["x", 1], "misfit", "bigint", 1),
        ("bigint", ["x", 1.5], "misfit", "bigint", 2),
        ("double precision", [1, 2.5], "fits", "double precision", 0),
        ("double precision", [2**53 + 1], "widened", "numeric", 0),
        ("double precision", [Decimal("0.1")], "widened", "numeric", 0),
        ("numeric", [1, 1.5, 2**70, Decimal("1.10")], "fits", "numeric", 0),
        ("numeric(10,2)", [1], "fits", "numeric(10,2)", 0),
        ("text", ["x"], "fits", "text", 0),
        ("text", [1, 2], "misfit", "text", 2),
        ("character varying(3)", ["abcd"], "fits", "character varying(3)", 0),
        ("boolean", [True], "fits", "boolean", 0),
        ("boolean", [1], "misfit", "boolean", 1),
        ("jsonb", [1, "x", {}, [1], DATE], "fits", "jsonb", 0),
        ("timestamp with time zone", [DATE], "fits", "timestamp with time zone", 0),
        ("timestamptz", ["2024"], "misfit", "timestamptz", 1),
        ("timestamp(3) with time zone", [DATE], "fits", "timestamp(3) with time zone", 0),
        ("point", ["x"], "misfit", "point", 1),
        ("text[]", [["x", None], []], "fits", "text[]", 0),
        ("text[]", [["x"], "x"], "misfit", "text[]", 1),
        ("text[]", [["x"], [1, 2]], "misfit", "text[]", 2),
        ("text[]", [None], "fits", "text[]", 0),
        ("bigint[]", [[1], [1.5]], "widened", "numeric[]", 0),
        ("bigint", [CsvCell("1"), CsvCell("")], "fits", "bigint", 0),
        ("bigint", [CsvCell("1"), CsvCell("1.5")], "widened", "numeric", 0),
        ("bigint", [CsvCell("1"), CsvCell("x")], "misfit", "bigint", 1),
        ("numeric", [CsvCell("1"), CsvCell("2")], "fits", "numeric", 0),
        ("text", [CsvCell("1")], "fits", "text", 0),
        ("date", [CsvCell("2024-01-01")], "fits", "date", 0),
    ],
)
def test_widen(existing: str, values: list[Any], outcome: str, pg_type: str, misfits: int) -> None:
    verdict = widen(existing, seen(*values))
    assert (verdict.outcome, verdict.pg_type, verdict.misfits) == (outcome, pg_type, misfits)


# R1.3: with what the column holds so far, integers and doubles can meet in double precision.
def test_widen_knows_the_old_values() -> None:
    assert widen("bigint", seen(1.5), old=seen(1, 2)).pg_type == "double precision"
    assert widen("bigint", seen(1.5), old=seen(2**60)).pg_type == "numeric"
    assert widen("bigint[]", seen([1.5]), old=seen([1])).pg_type == "double precision[]"


# R1.1: nothing but nulls never flips a type, and such a column takes the first type it sees.
def test_unknown_columns() -> None:
    assert widen("jsonb", seen("x"), old=seen(None)).pg_type == "text"
    assert widen("jsonb", seen(None), old=seen(None)).outcome == "fits"
    assert widen("bigint", seen(None, [])).misfits == 1
    physical = widen("jsonb", seen(DATE), old=seen(None))
    assert (physical.outcome, physical.physical) == ("widened", True)


# R0.4: NaN has no JSON number: the column has to become physical.
def test_specials_need_a_physical_column() -> None:
    verdict = widen("double precision", seen(NAN))
    assert (verdict.outcome, verdict.pg_type, verdict.physical) == (
        "widened",
        "double precision",
        True,
    )
    assert widen("double precision", seen(NAN), physical=True).outcome == "fits"


def test_types_that_inference_never_chooses_need_a_cast() -> None:
    assert not widen("integer", seen(1)).certain
    assert widen("integer", seen("x")).outcome == "misfit"
    assert widen("bigint", seen(1)).certain
