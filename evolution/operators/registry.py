"""All operators, and what they say of a change: what it did, and whether two of them can go on at
the same time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

from catalog.model import Table, Version
from evolution.operators.add_column import AddColumn, AddVirtualColumn
from evolution.operators.base import Compatibility, Effect, Operator
from evolution.operators.constraints import AddConstraint, DropConstraint
from evolution.operators.convert import ChangeType
from evolution.operators.create_table import CreateTable
from evolution.operators.defaults import DropDefault, SetDefault
from evolution.operators.drop_column import DropColumn
from evolution.operators.drop_table import DropTable
from evolution.operators.nest import NestColumns, UnnestColumn
from evolution.operators.nullability import DropNotNull, SetNotNull
from evolution.operators.rename_column import RenameColumn
from evolution.operators.rename_table import RenameTable
from evolution.operators.reshape import MergeColumns, SplitColumn
from evolution.operators.table_parts import (
    DecomposeTable,
    JoinTables,
    MergeTables,
    SplitTable,
)

_SAME_TABLE: Final[tuple[Operator, ...]] = (
    CreateTable(),
    DropTable(),
    RenameTable(),
    AddColumn(),
    AddVirtualColumn(),
    DropColumn(),
    RenameColumn(),
    ChangeType(),
    SplitColumn(),
    MergeColumns(),
    NestColumns(),
    UnnestColumn(),
    SetDefault(),
    DropDefault(),
    SetNotNull(),
    DropNotNull(),
    AddConstraint(),
    DropConstraint(),
)


_TABLES: Final[tuple[Operator, ...]] = (
    SplitTable(),
    MergeTables(),
    DecomposeTable(),
    JoinTables(),
)
"""Those between tables that are not the same and have the same rows."""

OPERATORS: Final = (*_SAME_TABLE, *_TABLES)


def effects(parent: Version, child: Version) -> list[Effect]:
    """What leads from one version to another, table by table."""
    return [
        effect
        for old, new in _pairs(parent, child)
        for operator in (_TABLES if old and new and old.id != new.id else _SAME_TABLE)
        for effect in operator.between(old, new)
    ]


def _pairs(parent: Version, child: Version) -> Iterator[tuple[Table | None, Table | None]]:
    """The tables of two versions by id; a table that was divided with each of its parts, one that
    was put together with the first of them.
    """
    ids = dict.fromkeys(t.id for v in (parent, child) for t in v.tables if t.kind != "view")
    before, after = _parts(parent), _parts(child)
    for table_id in ids:
        old, new = parent.table_by_id(table_id), child.table_by_id(table_id)
        if old is None and new is not None and new.part is not None:
            old = parent.table_by_id(new.part.of)
        elif old is None and table_id in before:
            old = before[table_id]
        elif new is None and old is not None and table_id in after:
            continue
        elif new is None and old is not None and old.part is not None:
            whole = child.table_by_id(old.part.of)
            if whole is not None and not old.part.keyed:
                continue
            new = whole if whole is not None and _shows(whole, old) else None
        elif old is not None and new is not None and old.part is None:
            left, joined = after.get(table_id), before.get(table_id)
            new = _together(new, left) if left and joined is None else new
            old = _together(old, joined) if joined and left is None and _shows(new, joined) else old
        yield old, new


def _parts(version: Version) -> dict[int, Table]:
    """The first part of each table that was divided."""
    return {t.part.of: t for t in reversed(version.tables) if t.part is not None}


def _shows(whole: Table, part: Table) -> bool:
    return {c.id for c in part.columns} <= {c.id for c in whole.columns}


def _together(whole: Table, part: Table) -> Table:
    """A table with the columns that another one has of its rows, as if it had them itself."""
    shown = {c.id for c in whole.columns}
    stored = {c.store_name for c in whole.constraints}
    return replace(
        whole,
        columns=(*whole.columns, *(c for c in part.columns if c.id not in shown)),
        constraints=(
            *whole.constraints,
            *(c for c in part.constraints if c.store_name and c.store_name not in stored),
        ),
    )


def conflict(one: Sequence[Effect], other: Sequence[Effect]) -> frozenset[int]:
    """The columns (or tables) that stand in the way of two changes at the same time: one writes
    what the other reads or writes. Empty when they commute.
    """
    found: set[int] = set()
    for left, right in ((one, other), (other, one)):
        writes = {i for effect in left for i in effect.writes}
        found |= writes & {i for effect in right for i in effect.footprint}
    return frozenset(found)


def compatibility(found: Sequence[Effect]) -> Compatibility:
    """The class of a whole change: the weakest of its effects'."""
    classes = {effect.compatibility for effect in found}
    if "NONE" in classes or classes >= {"BACKWARD", "FORWARD"}:
        return "NONE"
    return next((c for c in ("BACKWARD", "FORWARD") if c in classes), "FULL")
