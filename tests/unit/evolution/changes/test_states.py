"""The state machine of a change: EVOLUTION 5 row by row, its guards, and what is illegal."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evolution.changes import events as ev
from evolution.changes.states import (
    EFFECTS,
    FINAL,
    SHADOWED,
    Effect,
    IllegalTransition,
    Phase,
    State,
    effects_of,
    legal,
    refusal,
    rule_for,
    transition,
    words,
)

P = Phase
EVENTS: dict[type, ev.Event] = {
    type(event): event
    for event in (
        ev.Analyzed(),
        ev.Rejected("impossible coercion"),
        ev.Started(),
        ev.Begun(),
        ev.Copied(),
        ev.CaughtUp(0.5),
        ev.Validated(1, 0),
        ev.Stepped(5),
        ev.CanaryPassed(),
        ev.Fence((0.01, 0.02), follows=True),
        ev.Flipped(3, follows=True),
        ev.Unfenced("lock timeout"),
        ev.FenceBack(within_window=True),
        ev.FlippedBack(3),
        ev.Revalidate(),
        ev.Contract(window_over=True),
        ev.Contracted(),
        ev.Discard("ann"),
        ev.Failed("22P02"),
        ev.Retry("ann"),
        ev.Rebase("ADD COLUMN"),
        ev.Hold("by ann"),
        ev.Resume(),
        ev.PromoteLazily(follows=True),
        ev.Claimed(9),
        ev.Settled(),
    )
}
"""One event of each kind whose facts let it through."""

SPECIFIED = {
    (P.PROPOSED, ev.Analyzed, P.ANALYZED),
    (P.PROPOSED, ev.Rejected, P.REJECTED),
    (P.ANALYZED, ev.Rejected, P.REJECTED),
    (P.ANALYZED, ev.Started, P.SHADOWING),
    (P.SHADOWING, ev.Begun, P.BACKFILLING),
    (P.BACKFILLING, ev.Copied, P.CATCHING_UP),
    (P.CATCHING_UP, ev.CaughtUp, P.VALIDATING),
    (P.VALIDATING, ev.Validated, P.CANARY),
    (P.VALIDATING, ev.Validated, P.READY),
    (P.CANARY, ev.Stepped, P.CANARY),
    (P.CANARY, ev.Revalidate, P.VALIDATING),
    (P.CANARY, ev.CanaryPassed, P.READY),
    (P.READY, ev.Fence, P.FENCED),
    (P.READY, ev.Revalidate, P.VALIDATING),
    (P.FENCED, ev.Flipped, P.PROMOTED),
    (P.FENCED, ev.Unfenced, P.READY),
    (P.PROMOTED, ev.FenceBack, P.RB_FENCED),
    (P.RB_FENCED, ev.FlippedBack, P.ROLLED_BACK),
    (P.RB_FENCED, ev.Unfenced, P.PROMOTED),
    (P.ROLLED_BACK, ev.Revalidate, P.VALIDATING),
    (P.ROLLED_BACK, ev.Discard, P.DISCARDED),
    (P.PROMOTED, ev.Contract, P.CONTRACTING),
    (P.CONTRACTING, ev.Contracted, P.COMPLETED),
    (P.ANALYZED, ev.Discard, P.DISCARDED),
    (P.ANALYZED, ev.Failed, P.FAILED_REVIEW),
    (P.FAILED_REVIEW, ev.Retry, P.ANALYZED),
    (P.FAILED_REVIEW, ev.Discard, P.DISCARDED),
    *((phase, ev.Discard, P.DISCARDED) for phase in SHADOWED),
    *((phase, ev.Failed, P.FAILED_REVIEW) for phase in SHADOWED),
    *((phase, ev.Rebase, P.ANALYZED) for phase in SHADOWED),
}
"""EVOLUTION 5, and what this build adds: a rebase, a second try after a failed review, discarding
what was rolled back, READY without a ramp. Flags (hold, lazy, epoch, settled) are apart.
"""


def at(phase: Phase, **facts: object) -> State:
    state = State(phase, epoch=3, percent=100 if phase is P.CANARY else 0)
    return replace(state, **facts) if facts else state  # type: ignore[arg-type]


def test_the_table_is_the_specification() -> None:  # R4.3, EVOLUTION 5
    assert {row for row in legal() if row[0] is not row[2] or row[1] is ev.Stepped} == SPECIFIED


@pytest.mark.parametrize("phase", list(Phase))
@pytest.mark.parametrize("kind", list(EVENTS))
def test_every_pair_is_a_row_or_raises(phase: Phase, kind: type) -> None:
    rows = [row for row in legal() if row[:2] == (phase, kind)]
    state = at(phase, settled=kind is ev.Retry)
    if not rows:
        with pytest.raises(IllegalTransition) as caught:
            transition(state, EVENTS[kind])
        assert caught.value.sqlstate == "55000"
        return
    fresh, effects = transition(state, EVENTS[kind])
    assert fresh.phase in {to for _, _, to in rows}
    assert effects == (() if fresh.settled else EFFECTS[fresh.phase])


def test_a_change_runs_through() -> None:
    state = State(P.PROPOSED)
    seen = [state.phase]
    for event in (
        ev.Analyzed(), ev.Started(), ev.Begun(), ev.Copied(), ev.CaughtUp(0.0), ev.Validated(7, 0),
        ev.Fence((0.0, 0.01), follows=True), ev.Flipped(1, follows=True),
        ev.FenceBack(within_window=True), ev.FlippedBack(2), ev.Revalidate(), ev.Validated(8, 0),
        ev.Fence((0.0, 0.0), follows=True), ev.Flipped(3, follows=True),
        ev.Contract(window_over=True), ev.Contracted(),
    ):  # fmt: skip
        state, effects = transition(state, event)
        seen.append(state.phase)
    assert seen[-1] is P.COMPLETED
    assert state.settled
    assert effects == ()
    assert [p for p in Phase if p not in seen] == [
        P.REJECTED, P.CANARY, P.DISCARDED, P.FAILED_REVIEW,
    ]  # fmt: skip


# ---------------------------------------------------------------- what is illegal by construction


@pytest.mark.parametrize("phase", [p for p in Phase if p not in (P.VALIDATING, P.CANARY)])
def test_validating_cannot_be_skipped(phase: Phase) -> None:
    into = {to: {row[0] for row in legal() if row[2] is to and row[0] is not to} for to in Phase}
    assert into[P.READY] == {P.VALIDATING, P.CANARY, P.FENCED}  # FENCED is reached from READY only
    assert into[P.FENCED] == {P.READY}
    assert into[P.CANARY] == {P.VALIDATING}
    with pytest.raises(IllegalTransition):
        transition(at(phase), ev.Validated(1, 0))


def test_two_fences_on_a_table() -> None:
    with pytest.raises(IllegalTransition, match="change 6 holds a fence on one of its tables"):
        transition(at(P.READY), ev.Fence((0.0, 0.0), follows=True, fenced_by=6))
    with pytest.raises(IllegalTransition, match="change 6 holds a fence on one of its tables"):
        transition(at(P.PROMOTED), ev.FenceBack(within_window=True, fenced_by=6))


@pytest.mark.parametrize(
    ("phase", "event"),
    [
        (P.READY, ev.Fence((0.0, 0.0), follows=False)),
        (P.FENCED, ev.Flipped(3, follows=False)),
        (P.READY, ev.PromoteLazily(follows=False)),
    ],
)
def test_promotion_of_what_does_not_follow_the_current_version(
    phase: Phase, event: ev.Event
) -> None:
    with pytest.raises(IllegalTransition, match="is not the current version"):
        transition(at(phase), event)


@pytest.mark.parametrize("window_over", [True, False])
@pytest.mark.parametrize("by_user", [True, False])
def test_contraction_while_a_session_is_pinned(*, window_over: bool, by_user: bool) -> None:
    event = ev.Contract(window_over=window_over, by_user=by_user, pinned=1)
    with pytest.raises(IllegalTransition, match="1 sessions use a version"):
        transition(at(P.PROMOTED), event)


@pytest.mark.parametrize("phase", list(Phase))
@pytest.mark.parametrize("epoch", [0, 2, 3])
def test_epochs_do_not_decrease(phase: Phase, epoch: int) -> None:
    with pytest.raises(IllegalTransition, match=f"epoch {epoch} is not above 3"):
        transition(at(phase), ev.Claimed(epoch))
    assert transition(at(phase), ev.Claimed(4))[0] == at(phase, epoch=4)


# ---------------------------------------------------------------- guards


@pytest.mark.parametrize(
    ("phase", "event", "why"),
    [
        (P.PROPOSED, ev.Analyzed(pure=False), "it is not pure"),
        (P.ANALYZED, ev.Started(waits_for=4), "it waits for change 4"),
        (P.SHADOWING, ev.Begun(bound_frozen=False), "its bound is not frozen"),
        (P.BACKFILLING, ev.Copied(copied=False), "its backfill is not complete"),
        (P.CATCHING_UP, ev.CaughtUp(1.01), "its shadow is 1.0 s behind"),
        (P.VALIDATING, ev.Validated(0, 0), "there is no validation report"),
        (P.VALIDATING, ev.Validated(1, 0, complete=False), "the validation is not complete"),
        (P.VALIDATING, ev.Validated(1, 2), "the validation found 2 critical discrepancies"),
        (P.CANARY, ev.Stepped(101), "101 is no percentage"),
        (P.READY, ev.Fence((), follows=True), "was not seen twice"),
        (P.READY, ev.Fence((0.01,), follows=True), "was not seen twice"),
        (P.READY, ev.Fence((0.01, 0.051), follows=True), "more than 0.05 s behind"),
        (P.READY, ev.Fence((0.0, 0.0), follows=True, deadline_s=0), "a fence needs a deadline"),
        (P.FENCED, ev.Flipped(2, follows=True), "epoch 2 is not the owner's, 3"),
        (P.FENCED, ev.Flipped(3, follows=True, drained=False), "its log is not drained"),
        (P.FENCED, ev.Flipped(3, follows=True, verified=False), "it is not verified"),
        (P.RB_FENCED, ev.FlippedBack(2), "epoch 2 is not the owner's, 3"),
        (P.RB_FENCED, ev.FlippedBack(3, drained=False), "its log is not drained"),
        (P.RB_FENCED, ev.FlippedBack(3, verified=False), "it is not verified"),
        (P.PROMOTED, ev.FenceBack(within_window=False), "the window for a rollback is over"),
        (P.PROMOTED, ev.FenceBack(within_window=True, blocking=3), "3 rows cannot be shown"),
        (P.PROMOTED, ev.Contract(window_over=False), "the window for a rollback is not over"),
        (P.PROMOTED, ev.Contract(window_over=True, older=4), "change 4 can be rolled back only"),
        (P.FAILED_REVIEW, ev.Retry("ann"), "its shadow is still being removed"),
    ],
)
def test_a_guard_that_does_not_hold(phase: Phase, event: ev.Event, why: str) -> None:
    state = at(phase)
    assert why in refusal(state, event)
    with pytest.raises(IllegalTransition) as caught:
        transition(state, event)
    assert why in caught.value.primary


def test_rows_that_block_a_rollback_can_be_accepted() -> None:
    event = ev.FenceBack(within_window=True, blocking=3, accepted=True)
    assert transition(at(P.PROMOTED), event)[0].phase is P.RB_FENCED


def test_a_user_may_contract_before_the_window_is_over() -> None:
    event = ev.Contract(window_over=False, by_user=True)
    assert transition(at(P.PROMOTED), event)[0].phase is P.CONTRACTING


def test_a_held_change_is_not_fenced_and_goes_on_after_resume() -> None:
    held, _ = transition(at(P.READY), ev.Hold("by ann"))
    with pytest.raises(IllegalTransition, match="it is held"):
        transition(held, ev.Fence((0.0, 0.0), follows=True))
    assert transition(held, ev.Resume())[0] == at(P.READY)


def test_a_canary_steps_forward_only_when_its_gate_held() -> None:
    state = at(P.CANARY, percent=5)
    with pytest.raises(IllegalTransition, match="the gate of the step did not hold"):
        transition(state, ev.Stepped(10, held=False))
    assert transition(state, ev.Stepped(1, held=False))[0].percent == 1
    with pytest.raises(IllegalTransition, match="not all readers are on it"):
        transition(state, ev.CanaryPassed())
    ramped, _ = transition(at(P.VALIDATING), ev.Validated(1, 0, ramp=True))
    assert (ramped.phase, ramped.percent) == (P.CANARY, 0)


def test_a_fence_raises_the_epoch() -> None:
    assert transition(at(P.READY), ev.Fence((0.0, 0.0), follows=True))[0].epoch == 4
    assert transition(at(P.PROMOTED), ev.FenceBack(within_window=True))[0].epoch == 4


def test_the_pointer_of_a_lazy_change_moves_first() -> None:
    lazy, effects = transition(at(P.BACKFILLING), ev.PromoteLazily(follows=True))
    assert lazy == at(P.BACKFILLING, lazy=True)
    assert effects == (Effect.COPY,)
    flipped, _ = transition(at(P.FENCED, lazy=True), ev.Flipped(3, follows=True))
    assert flipped == at(P.PROMOTED)


def test_a_final_state_calls_for_nothing_once_it_is_settled() -> None:
    for phase in FINAL:
        assert effects_of(at(phase, settled=True)) == ()
    assert effects_of(at(P.DISCARDED)) == (Effect.REMOVE,)
    failed, effects = transition(at(P.VALIDATING), ev.Failed("duplicates"))
    assert effects == (Effect.REMOVE,)
    settled, effects = transition(failed, ev.Settled())
    assert (settled.settled, effects) == (True, ())
    assert transition(settled, ev.Retry("ann"))[0] == at(P.ANALYZED)


def test_every_state_has_effects_and_words() -> None:
    assert set(EFFECTS) == set(Phase)
    assert len({words(phase) for phase in Phase}) == len(Phase)
    assert words(P.RB_FENCED) == "fenced for rollback"
    assert words(P.CATCHING_UP) == "catching up"


# ---------------------------------------------------------------- any order of events


@given(st.lists(st.sampled_from(list(EVENTS.values())), max_size=40))
def test_whatever_comes_the_rules_hold(sequence: list[ev.Event]) -> None:
    state, validated = State(P.PROPOSED), False
    for event in sequence:
        if rule_for(state.phase, type(event)) is None or refusal(state, event):
            before = state
            with pytest.raises(IllegalTransition):
                transition(state, event)
            assert state == before
            continue
        fresh, effects = transition(state, event)
        again, same = transition(state, event)
        assert (fresh, effects) == (again, same)  # pure
        assert fresh.epoch >= state.epoch
        if fresh.phase in (P.ANALYZED, P.SHADOWING, P.BACKFILLING, P.CATCHING_UP):
            validated = False
        validated = validated or isinstance(event, ev.Validated)
        if fresh.phase in (P.READY, P.FENCED, P.PROMOTED):
            assert validated
        state = fresh
