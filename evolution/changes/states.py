"""The states of a change as one table (EVOLUTION 5), and the pure function over it.

`transition(state, event)` gives the next state and the effects that it calls for; it raises
`IllegalTransition` (55000) for what the table does not have and for a guard that does not hold. The
caller makes the new state durable first and runs the effects after: all are idempotent, so whoever
finds a state after a crash runs `effects_of(state)` again.

    PROPOSED → ANALYZED → SHADOWING → BACKFILLING → CATCHING_UP → VALIDATING → (CANARY →) READY
      → FENCED → PROMOTED → CONTRACTING → COMPLETED        PROMOTED → RB_FENCED → ROLLED_BACK
    before ANALYZED ends: REJECTED; SHADOWING … READY: DISCARDED by a user, FAILED_REVIEW by a fault

The lazy path of EVOLUTION 5 (promotion before the copy is complete) is the flag `lazy`: a version
reads any layout of its tables through lenses, so its pointer may move first and the layout later.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from core.errors import ObjectNotInPrerequisiteState
from evolution.changes import events
from evolution.changes.events import Event


class Phase(StrEnum):
    """Where a change is."""

    PROPOSED = "PROPOSED"
    ANALYZED = "ANALYZED"
    REJECTED = "REJECTED"
    SHADOWING = "SHADOWING"
    BACKFILLING = "BACKFILLING"
    CATCHING_UP = "CATCHING_UP"
    VALIDATING = "VALIDATING"
    CANARY = "CANARY"
    READY = "READY"
    FENCED = "FENCED"
    PROMOTED = "PROMOTED"
    RB_FENCED = "RB_FENCED"
    ROLLED_BACK = "ROLLED_BACK"
    CONTRACTING = "CONTRACTING"
    COMPLETED = "COMPLETED"
    DISCARDED = "DISCARDED"
    FAILED_REVIEW = "FAILED_REVIEW"


class Effect(StrEnum):
    """What a state calls for. All can be run again."""

    ANALYZE = "analyze"
    START = "start when nothing stands before it"
    BEGIN = "make log, capture and empty shadows"
    COPY = "bring in the log and copy"
    FINISH = "make indexes and constraints"
    VALIDATE = "compare live and shadow"
    RAMP = "move readers"
    FEED = "bring in the log"
    CUT_OVER = "swap the layouts"
    CUT_BACK = "swap the layouts back"
    CONTRACT = "remove the old layouts"
    REMOVE = "remove shadows, log and capture"


class IllegalTransition(ObjectNotInPrerequisiteState):
    """A change was asked for something that its state does not allow."""


@dataclass(frozen=True, slots=True)
class State:
    """The part of a change that transitions are about.

    `epoch` is the fencing token of whoever drives it and only grows. `settled`: the effect of a
    final state has been run to its end.
    """

    phase: Phase
    epoch: int = 0
    held: bool = False
    lazy: bool = False
    percent: int = 0
    settled: bool = False


Guard = Callable[[State, Any], str]
"""What does not hold, in words; "" when all does."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One row of the table. `then` changes the state beyond its phase."""

    to: Phase | None
    guard: Guard = lambda _state, _event: ""
    then: Callable[[State, Any], State] = lambda state, _event: state


P = Phase
SHADOWED = (P.SHADOWING, P.BACKFILLING, P.CATCHING_UP, P.VALIDATING, P.CANARY, P.READY)
"""The states in which a shadow is built or kept that nobody depends on."""
FINAL = (P.REJECTED, P.COMPLETED, P.DISCARDED, P.FAILED_REVIEW)

EFFECTS: Mapping[Phase, tuple[Effect, ...]] = {
    P.PROPOSED: (Effect.ANALYZE,),
    P.ANALYZED: (Effect.START,),
    P.REJECTED: (),
    P.SHADOWING: (Effect.BEGIN,),
    P.BACKFILLING: (Effect.COPY,),
    P.CATCHING_UP: (Effect.FEED, Effect.FINISH),
    P.VALIDATING: (Effect.FEED, Effect.VALIDATE),
    P.CANARY: (Effect.FEED, Effect.RAMP),
    P.READY: (Effect.FEED,),
    P.FENCED: (Effect.CUT_OVER,),
    P.PROMOTED: (Effect.FEED,),
    P.RB_FENCED: (Effect.CUT_BACK,),
    P.ROLLED_BACK: (Effect.FEED,),
    P.CONTRACTING: (Effect.CONTRACT,),
    P.COMPLETED: (),
    P.DISCARDED: (Effect.REMOVE,),
    P.FAILED_REVIEW: (Effect.REMOVE,),
}


