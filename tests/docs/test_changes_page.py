"""docs/changes/README.md is real output (issue 5, point 10)."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from private_pg.binaries import find_binaries
from tests.docs.tour import read_steps, replace_outputs, run_steps
from tests.integration.server_process import ServerProcess, running

PAGE = Path(__file__).parents[2] / "docs" / "changes" / "README.md"
STATE = re.compile(r"NOTICE:  change \d+ is [a-z ]+\n")
"""Which states a waiting call sees depends on the speed of the machine."""
QUICK = '[changes]\nfence_lag = "1s"\n'


@pytest.fixture(scope="module")
def empty(open_directory: Path) -> Iterator[ServerProcess]:
    """A server without tables."""
    with running(open_directory / "changes", QUICK) as process:
        yield process


@pytest.mark.timeout(300)
def test_the_page_shows_what_is_printed(empty: ServerProcess) -> None:
    page = PAGE.read_text("utf-8")
    steps = read_steps(page)
    assert len(steps) >= 8
    printed = run_steps(find_binaries().directory / "psql", empty.host, empty.port, steps)
    outputs = [STATE.sub("", text) for text in printed]
    if os.environ.get("MORPH_UPDATE_DOCS"):
        PAGE.write_text(replace_outputs(page, steps, outputs), "utf-8")
        return
    assert outputs == [step.shown for step in steps]
