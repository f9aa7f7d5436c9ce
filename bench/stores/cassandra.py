"""Cassandra by cassandra-driver: its libev thread, and callbacks into the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile, ResponseFuture
from cassandra.concurrent import execute_concurrent_with_args
from cassandra.policies import RoundRobinPolicy
from cassandra.query import PreparedStatement, SimpleStatement, tuple_factory

from bench.stores.contender import Query, Row

PAGE = 5_000
IN_KEYS = 100
TYPES = {
    "id": "bigint", "customer": "bigint", "status": "text", "region": "text", "price": "double",
    "quantity": "bigint", "score": "bigint", "active": "boolean", "name": "text", "email": "text",
    "note": "text", "created": "timestamp", "address": "text",
}  # fmt: skip
FIVE = "id, customer, status, price, name"


class CassandraDirect:
    """The table `documents` of a keyspace."""

    kind = "cassandra"

    def __init__(self, host: str, port: int, keyspace: str, table: str) -> None:
        profile = ExecutionProfile(
            load_balancing_policy=RoundRobinPolicy(), row_factory=tuple_factory, request_timeout=60
        )
        self._cluster = Cluster(
            [host],
            port=port,
            protocol_version=5,
            execution_profiles={EXEC_PROFILE_DEFAULT: profile},
        )
        self._session = self._cluster.connect()
        self._name = f"{keyspace}.documents"
        self._keyspace = keyspace
        self._point: PreparedStatement | None = None
        self._prices: PreparedStatement | None = None
        self.point_sql = f"SELECT {FIVE} FROM {table} WHERE id = $1"
        self.scans: Mapping[str, Query] = {
            "5": Query(f"SELECT {FIVE} FROM {table}", lambda: self._all(FIVE)),
            "13": Query(f"SELECT * FROM {table}", lambda: self._all("*")),
        }
        listed = ", ".join(str(n * 101 + 1) for n in range(IN_KEYS))
        self.queries: Mapping[str, Query] = {
            "IN": Query(
                f"SELECT id, name, price FROM {table} WHERE id IN ({listed})",
                lambda: self._rows(
                    f"SELECT id, name, price FROM {self._name} WHERE id IN ({listed})"
                ),
            ),
            "indexed": Query(
                f"SELECT id, name FROM {table} WHERE customer = 4444",
                lambda: self._rows(f"SELECT id, name FROM {self._name} WHERE customer = 4444"),
            ),
        }

    async def load(self, rows: Sequence[Row]) -> None:
        """See Direct."""
        run = self._session.execute
        run(f"DROP KEYSPACE IF EXISTS {self._keyspace}")
        run(
            f"CREATE KEYSPACE {self._keyspace} WITH replication = "
            "{'class': 'SimpleStrategy', 'replication_factor': 1}"
        )
        columns = ", ".join(f"{name} {kind}" for name, kind in TYPES.items())
        run(f"CREATE TABLE {self._name} ({columns}, PRIMARY KEY (id))")
        run(f"CREATE CUSTOM INDEX ON {self._name} (customer) USING 'StorageAttachedIndex'")
        marks = ", ".join("?" for _ in TYPES)
        insert = self._session.prepare(
            f"INSERT INTO {self._name} ({', '.join(TYPES)}) VALUES ({marks})"
        )
        execute_concurrent_with_args(self._session, insert, map(_values, rows), concurrency=200)

    async def point(self, key: int) -> None:
        """See Direct."""
        if self._point is None:
            self._point = self._session.prepare(f"SELECT {FIVE} FROM {self._name} WHERE id = ?")
        assert len(await self._page(self._session.execute_async(self._point, (key,)))) == 1

    async def by_keys(self, keys: Sequence[int]) -> list[tuple[int, float]]:
        """See Direct: partitions one by one, many at a time, as the driver's manual says."""
        if self._prices is None:
            self._prices = self._session.prepare(f"SELECT price FROM {self._name} WHERE id = ?")
        gate = asyncio.Semaphore(100)
        statement = self._prices

        async def one(key: int) -> tuple[int, float]:
            async with gate:
                [(price,)] = await self._page(self._session.execute_async(statement, (key,)))
                return key, price

        return list(await asyncio.gather(*map(one, keys)))

    async def close(self) -> None:
        """See Direct."""
        self._cluster.shutdown()

    async def _all(self, columns: str) -> int:
        return await self._rows(f"SELECT {columns} FROM {self._name}")

    async def _rows(self, text: str) -> int:
        future = self._session.execute_async(SimpleStatement(text, fetch_size=PAGE))
        count = len(await self._page(future))
        while future.has_more_pages:
            future.clear_callbacks()
            future.start_fetching_next_page()
            count += len(await self._page(future))
        return count

    async def _page(self, future: ResponseFuture) -> list[Any]:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[list[Any]] = loop.create_future()
        future.add_callbacks(
            lambda rows: loop.call_soon_threadsafe(answer.set_result, rows),
            lambda error: loop.call_soon_threadsafe(answer.set_exception, error),
        )
        return await answer


def _values(row: Row) -> tuple[Any, ...]:
    values = {**row, "id": row["_id"], "created": datetime.fromisoformat(row["created"])}
    values["address"] = row["address"]["city"]
    if row["_id"] % 100 == 0:
        values["note"] = None
    return tuple(values[name] for name in TYPES)
