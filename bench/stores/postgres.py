"""PostgreSQL by asyncpg."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import asyncpg

from bench.stores.contender import Query, Row

TYPES = {
    "id": "bigint", "customer": "bigint", "status": "text", "region": "text",
    "price": "double precision", "quantity": "bigint", "score": "bigint", "active": "boolean",
    "name": "text", "email": "text", "note": "text", "created": "timestamptz", "address": "text",
}  # fmt: skip
FIVE = "id, customer, status, price, name"
PICKED = 10_000


class PostgresDirect:
    """The table `documents` of a schema, and `picks`: keys to join by."""

    kind = "postgres"

    def __init__(self, uri: str, schema: str, table: str, pool: asyncpg.Pool) -> None:
        self._uri = uri
        self._schema = schema
        self._pool = pool
        self._name = f"{schema}.documents"
        self.point_sql = f"SELECT {FIVE} FROM {table} WHERE id = $1"
        self.scans: Mapping[str, Query] = {
            "5": self._both(f"SELECT {FIVE} FROM {{}}", table),
            "13": self._both("SELECT * FROM {}", table),
        }
        listed = "11, 222, 3333, 4444, 15555, 16666, 17777, 18888"
        self.queries: Mapping[str, Query] = {
            name: self._both(text, table)
            for name, text in {
                "filtered scan": "SELECT id, name, price FROM {} WHERE region = 'north' "
                "AND score > 900000",
                "aggregate": "SELECT region, count(*), sum(quantity) FROM {} "
                "WHERE status = 'shipped' GROUP BY region",
                "top-N": "SELECT id, score, name FROM {} ORDER BY score DESC, id LIMIT 20",
                "IN": f"SELECT id, name, price FROM {{}} WHERE customer IN ({listed})",
                "LIKE prefix": "SELECT id, name FROM {} WHERE name LIKE 'birch ember 1%'",
                "IS NULL": "SELECT id, name FROM {} WHERE note IS NULL",
            }.items()
        }

    @classmethod
    async def open(cls, uri: str, schema: str, table: str, clients: int) -> PostgresDirect:
        """With a connection for each client."""
        return cls(uri, schema, table, await asyncpg.create_pool(uri, min_size=1, max_size=clients))

    def _both(self, text: str, table: str) -> Query:
        direct = text.format(self._name)
        return Query(text.format(table), lambda: self._count(direct))

    async def load(self, rows: Sequence[Row]) -> None:
        """See Direct."""
        async with self._pool.acquire() as connection:
            columns = ", ".join(f"{name} {kind}" for name, kind in TYPES.items())
            await connection.execute(
                f"DROP SCHEMA IF EXISTS {self._schema} CASCADE; CREATE SCHEMA {self._schema};"
                f"CREATE TABLE {self._name} ({columns}, PRIMARY KEY (id));"
                f"CREATE TABLE {self._schema}.picks (id bigint PRIMARY KEY, weight bigint)"
            )
            await connection.copy_records_to_table(
                "documents", schema_name=self._schema, records=map(_values, rows)
            )
            step = max(1, len(rows) // PICKED)
            picks = [(row["_id"], row["customer"]) for row in rows[::step][:PICKED]]
            await connection.copy_records_to_table("picks", schema_name=self._schema, records=picks)
            for column in ("customer", "name", "score"):
                await connection.execute(f"CREATE INDEX ON {self._name} ({column})")
            await connection.execute(f"ANALYZE {self._name}; ANALYZE {self._schema}.picks")

    async def point(self, key: int) -> None:
        """See Direct."""
        found = await self._pool.fetchrow(f"SELECT {FIVE} FROM {self._name} WHERE id = $1", key)
        assert found is not None

    async def by_keys(self, keys: Sequence[int]) -> list[tuple[int, float]]:
        """See Direct."""
        text = f"SELECT id, price FROM {self._name} WHERE id = ANY ($1)"
        return [tuple(row) for row in await self._pool.fetch(text, keys)]

    async def picks(self) -> list[tuple[int, int]]:
        """Keys and weights."""
        return [tuple(row) for row in await self._pool.fetch(f"SELECT * FROM {self._schema}.picks")]

    async def close(self) -> None:
        """See Direct."""
        await self._pool.close()

    async def _count(self, text: str) -> int:
        return len(await self._pool.fetch(text))


def _values(row: Row) -> tuple[Any, ...]:
    values = {**row, "id": row["_id"], "created": datetime.fromisoformat(row["created"])}
    values["address"] = row["address"]["city"]
    if row["_id"] % 100 == 0:
        values["note"] = None
    return tuple(values[name] for name in TYPES)
