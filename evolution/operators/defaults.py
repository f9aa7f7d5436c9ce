"""SET DEFAULT and DROP DEFAULT: a default belongs to a version and to rows to come."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from catalog.model import Table
from evolution.operators.base import Effect, kept_columns


class SetDefault:
    """See Operator."""

    kind: Final = "set default"

    def between(self, old: Table | None, new: Table | None) -> Iterable[Effect]:
        """See Operator."""
        for was, now in kept_columns(old, new):
            if was.default != now.default and now.default is not None:
                assert new is not None
                yield Effect(self.kind, new.id, now.name, "the same", "the same", "", frozenset(),
                             frozenset({now.id}), "FULL")  # fmt: skip


class DropDefault:
    """See Operator."""

    kind: Final = "drop default"

    def between(self, old: Table | None, new: Table | None) -> Iterable[Effect]:
        """See Operator."""
        for was, now in kept_columns(old, new):
            if was.default is not None and now.default is None:
                assert new is not None
                yield Effect(self.kind, new.id, now.name, "the same", "the same", "", frozenset(),
                             frozenset({now.id}), "FULL", "writer" if now.not_null else "any",
                             )  # fmt: skip
