"""SET NOT NULL and DROP NOT NULL: it belongs to the rows, so it holds for writes of all versions.
(With a value for NULLs it is a conversion: see change_type.py.)
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from catalog.model import Table
from evolution.operators.base import Effect, kept_columns


class SetNotNull:
    """See Operator."""

    kind: Final = "set not null"

    def between(self, old: Table | None, new: Table | None) -> Iterable[Effect]:
        """See Operator."""
        for was, now in kept_columns(old, new):
            if now.not_null and not was.not_null:
                assert new is not None
                yield Effect(self.kind, new.id, now.name, "the same", "the same", "", frozenset(),
                             frozenset({now.id}), "FORWARD", "writer")  # fmt: skip


class DropNotNull:
    """See Operator."""

    kind: Final = "drop not null"

    def between(self, old: Table | None, new: Table | None) -> Iterable[Effect]:
        """See Operator."""
        for was, now in kept_columns(old, new):
            if was.not_null and not now.not_null:
                assert new is not None
                yield Effect(self.kind, new.id, now.name, "the same", "the same", "", frozenset(),
                             frozenset({now.id}), "BACKWARD", "reader")  # fmt: skip
