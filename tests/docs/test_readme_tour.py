"""R6.1: the five-minute tour of the README is real output."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from private_pg.binaries import find_binaries
from tests.docs.tour import read_steps, replace_outputs, run_steps
from tests.integration.server_process import ServerProcess

README = Path(__file__).parents[2] / "README.md"


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A fresh server with the sample."""
    base = tmp_path_factory.mktemp("tour")
    for parent in (base, base.parent, base.parent.parent):
        if parent.stat().st_uid == os.getuid():
            parent.chmod(0o755)
    process = ServerProcess(base / "data", arguments=("--sample", "shop"))
    process.start()
    yield process
    process.stop()


@pytest.mark.timeout(180)
def test_tour_prints_what_the_readme_shows(shop: ServerProcess) -> None:
    page = README.read_text("utf-8")
    steps = read_steps(page)
    assert len(steps) > 8
    outputs = run_steps(find_binaries().directory / "psql", shop.host, shop.port, steps)
    if os.environ.get("MORPH_UPDATE_DOCS"):
        README.write_text(replace_outputs(page, steps, outputs), "utf-8")
        return
    assert outputs == [step.shown for step in steps]
