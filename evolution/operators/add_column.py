"""ADD COLUMN, stored or virtual: rows that older versions write get the default."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from catalog.model import Column, Seed, Table
from evolution.operators.base import Compatibility, Effect, converted_ids


class AddColumn:
    """A stored column; see Operator."""

    kind: Final = "add column"

    def between(self, old: Table | None, new: Table | None) -> Iterable[Effect]:
        """See Operator."""
        for column in _added(old, new):
            if not isinstance(column.source, Seed):
                free = column.default is not None or column.identity or not column.not_null
                compatibility: Compatibility = "FULL" if free else "FORWARD"
                up = f"DEFAULT {column.default}" if column.default is not None else "NULL"
                assert new is not None
                yield Effect(self.kind, new.id, column.name, up, "not shown", "its values",
                             frozenset(), frozenset({column.id}), compatibility,
                             "any" if free else "writer")  # fmt: skip


class AddVirtualColumn:
    """A column that is computed on reading; see Operator."""

    kind: Final = "add virtual column"

    def between(self, old: Table | None, new: Table | None) -> Iterable[Effect]:
        """See Operator."""
        for column in _added(old, new):
            if isinstance(column.source, Seed):
                reads = frozenset(column.source.depends)
                assert new is not None
                yield Effect(self.kind, new.id, column.name, column.source.expression, "not shown",
                             "", reads, frozenset({column.id}), "FULL")  # fmt: skip


def _added(old: Table | None, new: Table | None) -> Iterable[Column]:
    if old is None or new is None:
        return []
    others = converted_ids(old, new)
    return [c for c in new.columns if old.column_by_id(c.id) is None and c.id not in others]
