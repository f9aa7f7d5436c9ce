"""Conversions, as they are in the model: a type that only got wider, and lenses.

How a lens of ALTER COLUMN TYPE is made is in change_type.py.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from catalog.model import Lens, Table
from catalog.readers import fill
from catalog.sqltext import quote_ident
from evolution.operators.base import Compatibility, Effect, kept_columns
from evolution.operators.coercions import Coercion, coercion

_SURE: Final = frozenset({"lossless", "lossless-oneway"})


def compatibility(up: Coercion, down: Coercion) -> Compatibility:
    """Of casts to a new type and back."""
    new_shows, old_shows = up in _SURE, down in _SURE
    if new_shows and old_shows:
        return "FULL"
    if new_shows:
        return "BACKWARD"
    return "FORWARD" if old_shows else "NONE"


class ChangeType:
    """ALTER COLUMN TYPE; see Operator."""

    kind: Final = "change type"

    def between(self, old: Table | None, new: Table | None) -> Iterable[Effect]:
        """See Operator."""
        for was, now in kept_columns(old, new):
            if was.type != now.type:
                assert new is not None
                up, down = coercion(was.type, now.type), coercion(now.type, was.type)
                yield Effect(self.kind, new.id, now.name, f"{now.name}::{now.type}",
                             f"{now.name}::{was.type}", "", frozenset(), frozenset({now.id}),
                             compatibility(up, down), "reader", up)  # fmt: skip
        for lens in new_lenses(old, new):
            if len(lens.under) == len(lens.over) == 1:
                assert new is not None
                yield self._lens(new, lens)

    def _lens(self, new: Table, lens: Lens) -> Effect:
        under, over = lens.under[0], lens.over[0]
        up, down = (
            fill(text, [quote_ident(c.name)]).replace('("', '"').replace('")', '"')
            for text, c in ((lens.up[0], under), (lens.down[0], over))
        )
        there, back = coercion(under.type, over.type), coercion(over.type, under.type)
        if "$1" not in lens.up[0].split("::")[0]:
            there = back = "unmeasured"
        return Effect(self.kind, new.id, over.name, up, down,
                      "values that do not come back the same", frozenset({under.id}),
                      frozenset({under.id, over.id}), compatibility(there, back), "reader",
                      there)  # fmt: skip


def new_lenses(old: Table | None, new: Table | None) -> list[Lens]:
    """Lenses that only the new version has."""
    if old is None or new is None:
        return []
    known = {lens.id for lens in old.lenses}
    return [lens for lens in new.lenses if lens.id not in known]
