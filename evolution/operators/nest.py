"""A document instead of columns, and columns instead of a document, as they are in the model.

Where both lie in the documents of the store, only the path is another one. Otherwise a lens reads
one form out of the other; it has one column more than the versions show, the catch-all, for what
of a document is in none of the columns. How both are made is in nest_columns.py.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from catalog.model import Column, Table
from evolution.operators.base import EXTRA, Compatibility, Effect, caught_all, moved_paths
from evolution.operators.convert import new_lenses


class NestColumns:
    """CALL morph.nest_columns; see Operator."""

    kind: Final = "nest columns"

    def between(self, old: Table | None, new: Table | None) -> Iterable[Effect]:
        """See Operator."""
        for lens in new_lenses(old, new):
            if caught_all(lens) == "under":
                yield _effect(self.kind, new, lens.under, lens.over, "BACKWARD")
        for document, fields in moved_paths(old, new):
            yield _effect(self.kind, new, fields, (document,), "BACKWARD")


class UnnestColumn:
    """CALL morph.unnest_column; see Operator."""

    kind: Final = "unnest column"

    def between(self, old: Table | None, new: Table | None) -> Iterable[Effect]:
        """See Operator."""
        for lens in new_lenses(old, new):
            if caught_all(lens) == "over":
                yield _effect(self.kind, new, lens.under, lens.over, "FORWARD")
        for document, fields in moved_paths(new, old):
            yield _effect(self.kind, new, (document,), fields, "FORWARD")


def _effect(
    kind: str,
    new: Table | None,
    unders: Iterable[Column],
    overs: Iterable[Column],
    compatibility: Compatibility,
) -> Effect:
    assert new is not None
    under, over = (
        {c.id: c.name for c in columns if c.name != EXTRA} for columns in (unders, overs)
    )
    names = f"{', '.join(under.values())} -> {', '.join(over.values())}"
    return Effect(
        kind=kind,
        table_id=new.id,
        subject=names,
        up="the values at their paths",
        down="the values at their paths",
        residue="other paths of the document, and values that are not of their column's type",
        reads=frozenset(under),
        writes=frozenset({*under, *over}),
        compatibility=compatibility,
        deploy_first="reader",
    )
