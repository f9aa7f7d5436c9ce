"""Where DDL runs: inside the client's own transaction, or on the control plane's connection."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import asyncpg

Row = tuple[str | None, ...]


class Transaction(Protocol):
    """An open transaction in the private PostgreSQL, for the control plane."""

    async def apply(self, statements: Sequence[str]) -> None:
        """Run statements as morph_owner, in order, with search_path pg_catalog."""

    async def fetch(self, sql: str) -> list[Row]:
        """Run a query and give its rows as text."""


class AdminTransaction:
    """A Transaction on an asyncpg connection of the superuser, which must be inside one."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection

    async def apply(self, statements: Sequence[str]) -> None:
        """See Transaction."""
        await self._connection.execute("SET LOCAL ROLE morph_owner")
        await self._connection.execute("SET LOCAL search_path = pg_catalog, pg_temp")
        for statement in statements:
            await self._connection.execute(statement)
        await self._connection.execute("RESET ROLE")

    async def fetch(self, sql: str) -> list[Row]:
        """See Transaction."""
        rows = await self._connection.fetch(sql)
        return [tuple(None if v is None else str(v) for v in row) for row in rows]
