"""A benchmark ends in time, whatever a case does (issue 5, point 9)."""

from __future__ import annotations

import time

import pytest

from bench.deadlines import Budget, within


def test_a_case_gets_its_own_time_or_what_is_left() -> None:
    assert Budget(1_000.0, 240.0).of_case() == 240.0
    assert Budget(100.0, 240.0).of_case() <= 100.0
    assert Budget(100.0, 240.0).of_case(4) <= 25.0


def test_nothing_begins_when_the_time_is_over() -> None:
    budget = Budget(60.0, begun=time.monotonic() - 60)
    assert budget.left_s == 0.0
    with pytest.raises(TimeoutError, match="the 60 s for it are over"):
        budget.of_case()


def test_a_block_is_broken_off() -> None:
    with pytest.raises(TimeoutError, match="did not end within"), within(0.05):
        time.sleep(600)


def test_a_block_that_ends_is_left_alone() -> None:
    with within(60.0):
        done = True
    assert done
