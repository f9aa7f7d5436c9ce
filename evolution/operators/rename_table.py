"""ALTER TABLE … RENAME TO: names belong to versions, rows do not notice."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from catalog.model import Table
from evolution.operators.base import Effect


class RenameTable:
    """See Operator."""

    kind: Final = "rename table"

    def between(self, old: Table | None, new: Table | None) -> Iterable[Effect]:
        """See Operator."""
        if old is not None and new is not None and old.name != new.name:
            yield Effect(self.kind, new.id, f"{old.name} -> {new.name}", "the same", "the same", "",
                         frozenset(), frozenset({new.id}), "FULL", "reader")  # fmt: skip
