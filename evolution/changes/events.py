"""What can happen to a change, with the facts that the guards of `states` look at.

An event says what was found or asked for; whether that is enough is decided by the guards alone.
Times are in seconds.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Analyzed:
    """The operators are typed and pure, their footprint is known."""

    pure: bool = True


@dataclass(frozen=True, slots=True)
class Rejected:
    """The change cannot be made: an impossible coercion, a conflict."""

    reason: str


@dataclass(frozen=True, slots=True)
class Started:
    """Nothing stands before it: `waits_for` is the change that still works on one of its tables."""

    waits_for: int = 0


@dataclass(frozen=True, slots=True)
class Begun:
    """Log, capture and empty shadows are there, the bounds of the backfill are frozen."""

    bound_frozen: bool = True


@dataclass(frozen=True, slots=True)
class Copied:
    """The cursor of every table has reached its bound."""

    copied: bool = True


@dataclass(frozen=True, slots=True)
class CaughtUp:
    """The shadows have indexes and constraints; how far the log is behind."""

    lag_s: float
    lag_max_s: float = 1.0


@dataclass(frozen=True, slots=True)
class Validated:
    """A validation ended. `complete`: all rows, or the sample that the policy asks for. `ramp`:
    readers are to be moved step by step before the change is ready.
    """

    report_id: int
    critical: int
    complete: bool = True
    ramp: bool = False


@dataclass(frozen=True, slots=True)
class Stepped:
    """The share of readers on the shadow may change to `percent`; `held`: its gate held."""

    percent: int
    held: bool = True


@dataclass(frozen=True, slots=True)
class CanaryPassed:
    """The gate of the last step held; whether rollback would lose something is known."""

    rollback_known: bool = True


@dataclass(frozen=True, slots=True)
class Fence:
    """The cut-over is to begin. `lags_s` are the last two looks at the log, `fenced_by` another
    change that holds a fence on one of the tables, `follows` whether the version before this one
    is the current one (or this one is already).
    """

    lags_s: tuple[float, ...]
    follows: bool
    fenced_by: int = 0
    deadline_s: float = 5.0
    lag_max_s: float = 0.05


@dataclass(frozen=True, slots=True)
class Flipped:
    """The layouts are swapped and the pointer moves, in this very transaction."""

    epoch: int
    follows: bool
    drained: bool = True
    verified: bool = True


@dataclass(frozen=True, slots=True)
class Unfenced:
    """The cut-over did not happen: timeout, failed verification, another owner."""

    reason: str


@dataclass(frozen=True, slots=True)
class FenceBack:
    """A rollback is to begin; `blocking` rows cannot be shown as they are by the old layout."""

    within_window: bool
    blocking: int = 0
    accepted: bool = False
    fenced_by: int = 0


@dataclass(frozen=True, slots=True)
class FlippedBack:
    """The old layouts serve again and the pointer moves back, in this very transaction."""

    epoch: int
    drained: bool = True
    verified: bool = True


@dataclass(frozen=True, slots=True)
class Revalidate:
    """A change that was rolled back is to be promoted again."""


@dataclass(frozen=True, slots=True)
class Contract:
    """The old layouts are to go. `pinned` sessions use a version that would lose its layout;
    `older` is a change whose own old layout is fed through them, 0 for none.
    """

    window_over: bool
    by_user: bool = False
    pinned: int = 0
    older: int = 0


@dataclass(frozen=True, slots=True)
class Contracted:
    """Nothing of the old layouts is left."""


@dataclass(frozen=True, slots=True)
class Discard:
    """Somebody does not want the change."""

    actor: str


@dataclass(frozen=True, slots=True)
class Failed:
    """A critical discrepancy, a conflict of constraints, coercion errors above the limit."""

    reason: str


@dataclass(frozen=True, slots=True)
class Retry:
    """The cause of a failed review is gone, says somebody: the change begins anew."""

    actor: str


@dataclass(frozen=True, slots=True)
class Rebase:
    """Other DDL changed a table under the shadow: it is built anew from what the table is now."""

    reason: str


@dataclass(frozen=True, slots=True)
class Hold:
    """The backfill stops; the log is brought in as before."""

    reason: str


@dataclass(frozen=True, slots=True)
class Resume:
    """The backfill goes on."""


@dataclass(frozen=True, slots=True)
class PromoteLazily:
    """The version becomes current before its layout is: the layout follows when it is ready. `on`
    is False when that is taken back.
    """

    follows: bool
    on: bool = True


@dataclass(frozen=True, slots=True)
class Claimed:
    """Another controller drives the change from now on, with a higher epoch."""

    epoch: int


@dataclass(frozen=True, slots=True)
class Settled:
    """What the state's effect had to remove is removed."""


Event = (
    Analyzed | Rejected | Started | Begun | Copied | CaughtUp | Validated | Stepped | CanaryPassed
    | Fence | Flipped | Unfenced | FenceBack | FlippedBack | Revalidate | Contract | Contracted
    | Discard | Failed | Retry | Rebase | Hold | Resume | PromoteLazily | Claimed | Settled
)  # fmt: skip
