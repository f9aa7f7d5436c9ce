"""Runs the queries of a replay through an endpoint, as the client who owns the connection."""

from __future__ import annotations

import asyncio
from typing import Final

import asyncpg

from core.clock import Clock
from core.errors import ConnectionFailure
from evolution.validation.embedded.failures import BROKEN
from evolution.validation.inline import ResultSum
from evolution.validation.lines import cut_lines
from evolution.validation.replay import Answer

DEADLINE_S: Final = 60.0


class EndpointRunner:
    """See `Runner`. `namespace` is the version to run in (`v2`, `public`).

    Queries run read-only, with the rights of the connection's user and no others.
    """

    def __init__(
        self,
        connection: asyncpg.Connection,
        namespace: str,
        clock: Clock,
        deadline_s: float = DEADLINE_S,
    ) -> None:
        self._connection = connection
        self._namespace = namespace
        self._clock = clock
        self._deadline_s = deadline_s

    async def run(self, sql: str) -> Answer:
        """See Runner. Raises ConnectionFailure (08006)."""
        rows = ResultSum()
        columns: tuple[tuple[str, str], ...] = ()
        begun = self._clock.monotonic()
        sqlstate = ""
        try:
            async with asyncio.timeout(self._deadline_s):
                async with self._connection.transaction(readonly=True):
                    await self._connection.execute(f'SET LOCAL search_path = "{self._namespace}"')
                    prepared = await self._connection.prepare(sql)
                    columns = tuple((a.name, a.type.name) for a in prepared.get_attributes())
                    await self._read(sql, rows)
        except asyncpg.PostgresError as error:
            sqlstate = error.sqlstate or ""
        except TimeoutError:
            sqlstate = "57014"
        except BROKEN as error:
            raise ConnectionFailure(f"lost the endpoint while validating: {error}") from error
        rows.end()
        return Answer(columns, rows, sqlstate, self._clock.monotonic() - begun)

    async def _read(self, sql: str, rows: ResultSum) -> None:
        rest = b""

        async def take(data: bytes) -> None:
            nonlocal rest
            rest += data
            end = rest.rfind(b"\n") + 1
            rows.add_rows(cut_lines(rest[:end]))
            rest = rest[end:]

        await self._connection.copy_from_query(sql, output=take, format="text")
