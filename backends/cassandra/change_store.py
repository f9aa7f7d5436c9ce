"""The log and the layouts of changes in Cassandra: see backends/change_store.py for what each
method means, docs/backends/cassandra.md for what it is in CQL.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from cassandra import ConsistencyLevel

from backends.base import Scope
from backends.cassandra import node_clocks, shadow_tables
from backends.cassandra.change_log import ChangeLog
from backends.cassandra.chunks import Chunks
from backends.cassandra.facts import TableFacts, quote_cql, relation_cql
from backends.cassandra.layout_rows import Columns, columns_of, read_rows
from backends.cassandra.link import Link
from backends.cassandra.parallel import gather
from backends.cassandra.places import read_place
from backends.cassandra.pushdown import stored_name
from backends.cassandra.puts import Puts, Target, stored_keys
from backends.cassandra.shadow_indexes import copy_indexes
from backends.cassandra.shadow_tables import POSITION, Wanted
from backends.change_store import (
    Image,
    Intent,
    Key,
    LogPlace,
    StoreChunk,
    StoreRow,
    Tail,
    TailLost,
)
from catalog.model import Native, Table
from core.errors import NotNullViolation

Known = Callable[[Table, float | None], Awaitable[TableFacts]]
"""The facts of a table, at most some seconds old."""
Estimate = Callable[[Table, Scope], Awaitable[Any]]


class CassandraChangeStore:
    """One instance's; it is the backend's own part for `evolution/layouts/foreign`."""

    dead_path: tuple[str, ...] = ()
    grace_s = 16.0
    """How long after its deadline a write may still come to effect: a coordinator takes up what
    waits for native_transport_timeout (12 s), and then has cas_contention_timeout (1.8 s) and
    write_request_timeout (2 s).
    """

    def __init__(self, link: Link, known: Known, estimate: Estimate) -> None:
        self._link = link
        self._known = known
        self._estimate = estimate
        self._logs: dict[LogPlace, ChangeLog] = {}

    # The log

    def _log(self, place: LogPlace) -> ChangeLog:
        return self._logs.setdefault(place, ChangeLog(self._link, place))

    async def make_log(self, place: LogPlace, scope: Scope) -> None:
        """See LogStore."""
        await self._log(place).make(scope)

    async def drop_log(self, place: LogPlace, scope: Scope) -> None:
        """See LogStore."""
        await self._log(place).drop(scope)
        self._logs.pop(place, None)

    async def append(self, place: LogPlace, intents: Sequence[Intent], scope: Scope) -> None:
        """See LogStore."""
        await self._log(place).append(intents, scope)

    async def done(self, place: LogPlace, intents: Sequence[Intent], scope: Scope) -> None:
        """See LogStore."""
        await self._log(place).done(intents, scope)

    async def read(self, place: LogPlace, limit: int, scope: Scope) -> Sequence[Intent]:
        """See LogStore."""
        return await self._log(place).read(limit, scope)

    async def remove(self, place: LogPlace, intents: Sequence[Intent], scope: Scope) -> None:
        """See LogStore."""
        await self._log(place).remove(intents, scope)

    async def tail_token(self, table: Table, scope: Scope) -> str | None:
        """See TailStore: a node writes commit logs to its own disk only."""
        del table, scope
        return None

    async def tail(
        self, table: Table, token: str, limit: int, scope: Scope, *, fully: bool = False
    ) -> Tail:
        """See TailStore: nobody has a token."""
        raise TailLost(f'table "{table.name}" has no tail')

    # Layouts

    def new_key(self, table: Table) -> Key:
        """Refuses (23502): Cassandra makes no keys."""
        names = [each.name for each in table.columns if each.id in table.key]
        raise NotNullViolation(
            f'null value in column "{names[0]}" of relation "{table.name}" violates not-null '
            "constraint"
        )

    async def make_shadow(self, live: Table, shadow: Table, scope: Scope) -> None:
        """See ShadowStore; 0A000 and 55000 for tables that cannot have one."""
        facts = await self._known(live, scope.deadline)
        await shadow_tables.check(self._link, facts, scope.deadline)
        columns = shadow_tables.shadow_columns(facts, _wanted(live, shadow, facts))
        await shadow_tables.create(self._link, facts, shadow.native[-1], columns, scope.deadline)

    async def drop(self, shadow: Table, scope: Scope) -> None:
        """See ShadowStore."""
        keyspace, name = self._native(shadow)
        await shadow_tables.drop(self._link, keyspace, name, scope.deadline)

    def _native(self, table: Table) -> tuple[str, str]:
        if len(table.native) == 1:
            return self._link.options.keyspace, table.native[0]
        return table.native[0], table.native[1]

    async def bound(self, table: Table, scope: Scope) -> tuple[str | None, int]:
        """See ShadowStore: rows come in the order of the ring, which has an end."""
        return None, (await self._estimate(table, scope)).rows

    # Reading

    async def _columns(self, table: Table, scope: Scope) -> Columns:
        return columns_of(table, await self._known(table, scope.deadline))

    async def chunk(
        self, table: Table, after: str | None, until: str | None, rows: int, scope: Scope
    ) -> StoreChunk:
        """See ShadowStore."""
        columns = await self._columns(table, scope)
        return await Chunks(self._link, columns).chunk(after, until, rows, scope)

    async def reread(self, table: Table, keys: Sequence[Key], scope: Scope) -> Sequence[StoreRow]:
        """See ShadowStore. A SERIAL read finishes a conditional write that was accepted and not
        answered, or makes sure that it never happens.
        """
        columns = await self._columns(table, scope)
        text = _by_key(columns)
        statement = await self._link.prepare(text, scope.deadline)
        stored = stored_keys(table, columns.facts, statement.shapes, keys)
        return await self._rows_of(columns, stored, scope)

    async def at(self, table: Table, positions: Sequence[str], scope: Scope) -> Sequence[StoreRow]:
        """See ShadowStore."""
        columns = await self._columns(table, scope)
        return await self._rows_of(columns, [read_place(each).key for each in positions], scope)

    async def _rows_of(
        self, columns: Columns, keys: Sequence[Sequence[bytes | None]], scope: Scope
    ) -> list[StoreRow]:
        statement = await self._link.prepare(_by_key(columns), scope.deadline)
        level = ConsistencyLevel.name_to_value[self._link.options.serial_consistency]

        async def read(key: Sequence[bytes | None]) -> list[StoreRow]:
            if any(each is None for each in key):
                return []
            bound = statement.bind_stored(key, idempotent=True)
            bound.consistency_level = level
            page = await self._link.run(bound, scope.deadline)
            assert page is not None
            return read_rows(columns, page)

        found = await gather(read, keys)
        return [row for rows in found for row in rows]

    # Writing

    async def put(
        self, live: Table, shadow: Table, images: Sequence[Image], lsn: int, scope: Scope
    ) -> None:
        """See ShadowStore."""
        target = await self._target(live, shadow, scope)
        await Puts(self._link, target, lsn, scope, back=False).put(images)

    async def put_back(
        self, live: Table, old: Table, images: Sequence[Image], lsn: int, scope: Scope
    ) -> None:
        """See ShadowStore."""
        target = await self._target(live, old, scope)
        await Puts(self._link, target, lsn, scope, back=True).put(images)

    async def _target(self, source: Table, table: Table, scope: Scope) -> Target:
        return Target(
            source,
            await self._known(source, scope.deadline),
            table,
            await self._known(table, scope.deadline),
        )

    async def copy_indexes(self, live: Table, shadow: Table, scope: Scope) -> Sequence[str]:
        """See ShadowStore; returns when they answer."""
        here = await self._known(live, scope.deadline)
        there = await self._known(shadow, scope.deadline)
        return await copy_indexes(self._link, here, there, scope)

    async def settle(self, shadow: Table, lsn: int, scope: Scope) -> None:
        """See ShadowStore: waits until the clocks of all nodes have passed."""
        del shadow
        await node_clocks.passed(self._link, lsn, scope)

    async def clean(self, shadow: Table, scope: Scope) -> None:
        """Nothing: readers do not see Cassandra's tombstones."""
        del shadow, scope

    async def tidy(self, table: Table, scope: Scope) -> None:
        """See ShadowStore: the column of positions goes."""
        facts = await self._known(table, scope.deadline)
        if facts.column(POSITION) is not None:
            relation = relation_cql(facts.keyspace, facts.name)
            text = f"ALTER TABLE {relation} DROP IF EXISTS {quote_cql(POSITION)}"
            await self._link.execute(text, scope.deadline)


def _by_key(columns: Columns) -> str:
    where = " AND ".join(f"{quote_cql(each.name)} = ?" for each in columns.facts.key)
    return f"{columns.select} WHERE {where}"


def _wanted(live: Table, shadow: Table, facts: TableFacts) -> list[Wanted]:
    """The columns of the new layout, and those that only Cassandra knows."""
    there = {each.id: stored_name(each) or "" for each in live.columns}
    wanted = []
    for each in shadow.columns:
        name = stored_name(each) or each.name
        source = each.source
        store_type = source.store_type if isinstance(source, Native) else ""
        wanted.append(Wanted(name, each.type, there.get(each.id, ""), store_type))
    known = {*there.values(), *(each.name for each in wanted), POSITION}
    wanted += [Wanted(c.name, "", c.name) for c in facts.columns if c.name not in known]
    return wanted
