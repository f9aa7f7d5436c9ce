"""Every file under files/ gives the same on Morphgres and on PostgreSQL (R0.5)."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.slt.records import read_records
from tests.slt.runner import Sides, run_file

FILES = sorted((Path(__file__).parent / "files").glob("*.slt"))
SLOW = frozenset(FILES) & frozenset((Path(__file__).parent / "files").glob("slow_*.slt"))
SHOWN_FAILURES = 12
RECORDS_MIN = 600


@pytest.mark.parametrize(
    "path",
    [pytest.param(p, marks=pytest.mark.slow if p in SLOW else ()) for p in FILES],
    ids=lambda p: p.stem,
)
def test_file(path: Path, sides: Sides) -> None:
    failures = run_file(path, sides).failures
    assert not failures, f"{len(failures)} failures:\n" + "\n".join(failures[:SHOWN_FAILURES])


def test_there_are_enough_queries() -> None:
    queries = [r for path in FILES for r in read_records(path) if r.kind in ("query", "error")]
    assert len(queries) >= RECORDS_MIN


def test_every_file_names_its_requirement() -> None:
    for path in FILES:
        assert path.read_text(encoding="utf-8").startswith("# R"), path.name
