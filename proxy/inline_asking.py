"""What the reads of clients showed of a change, in all workers of a node.

Each worker compares the reads of its own sessions. Who asks writes a line of its own to each of
them: each ends its report, and says which one it is and what it found.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

import asyncpg

from core.clock import SystemClock
from core.errors import ConnectionFailure, ObjectNotInPrerequisiteState
from evolution.changes.needs import Verdict
from evolution.validation.embedded.failures import translated

CHANNEL: Final = "morph_inline"
OFF: Final = "off"
NOTHING: Final = "no reads were compared yet"
ANSWER_S: Final = 90.0
"""How long all workers have to answer: longer than one waits for its own reads."""
POLL_S: Final = 0.05
SAY: Final = (
    "INSERT INTO morph_catalog.inline_answers VALUES ($1, $2, clock_timestamp(), $3, $4, $5, $6) "
    "ON CONFLICT DO NOTHING"
)
_ANSWERS: Final = (
    "SELECT worker, state, report_id, critical, found FROM morph_catalog.inline_answers "
    "WHERE ask = $1 ORDER BY report_id"
)
_FORGET: Final = (
    "DELETE FROM morph_catalog.inline_answers "
    "WHERE ask = $1 OR at < clock_timestamp() - interval '1 hour'"
)
_ASK_BITS: Final = 62
Connect = Callable[[], Awaitable[asyncpg.Connection]]


@dataclass(frozen=True, slots=True)
class Asked:
    """A line to the workers: about which change, and the name of what is asked."""

    change_id: int
    ask: int

    @classmethod
    def read(cls, text: str) -> Asked:
        """The opposite of `text`."""
        change_id, ask = text.split()
        return cls(int(change_id), int(ask))

    @property
    def text(self) -> str:
        """As it is sent."""
        return f"{self.change_id} {self.ask}"


async def ask_workers(connect: Connect, workers: Sequence[int], change_id: int) -> Verdict:
    """What the reads of all `workers` showed until now; the next ones get new reports.

    Raises ObjectNotInPrerequisiteState (55000) when no reads are compared, and ConnectionFailure
    (08006) when a worker does not answer.
    """
    asked = Asked(change_id, secrets.randbits(_ASK_BITS))
    with translated():
        connection = await connect()
        try:
            await connection.execute("SELECT pg_notify($1, $2)", CHANNEL, asked.text)
            rows = await _answers(connection, asked, workers)
            await connection.execute(_FORGET, asked.ask)
        finally:
            connection.terminate()
    if all(row["state"] == OFF for row in rows):
        raise ObjectNotInPrerequisiteState(
            "no reads of clients are compared",
            hint="Set validation.inline_share_bp, the share of them that are.",
        )
    told = [row for row in rows if row["report_id"]]
    if not told:
        return Verdict(0, 0, True, NOTHING)
    worst = max(told, key=lambda row: row["critical"])
    words = "; ".join(dict.fromkeys(row["found"] for row in told if row["found"]))
    critical = sum(row["critical"] for row in told)
    return Verdict(worst["report_id"], critical, True, words)


async def _answers(
    connection: asyncpg.Connection, asked: Asked, workers: Sequence[int]
) -> list[asyncpg.Record]:
    until = SystemClock.monotonic() + ANSWER_S
    while True:
        rows = [r for r in await connection.fetch(_ANSWERS, asked.ask) if r["worker"] in workers]
        silent = set(workers) - {row["worker"] for row in rows}
        if not silent:
            return rows
        if SystemClock.monotonic() >= until:
            raise ConnectionFailure(
                f"worker {min(silent)} did not say what its clients' reads showed",
                hint="The reports of the others are in morph.validation_reports.",
            )
        await asyncio.sleep(POLL_S)
