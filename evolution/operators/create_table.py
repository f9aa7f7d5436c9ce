"""CREATE TABLE: nothing that older versions have is concerned."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from catalog.model import Table
from evolution.operators.base import Effect


class CreateTable:
    """See Operator."""

    kind: Final = "create table"

    def between(self, old: Table | None, new: Table | None) -> Iterable[Effect]:
        """See Operator."""
        if old is None and new is not None:
            writes = frozenset({new.id, *(c.id for c in new.columns)})
            yield Effect(self.kind, new.id, new.name, "empty", "not shown", "", frozenset(), writes,
                         "FULL")  # fmt: skip
