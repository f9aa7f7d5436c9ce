"""The scope of a statement: deadline, cancellation, budget (R0.1 cancel, R0.5, R6.3 limits)."""

from __future__ import annotations

import asyncio

import pytest

from core.clock import SystemClock, VirtualClock, settle
from core.errors import AdminShutdown, OutOfMemory, QueryCanceled
from core.scope import Budget, Scope


async def _wait(scope: Scope) -> None:
    async with scope.timeout():
        await asyncio.Event().wait()


async def test_expiry_is_postgresqls_statement_timeout() -> None:  # R0.1
    clock = VirtualClock()
    scope = Scope(clock, deadline=3.0)
    task = asyncio.create_task(_wait(scope))
    await clock.advance(2.9)
    assert not task.done()
    await clock.advance(0.2)
    with pytest.raises(QueryCanceled) as caught:
        await task
    assert caught.value.sqlstate == "57014"
    assert caught.value.primary == "canceling statement due to statement timeout"
    assert caught.value.__cause__ is None
    assert not scope.cancelled


async def test_expiry_on_the_systems_clock() -> None:  # R0.1
    clock = SystemClock()
    with pytest.raises(QueryCanceled, match="statement timeout"):
        await _wait(Scope(clock, deadline=clock.monotonic() + 0.01))


async def test_a_passed_deadline_lets_nothing_start() -> None:
    clock = VirtualClock(start=5)
    scope = Scope(clock, deadline=5)
    assert scope.remaining() == 0
    with pytest.raises(QueryCanceled, match="statement timeout"):
        scope.check()
    with pytest.raises(QueryCanceled, match="statement timeout"):
        async with scope.timeout():
            pytest.fail("must not be entered")


async def test_cancel_interrupts_every_wait_of_the_statement() -> None:  # R0.1
    scope = Scope(VirtualClock(), deadline=None)
    assert scope.remaining() is None
    tasks = [asyncio.create_task(_wait(scope)) for _ in range(3)]
    await settle()
    scope.cancel()
    for task in tasks:
        with pytest.raises(QueryCanceled, match="user request"):
            await task
    assert scope.cancelled
    with pytest.raises(QueryCanceled, match="user request"):
        scope.check()
    with pytest.raises(QueryCanceled, match="user request"):
        await _wait(scope)


async def test_the_first_cause_of_a_cancellation_counts() -> None:
    scope = Scope(VirtualClock())
    scope.cancel(AdminShutdown("terminating connection due to administrator command"))
    scope.cancel()
    with pytest.raises(AdminShutdown):
        scope.check()


async def test_leaving_the_block_in_time_changes_nothing() -> None:
    clock = VirtualClock()
    scope = Scope(clock, deadline=10)
    async with scope.timeout() as inner:
        assert inner is scope
        await asyncio.sleep(0)
    scope.check()
    assert scope.remaining() == 10
    await clock.advance(20)


async def test_other_errors_pass_through() -> None:
    scope = Scope(VirtualClock(), deadline=10)
    with pytest.raises(KeyError):
        async with scope.timeout():
            raise KeyError("of the body")


async def test_a_timeout_of_the_body_itself_is_not_taken_for_ours() -> None:
    # asyncio raises the same class, yet a driver's own timeout must keep its meaning
    scope = Scope(VirtualClock(), deadline=10)
    caught: BaseException | None = None
    try:
        async with scope.timeout():
            raise TimeoutError("driver")
    except TimeoutError as error:
        caught = error
    assert caught is not None
    assert str(caught) == "driver"


async def test_cancelling_the_task_is_not_swallowed() -> None:
    task = asyncio.create_task(_wait(Scope(VirtualClock(), deadline=10)))
    await settle()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_nested_blocks_end_once() -> None:
    clock = VirtualClock()
    scope = Scope(clock, deadline=1)

    async def nested() -> None:
        async with scope.timeout():
            await _wait(scope)

    task = asyncio.create_task(nested())
    await clock.advance(1)
    with pytest.raises(QueryCanceled):
        await task
    assert task.cancelling() == 0


async def test_calls_at_cancellation() -> None:
    scope = Scope(VirtualClock())
    made: list[str] = []
    undo = scope.on_cancel(lambda: made.append("undone"))
    scope.on_cancel(lambda: made.append("first"))
    scope.on_cancel(lambda: made.append("second"))
    undo()
    undo()
    scope.cancel()
    scope.cancel()
    assert made == ["first", "second"]
    scope.on_cancel(lambda: made.append("late"))()
    assert made == ["first", "second", "late"]


def test_budget_refuses_what_exceeds_it_and_stays_usable() -> None:  # R0.5, R6.3
    budget = Budget(100, setting="merge.memory_max")
    budget.take(60)
    with pytest.raises(OutOfMemory) as caught:
        budget.take(41)
    assert caught.value.sqlstate == "53200"
    assert "merge.memory_max" in caught.value.hint
    assert budget.used == 60
    budget.take(40)
    budget.give(100)
    assert (budget.used, budget.peak) == (0, 100)
    with pytest.raises(AssertionError):
        budget.give(1)


def test_budget_without_limit_counts() -> None:
    budget = Budget()
    budget.take(1 << 40)
    assert budget.peak == 1 << 40
