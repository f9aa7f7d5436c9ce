"""What the nodes' clocks say. A conditional write gets its timestamp from the node that coordinates
it, so rows that are put at positions of ours and rows that clients write must not be compared
before all clocks have passed.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from cassandra import ConsistencyLevel
from cassandra.query import SimpleStatement

from backends.base import Scope
from backends.cassandra.link import Link
from core.clock import SystemClock
from core.errors import ConnectionFailure, QueryCanceled

_NOW: Final = "SELECT toUnixTimestamp(now()) FROM system.local"
_MS: Final = 1_000
_POLL_S: Final = 0.002


async def read_clocks(link: Link, scope: Scope) -> tuple[int, int]:
    """The earliest and the latest clock of the nodes that are up, in milliseconds since 1970."""
    session = await link.open(scope.deadline)
    hosts = [host for host in session.cluster.metadata.all_hosts() if host.is_up]
    found = await asyncio.gather(*(_clock(link, host, scope) for host in hosts))
    if not found:
        raise ConnectionFailure(f'Cassandra instance "{link.instance}": no node is up')
    return min(found), max(found)


async def _clock(link: Link, host: Any, scope: Scope) -> int:
    statement = SimpleStatement(
        _NOW, is_idempotent=True, consistency_level=ConsistencyLevel.LOCAL_ONE
    )
    page = await link.run(statement, scope.deadline, host=host)
    assert page is not None
    return int(page.rows()[0][0])


async def passed(link: Link, lsn: int, scope: Scope) -> None:
    """Wait until every node's clock is behind neither `lsn` nor what clients have written before:
    then a conditional write of now is newer than every put up to `lsn`, and a put at a position
    that is drawn from now on is newer than every write before. QueryCanceled (57014) at the
    deadline.
    """
    _, latest = await read_clocks(link, scope)
    ours = SystemClock()
    while True:
        earliest, _ = await read_clocks(link, scope)
        here = ours.now().timestamp() * _MS
        if earliest * _MS > lsn + 1 and here > latest + 1:
            return
        if scope.deadline is not None and asyncio.get_running_loop().time() > scope.deadline:
            raise QueryCanceled(
                f'Cassandra instance "{link.instance}": the clocks of its nodes and of Morphgres '
                f"are {abs(here - earliest):.0f} ms apart",
                hint="Keep them together with NTP.",
            )
        await asyncio.sleep(_POLL_S)
