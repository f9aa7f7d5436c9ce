"""What a backend brings to the conformance suite: a table with known rows in a real server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Final, Protocol

from backends.base import StoreBackend
from catalog.model import Table
from tests.services.servers.process import RunningServer

Row = tuple[str | None, ...]
"""The values of MODEL's columns as PostgreSQL prints them in UTC."""

MODEL: Final[Mapping[str, str]] = {
    "id": "bigint",
    "name": "text",
    "qty": "integer",
    "ratio": "double precision",
    "price": "numeric",
    "paid": "boolean",
    "at": "timestamp with time zone",
    "ref": "uuid",
}
"""The columns of the suite's table; `id` is the key. A store may show a wider type."""


class Subject(Protocol):
    """One backend on one server, with a database of its own.

    `gaps` are names of the suite's tests (without `test_`) that it cannot pass, with the reason:
    such a test must fail, so that a gap that closes is seen.
    """

    kind: str
    server: RunningServer
    backend: StoreBackend
    gaps: Mapping[str, str]

    async def make(self, name: str, rows: Sequence[Row]) -> Table:
        """A table with these rows, made by the store's own driver; as describe() shows it."""
        ...

    def nowhere(self, table: Table) -> Table:
        """The same table under a name that the store does not have."""
        ...

    @property
    def namespace(self) -> str:
        """The database, keyspace or schema of the tables, as list_tables takes it."""
        ...


Opener = Callable[[RunningServer, int], AbstractAsyncContextManager[Subject]]
"""(server, rows of a batch) → the subject, which is cleaned away at the end"""
SubjectIterator = AsyncIterator[Subject]
