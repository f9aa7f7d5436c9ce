"""ORDER BY with a limit as sorted finds, exactly in PostgreSQL's order (pure).

MongoDB sorts NULL, missing fields and every other type to places of their own, and NaN below all
numbers. So the rows are asked for in segments that follow one another: those where the first key is
NULL (missing and misfits too), NaN, and the values, each segment by its own find that stops at what
is left of the limit. Further keys must not be NULL at all, which the predicate has to say.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from typing import Final

from backends.base import OrderKey
from backends.mongodb.filters import Field, Filter, conjunction, fit_filter, of_type
from backends.mongodb.literals import NotPushed
from backends.mongodb.query import Segment

_SORTED: Final = ("integer", "float", "text", "boolean", "instant")


def segments(
    order: Sequence[OrderKey],
    field_of_column: Callable[[int], Field],
    known: Collection[int],
    filters: Sequence[Filter],
) -> tuple[Segment, ...]:
    """The finds for an order; `known` are columns that are not NULL in any row of the filters.

    Raises NotPushed for an order that the store does not have.
    """
    fields = [
        _sortable(field_of_column(key.column_id), first=n == 0) for n, key in enumerate(order)
    ]
    if any(key.column_id not in known for key in order[1:]):
        raise NotPushed("an order by several columns that may be NULL")
    sort = tuple(
        (field.name, -1 if key.descending else 1) for field, key in zip(fields, order, strict=True)
    )
    first, key = fields[0], order[0]
    values = _values(first, sort, descending=key.descending, filters=filters)
    if key.column_id in known:
        return values
    nulls = Segment(conjunction([*filters, {"$nor": [fit_filter(first)]}]), sort[1:])
    return (nulls, *values) if key.nulls_first else (*values, nulls)


def texts_and_object_ids(
    key: OrderKey, field: Field, filters: Sequence[Filter]
) -> tuple[Segment, ...]:
    """Two finds for a text column that shows ObjectIds too, each sorted; to be merged."""
    sort = ((field.name, -1 if key.descending else 1),)
    return tuple(
        Segment(conjunction([*filters, of_type(field, kind)]), sort)
        for kind in ("string", "objectId")
    )


def _sortable(field: Field, *, first: bool) -> Field:
    family = field.row.family
    if family not in _SORTED:
        raise NotPushed(f"the order of {field.row.name}")
    if family == "text" and field.object_ids:
        raise NotPushed("the order of texts among ObjectIds")
    if family == "float" and not first:
        raise NotPushed("the order of double precision behind another key")
    return field


def _values(
    field: Field,
    sort: tuple[tuple[str, int], ...],
    *,
    descending: bool,
    filters: Sequence[Filter],
) -> tuple[Segment, ...]:
    fit = fit_filter(field)
    if field.row.family != "float":
        return (Segment(conjunction([*filters, fit]), sort),)
    nan = {field.name: math.nan}
    numbers = Segment(conjunction([*filters, fit, {"$nor": [nan]}]), sort)
    others = Segment(conjunction([*filters, fit, nan]), sort[1:])
    return (others, numbers) if descending else (numbers, others)
