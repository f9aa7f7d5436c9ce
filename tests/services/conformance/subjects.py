"""The backends of the conformance suite: a line each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from tests.services.conformance.subject import Opener
from tests.services.conformance.subject_cassandra import open_cassandra
from tests.services.conformance.subject_mongodb import open_mongodb
from tests.services.conformance.subject_postgres import open_postgres
from tests.services.servers.registry import SERVERS

SUBJECTS: Final[Mapping[str, Opener]] = {
    "mongodb": open_mongodb,
    "cassandra": open_cassandra,
    "postgres": open_postgres,
}
"""Kind of server → how its subject is opened."""


def server_names() -> list[str]:
    """The servers that the suite runs on."""
    return [name for name, entry in SERVERS.items() if entry.kind in SUBJECTS]
