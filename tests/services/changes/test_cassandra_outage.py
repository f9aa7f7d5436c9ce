"""A node of Cassandra dies in the middle of a change: the change waits, says why, and goes on by
itself when the node is back (issue 5, bad input: a store that dies mid-backfill; R1.9).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.integration.changes.prices import state
from tests.integration.server_process import ServerProcess, eventually, running
from tests.services.cassandra.pair import SECOND, Pair
from tests.services.changes.goods import STORED, Goods, fill, keyspace_on, make_foreign, total_of
from tests.services.changes.patient import insist

pytestmark = [pytest.mark.services, pytest.mark.timeout(900)]

CONFIG = (
    '[changes]\nidle_pause = "20ms"\nbackoff_min = "100ms"\nbackoff_max = "1s"\nfence_lag = "1s"\n'
    "fault_tries = 1000\nrows_per_s = 200\n"
)
SHOPS = ("north", "south", "east", "west", "mid", "far")
PER_SHOP = 400
COUNT = len(SHOPS) * PER_SHOP
PROGRESS = "SELECT coalesce(max(rows), 0)::int FROM morph.progress"
OUT_S = 180.0
CENTS = 0.006
"""A total of the new layout is whole cents."""


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    pair = Pair(Path(str(tmp_path_factory.mktemp("outage"))))
    pair.start_both()
    try:
        yield pair
    finally:
        pair.stop()


@pytest.fixture(scope="module")
def slow_changes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    base = tmp_path_factory.getbasetemp()
    base.chmod(0o755)  # the private PostgreSQL runs as another user
    base.parent.chmod(0o755)
    with running(Path(base) / "outage-changes", CONFIG) as process:
        yield process


# I1, I5: with two replicas a quorum needs both nodes: while one is dead nothing is copied or
# written, and afterwards every acknowledged write is in both layouts
def test_a_node_dies_in_the_middle_of_the_backfill(
    nodes: Pair, slow_changes: ServerProcess
) -> None:
    with (
        keyspace_on(nodes.first, "outage", replicas=2) as session,
        slow_changes.connect() as client,
    ):
        eventually(
            lambda: sum(bool(host.is_up) for host in session.cluster.metadata.all_hosts()) == 2,
            timeout_s=OUT_S,
            what="both nodes",
        )
        session.execute(STORED, timeout=60)
        fill(session, SHOPS, PER_SHOP)
        make_foreign(client, nodes.first, "outage")
        goods = Goods(client, session, "outage", slow_changes)
        goods.change()
        eventually(lambda: goods.rows(PROGRESS)[0][0] > 100, timeout_s=60, what="some rows")
        sure = _write_on(goods, 1)
        assert nodes.second.process is not None
        nodes.second.process.kill()
        try:
            why = "SELECT reason FROM morph.changes WHERE change_id = 2"
            eventually(lambda: goods.rows(why)[0][0], timeout_s=OUT_S, what="it says why")
            assert state(client) == "backfilling"
            assert goods.rows(PROGRESS)[0][0] < COUNT
            refused = _refused(goods)
            assert refused in ("08006", "57014", "40003"), refused
        finally:
            # By this thread: a server dies with the thread that has started it.
            nodes.second = nodes.start(SECOND)
        eventually(lambda: _refused(goods) == "", timeout_s=OUT_S, what="writes go on")
        sure |= _write_on(goods, 2)
        goods.reaches("ready", OUT_S)
        insist(client, "CALL morph.promote(2)")
        assert _rows(goods, "SELECT count(*) FROM goods") == [(COUNT,)]
        expected = {(shop, no): total_of(no) for shop in SHOPS for no in range(1, PER_SHOP + 1)}
        expected |= {("far", PER_SHOP): 0.5, **sure}
        found = _rows(goods, "SELECT shop, no, total FROM v1.goods")
        rounded = "SELECT shop, no, round(total::numeric, 2) FROM v1.goods"
        assert len(found) == COUNT
        assert sorted(_rows(goods, rounded)) == sorted(
            _rows(goods, "SELECT shop, no, total FROM goods")
        )
        shown = _in(found)
        assert {key for key, total in expected.items() if abs(total - shown[key]) > CENTS} == set()
        insist(client, "CALL morph.rollback(2)")
        assert _in(_rows(goods, "SELECT shop, no, total FROM goods")) == expected


def _in(rows: list[tuple[str, int, float]]) -> dict[tuple[str, int], float]:
    return {(shop, no): total for shop, no, total in rows}


def _rows(goods: Goods, text: str) -> list[tuple[Any, ...]]:
    """What a statement answers that may be asked again while a replica is late."""
    answers: list[list[tuple[Any, ...]]] = []

    def answered() -> bool:
        with contextlib.suppress(psycopg.OperationalError):
            answers.append(goods.rows(text))
        return bool(answers)

    eventually(answered, timeout_s=OUT_S, what=text)
    return answers[0]


def _write_on(goods: Goods, round_: int) -> dict[tuple[str, int], float]:
    """Acknowledged writes through both versions."""
    made: dict[tuple[str, int], float] = {}
    for no in range(1, 20):
        version = "v1" if no % 2 else "v2"
        text = (
            f"UPDATE {version}.goods SET total = {no + round_ / 4} "
            f"WHERE shop = 'south' AND no = {no * round_} RETURNING 1"
        )
        assert _rows(goods, text) == [(1,)]
        made["south", no * round_] = no + round_ / 4
    return made


def _refused(goods: Goods) -> str:
    """The SQLSTATE of a write, "" when it was done; always the same row and value."""
    try:
        goods.run(f"UPDATE goods SET total = 0.5 WHERE shop = 'far' AND no = {PER_SHOP}")
    except psycopg.Error as error:
        return error.sqlstate or ""
    return ""
