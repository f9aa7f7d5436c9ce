"""CALL morph.promote(n) and morph.rollback(n): which version `public` shows (DESIGN 9).

Promotion and rollback move a pointer and rebuild the shapes of `public`; no row moves, so nothing
can be lost: every version reads and writes the same store.
"""

from __future__ import annotations

from dataclasses import replace

from catalog.model import CatalogSnapshot
from catalog.sqltext import quote_literal
from catalog.store import state_statements
from core.errors import ObjectNotInPrerequisiteState, UndefinedObject
from evolution.publish import public_statements
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
    """Make `number` current, with everything on its line."""
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
    return await _move(tx, snapshot, number, head, promoted, "promoted")


async def roll_back(tx: Transaction, snapshot: CatalogSnapshot, number: int) -> CatalogSnapshot:
    """Return to the version before `number`."""
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
    undone = [n for n in ancestors if n >= number]
    return await _move(tx, snapshot, target, target, undone, "rolled back")


async def _move(
    tx: Transaction,
    snapshot: CatalogSnapshot,
    target: int,
    head: int,
    changed: list[int],
    state: str,
) -> CatalogSnapshot:
    fresh = replace(snapshot, epoch=snapshot.epoch + 1, current=target, head=head)
    old, new = snapshot.versions.get(snapshot.current), snapshot.versions[target]
    numbers = ", ".join(str(n) for n in changed)
    await tx.apply(
        [
            *public_statements(fresh, old, new),
            f"UPDATE morph_catalog.changes SET state = {quote_literal(state)}, state_at = now() "
            f"WHERE change_id IN ({numbers}) AND state <> 'published'",
            *state_statements(fresh),
        ]
    )
    return fresh
