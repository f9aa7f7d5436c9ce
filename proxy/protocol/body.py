"""Reading and writing the parts of a message body: strings, integers, counted bytes.

Faults have PostgreSQL's wording (libpq/pqformat.c). PostgreSQL answers a malformed body with
ERROR and goes on, because the length word kept both sides in step: so these are
`QueryProtocolError`, not the `ProtocolViolation` that ends a connection.
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct, pack, unpack

from core.errors import InvalidText, QueryProtocolError

_int16 = Struct(">H")
_int32 = Struct(">i")
_oid = Struct(">I")


def invalid_string() -> QueryProtocolError:
    """A string of a message does not end."""
    return QueryProtocolError("invalid string in message")


def insufficient_data() -> QueryProtocolError:
    """A count or length of a message points beyond its end."""
    return QueryProtocolError("insufficient data left in message")


def invalid_format() -> QueryProtocolError:
    """There are bytes after the last field of a message."""
    return QueryProtocolError("invalid message format")


def invalid_text(raw: bytes, start: int, codec: str = "utf-8") -> InvalidText:
    """The bytes from `start` are not in the encoding: shown as PostgreSQL shows them."""
    lead, width = raw[start], 1
    if codec == "utf-8" and 0xC0 <= lead < 0xF8:
        width = 2 if lead < 0xE0 else 3 if lead < 0xF0 else 4
    name = "UTF8" if codec == "utf-8" else codec.upper()
    shown = " ".join(f"0x{byte:02x}" for byte in raw[start : start + width])
    return InvalidText(f'invalid byte sequence for encoding "{name}": {shown}')


def decode_text(raw: bytes, codec: str = "utf-8") -> str:
    """Text without NUL in the client's encoding; 22021 otherwise."""
    try:
        text = raw.decode(codec)
    except UnicodeDecodeError as error:
        raise invalid_text(raw, error.start, codec) from None
    if "\0" in text:
        raise invalid_text(raw, raw.index(0), codec)
    return text


def encode_string(text: str, codec: str = "utf-8") -> bytes:
    """Encoded text with the closing NUL; 22021 when a NUL within would cut it."""
    raw = text.encode(codec)
    if b"\0" in raw:
        raise invalid_text(raw, raw.index(0), codec)
    return raw + b"\0"


def two_names(body: bytes) -> tuple[str, str, int]:
    """The two strings that Parse and Bind begin with, and the offset after them: the hot path."""
    middle = body.find(0)
    end = body.find(0, middle + 1)
    if middle < 0 or end < 0:
        raise invalid_string()
    try:
        first = body[:middle].decode() if middle else ""
        second = body[middle + 1 : end].decode() if end > middle + 1 else ""
    except UnicodeDecodeError as error:
        raise invalid_text(error.object, error.start) from None
    return first, second, end + 1


def encode_names(first: str, second: str) -> bytes:
    """The inverse of `two_names`, also on the hot path."""
    raw = f"{first}\0{second}\0".encode()
    if raw.count(0) != 2:
        raise invalid_text(raw, raw.index(0))
    return raw


class BodyReader:
    """Takes the fields of one body from front to back; for messages off the hot path."""

    __slots__ = ("_body", "pos")

    def __init__(self, body: bytes, pos: int = 0) -> None:
        self._body = body
        self.pos = pos

    def raw_string(self) -> bytes:
        """The bytes up to the next NUL."""
        end = self._body.find(0, self.pos)
        if end < 0:
            raise invalid_string()
        raw = self._body[self.pos : end]
        self.pos = end + 1
        return raw

    def string(self, codec: str = "utf-8") -> str:
        """The text up to the next NUL."""
        return decode_text(self.raw_string(), codec)

    def take(self, size: int) -> bytes:
        """The next `size` bytes."""
        end = self.pos + size
        if size < 0 or end > len(self._body):
            raise insufficient_data()
        raw = self._body[self.pos : end]
        self.pos = end
        return raw

    def byte(self) -> int:
        """The next byte."""
        if self.pos >= len(self._body):
            raise QueryProtocolError("no data left in message")
        self.pos += 1
        return self._body[self.pos - 1]

    def int16(self) -> int:
        """An unsigned count or format code."""
        value: int = _int16.unpack(self.take(2))[0]
        return value

    def int32(self) -> int:
        """A signed length or limit."""
        value: int = _int32.unpack(self.take(4))[0]
        return value

    def oid(self) -> int:
        """An unsigned object id."""
        value: int = _oid.unpack(self.take(4))[0]
        return value

    def int16s(self) -> tuple[int, ...]:
        """A count and so many unsigned 16-bit values."""
        count = self.int16()
        return unpack(f">{count}H", self.take(2 * count))

    def oids(self) -> tuple[int, ...]:
        """A count and so many object ids."""
        count = self.int16()
        return unpack(f">{count}I", self.take(4 * count))

    def values(self) -> tuple[bytes | None, ...]:
        """A count and so many values with a length each; -1 is NULL."""
        values: list[bytes | None] = []
        for _ in range(self.int16()):
            size = self.int32()
            values.append(None if size == -1 else self.take(size))
        return tuple(values)

    def end(self) -> None:
        """Nothing may follow."""
        if self.pos != len(self._body):
            raise invalid_format()


def write_int16s(values: tuple[int, ...]) -> bytes:
    """The inverse of `int16s`."""
    return pack(f">{len(values) + 1}H", len(values), *values)


def write_oids(values: tuple[int, ...]) -> bytes:
    """The inverse of `oids`."""
    return pack(f">H{len(values)}I", len(values), *values)


def write_values(values: Sequence[bytes | None]) -> bytes:
    """The inverse of `values`; also the body of a DataRow."""
    parts = [_int16.pack(len(values))]
    pack_size = _int32.pack
    for value in values:
        if value is None:
            parts.append(b"\xff\xff\xff\xff")
        else:
            parts.append(pack_size(len(value)))
            parts.append(value)
    return b"".join(parts)
