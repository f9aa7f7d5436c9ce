"""CALL morph.promote(n) and morph.rollback(n): which version `public` shows (DESIGN 9).

Promotion and rollback move a pointer and rebuild the shapes of `public`; no row moves, so nothing
can be lost: every version reads and writes the same store. What a change did to the rows of all
versions (constraints, NOT NULL, a wider type) is undone by its rollback and done again by another
promotion: evolution/shared.
"""

from __future__ import annotations

from dataclasses import replace

from catalog.model import CatalogSnapshot
from catalog.sqltext import quote_literal
from catalog.store import state_statements
from core.errors import MorphError, ObjectNotInPrerequisiteState, UndefinedObject
from evolution.publish import public_statements
from evolution.request import Note
from evolution.shared.undo import (
    DISCARD_HINT,
    PROMOTE_HINT,
    ROLL_BACK_HINT,
    Plan,
    redo_plan,
    undo_plan,
)
from evolution.shared.violations import Against
from evolution.transaction import Transaction


def line(snapshot: CatalogSnapshot, number: int) -> list[int]:
    """The version and its ancestors, newest first."""
    numbers = []
    while number in snapshot.versions:
        numbers.append(number)
        number = snapshot.versions[number].parent
    return numbers


def _require(snapshot: CatalogSnapshot, number: int) -> None:
    if number not in snapshot.versions:
        known = ", ".join(str(n) for n in sorted(snapshot.versions))
        raise UndefinedObject(
            f"version {number} does not exist", hint=f"There are the versions {known}."
        )


async def promote(tx: Transaction, snapshot: CatalogSnapshot, number: int) -> CatalogSnapshot:
    """Make `number` current, with everything on its line. Errors of class 23 when a constraint that
    a rollback had taken back does not hold any more.
    """
    _require(snapshot, number)
    if number == snapshot.current:
        return snapshot
    ancestors = line(snapshot, number)
    if snapshot.current not in ancestors:
        raise ObjectNotInPrerequisiteState(
            f"version {number} does not follow the current version {snapshot.current}",
            hint=f"To go back from version {snapshot.current}, use "
            f"CALL morph.rollback({snapshot.current}).",
        )
    promoted = [n for n in ancestors if n > snapshot.current]
    # After a rollback the head is on the older line; DDL goes on from what is promoted.
    head = snapshot.head if number in line(snapshot, snapshot.head) else number
    plan = await redo_plan(tx, snapshot, promoted)
    _refuse(plan, PROMOTE_HINT)
    return await _move(tx, snapshot, plan, (number, head), promoted, "promoted")


async def roll_back(
    tx: Transaction,
    snapshot: CatalogSnapshot,
    number: int,
    *,
    accept: bool = False,
    told: list[MorphError] | None = None,
) -> CatalogSnapshot:
    """Return to the version before `number`. Errors of class 23 when something that it took away
    cannot be put back because of rows written since; with `accept` it is left out. What the caller
    should know comes into `told`.
    """
    target, undone = _way_back(snapshot, number)
    plan = await undo_plan(tx, snapshot, number, target)
    if not accept:
        _refuse(plan, ROLL_BACK_HINT)
    if told is not None:
        told += plan.told
        told += [Note(f"left out: {each.primary}", detail=each.detail) for _, each in plan.standing]
    return await _move(tx, snapshot, plan, (target, target), undone, "rolled back")


async def give_up(tx: Transaction, snapshot: CatalogSnapshot, number: int) -> CatalogSnapshot:
    """Let DDL go on from the version before `number`, which is not promoted, and take back what it
    did to the rows of all versions. Errors of class 23 as of a rollback.
    """
    parent = snapshot.versions[number].parent
    plan = await undo_plan(tx, snapshot, number, parent)
    _refuse(plan, DISCARD_HINT)
    head = parent if number in line(snapshot, snapshot.head) else snapshot.head
    fresh = replace(snapshot, epoch=snapshot.epoch + 1, head=head, versions=plan.versions)
    old, new = (v.versions.get(snapshot.current) for v in (snapshot, fresh))
    shown = public_statements(fresh, old, new) if new is not None else []
    await tx.apply([*shown, *plan.statements, *state_statements(fresh)])
    return fresh


async def standing(tx: Transaction, snapshot: CatalogSnapshot, number: int) -> list[Against]:
    """What a rollback of `number` would refuse, because it cannot be put back."""
    target, _ = _way_back(snapshot, number)
    return [each for _, each in (await undo_plan(tx, snapshot, number, target)).standing]


async def require_promotable(tx: Transaction, snapshot: CatalogSnapshot, number: int) -> None:
    """Errors of class 23, as `promote` would raise them."""
    ancestors = line(snapshot, number)
    if snapshot.current in ancestors:
        promoted = [n for n in ancestors if n > snapshot.current]
        _refuse(await redo_plan(tx, snapshot, promoted), PROMOTE_HINT)


def _way_back(snapshot: CatalogSnapshot, number: int) -> tuple[int, list[int]]:
    """The version before `number`, and the promoted ones from it on, newest first."""
    _require(snapshot, number)
    ancestors = line(snapshot, snapshot.current)
    if number not in ancestors:
        raise ObjectNotInPrerequisiteState(
            f"version {number} is not promoted, so there is nothing to roll back",
            hint=f"The current version is {snapshot.current}.",
        )
    target = snapshot.versions[number].parent
    if target not in snapshot.versions:
        raise ObjectNotInPrerequisiteState(f"there is no version before version {number}")
    return target, [n for n in ancestors if n >= number]


def _refuse(plan: Plan, hint: str) -> None:
    if plan.standing:
        number, first = plan.standing[0]
        raise first.error(hint.format(number))


async def _move(
    tx: Transaction,
    snapshot: CatalogSnapshot,
    plan: Plan,
    pointers: tuple[int, int],
    changed: list[int],
    state: str,
) -> CatalogSnapshot:
    target, head = pointers
    fresh = replace(
        snapshot, epoch=snapshot.epoch + 1, current=target, head=head, versions=plan.versions
    )
    # `public` shows the current version as it was before the plan.
    old, new = snapshot.versions.get(snapshot.current), fresh.versions[target]
    numbers = ", ".join(str(n) for n in changed)
    await tx.apply(
        [
            *public_statements(fresh, old, new),
            *plan.statements,
            f"UPDATE morph_catalog.changes SET state = {quote_literal(state)}, state_at = now() "
            f"WHERE change_id IN ({numbers}) AND state <> 'published'",
            *state_statements(fresh),
        ]
    )
    return fresh
