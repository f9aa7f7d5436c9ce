"""What people ask of a change (CALL morph.promote, rollback, hold, …): the wish, and its outcome.

A wish is written into the record, where the controller finds it, whichever worker that is in; who
asked looks at the record until `outcome` says that it is done or cannot be.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from catalog.model import CatalogSnapshot
from catalog.sqltext import quote_literal
from core.errors import ObjectNotInPrerequisiteState
from evolution.changes.records import Record, announce_statement
from evolution.changes.states import SHADOWED, Phase, words
from evolution.lifecycle import line

PROMOTE: Final = "promote"
ROLL_BACK: Final = "rollback"
ROLL_BACK_ACCEPTING: Final = "rollback accepting"
CONTRACT: Final = "contract"
DISCARD: Final = "discard"

_REVIEW_HINT: Final = (
    "See morph.discrepancies; CALL morph.resume({0}) tries again, CALL morph.discard({0}) gives up."
)


@dataclass(frozen=True, slots=True)
class Wish:
    """`wanted` of change `change_id`; `revision` is the record's when it was asked."""

    change_id: int
    wanted: str


def wish_statements(wish: Wish) -> list[str]:
    """Write a wish and wake the controller at commit. "" takes it back."""
    return [
        f"UPDATE morph_catalog.shadows SET wanted = {quote_literal(wish.wanted)}, attempts = 0, "
        "retry_at = NULL, reason = '', revision = revision + 1 "
        f"WHERE change_id = {wish.change_id}",
        announce_statement(wish.change_id),
    ]


def withdraw_statement(wish: Wish) -> str:
    """Take a wish back that is not fulfilled yet."""
    return (
        "UPDATE morph_catalog.shadows SET wanted = '', revision = revision + 1 "
        f"WHERE change_id = {wish.change_id} AND wanted = {quote_literal(wish.wanted)}"
    )


def refused(record: Record, what: str, hint: str = "") -> ObjectNotInPrerequisiteState:
    """The error for what the state of a change does not allow."""
    failed = record.phase is Phase.FAILED_REVIEW
    state = "has failed its review" if failed else f"is {words(record.phase)}"
    return ObjectNotInPrerequisiteState(
        f"change {record.change_id} {state}, so it cannot be {what}",
        detail=f"{record.reason}." if record.reason else "",
        hint=hint,
    )


def check(record: Record, wanted: str) -> None:
    """ObjectNotInPrerequisiteState (55000) when no waiting could fulfil the wish."""
    phase, number = record.phase, record.change_id
    if wanted == PROMOTE:
        if phase is Phase.FAILED_REVIEW:
            raise refused(record, "promoted", _REVIEW_HINT.format(number))
        if phase in (Phase.DISCARDED, Phase.REJECTED):
            raise refused(record, "promoted")
        if record.state.held:
            raise refused(
                record, "promoted while it is held", f"CALL morph.resume({number}) lets it go on."
            )
    elif wanted in (ROLL_BACK, ROLL_BACK_ACCEPTING):
        if phase in (Phase.CONTRACTING, Phase.COMPLETED):
            raise refused(record, "rolled back", "Its old layout is gone.")
        if phase not in (Phase.PROMOTED, Phase.FENCED, Phase.RB_FENCED, Phase.ROLLED_BACK):
            raise refused(record, "rolled back", f"CALL morph.discard({number}) gives it up.")
    elif wanted == CONTRACT:
        if phase not in (Phase.PROMOTED, Phase.CONTRACTING, Phase.COMPLETED):
            raise refused(record, "contracted", "Only a promoted change has an old layout.")
    elif phase not in (*SHADOWED, Phase.ANALYZED, Phase.ROLLED_BACK, Phase.FAILED_REVIEW):
        raise refused(record, "discarded", _discard_hint(record))


def _discard_hint(record: Record) -> str:
    if record.phase is Phase.PROMOTED:
        return f"CALL morph.rollback({record.change_id}) first."
    return "Try again." if record.phase in (Phase.FENCED, Phase.RB_FENCED) else ""


_DONE: Final = {
    PROMOTE: (Phase.PROMOTED, Phase.CONTRACTING, Phase.COMPLETED),
    ROLL_BACK: (Phase.ROLLED_BACK,),
    ROLL_BACK_ACCEPTING: (Phase.ROLLED_BACK,),
    CONTRACT: (Phase.COMPLETED,),
}


def fulfilled(record: Record, wish: Wish) -> bool:
    """Whether a wish came true. ObjectNotInPrerequisiteState (55000) when it cannot any more,
    or when the controller gave it up, with the reason.
    """
    if wish.wanted == DISCARD:
        return record.phase is Phase.DISCARDED and record.state.settled
    if record.phase in _DONE[wish.wanted]:
        return True
    if record.phase is Phase.FAILED_REVIEW and not record.state.settled:
        return False  # until its shadow is removed, and it can be tried again
    check(record, wish.wanted)
    if record.wanted != wish.wanted and record.phase is not Phase.CONTRACTING:
        verb = {PROMOTE: "promoted", CONTRACT: "contracted"}.get(wish.wanted, "rolled back")
        raise ObjectNotInPrerequisiteState(
            f"change {record.change_id} could not be {verb}",
            detail=f"{record.reason}." if record.reason else "Another session took the wish back.",
            hint=_given_up_hint(record, wish),
        )
    return False


def _given_up_hint(record: Record, wish: Wish) -> str:
    if wish.wanted == ROLL_BACK and "cannot be shown" in record.reason:
        return (
            f"CALL morph.rollback({record.change_id}, accept => true) rolls back all the same: "
            "version views of the new form keep these values."
        )
    if wish.wanted == CONTRACT and "sessions" in record.reason:
        return "morph.sessions shows which; end them, or let them use a newer version."
    return "It can be tried again."


def to_promote(snapshot: CatalogSnapshot, records: Sequence[Record], number: int) -> list[Record]:
    """The changes with data work that must be promoted for version `number`, oldest first."""
    ancestors = line(snapshot, number)
    if snapshot.current in ancestors:
        ancestors = ancestors[: ancestors.index(snapshot.current)]
    served = (Phase.PROMOTED, Phase.CONTRACTING, Phase.COMPLETED)
    lazy = [r for r in records if r.change_id == number and r.state.lazy]
    return lazy or [r for r in records if r.change_id in ancestors and r.phase not in served]


def to_roll_back(snapshot: CatalogSnapshot, records: Sequence[Record], number: int) -> list[Record]:
    """The changes with data work that a rollback of version `number` undoes, newest first."""
    undone = {n for n in line(snapshot, snapshot.current) if n >= number}
    return [r for r in reversed(records) if r.change_id in undone]
