"""Running a NativeScan: requests in parallel, pages in turn, memory bounded.

Each of a few workers takes the next request (a key, a range of the token ring) and reads its pages
one after the other into a queue of as many pages; who stops reading stops the workers, so at most
two pages a worker are read ahead. A page says itself whether more follow: the scan ends when every
request's last page was read, and a fault of any page ends it with an error. Closing the iterator
cancels the workers; Cassandra has no cancel, so at most one page each is still made there in vain.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncGenerator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa

from backends.base import Scope
from backends.cassandra.decoding import rows_to_batch
from backends.cassandra.facts import quote_cql
from backends.cassandra.link import Link
from backends.cassandra.pages import Layout, Page
from backends.cassandra.pushdown import NativeScan
from core.types import type_by_name

KEYS_IN_FLIGHT: Final = 64
"""Requests for keys at a time; each answers a few rows."""
FIRST_PAGE_ROWS: Final = 1_000
"""Rows of a request's first page, whose bytes say how many the next ones may have."""
_TOKEN_MIN: Final = -(2**63)
_TOKEN_MAX: Final = 2**63 - 1

Request = tuple[str, tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class _Bounds:
    """How much is read at a time: requests, rows of the first page and of any, bytes of a page."""

    workers: int
    first_rows: int
    page_rows: int
    page_bytes: int

    def next_rows(self, page: Page) -> int:
        """Rows of the page after this one."""
        per_row = max(1, len(page.body) // max(1, page.count))
        return max(1, min(self.page_rows, self.page_bytes // per_row))


def token_ranges(parts: int) -> list[tuple[int, int]]:
    """The whole ring of Murmur3 as (after, up to) in equal parts; the least token is no key's."""
    width = (_TOKEN_MAX - _TOKEN_MIN) / parts
    cuts = [_TOKEN_MIN + int(width * i) for i in range(parts)] + [_TOKEN_MAX]
    return list(itertools.pairwise(cuts))


def requests_of(native: NativeScan, ranges: int) -> list[Request]:
    """The texts to send with their values."""
    if native.access != "full":
        return [(native.text, bind) for bind in native.binds]
    [bind] = native.binds
    if native.limit is not None or ranges == 1:
        text = native.text.replace("{tokens} AND ", "").replace(" WHERE {tokens}", "")
        return [(text, bind)]
    token = f"token({', '.join(map(quote_cql, native.partition))})"
    text = native.text.replace("{tokens}", f"{token} > ? AND {token} <= ?")
    return [(text, (*each, *bind)) for each in token_ranges(ranges)]


def run_scan(
    link: Link, native: NativeScan, scope: Scope, ranges: int
) -> AsyncGenerator[pa.RecordBatch, None]:
    """The batches of a scan that was planned with facts."""
    if native.access == "empty" or native.limit == 0:
        return _run_many(link, native, scope, [])
    requests = requests_of(native, ranges)
    if len(requests) == 1:
        return _run_one(link, native, scope, requests[0])
    return _run_many(link, native, scope, requests)


async def _run_one(
    link: Link, native: NativeScan, scope: Scope, request: Request
) -> AsyncGenerator[pa.RecordBatch, None]:
    """A batch a page: the short way of a point read."""
    left = native.limit
    bounds = _bounds(link, native, [request], scope)
    statement = await link.prepare(request[0], scope.deadline)
    bound = statement.bind(request[1], idempotent=True)
    bound.fetch_size = bounds.first_rows
    state: bytes | None = None
    while True:
        page = await link.run(bound, scope.deadline, state=state)
        assert page is not None, request
        rows = page.rows()
        if rows:
            batch = rows_to_batch(native, page.layout, rows, scope.misfits)
            if left is not None:
                batch = _first(batch, left)
                left -= batch.num_rows
            if batch.num_rows:
                yield batch
        state = page.state
        if state is None or left == 0:
            return
        bound.fetch_size = bounds.next_rows(page)


async def read_key(link: Link, native: NativeScan, scope: Scope) -> Page:
    """The first page of a read of one key."""
    statement = await link.prepare(native.text, scope.deadline)
    bound = statement.bind(native.binds[0], idempotent=True)
    bound.fetch_size = FIRST_PAGE_ROWS
    page = await link.run(bound, scope.deadline)
    assert page is not None, native.text
    return page


async def _run_many(
    link: Link, native: NativeScan, scope: Scope, requests: list[Request]
) -> AsyncGenerator[pa.RecordBatch, None]:
    gathered = _Gathered(native, scope, link.options.batch_rows, len(requests) > KEYS_IN_FLIGHT)
    async with contextlib.aclosing(_pages(link, native, requests, scope)) as pages:
        async for page, idle in pages:
            if gathered.is_full_with(page):
                yield gathered.take()
            gathered.add(page)
            if gathered.is_ready(idle):
                yield gathered.take()
            if gathered.left == 0:
                return
    if gathered.rows:
        yield gathered.take()


class _Gathered:
    """Rows of small pages on their way to one batch; `left` counts down to the limit."""

    def __init__(self, native: NativeScan, scope: Scope, batch_rows: int, patient: bool) -> None:
        self.rows: list[Any] = []
        self.left = native.limit
        self._native = native
        self._scope = scope
        self._batch_rows = batch_rows
        self._patient = patient
        self._bytes = 0
        self._layout: Layout | None = None

    def is_full_with(self, page: Page) -> bool:
        """Whether the page must go into the next batch: too many rows, or other types."""
        other = page.layout is not self._layout or len(self.rows) + page.count > self._batch_rows
        return bool(self.rows) and other

    def add(self, page: Page) -> None:
        """Decodes a page into the rows."""
        self._layout = page.layout
        self._bytes += len(page.body)
        self.rows += page.rows()

    def is_ready(self, idle: bool) -> bool:
        """Whether to hand on what there is: enough, or nothing else to do."""
        if not self.rows:
            return False
        enough = self._bytes > self._scope.bytes_max // 4
        done = self.left is not None and len(self.rows) >= self.left
        return enough or done or (idle and not self._patient)

    def take(self) -> pa.RecordBatch:
        """The batch."""
        rows, self.rows, self._bytes = self.rows, [], 0
        assert self._layout is not None
        batch = rows_to_batch(self._native, self._layout, rows, self._scope.misfits)
        if self.left is not None:
            batch = _first(batch, self.left)
            self.left -= batch.num_rows
        return batch


def _first(batch: pa.RecordBatch, count: int) -> pa.RecordBatch:
    """At most so many rows; slice() of a batch without columns loses its count."""
    if batch.num_rows <= count:
        return batch
    if batch.num_columns:
        return batch.slice(0, count)
    return pa.table({"n": pa.nulls(count)}).select([]).to_batches()[0]


async def run_grouped(
    link: Link, native: NativeScan, scope: Scope
) -> AsyncGenerator[pa.RecordBatch, None]:
    """The one row of aggregates over all keys."""
    parts: list[list[Any]] = [[] for _ in native.reducers]
    requests = requests_of(native, 1)
    async with contextlib.aclosing(_pages(link, native, requests, scope)) as pages:
        async for page, _ in pages:
            for row in page.rows():
                for found, value in zip(parts, row, strict=True):
                    found.append(value)
    arrays = [
        pa.array([_reduce(how, values)], type_by_name(each).arrow)
        for how, values, each in zip(native.reducers, parts, native.types, strict=True)
    ]
    yield pa.RecordBatch.from_arrays(arrays, names=[f"a{i}" for i in range(len(arrays))])


def _reduce(how: str, values: Sequence[Any]) -> Any:
    known = [each for each in values if each is not None]
    if how == "sum":
        return sum(known)
    if not known:
        return None
    return min(known) if how == "min" else max(known)


async def _pages(
    link: Link, native: NativeScan, requests: list[Request], scope: Scope
) -> AsyncGenerator[tuple[Page, bool], None]:
    """All pages, and with each whether no other is waiting to be taken."""
    bounds = _bounds(link, native, requests, scope)
    queue: asyncio.Queue[Page | BaseException | None] = asyncio.Queue(bounds.workers)
    waiting = iter(requests)
    workers = [
        asyncio.create_task(_work(link, waiting, bounds, scope, queue))
        for _ in range(bounds.workers)
    ]
    running = len(workers)
    try:
        while running:
            item = await queue.get()
            if item is None:
                running -= 1
            elif isinstance(item, BaseException):
                raise item
            else:
                yield item, queue.empty()
    finally:
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)


def _bounds(link: Link, native: NativeScan, requests: list[Request], scope: Scope) -> _Bounds:
    options = link.options
    many = KEYS_IN_FLIGHT if native.access == "keys" else options.scan_ranges
    workers = max(1, min(many, len(requests)))
    rows = max(1, min(options.page_rows, options.batch_rows))
    first = min(rows, FIRST_PAGE_ROWS)
    if native.limit is not None:
        rows = first = min(rows, native.limit)
    # In flight, in the queue, and being decoded.
    return _Bounds(workers, first, rows, max(1, scope.bytes_max // (2 * workers + 1)))


async def _work(
    link: Link,
    requests: Iterator[Request],
    bounds: _Bounds,
    scope: Scope,
    queue: asyncio.Queue[Page | BaseException | None],
) -> None:
    try:
        for request in requests:
            async for page in _request(link, request, bounds, scope):
                await queue.put(page)
    except Exception as fault:  # noqa: BLE001 - the consumer raises it
        await queue.put(fault)
    else:
        await queue.put(None)


async def _request(
    link: Link, request: Request, bounds: _Bounds, scope: Scope
) -> AsyncGenerator[Page, None]:
    text, values = request
    statement = await link.prepare(text, scope.deadline)
    bound = statement.bind(values, idempotent=True)
    bound.fetch_size = bounds.first_rows
    state: bytes | None = None
    while True:
        page = await link.run(bound, scope.deadline, state=state)
        assert page is not None, text
        yield page
        state = page.state
        if state is None:
            return
        bound.fetch_size = bounds.next_rows(page)
