"""All servers that tests can ask for, by the name that also is their test id."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from tests.services.servers import cassandra, mongojava, outside, postgres, secantus
from tests.services.servers.process import RunningServer


@dataclass(frozen=True, slots=True)
class Entry:
    """How to start one server; `kind` is the protocol it speaks."""

    kind: str
    start: Callable[[Path], RunningServer]


def _entries() -> dict[str, Entry]:
    found = {
        f"{secantus.PRODUCT}-{secantus.VERSION}": Entry("mongodb", secantus.start_secantus),
        f"{mongojava.PRODUCT}-{mongojava.VERSION}": Entry("mongodb", mongojava.start_mongojava),
        f"{cassandra.PRODUCT}-{cassandra.VERSION}": Entry("cassandra", cassandra.start_cassandra),
        f"{postgres.PRODUCT}-{postgres.MAJOR}": Entry("postgres", postgres.start_postgres),
    }
    if outside.mongodb_uri():
        found["outside-MongoDB"] = Entry("mongodb", outside.reach_mongodb)
    return found


SERVERS: Mapping[str, Entry] = MappingProxyType(_entries())


def names(kind: str) -> list[str]:
    """The names of the servers of one kind, main one first."""
    return [name for name, entry in SERVERS.items() if entry.kind == kind]
