"""The conformance suite over every backend and server that it has (issue 4 point 6)."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.services.conformance.subject import Subject
from tests.services.conformance.subjects import SUBJECTS, server_names
from tests.services.conformance.suite import BATCH_ROWS, Conformance
from tests.services.servers.fleet import Fleet

pytestmark = [pytest.mark.services, pytest.mark.timeout(600)]


@pytest_asyncio.fixture(params=server_names())
async def subject(request: pytest.FixtureRequest, servers: Fleet) -> AsyncIterator[Subject]:
    """A backend on each of its servers, with nothing in its database."""
    server = servers.get(request.param)
    async with SUBJECTS[server.kind](server, BATCH_ROWS) as opened:
        yield opened


class TestConformance(Conformance):
    """All tests of the suite."""
