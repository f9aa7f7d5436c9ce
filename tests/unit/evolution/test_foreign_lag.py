"""How far behind a shadow over the network is (issue 5 point 6): under writers that never pause
there is always something in the log, and a cut-over must begin all the same.
"""

from __future__ import annotations

import pytest

from backends.change_store import Intent
from evolution.layouts.base import Progress
from evolution.layouts.foreign.feeding import BATCH_RECORDS, UNDER_WAY_US, Log

NOW_US = 1_800_000_000_000_000
ALIVE, GONE = 1, 2


def _intent(age_us: int, writer: int = ALIVE, number: int = 0) -> Intent:
    return Intent(
        lsn=2 * number, writer=writer, key=(str(number),), op="put", epoch=1, change_ids=(2,),
        deadline_us=NOW_US, ts_us=NOW_US - age_us,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("settled", "under_way", "behind_s"),
    [
        pytest.param([], [], 0.0, id="nothing"),
        pytest.param([_intent(3_000_000)], [], 0.0, id="what was brought in"),
        pytest.param([], [_intent(UNDER_WAY_US // 2)], 0.0, id="a write of now"),
        pytest.param([], [_intent(2 * UNDER_WAY_US)], 2.0, id="a write that takes long"),
        pytest.param([], [_intent(300_000, GONE)], 0.3, id="a write of a dead worker"),
        pytest.param(
            [_intent(5_000_000 - n, number=n) for n in range(BATCH_RECORDS)],
            *([], 5.0 - (BATCH_RECORDS - 1) / 1e6),
            id="more than fits in",
        ),
    ],
)
def test_behind(settled: list[Intent], under_way: list[Intent], behind_s: float) -> None:
    log = Log(settled, under_way, len(settled) < BATCH_RECORDS, NOW_US)
    assert log.behind_s({GONE}) == pytest.approx(behind_s)


# A store that says nothing of it is as far behind as its log is old
def test_the_fence_looks_at_what_is_behind() -> None:
    assert Progress(lag_s=0.4).fence_lag_s == 0.4
    assert Progress(lag_s=0.4, behind_s=0.0).fence_lag_s == 0.0
