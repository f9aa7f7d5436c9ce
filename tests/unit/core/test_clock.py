"""Time as a parameter: the virtual clock is deterministic, the system clock agrees with asyncio."""

from __future__ import annotations

import asyncio
from datetime import UTC

import pytest

from core.clock import Clock, SystemClock, VirtualClock, settle


async def test_virtual_sleepers_wake_in_order_of_deadline_then_of_arrival() -> None:
    clock = VirtualClock()
    woken: list[tuple[str, float]] = []

    async def sleeper(name: str, deadline: float) -> None:
        await clock.sleep_until(deadline)
        woken.append((name, clock.monotonic()))

    async with asyncio.TaskGroup() as group:
        for name, deadline in [("a", 5.0), ("b", 1.0), ("c", 5.0), ("d", 5.0), ("e", 3.0)]:
            group.create_task(sleeper(name, deadline))
        await settle()
        await clock.advance(4)
        assert woken == [("b", 1.0), ("e", 3.0)]
        assert clock.monotonic() == 4.0
        await clock.advance(1)
    assert [name for name, _ in woken[2:]] == ["a", "c", "d"]


async def test_a_sleeper_can_sleep_again_within_one_advance() -> None:
    clock = VirtualClock()
    ticks: list[float] = []

    async def ticker() -> None:
        for _ in range(5):
            await clock.sleep_until(clock.monotonic() + 1)
            ticks.append(clock.monotonic())

    async with asyncio.TaskGroup() as group:
        group.create_task(ticker())
        await clock.advance(10)
    assert ticks == [1, 2, 3, 4, 5]
    assert clock.monotonic() == 10


async def test_a_cancelled_sleeper_does_not_disturb_the_others() -> None:
    clock = VirtualClock()
    first = asyncio.create_task(clock.sleep_until(1))
    second = asyncio.create_task(clock.sleep_until(1))
    await settle()
    first.cancel()
    await clock.advance(1)
    await second
    assert first.cancelled()


async def test_a_past_deadline_does_not_wait() -> None:
    await VirtualClock(start=7).sleep_until(6)
    await SystemClock().sleep_until(0)


async def test_virtual_timeout_expires_when_time_moves() -> None:
    clock = VirtualClock()

    async def wait() -> None:
        async with clock.timeout_at(2.0):
            await asyncio.Event().wait()

    task = asyncio.create_task(wait())
    await clock.advance(1.9)
    assert not task.done()
    await clock.advance(0.1)
    with pytest.raises(TimeoutError):
        await task


@pytest.mark.parametrize("clock", [SystemClock(), VirtualClock()])
async def test_timeouts_that_do_not_expire(clock: Clock) -> None:
    async with clock.timeout_at(None):
        await asyncio.sleep(0)
    async with clock.timeout_at(clock.monotonic() + 60):
        await asyncio.sleep(0)
    if isinstance(clock, VirtualClock):
        await clock.advance(100)  # the block is left: its expiry does nothing


@pytest.mark.parametrize("clock", [SystemClock(), VirtualClock()])
async def test_a_timeout_that_is_over_already(clock: Clock) -> None:
    with pytest.raises(TimeoutError):
        async with clock.timeout_at(clock.monotonic()):
            await asyncio.Event().wait()


async def test_time_of_day_is_utc_and_moves_with_the_clock() -> None:
    assert SystemClock().now().tzinfo is UTC
    clock = VirtualClock(start=50)
    before = clock.now()
    await clock.advance(90)
    assert (clock.now() - before).total_seconds() == 90
    assert SystemClock().monotonic() <= SystemClock().monotonic()
