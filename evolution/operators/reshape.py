"""Several columns instead of one, or one instead of several, as they are in the model.

How their lenses are made is in split_columns.py.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from catalog.model import Column, Lens, Table
from evolution.operators.base import Effect, caught_all
from evolution.operators.convert import new_lenses


def _names(columns: Iterable[Column]) -> str:
    return ", ".join(c.name for c in columns)


def _effect(kind: str, new: Table, lens: Lens) -> Effect:
    under = frozenset(c.id for c in lens.under)
    both = under | {c.id for c in lens.over}
    return Effect(kind, new.id, f"{_names(lens.under)} -> {_names(lens.over)}",
                  "; ".join(lens.up), "; ".join(lens.down),
                  "values that do not come back the same", under, both, "NONE", "reader",
                  "unmeasured")  # fmt: skip


class SplitColumn:
    """CALL morph.split_column; see Operator."""

    kind: Final = "split column"

    def between(self, old: Table | None, new: Table | None) -> Iterable[Effect]:
        """See Operator."""
        for lens in new_lenses(old, new):
            if len(lens.over) > 1 == len(lens.under) and not caught_all(lens):
                assert new is not None
                yield _effect(self.kind, new, lens)


class MergeColumns:
    """CALL morph.merge_columns; see Operator."""

    kind: Final = "merge columns"

    def between(self, old: Table | None, new: Table | None) -> Iterable[Effect]:
        """See Operator."""
        for lens in new_lenses(old, new):
            if len(lens.under) > 1 and not caught_all(lens):
                assert new is not None
                yield _effect(self.kind, new, lens)
