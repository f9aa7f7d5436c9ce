"""Arrays: PostgreSQL's braces and quotes, and the binary form with dimensions.

The elements are encoded as one column by their own family, then put between the list's offsets.
The Arrow carrier is a list of the element's carrier or of its text carrier: one dimension that
starts at 1. Arrays with more dimensions or another lower bound have the text carrier only. Array
texts without quotes and inner braces are split column-wise; others are parsed once per distinct
value.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from core.encoding.buffers import (
    big_endian,
    fixed_binary,
    int32,
    interleaved,
    joined,
    offsets_of,
    rebased,
    running_ends,
    var_binary,
    with_nulls_of,
)
from core.encoding.family import Family, encode_whole, from_text_carrier
from core.errors import BadCopyFormat
from core.types import PgType

# What array_out quotes: empty, NULL in any case, and these characters (array_isspace for blanks).
_QUOTED: Final = r'^$|^(?i:null)$|["\\{},\t\n\v\f\r ]'
_NEVER_QUOTED: Final = frozenset("NB")  # categories whose texts have none of these, money aside
_SIMPLE: Final = r'^\{[^"\\{}]*\}$'


def _lists(column: pa.Array) -> tuple[pa.Array, pa.Array, pa.Array]:
    """A list column as its elements, its len+1 offsets into them and its lengths (null: 0)."""
    column = column.cast(pa.list_(column.type.value_type))
    lengths = pc.fill_null(pc.list_value_length(column), int32(0))
    return rebased(column.flatten()), running_ends(lengths), lengths


def _element(pg: PgType) -> PgType:
    assert pg.element is not None, f"{pg.name} is an array"
    return pg.element


def _text(column: pa.Array, pg: PgType) -> pa.Array:
    values, ends, _ = _lists(column)
    element = _element(pg)
    texts = encode_whole(values, element, binary=False).cast(pa.string())
    if element.category not in _NEVER_QUOTED or element.typname == "money":
        texts = _quoted(texts)
    texts = pc.fill_null(texts, "NULL")
    lists = pa.ListArray.from_arrays(ends, texts)
    return with_nulls_of(column, joined("{", pc.binary_join(lists, ","), "}"))


def _quoted(texts: pa.Array) -> pa.Array:
    needs = pc.match_substring_regex(texts, _QUOTED)
    if pc.any(needs).as_py() is not True:
        return texts
    escaped = pc.replace_substring(pc.replace_substring(texts, "\\", "\\\\"), '"', '\\"')
    return pc.if_else(needs, joined('"', escaped, '"'), texts)


def _binary(column: pa.Array, pg: PgType) -> pa.Array:
    values, ends, lengths = _lists(column)
    bodies = _bodies(values, ends, _element(pg), lengths)
    has_null = _has_null(values, ends, lengths)
    empty = pc.equal(lengths, int32(0))
    rows = len(column)
    dimensions = pc.if_else(empty, int32(0), int32(1))
    oid = _element(pg).oid.to_bytes(4, "big")
    head = interleaved(
        [(big_endian(dimensions, 4), 4), (big_endian(has_null, 4), 4), (oid, 4)], rows
    )
    bounds = interleaved([(big_endian(lengths, 4), 4), ((1).to_bytes(4, "big"), 4)], rows)
    shape = pc.if_else(empty, b"", fixed_binary(bounds, 8, lengths).cast(pa.binary()))
    encoded = joined(fixed_binary(head, 12, lengths), shape, bodies)
    return with_nulls_of(column, encoded)


def _bodies(values: pa.Array, ends: pa.Array, element: PgType, like: pa.Array) -> pa.Array:
    """Per list: its elements, each as int32 length (-1 for null) and bytes."""
    encoded = encode_whole(values, element, binary=True)
    sizes = pc.fill_null(pc.binary_length(encoded), int32(-1))
    head = fixed_binary(big_endian(sizes, 4), 4, sizes)
    parts = joined(head, pc.fill_null(encoded, b""))
    if len(parts) == 0:
        return var_binary(b"", pc.multiply(ends, pa.scalar(0, ends.type)), like)
    return var_binary(parts.buffers()[2], offsets_of(parts).take(ends), like)


def _has_null(values: pa.Array, ends: pa.Array, lengths: pa.Array) -> pa.Array:
    """int32 1 for the lists with a null element."""
    if values.null_count == 0:
        return pc.multiply(lengths, int32(0))
    running = running_ends(values.is_null().cast(pa.int32()))
    counts = pc.subtract(running.take(ends[1:]), running.take(ends[:-1]))
    return pc.greater(counts, pa.scalar(0, counts.type)).cast(pa.int32())


@dataclass(frozen=True, slots=True)
class ArrayText:
    """A parsed array text: (lower bound, length) per dimension and the elements in order."""

    bounds: tuple[tuple[int, int], ...]
    elements: tuple[str | None, ...]

    @property
    def plain(self) -> bool:
        """Whether a list says the same: empty, or one dimension from 1."""
        return not self.bounds or (len(self.bounds) == 1 and self.bounds[0][0] == 1)


def array_text(values: Sequence[str]) -> str:
    """A one-dimensional array in PostgreSQL's text form (manual, 8.15.6)."""
    quoted = (value.replace("\\", "\\\\").replace('"', '\\"') for value in values)
    return "{" + ",".join(f'"{value}"' for value in quoted) + "}"


