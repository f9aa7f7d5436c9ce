"""R4.5: without snapshots only a difference at one LSN is a defect (no false alarms)."""

from __future__ import annotations

from core.clock import SystemClock
from evolution.validation.report import Report
from evolution.validation.scrub import Scrub
from tests.validation.memory import MemoryPair, MemorySide


class Quick(SystemClock):
    """Nobody waits."""

    async def sleep_until(self, deadline: float) -> None:
        pass


async def run(pair: MemoryPair) -> list[tuple[str, str]]:
    async def saved(_: Report) -> None:
        pass

    report = Report(1, 5, 7, "checksum")
    await Scrub(pair.sides, report, saved, clock=Quick()).run()
    assert report.state == "done"
    return [(f.discrepancy.type, f.discrepancy.record_id) for f in report.findings.details]


def pair() -> MemoryPair:
    rows = {f"k{n}": (2 * n, f"v{n}") for n in range(20)}
    return MemoryPair(MemorySide(dict(rows)), MemorySide(dict(rows)))


async def test_a_difference_at_one_lsn_is_a_defect_at_once() -> None:
    both = pair()
    both.shadow.rows["k3"] = (6, "wrong")
    assert await run(both) == [("VALUE_MISMATCH", "k3")]
    assert both.opened == 1


async def test_what_catches_up_is_no_difference() -> None:
    both = pair()
    both.live.rows["k3"] = (100, "new")
    both.live.rows["k99"] = (102, "inserted")
    del both.live.rows["k5"]
    both.writes = [
        (2, both.shadow, "k3", (100, "new")),
        (3, both.shadow, "k99", (102, "inserted")),
        (2, both.shadow, "k5", None),
    ]
    assert await run(both) == []
    assert both.opened == 3


async def test_a_row_that_stays_behind_is_stale() -> None:
    both = pair()
    both.live.rows["k3"] = (100, "new")
    assert await run(both) == [("STALE", "k3")]


async def test_a_row_that_stays_missing_is_missing() -> None:
    both = pair()
    del both.shadow.rows["k4"]
    both.shadow.rows["k400"] = (8, "ghost")
    assert sorted(await run(both)) == [("EXTRA_IN_SHADOW", "k400"), ("MISSING_IN_SHADOW", "k4")]


async def test_a_row_that_is_written_all_the_time_is_stale_and_no_difference() -> None:
    both = pair()
    del both.shadow.rows["k4"]
    both.writes = [(n, both.live, "k4", (100 + n, f"v{n}")) for n in range(2, 9)]
    assert await run(both) == [("STALE", "k4")]


async def test_another_lsn_with_the_same_content_is_equal() -> None:
    both = pair()
    both.shadow.rows["k7"] = (5, "v7")
    assert await run(both) == []