def _first(*checks: tuple[bool, str]) -> str:
    return next((words for holds, words in checks if not holds), "")


def _fence(state: State, event: events.Fence) -> str:
    slow = max(event.lags_s, default=0.0) > event.lag_max_s
    return _first(
        (not state.held, "it is held"),
        (event.fenced_by == 0, f"change {event.fenced_by} holds a fence on one of its tables"),
        (event.follows, "the version before it is not the current version"),
        (event.deadline_s > 0, "a fence needs a deadline"),
        (len(event.lags_s) >= 2, "the lag of its shadow was not seen twice"),
        (not slow, f"its shadow is more than {event.lag_max_s:g} s behind"),
    )


def _flipped(state: State, event: events.Flipped) -> str:
    return _first(
        (event.epoch == state.epoch, f"epoch {event.epoch} is not the owner's, {state.epoch}"),
        (event.follows, "the version before it is not the current version"),
        (event.drained, "its log is not drained"),
        (event.verified, "it is not verified"),
    )


def _fence_back(state: State, event: events.FenceBack) -> str:
    return _first(
        (event.within_window, "the window for a rollback is over"),
        (event.fenced_by == 0, f"change {event.fenced_by} holds a fence on one of its tables"),
        (
            event.blocking == 0 or event.accepted,
            f"{event.blocking} rows cannot be shown as they are by the old layout",
        ),
    )


def _flipped_back(state: State, event: events.FlippedBack) -> str:
    return _first(
        (event.epoch == state.epoch, f"epoch {event.epoch} is not the owner's, {state.epoch}"),
        (event.drained, "its log is not drained"),
        (event.verified, "it is not verified"),
    )


def _validated(_: State, event: events.Validated) -> str:
    return _first(
        (event.report_id > 0, "there is no validation report"),
        (event.complete, "the validation is not complete"),
        (event.critical == 0, f"the validation found {event.critical} critical discrepancies"),
    )


def _contract(_: State, event: events.Contract) -> str:
    return _first(
        (event.older == 0, f"change {event.older} can be rolled back only through it"),
        (event.pinned == 0, f"{event.pinned} sessions use a version that would lose its layout"),
        (event.window_over or event.by_user, "the window for a rollback is not over"),
    )


def _stepped(state: State, event: events.Stepped) -> str:
    forward = event.percent > state.percent
    return _first(
        (0 <= event.percent <= 100, f"{event.percent} is no percentage"),
        (event.held or not forward, "the gate of the step did not hold"),
    )


def _fenced(state: State, _: Any) -> State:
    return replace(state, epoch=state.epoch + 1)


def _anew(state: State, _: Any) -> State:
    return replace(state, percent=0, settled=False)


_TABLE: dict[Phase, dict[type, Rule]] = {
    P.PROPOSED: {
        events.Analyzed: Rule(P.ANALYZED, lambda _, e: "" if e.pure else "it is not pure"),
    },
    P.ANALYZED: {
        events.Started: Rule(
            P.SHADOWING,
            lambda _, e: f"it waits for change {e.waits_for}" if e.waits_for else "",
        ),
    },
    P.SHADOWING: {
        events.Begun: Rule(
            P.BACKFILLING, lambda _, e: "" if e.bound_frozen else "its bound is not frozen"
        ),
    },
    P.BACKFILLING: {
        events.Copied: Rule(
            P.CATCHING_UP, lambda _, e: "" if e.copied else "its backfill is not complete"
        ),
    },
    P.CATCHING_UP: {
        events.CaughtUp: Rule(
            P.VALIDATING,
            lambda _, e: "" if e.lag_s <= e.lag_max_s else f"its shadow is {e.lag_s:.1f} s behind",
        ),
    },
    P.VALIDATING: {events.Validated: Rule(P.READY, _validated)},
    P.CANARY: {
        events.Stepped: Rule(
            P.CANARY, _stepped, lambda state, e: replace(state, percent=e.percent)
        ),
        events.CanaryPassed: Rule(
            P.READY,
            lambda state, e: _first(
                (state.percent == 100, "not all readers are on it"),
                (e.rollback_known, "whether a rollback would lose something is not known"),
            ),
        ),
        events.Revalidate: Rule(P.VALIDATING, then=lambda state, _: replace(state, percent=0)),
    },
    P.READY: {
        events.Fence: Rule(P.FENCED, _fence, _fenced),
        events.Revalidate: Rule(P.VALIDATING),
    },
    P.FENCED: {
        events.Flipped: Rule(P.PROMOTED, _flipped, lambda state, _: replace(state, lazy=False)),
        events.Unfenced: Rule(P.READY),
    },
    P.PROMOTED: {
        events.FenceBack: Rule(P.RB_FENCED, _fence_back, _fenced),
        events.Contract: Rule(P.CONTRACTING, _contract),
    },
    P.RB_FENCED: {
        events.FlippedBack: Rule(P.ROLLED_BACK, _flipped_back),
        events.Unfenced: Rule(P.PROMOTED),
    },
    P.ROLLED_BACK: {
        events.Revalidate: Rule(P.VALIDATING),
        events.Discard: Rule(P.DISCARDED),
    },
    P.CONTRACTING: {
        events.Contracted: Rule(P.COMPLETED, then=lambda state, _: replace(state, settled=True)),
    },
    P.FAILED_REVIEW: {
        events.Retry: Rule(
            P.ANALYZED,
            lambda state, _: "" if state.settled else "its shadow is still being removed",
            _anew,
        ),
        events.Discard: Rule(P.DISCARDED, then=_anew),
    },
}

