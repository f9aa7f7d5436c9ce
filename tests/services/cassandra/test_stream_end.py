"""A node that ends the stream in mid-answer: the scan is whole or fails, and soon (R0.5, R1.9)."""

from __future__ import annotations

import asyncio
import contextlib
import time

import pytest

from core.errors import MorphError
from tests.services.cassandra.stores import Store, make, open_store, read
from tests.services.cutting_proxy import CuttingProxy, Fault
from tests.services.servers.process import HOST, RunningServer

pytestmark = [pytest.mark.services, pytest.mark.timeout(600)]

ROWS = 1_500
PROMPT_S = 20.0


async def _fill(store: Store) -> None:
    await store.cql("CREATE TABLE t (p int, n int, t text, PRIMARY KEY (p, n))")
    for start in range(0, ROWS, 100):
        inserts = "".join(
            f"INSERT INTO t (p, n, t) VALUES (0, {n}, '{'x' * 60}');"
            for n in range(start, start + 100)
        )
        await store.cql(f"BEGIN UNLOGGED BATCH {inserts} APPLY BATCH")


async def test_a_scan_is_whole_or_fails_at_once(cassandra: RunningServer, own_name: str) -> None:
    async with open_store(cassandra, own_name) as store:
        await _fill(store)
        table = await store.table("t")
        plan = store.plan(table, ("n",), None)
        with CuttingProxy(cassandra.host, cassandra.port) as proxy:
            through = RunningServer("cassandra", "", "", HOST, proxy.port, "")
            backend = make(through)
            try:
                expected = [(n,) for n in range(ROWS)]
                assert sorted(await read(backend, plan)) == expected
                proxy.arm(Fault(after=None))
                assert sorted(await read(backend, plan)) == expected
                whole = proxy.counted
                for after in (whole // 10, whole // 3, whole // 2, whole * 9 // 10):
                    proxy.arm(Fault(after=after))
                    started, used = time.monotonic(), time.process_time()
                    with contextlib.suppress(MorphError):
                        rows = await asyncio.wait_for(read(backend, plan), 2 * PROMPT_S)
                        assert sorted(rows) == expected
                    proxy.wait_fired()
                    assert time.monotonic() - started < PROMPT_S
                    assert time.process_time() - used < PROMPT_S / 4
            finally:
                await backend.close()
