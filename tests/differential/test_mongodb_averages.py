"""avg of integers, divided by the backend, is PostgreSQL's to the last digit (PEERS.md 3)."""

from __future__ import annotations

import random
from decimal import Decimal

import asyncpg

from backends.mongodb.grouping import divided

EDGES = [(0, 5), (1, 3), (-1, 3), (10_000, 10_000), (9_999, 10_000), (2**63 - 1, 1), (-(2**63), 7)]


# R0.5: an average that is pushed is numeric_div's quotient, digit by digit
async def test_averages(pg18_dsn: str) -> None:
    chance = random.Random(3)
    pairs = EDGES + [
        (
            chance.choice((1, -1)) * chance.randrange(10 ** chance.randrange(1, 30)),
            chance.randrange(1, 10 ** chance.randrange(1, 12)),
        )
        for _ in range(5_000)
    ]
    connection = await asyncpg.connect(pg18_dsn)
    rows = await connection.fetch(
        "SELECT (total / count)::text FROM unnest($1::numeric[], $2::numeric[]) WITH ORDINALITY "
        "AS u (total, count, n) ORDER BY n",
        [Decimal(total) for total, _ in pairs],
        [Decimal(count) for _, count in pairs],
    )
    await connection.close()
    assert [divided(*pair) for pair in pairs] == [row[0] for row in rows]
