"""What an operator is, and what it did to a table between two versions (EVOLUTION 2).

Everything here is read off two versions of the model, so it is the same for a change that a client
wrote, one that was predicted, and one that is looked back on.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal, Protocol

from catalog.model import Column, DocPath, Lens, Table

Compatibility = Literal["FULL", "BACKWARD", "FORWARD", "NONE"]
"""BACKWARD: the new version shows all that older ones write; FORWARD: older ones show all that the
new one writes; FULL: both; NONE: neither."""

Deploy = Literal["any", "reader", "writer"]
"""Whose code must know the new version before it is promoted."""

EXTRA: Final = "_extra"
"""The column of a lens over a document which no version shows: the catch-all for other paths."""


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
    moved = [*moved_paths(old, new), *moved_paths(new, old)]
    return frozenset(
        column.id
        for table in (old, new)
        for lens in table.lenses
        if lens.id in fresh
        for column in (*lens.under, *lens.over)
    ) | {c.id for document, fields in moved for c in (document, *fields)}


def caught_all(lens: Lens) -> str:
    """The side of a lens that has the catch-all, "" when it has none."""
    sides = {"under": lens.under, "over": lens.over}
    return next((side for side, cs in sides.items() if cs and cs[-1].name == EXTRA), "")


def moved_paths(few: Table | None, many: Table | None) -> list[tuple[Column, list[Column]]]:
    """Documents that only `many` shows, with the columns at paths inside of them that only `few`
    does.
    """
    if few is None or many is None:
        return []
    found = []
    for document in many.columns:
        outer = document.source
        if not isinstance(outer, DocPath) or few.column_by_id(document.id) is not None:
            continue
        length = len(outer.path)
        fields = [
            c
            for c in few.columns
            if isinstance(c.source, DocPath)
            and many.column_by_id(c.id) is None
            and c.source.path[:length] == outer.path
            and len(c.source.path) > length
        ]
        if fields:
            found.append((document, fields))
    return found
