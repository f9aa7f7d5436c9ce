"""What a type family is, and the registry that maps a type's OID to its family.

A family turns a column into the bytes PostgreSQL sends. It is given columns at offset 0 in one of
the two carriers (see core.types) and returns string, binary or fixed-size binary columns with the
same nulls. Fixed-size results are cheaper: core.encoding.rows assembles them by strided copies.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from core.encoding.buffers import joined, rebased
from core.errors import DatatypeMismatch, FeatureNotSupported, NumericValueOutOfRange
from core.types import PgType


@dataclass(frozen=True, slots=True)
class Affixed:
    """A column whose values (not its nulls) all stand between the same constant bytes.

    Constants cost nothing in a fixed record and a join of their own elsewhere.
    """

    column: pa.Array
    prefix: bytes = b""
    suffix: bytes = b""

    def whole(self) -> pa.Array:
        """The column with the constants joined to each value."""
        return joined(self.prefix, self.column, self.suffix)


Encoder = Callable[[pa.Array, PgType], "pa.Array | Affixed"]
Parser = Callable[[pa.Array, PgType], "pa.Array | None"]


def same_text(column: pa.Array, _pg: PgType) -> pa.Array:
    """The text carrier is the text already."""
    return column


@dataclass(frozen=True, slots=True)
class Family:
    """Column-wise encoders of one type family.

    `text` and `binary` take the Arrow carrier; `parse` takes the text carrier to the Arrow carrier
    and returns None if some value does not fit it exactly; `text_binary` takes the text carrier to
    the binary form and is exact for all values. A family of text-only types has `text_binary` only.
    `carries` says which Arrow types count as its Arrow carrier beside `PgType.arrow`.
    """

    text_binary: Encoder | None
    text: Encoder = same_text
    binary: Encoder | None = None
    parse: Parser = same_text
    carries: Callable[[pa.DataType], bool] = lambda _: False


_FAMILIES: dict[int, Family] = {}


def register(oids: Iterable[int], family: Family) -> None:
    """Make `family` the one of these types; each OID exactly once."""
    for oid in oids:
        assert oid not in _FAMILIES, f"oid {oid} has a family already"
        _FAMILIES[oid] = family


def registered() -> frozenset[int]:
    """The OIDs that have a family."""
    return frozenset(_FAMILIES)


_OPAQUE = Family(text_binary=None)
_ARRAY_OID = 0


def family_of(pg: PgType) -> Family:
    """The family of a type; unknown types are opaque text without a binary form."""
    if pg.element is not None:
        return _FAMILIES[_ARRAY_OID]
    return _FAMILIES.get(pg.oid, _OPAQUE)


def register_arrays(family: Family) -> None:
    """Make `family` the one of all arrays."""
    register([_ARRAY_OID], family)


def is_text(kind: pa.DataType) -> bool:
    """Whether a column of this Arrow type is a text carrier."""
    return bool(
        pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    )


def carried(column: pa.Array, pg: PgType) -> tuple[pa.Array, bool]:
    """The column at offset 0 in one of the type's carriers, and whether that is the text carrier.

    Other Arrow types are cast if every value survives (int32 for bigint, timestamp[ms], …).
    """
    if isinstance(column, pa.ExtensionArray):
        column = column.storage
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    kind = column.type
    if is_text(kind):
        return rebased(column.cast(pa.string())), True
    if kind.equals(pg.arrow) or family_of(pg).carries(kind):
        return rebased(column), False
    if pg.text_only and not (
        pa.types.is_integer(kind) or pa.types.is_null(kind) or pa.types.is_binary(kind)
    ):
        raise DatatypeMismatch(f"cannot carry type {pg.sql} as Arrow type {kind}")
    try:
        return rebased(column.cast(pg.arrow)), pg.text_only
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as problem:
        if pa.types.is_integer(kind) and pa.types.is_integer(pg.arrow):
            raise NumericValueOutOfRange(f"{pg.sql} out of range") from problem
        raise DatatypeMismatch(
            f"cannot carry type {pg.sql} as Arrow type {kind}", detail=f"Arrow says: {problem}."
        ) from problem


def encode(column: pa.Array, pg: PgType, binary: bool) -> pa.Array | Affixed:
    """The values in text or binary format; string, binary or fixed-size binary."""
    values, text = carried(column, pg)
    if not binary:
        return values if text else family_of(pg).text(values, pg)
    family = family_of(pg)
    encoder = family.text_binary if text else family.binary
    if encoder is None:
        raise FeatureNotSupported(f"no binary output function available for type {pg.sql}")
    return encoder(values, pg)


def encode_whole(column: pa.Array, pg: PgType, binary: bool) -> pa.Array:
    """The same as a binary column, constants joined."""
    encoded = encode(column, pg, binary)
    whole = encoded.whole() if isinstance(encoded, Affixed) else encoded
    return whole.cast(pa.binary())


def to_text_carrier(column: pa.Array, pg: PgType) -> pa.Array:
    """The column in the text carrier (string), exact for every value."""
    return encode_whole(column, pg, binary=False).cast(pa.string())


def from_text_carrier(column: pa.Array, pg: PgType) -> pa.Array:
    """The column in the Arrow carrier if every value fits it, else in the text carrier."""
    values, text = carried(column, pg)
    if not text:
        return values
    parsed = family_of(pg).parse(values, pg)
    return values if parsed is None else parsed


def by_distinct(column: pa.Array, function: Callable[[str], bytes]) -> pa.Array:
    """A binary column made by a Python function that is called once per distinct value.

    For forms that have no column-wise algorithm (inet, nested arrays): not a hot path.
    """
    encoded = column.dictionary_encode()
    values = pa.array([function(v) for v in encoded.dictionary.to_pylist()], pa.binary())
    return values.take(encoded.indices)


def all_true(condition: pa.Array) -> bool:
    """Whether the condition holds for all rows that are not null."""
    return pc.all(condition).as_py() is not False
