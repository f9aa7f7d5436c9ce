"""docs/changes: every example is run, and shows what is printed (R4.1, R4.2)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from evolution.operators.registry import OPERATORS
from private_pg.binaries import find_binaries
from tests.docs.tour import read_steps, replace_outputs, run_steps
from tests.integration.fresh_catalog import empty_catalog
from tests.integration.server_process import ServerProcess, running

DIRECTORY = Path(__file__).parents[2] / "docs" / "changes"
ELSEWHERE = ("README.md", "kinds.md", "other_stores.md")  # the last: tests/services/changes
PAGES = sorted(p for p in DIRECTORY.glob("*.md") if p.name not in ELSEWHERE)


@pytest.fixture(scope="module")
def server(open_directory: Path) -> Iterator[ServerProcess]:
    with running(open_directory / "kinds") as process:
        yield process


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_a_page_shows_what_is_printed(server: ServerProcess, page: Path) -> None:  # R4.1
    empty_catalog(server)
    text = page.read_text("utf-8")
    steps = read_steps(text)
    assert steps
    outputs = run_steps(find_binaries().directory / "psql", server.host, server.port, steps)
    if os.environ.get("MORPH_UPDATE_DOCS"):
        page.write_text(replace_outputs(text, steps, outputs), "utf-8")
        return
    assert outputs == [step.shown for step in steps]


def test_every_page_is_in_the_table() -> None:
    table = (DIRECTORY / "kinds.md").read_text("utf-8")
    assert [p.name for p in PAGES if f"({p.name})" not in table] == []


def test_every_operator_has_a_page() -> None:  # R4.1
    pages = " ".join(p.read_text("utf-8").lower() for p in PAGES)
    missing = [o.kind for o in OPERATORS if not all(w in pages for w in o.kind.split())]
    assert missing == []
