"""docs/changes/other_stores.md shows what is printed (R4.1, R4.5)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from private_pg.binaries import find_binaries
from tests.docs.tour import read_steps, replace_outputs, run_steps
from tests.services.changes.conftest import Prices

pytestmark = [pytest.mark.services, pytest.mark.timeout(300)]
PAGE = Path(__file__).parents[3] / "docs" / "changes" / "other_stores.md"


def test_the_page_shows_what_is_printed(prices: Prices) -> None:  # R4.1
    text = PAGE.read_text("utf-8")
    steps = read_steps(text)
    psql = find_binaries().directory / "psql"
    outputs = run_steps(psql, prices.morphgres.host, prices.morphgres.port, steps)
    if os.environ.get("MORPH_UPDATE_DOCS"):
        PAGE.write_text(replace_outputs(text, steps, outputs), "utf-8")
        return
    assert outputs == [step.shown for step in steps]
