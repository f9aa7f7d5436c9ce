"""All operators, and what they say of a change: what it did, and whether two of them can go on at
the same time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from catalog.model import Version
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

OPERATORS: Final[tuple[Operator, ...]] = (
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


def effects(parent: Version, child: Version) -> list[Effect]:
    """What leads from one version to another, table by table."""
    ids = dict.fromkeys(t.id for v in (parent, child) for t in v.tables if t.kind != "view")
    return [
        effect
        for table_id in ids
        for operator in OPERATORS
        for effect in operator.between(parent.table_by_id(table_id), child.table_by_id(table_id))
    ]


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
