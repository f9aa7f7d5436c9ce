"""A table read piece by piece in the order of the ring: token, partition, clustering columns.

CQL cannot say "the rows behind this one", so what lies between two places is a list of *spans*,
each one request that does: the rest of a partition (one span for each clustering column, because a
condition on several columns does not know of their directions), other partitions of the same token,
then tokens.
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final

from backends.base import Scope
from backends.cassandra.facts import TableFacts, quote_cql, relation_cql
from backends.cassandra.layout_rows import Columns, read_rows
from backends.cassandra.link import Link
from backends.cassandra.places import Place, read_place
from backends.change_store import StoreChunk, StoreRow

TOKEN_MIN: Final = -(2**63)
PAGE_ROWS: Final = 1_000

Values = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Span:
    """A condition with its values; stored bytes for columns, numbers for tokens."""

    where: str
    values: Values = ()


class Chunks:
    """The pieces of one table."""

    def __init__(self, link: Link, columns: Columns) -> None:
        self._link = link
        self._columns = columns
        self._facts: TableFacts = columns.facts
        self._partition = " AND ".join(f"{quote_cql(c.name)} = ?" for c in columns.facts.partition)
        self._token = f"token({', '.join(quote_cql(c.name) for c in columns.facts.partition)})"

    async def chunk(
        self, after: str | None, until: str | None, rows: int, scope: Scope
    ) -> StoreChunk:
        """See ShadowStore."""
        first = None if after is None else read_place(after)
        last = None if until is None else read_place(until)
        found: list[StoreRow] = []
        nbytes = 0
        async with aclosing(self._spans(first, last, scope)) as spans:
            async for span in spans:
                async with aclosing(self._pages(span, rows and rows - len(found), scope)) as pages:
                    async for page_rows, size in pages:
                        found += page_rows
                        nbytes += size
                        if rows and len(found) >= rows:
                            last_row = found[rows - 1].position
                            return StoreChunk(found[:rows], last_row, ended=False, nbytes=nbytes)
        end = found[-1].position if found else None
        return StoreChunk(found, end, ended=True, nbytes=nbytes)

    async def _pages(
        self, span: Span, rows: int, scope: Scope
    ) -> AsyncGenerator[tuple[list[StoreRow], int], None]:
        where = f" WHERE {span.where}" if span.where else ""
        statement = await self._link.prepare(self._columns.select + where, scope.deadline)
        bound = statement.bind_stored(span.values, idempotent=True)
        bound.fetch_size = min(rows or PAGE_ROWS, PAGE_ROWS)
        state: bytes | None = None
        while True:
            page = await self._link.run(bound, scope.deadline, state=state)
            assert page is not None, span
            yield read_rows(self._columns, page), len(page.body)
            state = page.state
            if state is None:
                return

    # What lies between

    async def _spans(
        self, after: Place | None, until: Place | None, scope: Scope
    ) -> AsyncGenerator[Span, None]:
        """In the order of the ring."""
        if after is not None and until is not None and after.token == until.token:
            for span in await self._within_token(after, until, scope):
                yield span
            return
        low = TOKEN_MIN
        if after is not None:
            low = after.token
            for span in await self._within_token(after, None, scope):
                yield span
        terms, values = [f"{self._token} > ?"], [_packed(low)]
        if until is not None:
            terms.append(f"{self._token} < ?")
            values.append(_packed(until.token))
        yield Span(" AND ".join(terms), tuple(values))
        if until is not None:
            for span in await self._within_token(None, until, scope):
                yield span

    async def _within_token(
        self, after: Place | None, until: Place | None, scope: Scope
    ) -> list[Span]:
        """Of one token: nearly always one partition, but two keys may have the same."""
        place = after or until
        assert place is not None
        spans: list[Span] = []
        inside = after is None
        for partition in await self._partitions(place, scope):
            begins = after is not None and partition == after.partition
            ends = until is not None and partition == until.partition
            if begins or ends:
                low = after.clustering if after is not None and begins else None
                high = until.clustering if until is not None and ends else None
                spans += self._slices(partition, low, high)
            elif inside:
                spans.append(Span(self._partition, partition))
            inside = inside or begins
            if ends:
                break
        return spans

    async def _partitions(self, place: Place, scope: Scope) -> list[Values]:
        """The partition keys of the place's token, with the place's own, in their order: that of
        the keys as Cassandra serializes them.
        """
        names = ", ".join(quote_cql(each.name) for each in self._facts.partition)
        relation = relation_cql(self._facts.keyspace, self._facts.name)
        text = f"SELECT DISTINCT {names} FROM {relation} WHERE {self._token} = ?"
        statement = await self._link.prepare(text, scope.deadline)
        bound = statement.bind_stored((_packed(place.token),), idempotent=True)
        pages = await self._link.pages(bound, scope.deadline)
        found: set[Values] = {row for page in pages for row in page.stored()} | {place.partition}
        return sorted(found, key=_serialized)

    def _slices(
        self,
        partition: Values,
        after: Sequence[bytes | None] | None,
        until: Sequence[bytes | None] | None,
    ) -> list[Span]:
        """The rows of a partition behind `after` up to `until`, in their order."""
        columns = self._facts.clustering
        if not columns:
            return [] if after is not None else [Span(self._partition, partition)]
        if after is None and until is None:
            return [Span(self._partition, partition)]
        if after == until:
            return []
        common = 0
        if after is not None and until is not None:
            pairs = itertools.takewhile(lambda p: p[0] == p[1], zip(after, until, strict=True))
            common = len(list(pairs))
        spans = []
        width = len(columns)
        if after is not None:
            lowest = common if until is not None else -1
            depths = range(width - 1, lowest, -1)
            spans += [self._slice(partition, after, each, after=after) for each in depths]
        if after is not None and until is not None:
            spans.append(self._slice(partition, after, common, after=after, until=until))
        if until is not None:
            highest = common if after is not None else -1
            depths = range(highest + 1, width)
            spans += [self._slice(partition, until, each, until=until) for each in depths]
            equal = [f"{quote_cql(c.name)} = ?" for c in columns]
            spans.append(Span(" AND ".join([self._partition, *equal]), (*partition, *until)))
        return spans

    def _slice(
        self,
        partition: Values,
        prefix: Sequence[bytes | None],
        depth: int,
        *,
        after: Sequence[bytes | None] | None = None,
        until: Sequence[bytes | None] | None = None,
    ) -> Span:
        """Rows with the first `depth` clustering columns of `prefix`, whose next one is behind that
        of `after` and before that of `until`.
        """
        columns = self._facts.clustering
        terms = [self._partition, *(f"{quote_cql(c.name)} = ?" for c in columns[:depth])]
        values: list[Any] = [*partition, *prefix[:depth]]
        name, down = quote_cql(columns[depth].name), columns[depth].descending
        if after is not None:
            terms.append(f"{name} {'<' if down else '>'} ?")
            values.append(after[depth])
        if until is not None:
            terms.append(f"{name} {'>' if down else '<'} ?")
            values.append(until[depth])
        return Span(" AND ".join(terms), tuple(values))


def _packed(token: int) -> bytes:
    return token.to_bytes(8, "big", signed=True)


def _serialized(partition: Values) -> bytes:
    """A partition key as Cassandra compares it: one value as it is, several with their lengths."""
    if len(partition) == 1:
        return bytes(partition[0])
    return b"".join(len(v).to_bytes(2, "big") + bytes(v) + b"\0" for v in partition)
