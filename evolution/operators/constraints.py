"""ADD CONSTRAINT and DROP CONSTRAINT: they belong to the rows, so they hold for all versions."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from catalog.model import Constraint, Table
from evolution.operators.base import Effect


def _missing(here: Table, there: Table) -> list[Constraint]:
    names = {c.store_name for c in there.constraints}
    return [c for c in here.constraints if c.store_name not in names]


class AddConstraint:
    """See Operator."""

    kind: Final = "add constraint"

    def between(self, old: Table | None, new: Table | None) -> Iterable[Effect]:
        """See Operator."""
        if old is not None and new is not None:
            for item in _missing(new, old):
                reads = frozenset({*item.columns, *item.foreign_columns})
                yield Effect(self.kind, new.id, item.name, item.definition, "the same", "", reads,
                             frozenset(), "FORWARD", "writer")  # fmt: skip


class DropConstraint:
    """See Operator."""

    kind: Final = "drop constraint"

    def between(self, old: Table | None, new: Table | None) -> Iterable[Effect]:
        """See Operator."""
        if old is not None and new is not None:
            for item in _missing(old, new):
                reads = frozenset({*item.columns, *item.foreign_columns})
                yield Effect(self.kind, new.id, item.name, "the same", item.definition, "", reads,
                             frozenset(), "BACKWARD", "reader")  # fmt: skip
