"""The two forms of a table as its store has them, and the expressions between them (pure).

A form is a table of the model with the columns that are stored, Native ones. What the lenses of a
change show lies in the other form, at the place that the lens says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from catalog.lenses import lenses_of, swap, with_below
from catalog.model import CatalogSnapshot, Column, Lens, Lensed, Native, Table, Version
from catalog.readers import fill
from core.errors import ObjectNotInPrerequisiteState, UndefinedObject
from evolution.layouts.base import ShadowTable


@dataclass(frozen=True, slots=True)
class Forms:
    """`live` serves, `shadow` is fed. `up` has an expression for each column of the shadow that the
    live form has not, `down` one for each column of the live form that the shadow has not, by id;
    both are over `"$1"` …, the values of `up_inputs` and `down_inputs`.
    """

    live: Table
    shadow: Table
    lenses: tuple[Lens, ...]
    up: Mapping[int, str]
    down: Mapping[int, str]
    up_inputs: tuple[Column, ...]
    down_inputs: tuple[Column, ...]

    @property
    def over(self) -> tuple[Column, ...]:
        """The columns that only the shadow has."""
        return tuple(c for c in self.shadow.columns if c.id in self.up)

    @property
    def under(self) -> tuple[Column, ...]:
        """The columns that only the live form has."""
        return tuple(c for c in self.live.columns if c.id in self.down)


def promoted_lenses(snapshot: CatalogSnapshot, table: ShadowTable) -> tuple[Lens, ...]:
    """The lenses whose sides change roles, in order, with those that they lie over.

    Raises UndefinedObject (42704) when the catalog does not have them.
    """
    known = lenses_of(snapshot.versions.values(), table.table_id)
    missing = set(table.lenses) - {lens.id for lens in known}
    if missing:
        raise UndefinedObject(f'table "{table.name}" has no lens {min(missing)}')
    return with_below(known, table.lenses)


def forms_of(
    snapshot: CatalogSnapshot, table: ShadowTable, native: Sequence[str], shadow: Sequence[str]
) -> Forms:
    """The forms as the catalog says them now; `native` and `shadow` are the stores' names.

    Raises UndefinedObject (42704), and ObjectNotInPrerequisiteState (55000) for rows without key.
    """
    shown = [t for v in snapshot.versions.values() if (t := v.table_by_id(table.table_id))]
    if not shown:
        raise UndefinedObject(f'foreign table "{table.name}" does not exist any more')
    newest = shown[-1]
    if not newest.key:
        raise ObjectNotInPrerequisiteState(
            f'foreign table "{table.name}" has no key',
            detail="Without one its rows cannot be told apart in two layouts.",
            hint="ALTER FOREIGN TABLE … OPTIONS (ADD key '…').",
        )
    lenses = promoted_lenses(snapshot, table)
    live = {c.id: c for each in shown for c in _stored(each)}
    swapped = [swap(each, lenses) for each in shown]
    there = {c.id: c for each in swapped for c in _stored(each)}
    live_form = replace(newest, columns=tuple(live.values()), native=tuple(native), lenses=())
    shadow_form = replace(newest, columns=tuple(there.values()), native=tuple(shadow), lenses=())
    mirrored = with_below(lenses_of(_versions(snapshot, swapped), table.table_id), table.lenses)
    up, up_inputs = _expressions(lenses, there.keys() - live.keys(), live)
    down, down_inputs = _expressions(mirrored, live.keys() - there.keys(), there)
    return Forms(live_form, shadow_form, lenses, up, down, up_inputs, down_inputs)


def _versions(snapshot: CatalogSnapshot, tables: Sequence[Table]) -> list[Version]:
    return [Version(n, 0, (table,)) for n, table in enumerate(tables)]


def _stored(table: Table) -> list[Column]:
    """The columns of a version, and below its lenses, that lie at a place of their own."""
    columns = [*table.columns, *(c for lens in table.lenses for c in lens.under)]
    return [
        replace(c, not_null=False, default=None)
        for c in columns
        if isinstance(c.source, Native) and c.source.path
    ]


def _expressions(
    lenses: Sequence[Lens], wanted: set[int], stored: Mapping[int, Column]
) -> tuple[dict[int, str], tuple[Column, ...]]:
    """The wanted over columns as SQL over stored ones, which are the inputs in order."""
    makers = {c.id: (lens, n) for lens in lenses for n, c in enumerate(lens.over)}
    inputs: dict[int, Column] = {}

    def value(column: Column) -> str:
        if not isinstance(column.source, Lensed) and column.id in stored:
            inputs.setdefault(column.id, stored[column.id])
            return f'"${list(inputs).index(column.id) + 1}"'
        lens, at = makers[column.id]
        text = fill(lens.up[at], [value(under) for under in lens.under])
        return f"({text})::{lens.over[at].type}"

    made: dict[int, str] = {}
    for column_id in sorted(wanted):
        lens, at = makers[column_id]
        text = fill(lens.up[at], [value(under) for under in lens.under])
        made[column_id] = f"({text})::{lens.over[at].type}"
    return made, tuple(inputs.values())


def swapped_versions(
    snapshot: CatalogSnapshot, tables: Mapping[int, tuple[tuple[Lens, ...], Table]]
) -> CatalogSnapshot:
    """All versions over the shadows, at the next epoch. `tables` are, by id, the lenses that change
    roles and the form that serves then, whose place all versions take; arrays in it go with it.
    """
    versions = dict(snapshot.versions)
    for number, version in snapshot.versions.items():
        for shown in version.tables:
            found = tables.get(shown.id) or tables.get(shown.parent_id)
            if found is None or shown.kind != "foreign":
                continue
            lenses, form = found
            moved = swap(shown, lenses) if shown.id in tables else shown
            placed = replace(moved, native=form.native, options=form.options)
            versions[number] = versions[number].with_table(placed)
    return replace(snapshot, epoch=snapshot.epoch + 1, versions=versions)
