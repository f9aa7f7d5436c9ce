"""All 108 real schema changes, applied and rolled back: PostgreSQL's catalogs, as a client sees
them, and the store's own tables are what they were, exactly (R4.6; proof 8f of schema changes).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.changes.conftest import QUICK
from tests.integration.conftest import open_directory
from tests.integration.real_change_run import run
from tests.integration.real_changes import facts
from tests.integration.server_process import ServerProcess, running

__all__ = ["open_directory"]


@pytest.fixture(scope="module")
def server(open_directory: Path) -> Iterator[ServerProcess]:
    with running(open_directory / "real", QUICK) as process:
        yield process


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["auto", "direct"])
@pytest.mark.parametrize("number", [f["id"] for f in facts()])
def test_a_real_change_is_rolled_back_exactly(
    server: ServerProcess, number: str, mode: str
) -> None:
    run(server, number, mode)
