"""One server and one oracle for all files."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.slt.runner import Sides
from tests.slt.sides import serving


@pytest.fixture(scope="session")
def sides() -> Iterator[Sides]:
    """Morphgres and PostgreSQL with the same documents."""
    with (
        tempfile.TemporaryDirectory(prefix="morph-slt-", dir="/tmp") as name,
        serving(Path(name)) as both,
    ):
        yield both
