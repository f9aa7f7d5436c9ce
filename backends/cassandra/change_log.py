"""The log of a table with a change, kept in its keyspace: which keys are dirty.

One table, `morph_log_<table id>`, partitioned by time (`bucket`: BUCKET_S of the record's lsn) and
`shard` (of the worker's number), so that no partition grows and a reader need not scan: records of
a bucket are found by reading its partitions. That asks for a bound on late comers: an `append` that
is answered later than LATE_S after its lsn was drawn raises LogPositionTooOld, and the record does
not count; behind that and SKEW_S (clocks differ) an empty bucket is not read again (`floor`).

Every record has its write timestamps from its lsn: payload at lsn, `done` and the removal at
lsn + 1. So a late `done` never brings back a record that was removed.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

from backends.base import Scope
from backends.cassandra.facts import relation_cql
from backends.cassandra.link import Link, Statement
from backends.cassandra.parallel import gather
from backends.change_store import Intent, LogPlace, LogPositionTooOld
from core.clock import SystemClock

BUCKET_S: Final = 10
SHARDS: Final = 8
LATE_S: Final = 10
"""An append must be answered so soon after its lsn was drawn."""
SKEW_S: Final = 20
"""How far the clocks of workers, and of who reads, may be apart."""
BUCKETS_READ: Final = 10
"""Buckets of one request."""
BATCH_RECORDS: Final = 200
_US: Final = 1_000_000
_FLOOR_BUCKET: Final = -1


def now_us() -> int:
    """Microseconds since 1970."""
    return int(SystemClock().now().timestamp() * _US)


class ChangeLog:
    """The log of one table; what it knows of it besides is only where to begin reading."""

    def __init__(self, link: Link, place: LogPlace) -> None:
        self._link = link
        self._relation = relation_cql(place.namespace, place.name)
        self._floor: int | None = None

    async def make(self, scope: Scope) -> None:
        """The table, and the bucket in which it begins."""
        await self._link.execute(
            f"CREATE TABLE IF NOT EXISTS {self._relation} (bucket bigint, shard int, lsn bigint, "
            "writer bigint, payload text, done boolean, "
            "PRIMARY KEY ((bucket, shard), lsn, writer)) WITH gc_grace_seconds = 3600 AND comment "
            "= 'rows written while a table changes; made and removed by Morphgres'",
            scope.deadline,
        )
        if await self._stored_floor(scope) is None:
            await self._store_floor(now_us() // _US // BUCKET_S - self._lag(), scope)

    async def drop(self, scope: Scope) -> None:
        """Remove it."""
        self._floor = None
        await self._link.execute(f"DROP TABLE IF EXISTS {self._relation}", scope.deadline)

    # Records

    async def append(self, intents: Sequence[Intent], scope: Scope) -> None:
        """See LogStore."""
        self._refuse_old(intents)
        text = (
            f"INSERT INTO {self._relation} (bucket, shard, lsn, writer, payload, done) "
            "VALUES (?, ?, ?, ?, ?, ?) USING TIMESTAMP ?"
        )
        statement = await self._link.prepare(text, scope.deadline)
        rows = [
            (*_place(each), each.lsn, each.writer, _packed(each), each.done, each.lsn)
            for each in intents
        ]
        await self._write(statement, rows, scope)
        self._refuse_old(intents)

    def _refuse_old(self, intents: Sequence[Intent]) -> None:
        oldest = min((each.lsn for each in intents), default=now_us())
        if now_us() - oldest > LATE_S * _US:
            raise LogPositionTooOld("the log of the change answered too late")

    async def done(self, intents: Sequence[Intent], scope: Scope) -> None:
        """See LogStore."""
        text = (
            f"UPDATE {self._relation} USING TIMESTAMP ? SET done = true "
            "WHERE bucket = ? AND shard = ? AND lsn = ? AND writer = ?"
        )
        statement = await self._link.prepare(text, scope.deadline)
        rows = [(each.lsn + 1, *_place(each), each.lsn, each.writer) for each in intents]
        await self._write(statement, rows, scope, place=1)

    async def remove(self, intents: Sequence[Intent], scope: Scope) -> None:
        """See LogStore."""
        text = (
            f"DELETE FROM {self._relation} USING TIMESTAMP ? "
            "WHERE bucket = ? AND shard = ? AND lsn = ? AND writer = ?"
        )
        statement = await self._link.prepare(text, scope.deadline)
        rows = [(each.lsn + 1, *_place(each), each.lsn, each.writer) for each in intents]
        await self._write(statement, rows, scope, place=1)

    async def _write(
        self, statement: Statement, rows: Sequence[tuple[Any, ...]], scope: Scope, place: int = 0
    ) -> None:
        """Batches of one partition each; all of it may be repeated."""
        parts: dict[Any, list[list[Any]]] = {}
        for row in rows:
            chunks = parts.setdefault(row[place : place + 2], [[]])
            if len(chunks[-1]) >= BATCH_RECORDS:
                chunks.append([])
            chunks[-1].append(statement.bind(row, idempotent=True))

        async def send(bound: list[Any]) -> None:
            request = bound[0] if len(bound) == 1 else self._link.batch(bound, idempotent=True)
            await self._link.run(request, scope.deadline)

        await gather(send, [chunk for chunks in parts.values() for chunk in chunks])

    # Reading

    async def read(self, limit: int, scope: Scope) -> list[Intent]:
        """See LogStore."""
        begun = now_us()
        if self._floor is None:
            self._floor = await self._stored_floor(scope) or 0
        first, last = self._floor, (begun // _US + SKEW_S) // BUCKET_S
        found: list[Intent] = []
        kept = first
        for start in range(first, last + 1, BUCKETS_READ):
            buckets = list(range(start, min(start + BUCKETS_READ, last + 1)))
            part = await self._read_buckets(buckets, scope)
            if not part and not found:
                kept = buckets[-1] + 1
            found += part
            if limit and len(found) >= limit:
                break
        found.sort(key=lambda each: (each.lsn, each.writer))
        await self._raise_floor(found, min(kept, begun // _US // BUCKET_S - self._lag()), scope)
        return found[:limit] if limit else found

    @staticmethod
    def _lag() -> int:
        """Buckets behind the present into which somebody may still append."""
        return (LATE_S + SKEW_S) // BUCKET_S + 1

    async def _read_buckets(self, buckets: list[int], scope: Scope) -> list[Intent]:
        text = (
            f"SELECT lsn, writer, payload, done FROM {self._relation} "
            "WHERE bucket IN ? AND shard IN ?"
        )
        rows = await self._link.query(text, (buckets, list(range(SHARDS))), scope.deadline)
        return [_unpacked(*row) for row in rows if row[2] is not None]

    async def _raise_floor(self, found: list[Intent], closed: int, scope: Scope) -> None:
        """Nothing lies below the oldest record, nor will in what is closed."""
        floor = min([closed, *(each.lsn // _US // BUCKET_S for each in found[:1])])
        assert self._floor is not None
        if floor > self._floor:
            self._floor = floor
            await self._store_floor(floor, scope)

    async def _stored_floor(self, scope: Scope) -> int | None:
        text = f"SELECT lsn FROM {self._relation} WHERE bucket = ? AND shard = 0"
        rows = await self._link.query(text, (_FLOOR_BUCKET,), scope.deadline)
        return max((row[0] for row in rows), default=None)

    async def _store_floor(self, floor: int, scope: Scope) -> None:
        """The highest one counts; those below are removed."""
        text = f"INSERT INTO {self._relation} (bucket, shard, lsn, writer) VALUES (?, 0, ?, 0)"
        statement = await self._link.prepare(text, scope.deadline)
        insert = statement.bind((_FLOOR_BUCKET, floor), idempotent=True)
        await self._link.run(insert, scope.deadline)
        text = f"DELETE FROM {self._relation} WHERE bucket = ? AND shard = 0 AND lsn < ?"
        statement = await self._link.prepare(text, scope.deadline)
        delete = statement.bind((_FLOOR_BUCKET, floor), idempotent=True)
        await self._link.run(delete, scope.deadline)


def _place(intent: Intent) -> tuple[int, int]:
    return intent.lsn // _US // BUCKET_S, intent.writer % SHARDS


def _packed(intent: Intent) -> str:
    return json.dumps(
        [
            *(intent.key, intent.op, intent.epoch, intent.change_ids, intent.deadline_us),
            *(intent.touched, intent.session, intent.stmt_hash, intent.ts_us),
        ],
        ensure_ascii=False,
    )


def _unpacked(lsn: int, writer: int, payload: bytes, done: bool | None) -> Intent:
    key, op, epoch, changes, deadline, touched, session, stmt_hash, ts = json.loads(payload)
    return Intent(
        lsn=lsn,
        writer=writer,
        key=tuple(key),
        op=op,
        epoch=epoch,
        change_ids=tuple(changes),
        deadline_us=deadline,
        touched=tuple(touched),
        session=session,
        stmt_hash=stmt_hash,
        ts_us=ts,
        done=bool(done),
    )
