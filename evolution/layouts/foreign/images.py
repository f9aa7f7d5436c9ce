"""Rows of the live form as images for the other one, in both directions.

Forward the shadow is `up` of the live row. After the flip the old layout is fed: a value there that
`down` of what serves would make again stays as it is (GetPut), so what nobody touched is not even
rounded; one that `down` cannot give back is told of, and stands against a rollback without loss.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import asyncpg

from backends.change_store import Image, Key, StoreRow
from catalog.lenses import differ
from catalog.model import Column
from catalog.readers import fill
from evolution.layouts.foreign.forms import Forms
from evolution.layouts.foreign.transform import Failed, computed

LOSSY = "01004"
"""The SQLSTATE of a row that the old layout has, but not to the bit."""


@dataclass(slots=True)
class Made:
    """Images of some keys. `refused` are rows that the other layout cannot hold, or not exactly, by
    key; the others are fine.
    """

    images: list[Image] = field(default_factory=list)
    refused: dict[Key, Failed] = field(default_factory=dict)


def _values(row: StoreRow, columns: Sequence[Column]) -> list[str | None]:
    return [row.values.get(column.id) for column in columns]


def _misfit(row: StoreRow, columns: Sequence[Column]) -> Failed | None:
    """A value that no one can see cannot be converted: it would be lost."""
    for column in columns:
        if column.id in row.misfits:
            return Failed("22P02", f'a value of column "{column.name}" is no {column.type}')
    return None


async def forward(
    db: asyncpg.Connection, forms: Forms, keys: Sequence[Key], rows: Sequence[StoreRow]
) -> Made:
    """Images of the keys; `rows` are those that the live form has."""
    made = Made()
    found = {row.key: row for row in rows}
    over = [column.id for column in forms.over]
    texts = await computed(
        db,
        [forms.up[column_id] for column_id in over],
        forms.up_inputs,
        [_values(row, forms.up_inputs) for row in rows],
    )
    for row, values in zip(rows, texts, strict=True):
        failed = _misfit(row, forms.up_inputs) or (values if isinstance(values, Failed) else None)
        if failed is None and not isinstance(values, Failed):
            made.images.append(Image(row.key, row, dict(zip(over, values, strict=True))))
        elif failed is not None:
            made.refused[row.key] = failed
            made.images.append(Image(row.key, None))
    made.images += [Image(key, None) for key in keys if key not in found]
    return made


async def back(
    db: asyncpg.Connection,
    forms: Forms,
    keys: Sequence[Key],
    rows: Sequence[StoreRow],
    old: Mapping[Key, StoreRow],
) -> Made:
    """The same for the layout from before the flip, which has `old`. `forms.live` serves now."""
    made = Made()
    there = {row.key: row for row in rows}
    wanted = [column.id for column in forms.over]
    texts = await computed(
        db,
        [forms.up[column_id] for column_id in wanted],
        forms.up_inputs,
        [_values(row, forms.up_inputs) for row in rows],
    )
    stay = await _shows(db, forms, [(row, _old_values(old.get(row.key))) for row in rows])
    candidates = [
        (row, dict(zip(wanted, values, strict=True)))
        for row, values in zip(rows, texts, strict=True)
        if not isinstance(values, Failed)
    ]
    exact = await _shows(db, forms, candidates)
    for row, values in zip(rows, texts, strict=True):
        found = old.get(row.key)
        if found is not None and row.key in stay:
            made.images.append(Image(row.key, row, _only(found, wanted), found, tuple(wanted)))
        elif isinstance(values, Failed):
            made.refused[row.key] = values
            made.images.append(Image(row.key, row, {}, found))
        else:
            made.images.append(Image(row.key, row, dict(zip(wanted, values, strict=True)), found))
            if row.key not in exact:
                made.refused[row.key] = Failed(LOSSY, "the old layout cannot keep its value")
    made.images += [Image(key, None, {}, old.get(key)) for key in keys if key not in there]
    return made


def _old_values(row: StoreRow | None) -> Mapping[int, str | None] | None:
    return row.values if row is not None and not row.misfits else None


def _only(row: StoreRow, wanted: Sequence[int]) -> dict[int, str | None]:
    return {column_id: row.values.get(column_id) for column_id in wanted}


async def _shows(
    db: asyncpg.Connection,
    forms: Forms,
    pairs: Sequence[tuple[StoreRow, Mapping[int, str | None] | None]],
) -> set[Key]:
    """The keys of rows that are, to the bit, what these values of the other form show."""
    known = [(row, values) for row, values in pairs if values is not None]
    under = forms.under
    inputs = (*forms.down_inputs, *under)
    at = [f'"${n}"' for n in range(1, len(inputs) + 1)]
    made = ", ".join(fill(forms.down[c.id], at[: len(forms.down_inputs)]) for c in under)
    now = ", ".join(at[len(forms.down_inputs) :])
    same = f"NOT {differ(made, now)}" if under else "true"
    rows = [
        [*(values.get(c.id) for c in forms.down_inputs), *_values(row, under)]
        for row, values in known
    ]
    found = await computed(db, [same], inputs, rows)
    return {
        row.key
        for (row, _), answer in zip(known, found, strict=True)
        if not isinstance(answer, Failed) and answer[0] == "true"
    }
