"""MongoDB by pymongo's asyncio client."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from bson import Int64
from pymongo import AsyncMongoClient

from bench.documents import FIELDS
from bench.stores.contender import Query, Row

BATCH = 5_000
THIRTEEN = tuple(FIELDS)
FIVE = ("_id", "customer", "status", "price", "name")
CUSTOMERS = (11, 222, 3333, 4444, 15555, 16666, 17777, 18888)


class MongoDirect:
    """The collection `documents` of a database."""

    kind = "mongodb"

    def __init__(self, uri: str, database: str, table: str) -> None:
        self._client: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(uri)
        self._database = database
        self._documents = self._client[database]["documents"]
        columns = ", ".join(FIVE)
        self.point_sql = f"SELECT {columns} FROM {table} WHERE _id = $1"
        self.scans: Mapping[str, Query] = {
            "5": Query(f"SELECT {columns} FROM {table}", lambda: self._find({}, FIVE)),
            "13": Query(f"SELECT {', '.join(THIRTEEN)} FROM {table}", lambda: self._find({})),
        }
        self.queries = self._queries(table)

    def _queries(self, table: str) -> Mapping[str, Query]:
        listed = ", ".join(map(str, CUSTOMERS))
        group: list[dict[str, Any]] = [
            {"$match": {"status": "shipped"}},
            {"$group": {"_id": "$region", "n": {"$sum": 1}, "q": {"$sum": "$quantity"}}},
        ]
        nested: list[dict[str, Any]] = [
            {"$match": {"address.city": "Oslo"}},
            {"$group": {"_id": None, "n": {"$sum": 1}, "m": {"$max": "$score"}}},
        ]
        top = [("score", -1), ("_id", 1)]
        return {
            "filtered scan": Query(
                f"SELECT _id, name, price FROM {table} WHERE region = 'north' AND score > 900000",
                lambda: self._find(
                    {"region": "north", "score": {"$gt": 900_000}}, ("_id", "name", "price")
                ),
            ),
            "aggregate": Query(
                f"SELECT region, count(*), sum(quantity) FROM {table} WHERE status = 'shipped' "
                "GROUP BY region",
                lambda: self._aggregate(group),
            ),
            "top-N": Query(
                f"SELECT _id, score, name FROM {table} ORDER BY score DESC NULLS LAST, _id "
                "LIMIT 20",
                lambda: self._find({}, ("_id", "score", "name"), sort=top, limit=20),
            ),
            "IN": Query(
                f"SELECT _id, name, price FROM {table} WHERE customer IN ({listed})",
                lambda: self._find({"customer": {"$in": CUSTOMERS}}, ("_id", "name", "price")),
            ),
            "LIKE prefix": Query(
                f"SELECT _id, name FROM {table} WHERE name LIKE 'birch ember 1%'",
                lambda: self._find({"name": {"$regex": "^birch ember 1"}}, ("_id", "name")),
            ),
            "IS NULL": Query(
                f"SELECT _id, name FROM {table} WHERE note IS NULL",
                lambda: self._find({"note": None}, ("_id", "name")),
            ),
            "nested field": Query(
                f"SELECT count(*), max(score) FROM {table} WHERE \"address.city\" = 'Oslo'",
                lambda: self._aggregate(nested),
            ),
        }

    async def load(self, rows: Sequence[Row]) -> None:
        """See Direct."""
        await self._client.drop_database(self._database)
        for at in range(0, len(rows), BATCH):
            await self._documents.insert_many(list(map(_document, rows[at : at + BATCH])))
        for field in ("customer", "name", "score"):
            await self._documents.create_index(field)

    async def point(self, key: int) -> None:
        """See Direct."""
        assert await self._documents.find_one({"_id": key}, FIVE) is not None

    async def by_keys(self, keys: Sequence[int]) -> list[tuple[int, float]]:
        """See Direct."""
        found = self._documents.find({"_id": {"$in": list(keys)}}, ("price",), batch_size=BATCH)
        return [(each["_id"], each["price"]) for each in await found.to_list()]

    async def close(self) -> None:
        """See Direct."""
        await self._client.close()

    async def _find(
        self,
        condition: dict[str, Any],
        fields: Sequence[str] | None = None,
        *,
        sort: Sequence[tuple[str, int]] | None = None,
        limit: int = 0,
    ) -> int:
        found = self._documents.find(
            condition, fields, sort=sort, limit=limit, batch_size=min(BATCH, limit or BATCH)
        )
        return len(await found.to_list())

    async def _aggregate(self, pipeline: list[dict[str, Any]]) -> int:
        return len(await (await self._documents.aggregate(pipeline)).to_list())


def _document(row: Row) -> dict[str, Any]:
    document: dict[str, Any] = {
        name: Int64(value) if type(value) is int else value for name, value in row.items()
    }
    document["created"] = datetime.fromisoformat(row["created"])
    if row["_id"] % 100 == 0:
        del document["note"]
    return document