for _phase in (P.PROPOSED, P.ANALYZED):
    _TABLE[_phase][events.Rejected] = Rule(
        P.REJECTED, then=lambda state, _: replace(state, settled=True)
    )
for _phase in (P.ANALYZED, *SHADOWED):
    _TABLE[_phase] |= {
        events.Hold: Rule(None, then=lambda state, _: replace(state, held=True)),
        events.Resume: Rule(None, then=lambda state, _: replace(state, held=False)),
        events.Discard: Rule(P.DISCARDED),
        events.Failed: Rule(P.FAILED_REVIEW),
        events.PromoteLazily: Rule(
            None,
            lambda _, e: "" if e.follows else "the version before it is not the current version",
            lambda state, e: replace(state, lazy=e.on),
        ),
    }
for _phase in SHADOWED:
    _TABLE[_phase][events.Rebase] = Rule(P.ANALYZED, then=_anew)
for _phase in (P.DISCARDED, P.FAILED_REVIEW):
    _TABLE.setdefault(_phase, {})[events.Settled] = Rule(
        None, then=lambda state, _: replace(state, settled=True)
    )

_CLAIM = Rule(
    None,
    lambda state, e: "" if e.epoch > state.epoch else f"epoch {e.epoch} is not above {state.epoch}",
    lambda state, e: replace(state, epoch=e.epoch),
)


def rule_for(phase: Phase, kind: type) -> Rule | None:
    """The row of the table for a kind of event, None when the state does not know it."""
    if kind is events.Claimed:
        return _CLAIM
    return _TABLE.get(phase, {}).get(kind)


def legal() -> frozenset[tuple[Phase, type, Phase]]:
    """All rows of the table: (from, kind of event, to)."""
    kinds = [*Event.__args__]
    found = set()
    for phase in Phase:
        for kind in kinds:
            rule = rule_for(phase, kind)
            if rule is not None:
                found.add((phase, kind, rule.to or phase))
    return frozenset(found | {(P.VALIDATING, events.Validated, P.CANARY)})


def refusal(state: State, event: Event) -> str:
    """Why the event is not possible in this state, in words; "" when it is."""
    rule = rule_for(state.phase, type(event))
    if rule is None:
        return f"it is {words(state.phase)}"
    return rule.guard(state, event)


def words(phase: Phase) -> str:
    """A state as people and system views read it: `catching up`."""
    if phase is P.RB_FENCED:
        return "fenced for rollback"
    return phase.value.lower().replace("_", " ")


def effects_of(state: State) -> tuple[Effect, ...]:
    """What a state calls for; run again by whoever finds it after a crash."""
    return () if state.settled else EFFECTS[state.phase]


def transition(state: State, event: Event) -> tuple[State, tuple[Effect, ...]]:
    """The state after an event, and the effects to run once it is durable.

    Raises IllegalTransition (55000) and changes nothing when the table or a guard does not let it.
    """
    why = refusal(state, event)
    if why:
        name = type(event).__name__
        raise IllegalTransition(f"{name} is not possible in state {state.phase}: {why}")
    rule = rule_for(state.phase, type(event))
    assert rule is not None
    to = rule.to or state.phase
    if isinstance(event, events.Validated) and event.ramp:
        to = P.CANARY
    fresh = rule.then(replace(state, phase=to), event)
    assert fresh.epoch >= state.epoch, "epochs only grow"
    return fresh, effects_of(fresh)