def parse_array_text(text: str) -> ArrayText:
    """The elements and bounds of an array, in any form that array_in takes: array_out's, or a
    client's with spaces between elements, `null` and backslashes. BadCopyFormat for others.
    """
    try:
        return _parse_array(text.strip(_SPACES))
    except (IndexError, ValueError) as error:
        raise BadCopyFormat("malformed array literal", detail="Unexpected end of input.") from error


def _parse_array(text: str) -> ArrayText:
    lower, _, body = text.rpartition("={") if text.startswith("[") else ("", "", text[1:])
    lengths: list[int] = []
    elements: list[str | None] = []
    counts = [0]  # children seen at each open level
    at = 0
    while at < len(body):
        letter = body[at]
        if letter == "{":
            counts.append(0)
            at += 1
        elif letter == "}":
            depth = len(counts) - 1
            lengths.extend([0] * (depth + 1 - len(lengths)))
            lengths[depth] = counts.pop()
            if counts:
                counts[-1] += 1
            at += 1
        elif letter == "," or letter in _SPACES:
            at += 1
        else:
            value, at = _parse_element(body, at)
            elements.append(value)
            counts[-1] += 1
    if counts:
        raise ValueError(text)
    firsts = [int(part.partition(":")[0]) for part in lower.strip("[]").split("][") if part]
    if lengths == [0]:
        lengths = []
    firsts = firsts or [1] * len(lengths)
    return ArrayText(tuple(zip(firsts, lengths, strict=True)), tuple(elements))


_SPACES = " \t\n\r\v\f"  # scanner_isspace()
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)


def _parse_element(body: str, at: int) -> tuple[str | None, int]:
    """The element that starts at `at`, and where it ends."""
    if body[at] != '"':
        return _parse_word(body, at)
    letters: list[str] = []
    at += 1
    while body[at] != '"':
        at += body[at] == "\\"
        letters.append(body[at])
        at += 1
    return "".join(letters), at + 1


def _parse_word(body: str, at: int) -> tuple[str | None, int]:
    """An element without quotes: spaces around it are not its own, those after a backslash are."""
    end = kept = at
    while body[end] not in ",}":
        escape = body[end] == "\\"
        end += 1 + escape
        if escape or body[end - 1] not in _SPACES:
            kept = end
    word = body[at:kept]
    return (None if word.upper() == "NULL" else _ESCAPED.sub(r"\1", word)), end


def _text_lists(column: pa.Array) -> pa.Array | None:
    """Array texts as list<string>, or None if one of them is not a plain list."""
    if pc.all(pc.match_substring_regex(column, _SIMPLE)).as_py() is not False:
        inner = pc.utf8_slice_codeunits(column, 1, -1)
        lists = pc.split_pattern(inner, ",")
        words, ends = lists.flatten(), offsets_of(rebased(lists))
        if pc.any(pc.equal(inner, "")).as_py():
            # '' splits into one empty word, but {} has no element; words are never empty otherwise.
            filled = pc.not_equal(words, "")
            ends = running_ends(filled.cast(pa.int32())).take(ends)
            words = words.filter(filled)
        words = pc.if_else(pc.equal(words, "NULL"), pa.scalar(None, pa.string()), words)
        return with_nulls_of(column, pa.ListArray.from_arrays(ends, words))
    encoded = column.dictionary_encode()
    parsed = [parse_array_text(text) for text in encoded.dictionary.to_pylist()]
    if not all(p.plain for p in parsed):
        return None
    lists = pa.array([p.elements for p in parsed], pa.list_(pa.string()))
    return lists.take(encoded.indices)


def _parse(column: pa.Array, pg: PgType) -> pa.Array | None:
    lists = _text_lists(column)
    if lists is None:
        return None
    values = from_text_carrier(rebased(lists.flatten()), _element(pg))
    if not values.type.equals(pg.arrow.value_type):
        return None
    _, ends, _ = _lists(lists)
    return with_nulls_of(column, pa.ListArray.from_arrays(ends, values))


def _text_binary(column: pa.Array, pg: PgType) -> pa.Array:
    lists = _text_lists(column)
    if lists is not None:
        return _binary(lists, pg)
    encoded = column.dictionary_encode()
    parsed = [parse_array_text(text) for text in encoded.dictionary.to_pylist()]
    flat = pa.array([p.elements for p in parsed], pa.list_(pa.string()))
    values, ends, lengths = _lists(flat)
    bodies = _bodies(values, ends, _element(pg), lengths).to_pylist()
    oid = _element(pg).oid.to_bytes(4, "big")
    sent = [_nested(p, body, oid) for p, body in zip(parsed, bodies, strict=True)]
    return pa.array(sent, pa.binary()).take(encoded.indices)


def _nested(parsed: ArrayText, body: bytes, oid: bytes) -> bytes:
    has_null = None in parsed.elements
    head = len(parsed.bounds).to_bytes(4, "big") + has_null.to_bytes(4, "big") + oid
    shape = (n.to_bytes(4, "big", signed=True) for low, size in parsed.bounds for n in (size, low))
    return head + b"".join(shape) + body


ARRAY = Family(
    text=_text,
    binary=_binary,
    parse=_parse,
    text_binary=_text_binary,
    carries=lambda kind: bool(
        pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    ),
)
