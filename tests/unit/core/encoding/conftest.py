"""A connection to the throw-away PostgreSQL that judges the encoders."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from tests.unit.core.encoding.oracle import SESSION


@pytest.fixture
def connection(pg18_dsn: str) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    """A session with the settings that the text carrier is defined by."""
    with psycopg.connect(pg18_dsn, options=SESSION) as opened:
        assert opened.info.server_version >= 180000
        yield opened
