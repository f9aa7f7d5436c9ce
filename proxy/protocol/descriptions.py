"""RowDescription and ParameterDescription: built, read, and patched.

psqlODBC and pgjdbc look the table oid of a column up in pg_class, so an answer that was computed
over a version view must name the shape's oid: `patch_table_oids` puts it there in place.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from struct import Struct
from typing import NamedTuple

from core.errors import QueryProtocolError
from proxy.protocol.body import BodyReader, encode_string, write_oids
from proxy.protocol.framing import HEADER_BYTES, message
from proxy.protocol.message_types import ServerType

_field = Struct(">IhIhih")
_oid = Struct(">I")
_count = Struct(">H")


class FieldDescription(NamedTuple):
    """One column: `table_oid` and `attnum` are 0 unless it is a plain column of a table."""

    name: str
    table_oid: int = 0
    attnum: int = 0
    type_oid: int = 25
    typlen: int = -1
    typmod: int = -1
    format: int = 0


def row_description(fields: Iterable[FieldDescription], codec: str = "utf-8") -> bytes:
    """The whole message."""
    pack = _field.pack
    parts = [encode_string(field.name, codec) + pack(*field[1:]) for field in fields]
    return message(ServerType.ROW_DESCRIPTION, _count.pack(len(parts)) + b"".join(parts))


def decode_row_description(body: bytes, codec: str = "utf-8") -> list[FieldDescription]:
    """The fields of a body (without the header)."""
    reader = BodyReader(body)
    fields = []
    for _ in range(reader.int16()):
        name = reader.string(codec)
        fields.append(FieldDescription(name, *_field.unpack(reader.take(_field.size))))
    reader.end()
    return fields


def patch_table_oids(raw: bytes, new_oids: Mapping[int, int]) -> bytes:
    """`raw`, a whole RowDescription with header, with other table oids; names are not decoded.

    Returns `raw` itself when no oid is in the mapping. The message keeps its length.
    """
    patched: bytearray | None = None
    size = len(raw)
    pos = HEADER_BYTES + 2
    if size < pos:
        raise QueryProtocolError("insufficient data left in message")
    for _ in range(_count.unpack_from(raw, HEADER_BYTES)[0]):
        pos = raw.find(0, pos) + 1
        if pos == 0 or pos + _field.size > size:
            raise QueryProtocolError("insufficient data left in message")
        new = new_oids.get(_oid.unpack_from(raw, pos)[0])
        if new is not None:
            if patched is None:
                patched = bytearray(raw)
            _oid.pack_into(patched, pos, new)
        pos += _field.size
    return raw if patched is None else bytes(patched)


def parameter_description(oids: tuple[int, ...]) -> bytes:
    """The whole message: the types of a statement's parameters."""
    return message(ServerType.PARAMETER_DESCRIPTION, write_oids(oids))


def decode_parameter_description(body: bytes) -> tuple[int, ...]:
    """The type oids of a body."""
    reader = BodyReader(body)
    oids = reader.oids()
    reader.end()
    return oids
