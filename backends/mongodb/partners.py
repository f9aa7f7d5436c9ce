"""Rows that have a partner in another collection of the database, by $lookup (pure).

`$lookup` by two fields finds documents whose `_id` equals the value, as MongoDB compares: numbers
of all types with one another, a missing field with null. The filters beside it leave only values
that both columns show, so what is equal here is equal to PostgreSQL. A text column may show
ObjectIds as well as strings, which are equal there and not here: then the value is looked for in
both forms.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from backends.mongodb.filters import Field, Filter, fit_filter
from backends.mongodb.literals import NotPushed

FOUND: Final = "morph~l"
_OTHER_FORM: Final = "morph~w"
_FOUND_SO: Final = "morph~m"
ADDED: Final = (FOUND, _OTHER_FORM, _FOUND_SO)
"""Fields that the stages add; no dotted name of a path has such names."""


def partner_stages(
    collection: str, column: Field, key: Field, *, expressions: bool
) -> tuple[Filter, tuple[Mapping[str, Any], ...]]:
    """The filter that goes before, and the stages that leave the documents for whose `column` there
    is one in `collection` with an equal `key`, its `_id`.

    `expressions`: the server has those of MongoDB 4.4. Raises NotPushed.
    """
    families = {column.row.family, key.row.family}
    if families == {"integer"}:
        return fit_filter(column), (*_lookup(collection, column.name, FOUND), *_fitting(key))
    if families != {"text"} or column.object_ids != key.object_ids:
        raise NotPushed("partners by a key of another type")
    if not column.object_ids:
        found: Filter = {FOUND: {"$elemMatch": {key.name: {"$type": "string"}}}}
        return fit_filter(column), (*_lookup(collection, column.name, FOUND), {"$match": found})
    if not expressions:
        raise NotPushed("partners by ObjectId or text: the server cannot convert one to the other")
    return fit_filter(column), _in_both_forms(collection, column, key)


def _lookup(collection: str, name: str, into: str) -> Sequence[Mapping[str, Any]]:
    looked = {"from": collection, "localField": name, "foreignField": "_id", "as": into}
    return ({"$lookup": looked},)


def _fitting(key: Field) -> Sequence[Mapping[str, Any]]:
    """What was found is shown by the key's column too. No two `_id` are equal numbers."""
    inner = replace(key, name=f"{FOUND}.{key.name}")
    return ({"$unwind": f"${FOUND}"}, {"$match": fit_filter(inner)})


def _in_both_forms(collection: str, column: Field, key: Field) -> tuple[Mapping[str, Any], ...]:
    """An ObjectId as text, and a text that is how an ObjectId is shown as ObjectId."""
    value = f"${column.name}"
    as_id = {"$convert": {"input": value, "to": "objectId", "onError": None, "onNull": None}}
    shown = {"$eq": [{"$toLower": value}, value]}
    form = {
        "$cond": [
            {"$eq": [{"$type": value}, "objectId"]},
            {"$toString": value},
            {"$cond": [shown, as_id, None]},
        ]
    }
    fits = {"$elemMatch": {key.name: {"$type": ["string", "objectId"]}}}
    return (
        *_lookup(collection, column.name, FOUND),
        {"$addFields": {_OTHER_FORM: form}},
        *_lookup(collection, _OTHER_FORM, _FOUND_SO),
        {"$match": {"$or": [{FOUND: fits}, {_FOUND_SO: fits}]}},
    )
