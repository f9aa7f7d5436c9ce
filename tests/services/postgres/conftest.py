"""Fixtures: a directory for servers of another user."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def open_home() -> Iterator[Path]:
    """A directory that the server's user can reach: every run of pytest closes its own again."""
    with tempfile.TemporaryDirectory(prefix="morph-pg-", ignore_cleanup_errors=True) as name:
        Path(name).chmod(0o755)
        yield Path(name)
