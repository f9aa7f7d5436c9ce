"""Both layouts of a change's tables for readers that scan them as any table of their stores, and
what is in flight while they do.

The newer layout is what a version shows after the cut-over; the older one is computed in its form
through the change's expressions. In a *window* both are read one after the other: the rows that
were written since it began are known at its end, and what both layouts show of the others must be
the same.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from backends.base import StoreBackend
from backends.change_store import Key
from catalog.instances import option_pairs
from catalog.model import CatalogSnapshot, Column, Table
from core.errors import ObjectNotInPrerequisiteState, SerializationFailure
from evolution.foreign_options import kept_options
from evolution.layouts.base import ShadowWork
from evolution.layouts.foreign.feeding import Feeding
from evolution.layouts.foreign.forms import forms_of, promoted_lenses, swapped_versions
from evolution.layouts.foreign.sides import Moment

if TYPE_CHECKING:
    from evolution.layouts.foreign.store import ForeignLayouts

_READER: Final = 1 << 62
"""An epoch that nobody has: who only reads need not be the owner."""


@dataclass(frozen=True, slots=True)
class BothForms:
    """One table. `made` are the columns of the newer layout that the older one has not, by id, over
    `"$1"` …, the values of `inputs` there. `dead` is the path of what says that a row of the newer
    one is a tombstone, () where readers see none.
    """

    backend: StoreBackend
    older: Table
    made: Mapping[int, str]
    inputs: tuple[Column, ...]
    dead: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Flying:
    """Of one table: the rows that were in flight at any time of a window."""

    moment: Moment

    def gone(self) -> set[Key]:
        """Their keys, with those that the other layout cannot hold."""
        return self.moment.logged | self.moment.refused


class Window:
    """`snapshot` is the catalog as it is over the newer layouts; `forms` are the tables by their
    ids. `forward`: the newer layouts are the shadows, and the older ones serve.
    """

    def __init__(
        self,
        layouts: ForeignLayouts,
        work: ShadowWork,
        snapshot: CatalogSnapshot,
        forms: Mapping[int, BothForms],
        feedings: Mapping[int, Feeding],
    ) -> None:
        self.snapshot = snapshot
        self.forms = forms
        self._layouts = layouts
        self._work = work
        self._feedings = dict(feedings)

    @property
    def forward(self) -> bool:
        """See the class."""
        return next(iter(self._feedings.values())).direction == "forward"

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Mapping[int, Flying]]:
        """Read inside; behind it the keys are known. Raises SerializationFailure (40001) when the
        layouts changed their roles meanwhile.
        """
        begun = await self._now()
        flying = {n: Flying(await self._layouts.moment(each)) for n, each in begun.items()}
        for each in flying.values():
            await each.moment.look()
        yield flying
        for each in flying.values():
            await each.moment.look()
        await self._now()

    async def _now(self) -> dict[int, Feeding]:
        found = {f.table.table_id: f for f in await self._layouts.feedings(self._work)}
        for table_id, feeding in found.items():
            known = self._feedings[table_id]
            if (feeding.feed.live, feeding.forms) != (known.feed.live, known.forms):
                raise SerializationFailure("the layouts have changed their roles meanwhile")
            _require_copied(feeding)
        return found


async def window_of(layouts: ForeignLayouts, work: ShadowWork, snapshot: CatalogSnapshot) -> Window:
    """The layouts of all tables of a change; `snapshot` is the catalog's of now.

    Raises ObjectNotInPrerequisiteState (55000) for a shadow that is not complete, and
    SerializationFailure (40001) when the catalog has changed since the snapshot.
    """
    work = replace(work, epoch=_READER)
    feedings = {each.table.table_id: each for each in await layouts.feedings(work)}
    places = {}
    found = {}
    for table_id, feeding in feedings.items():
        _require_copied(feeding)
        forms, feed = feeding.forms, feeding.feed
        if forms_of(snapshot, feeding.table, feed.live, feed.shadow) != forms:
            raise SerializationFailure("the catalog has changed meanwhile")
        backend = await layouts.backend_of(feed)
        if feeding.direction == "forward":
            options = option_pairs(kept_options(backend.kind, feed.shadow))
            lenses = promoted_lenses(snapshot, feeding.table)
            places[table_id] = (lenses, replace(forms.shadow, options=options))
            dead = feeding.store.dead_path
            found[table_id] = BothForms(backend, forms.live, forms.up, forms.up_inputs, dead)
        else:
            found[table_id] = BothForms(backend, forms.shadow, forms.down, forms.down_inputs, ())
    return Window(layouts, work, swapped_versions(snapshot, places), found, feedings)


def _require_copied(feeding: Feeding) -> None:
    if not feeding.feed.copied:
        raise ObjectNotInPrerequisiteState(
            f'the shadow of table "{feeding.table.name}" is not complete',
            hint="Its progress is in morph.progress.",
        )
