"""What an operator is, and what it did to a table between two versions (EVOLUTION 2).

Everything here is read off two versions of the model, so it is the same for a change that a client
wrote, one that was predicted, and one that is looked back on.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, Protocol

from catalog.model import Column, Table

Compatibility = Literal["FULL", "BACKWARD", "FORWARD", "NONE"]
"""BACKWARD: the new version shows all that older ones write; FORWARD: older ones show all that the
new one writes; FULL: both; NONE: neither."""

Deploy = Literal["any", "reader", "writer"]
"""Whose code must know the new version before it is promoted."""


@dataclass(frozen=True, slots=True)
class Effect:
    """One operator applied to one table. `up` and `down` say in SQL or words what becomes of a
    value on the way to the new version and back; `residue` what is kept beside, "" for nothing.
    `reads` and `writes` are ids of columns (of the table itself where all of it is meant): the
    footprint. `coercion` is the class of the cast where there is one.
    """

    kind: str
    table_id: int
    subject: str
    up: str
    down: str
    residue: str
    reads: frozenset[int]
    writes: frozenset[int]
    compatibility: Compatibility
    deploy_first: Deploy = "any"
    coercion: str = ""

    @property
    def footprint(self) -> frozenset[int]:
        """All that the effect depends on."""
        return self.reads | self.writes


class Operator(Protocol):
    """A kind of change; `between` finds its effects between two versions of a table, either of
    which may be missing.
    """

    @property
    def kind(self) -> str:
        """The name under which it is recorded in morph.changes."""
        ...

    def between(self, old: Table | None, new: Table | None) -> Iterable[Effect]:
        """The effects that lead from `old` to `new`."""
        ...


def kept_columns(old: Table | None, new: Table | None) -> list[tuple[Column, Column]]:
    """Columns that both versions have, by id."""
    if old is None or new is None:
        return []
    pairs = ((c, new.column_by_id(c.id)) for c in old.columns)
    return [(was, now) for was, now in pairs if now is not None]


def converted_ids(old: Table | None, new: Table | None) -> frozenset[int]:
    """Ids that stand on either side of a lens that only one of the versions has."""
    if old is None or new is None:
        return frozenset()
    before, after = ({lens.id for lens in t.lenses} for t in (old, new))
    fresh = before ^ after
    return frozenset(
        column.id
        for table in (old, new)
        for lens in table.lenses
        if lens.id in fresh
        for column in (*lens.under, *lens.over)
    )
