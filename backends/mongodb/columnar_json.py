"""Sub-documents of one shape as jsonb texts, a column at a time: each field's texts are made by
Arrow, and joined with the keys between them.

The texts are those of printed_json.py. Only documents in which every field always is there and of
one kind are taken; others are decoded one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from backends.mongodb.documents import NotJson, string_json
from backends.mongodb.printed_json import keys_in_order, printed_double
from backends.mongodb.shape import (
    BOOLEAN,
    DOCUMENT,
    DOUBLE,
    INT32,
    INT64,
    NULL,
    OBJECT_ID,
    STRING,
    Leaf,
    NoShape,
)

Scalars = Callable[[tuple[str, ...], int], pa.Array]
"""(path, BSON kind) → the values of a field in Arrow, of the rows that have the document."""
KINDS: Final = frozenset({STRING, INT32, INT64, DOUBLE, BOOLEAN, OBJECT_ID, NULL, DOCUMENT})
_ESCAPED: Final = r'[\x00-\x1f"\\]'
_NO_SEPARATOR: Final = ""


def leaf_at(shape: Sequence[Leaf], path: Sequence[str]) -> Leaf | None:
    """The field of a shape, or None. Raises NoShape when there are two of that name."""
    head, *rest = path
    found = [leaf for leaf in shape if leaf.name == head.encode(errors="surrogateescape")]
    if len(found) > 1:
        raise NoShape
    if not found or not rest:
        return found[0] if found else None
    return leaf_at(found[0].inside, rest)


def json_texts(leaf: Leaf, path: tuple[str, ...], rows: int, scalars: Scalars) -> pa.Array:
    """The texts of the documents at `path`. Raises NoShape for what has to be looked at."""
    inside = {each.name.decode(errors="surrogateescape"): each for each in leaf.inside}
    if len(inside) != len(leaf.inside) or any(e.optional for e in leaf.inside):
        raise NoShape
    try:
        keys = keys_in_order(tuple(inside))
    except (NotJson, UnicodeEncodeError) as error:
        raise NoShape from error
    pieces: list[pa.Array | pa.Scalar] = []
    between = "{"
    for key, text in keys:
        pieces.append(pa.scalar(between + text))
        pieces.append(_field(inside[key], (*path, key), rows, scalars))
        between = ", "
    pieces.append(pa.scalar("}" if keys else "{}"))
    if not keys:
        return pa.array(["{}"] * rows, pa.string())
    return pc.binary_join_element_wise(*pieces, _NO_SEPARATOR)


def _field(leaf: Leaf, path: tuple[str, ...], rows: int, scalars: Scalars) -> pa.Array | pa.Scalar:
    if len(leaf.kinds) != 1 or leaf.kinds[0] not in KINDS:
        raise NoShape
    [kind] = leaf.kinds
    if kind == NULL:
        return pa.scalar("null")
    if kind == DOCUMENT:
        return json_texts(leaf, path, rows, scalars)
    values = scalars(path, kind)
    if kind in (STRING, OBJECT_ID):
        return _quoted(values)
    if kind == DOUBLE:
        return pa.array([printed_double(each) for each in values.to_pylist()], pa.string())
    return values.cast(pa.string())


def _quoted(values: pa.Array) -> pa.Array:
    if pc.any(pc.match_substring_regex(values, _ESCAPED)).as_py():
        return pa.array([string_json(each) for each in values.to_pylist()], pa.string())
    quote = pa.scalar('"')
    return pc.binary_join_element_wise(quote, values, quote, _NO_SEPARATOR)
