"""RENAME COLUMN: names belong to versions, values do not notice."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from catalog.model import Table
from evolution.operators.base import Effect, kept_columns


class RenameColumn:
    """See Operator."""

    kind: Final = "rename column"

    def between(self, old: Table | None, new: Table | None) -> Iterable[Effect]:
        """See Operator."""
        for was, now in kept_columns(old, new):
            if was.name != now.name:
                assert new is not None
                yield Effect(self.kind, new.id, f"{was.name} -> {now.name}", "the same", "the same",
                             "", frozenset(), frozenset({now.id}), "FULL", "reader")  # fmt: skip
