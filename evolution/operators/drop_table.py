"""DROP TABLE: older versions keep it with its rows."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from catalog.model import Table
from evolution.operators.base import Effect


class DropTable:
    """See Operator."""

    kind: Final = "drop table"

    def between(self, old: Table | None, new: Table | None) -> Iterable[Effect]:
        """See Operator."""
        if old is not None and new is None:
            writes = frozenset({old.id, *(c.id for c in old.columns)})
            yield Effect(self.kind, old.id, old.name, "not shown", "the rows as they are",
                         "the rows", frozenset(), writes, "BACKWARD", "reader")  # fmt: skip
