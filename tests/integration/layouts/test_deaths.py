"""The owner dies at any statement: the next one goes on, and nothing is lost or done twice
(EVOLUTION 6, crash rules). Before a statement reaches the server, and after it did.
"""

from __future__ import annotations

import contextlib
import itertools
from dataclasses import replace
from typing import Any

import asyncpg
import pytest

from core.errors import MorphError
from evolution.layouts.embedded.store import EmbeddedLayouts
from tests.integration.layouts.bed import DEADLINE_S, Bed, verify
from tests.integration.server_process import ServerProcess

STEPS_MAX = 400


class Mortal(asyncpg.Connection):
    """A connection that breaks at the nth statement of all of its kind."""

    left = 0
    after = False

    async def execute(self, query: str, *args: Any, timeout: float | None = None) -> str:
        """See asyncpg."""
        async with _dying(self):
            return await super().execute(query, *args, timeout=timeout)

    async def _execute(self, *args: Any, **kwargs: Any) -> Any:
        async with _dying(self):
            return await super()._execute(*args, **kwargs)


@contextlib.asynccontextmanager
async def _dying(connection: Mortal) -> Any:
    kind = type(connection)
    kind.left -= 1
    now = kind.left == 0
    if not now:
        yield
        return
    if kind.after:
        yield
    connection.terminate()
    raise ConnectionError("the owner died")


async def connect(server: ServerProcess) -> asyncpg.Connection:
    return await asyncpg.connect(
        host=str(server.socket_directory),
        user="morph_root",
        database="morph",
        statement_cache_size=0,
        connection_class=Mortal,
        timeout=60,
    )


async def life(bed: Bed, layouts: EmbeddedLayouts, numbers: Any) -> None:
    """All steps of a change, with writes between them."""

    def write() -> None:
        n = next(numbers)
        bed.ddl(f"INSERT INTO orders VALUES ({n}, 'w{n}')")
        bed.ddl(f"UPDATE orders SET x = 'u{n}' WHERE id = {n % 50 + 1}")
        bed.ddl(f"DELETE FROM orders WHERE id = {n - 3}")

    await layouts.begin(bed.work)
    write()
    for _ in range(STEPS_MAX):
        if (await layouts.advance(bed.work)).copied:
            break
        write()
    assert await layouts.finish(bed.work) == []
    write()
    result = await layouts.cut_over(bed.work, deadline_s=DEADLINE_S, verify=verify, flip=bed.flip)
    assert result.done, result.reason


async def statements(bed: Bed) -> int:
    """How many statements a life has."""
    Mortal.left, Mortal.after = 10**9, False
    await one_life(bed)
    return 10**9 - Mortal.left


async def one_life(bed: Bed) -> None:
    """Live until the end, or die and let another one live on."""
    numbers = itertools.count(1000)
    bed.make("orders", "id int PRIMARY KEY, x text UNIQUE")
    bed.ddl("INSERT INTO orders SELECT g, 'x' || g FROM generate_series(1, 60) g")
    await bed.aim("orders")
    bed.work = replace(bed.work, pace=replace(bed.work.pace, chunk_s=0.00001))
    before = bed.work.tables[0].live
    mortal = EmbeddedLayouts(lambda: connect(bed.server))
    try:
        await life(bed, mortal, numbers)
    except (MorphError, ConnectionError, asyncpg.InterfaceError):
        bed.work = replace(bed.work, epoch=bed.work.epoch + 1)
        await life(bed, bed.layouts, numbers)
    finally:
        with contextlib.suppress(ConnectionError, asyncpg.InterfaceError):
            await mortal.close()
    bed.turn()
    assert bed.work.tables[0].shadow == before
    bed.ddl("INSERT INTO orders VALUES (9999, 'last')")
    await bed.layouts.catch_up(bed.work)
    assert bed.differences() == []
    shown = bed.client.execute("SELECT count(*) FROM orders").fetchone()
    assert shown == (len(bed.rows(bed.work.tables[0].live)),)


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("part", range(6))
async def test_another_owner_goes_on(bed: Bed, part: int, after: bool) -> None:
    """Six of the places of each sixth of a life, begun at different statements."""
    total = await statements(bed)
    assert total > 60
    Mortal.after = after
    for place in (part * total // 6 + 1 + 7 * part % 5, (part + 1) * total // 6 - part):
        await bed.fresh()
        Mortal.left = place
        await one_life(bed)
        assert Mortal.left <= 0 or place > total - 10


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("after", [False, True])
async def test_another_owner_goes_on_from_every_statement(bed: Bed, after: bool) -> None:
    total = await statements(bed)
    for place in range(1, total + 1):
        await bed.fresh()
        Mortal.left, Mortal.after = place, after
        await one_life(bed)
