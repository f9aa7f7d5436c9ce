"""Real schema changes, one of each kind without data work, applied and rolled back: PostgreSQL's
catalogs and the store's own tables are what they were (R4.6; all 108 are in tests/slow).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.real_change_run import run
from tests.integration.real_changes import build, facts
from tests.integration.server_process import ServerProcess, running

FEW = ("C002", "C048", "C072", "C090", "C118", "C132", "C158", "C194", "C206", "C212", "C216")


@pytest.fixture(scope="module")
def real_server(open_directory: Path) -> Iterator[ServerProcess]:
    """A server of its own: each case empties the catalog."""
    with running(open_directory / "real") as process:
        yield process


def test_the_data_is_whole_and_every_change_has_its_statements() -> None:
    assert len(facts()) == 108
    assert len({f["change"] for f in facts()}) == 24
    assert all(build(f).change for f in facts())


@pytest.mark.parametrize("number", FEW)
def test_a_real_change_is_undone_exactly(real_server: ServerProcess, number: str) -> None:
    run(real_server, number, "auto")
