"""What one statement did to the rows of all versions, for `morph_catalog.versions.shared`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from catalog.model import Column, Constraint, Stored, Table, Version
from catalog.shared import (
    Shared,
    SharedConstraint,
    SharedNull,
    SharedType,
    decode_shared,
    shared_statement,
)
from evolution.changed import Comparison
from evolution.request import DdlRequest
from evolution.transaction import Transaction

_SETTING = "morph.shared"
_Pairs = Mapping[int, tuple[Version, Version]]


async def read_json(tx: Transaction, query: str) -> Any:
    """The one JSON value of a query, which runs with the control plane's rights."""
    await tx.apply([f"SELECT set_config('{_SETTING}', coalesce(({query})::text, ''), true)"])
    ((text,),) = await tx.fetch(f"SELECT current_setting('{_SETTING}')")
    return json.loads(text) if text else None


async def read_shared(tx: Transaction, numbers: Iterable[int]) -> dict[int, tuple[Shared, ...]]:
    """What the changes of these versions did, by version; those that did nothing are left out."""
    listed = ", ".join(str(n) for n in numbers)
    if not listed:
        return {}
    found = await read_json(
        tx,
        "SELECT json_object_agg(version, shared::text) FROM morph_catalog.versions "
        f"WHERE version IN ({listed}) AND shared <> '[]'",
    )
    return {int(number): decode_shared(text) for number, text in (found or {}).items()}


async def record_statements(
    request: DdlRequest, after: Mapping[int, Version], version: Version, comparison: Comparison
) -> list[str]:
    """Add what the statement did to what its transaction did before. `after` are the other versions
    as they are now, `version` is the one that it makes.
    """
    done = _done(request, after, version, comparison)
    if not done:
        return []
    known: tuple[Shared, ...] = ()
    if request.pending:
        known = (await read_shared(request.tx, [request.pending])).get(request.pending, ())
    for each in done:
        known = together(known, each)
    return [shared_statement(version.number, known)]


def together(known: tuple[Shared, ...], new: Shared) -> tuple[Shared, ...]:
    """What one transaction did, with one thing more; what undoes the other is no change."""
    for each in known:
        left = tuple(other for other in known if other is not each)
        match each, new:
            case SharedConstraint(added=True), SharedConstraint(added=False):
                if each.store_name == new.store_name:
                    return left
            case SharedNull(), SharedNull():
                if each.column_id == new.column_id and each.not_null != new.not_null:
                    return left
    return (*known, new)


def _done(
    request: DdlRequest, after: Mapping[int, Version], version: Version, comparison: Comparison
) -> list[Shared]:
    before, number, reading = request.snapshot.versions, version.number, comparison.reading
    pairs = {n: (before[n], v) for n, v in after.items() if n in before and n != number}
    now = {**after, number: version}
    done: list[Shared] = []
    for column_id, new in reading.widened.items():
        for table, column in _columns(request.head, column_id):
            if isinstance(column.source, Stored):
                done.append(SharedType(table.id, column_id, column.source.type, new))
    for column_id, not_null in reading.nullable.items():
        shown = tuple(n for n, pair in pairs.items() if _null_changed(column_id, *pair))
        done.append(SharedNull(_owner(now, column_id), column_id, not_null, shown))
    for column_id, not_null in reading.hidden.items():
        done.append(SharedNull(_owner(now, column_id), column_id, not_null))
    for table, constraint in comparison.removed:
        lost = _shown(pairs, table.id, constraint, was=True)
        done.append(SharedConstraint(table.id, False, lost or ((number, constraint),)))
    for table, constraint in comparison.added:
        got = _shown(pairs, table.id, constraint, was=False)
        done.append(SharedConstraint(table.id, True, ((number, constraint), *got)))
    return done


def _columns(version: Version, column_id: int) -> list[tuple[Table, Column]]:
    return [(t, c) for t in version.tables for c in t.columns if c.id == column_id]


def _null_changed(column_id: int, before: Version, after: Version) -> bool:
    was = {c.not_null for _, c in _columns(before, column_id)}
    return was != {c.not_null for _, c in _columns(after, column_id)}


def _owner(versions: Mapping[int, Version], column_id: int) -> int:
    for version in versions.values():
        for table in version.tables:
            under = (c for lens in table.lenses for c in lens.under)
            if any(c.id == column_id for c in (*table.columns, *under)):
                return table.id
    raise KeyError(column_id)


def _shown(
    pairs: _Pairs, table_id: int, constraint: Constraint, *, was: bool
) -> tuple[tuple[int, Constraint], ...]:
    """How other versions show a constraint that they got or lost."""
    found = []
    for number, (before, after) in pairs.items():
        here, there = (before, after) if was else (after, before)
        mine = constraint_of(here, table_id, constraint.store_name)
        if mine is not None and constraint_of(there, table_id, constraint.store_name) is None:
            found.append((number, mine))
    return tuple(found)


def constraint_of(version: Version, table_id: int, store_name: str) -> Constraint | None:
    """The constraint with this name in the store as a version shows it, or None."""
    table = version.table_by_id(table_id)
    if table is None:
        return None
    return next((c for c in table.constraints if c.store_name == store_name), None)
