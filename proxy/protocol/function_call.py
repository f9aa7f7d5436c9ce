"""FunctionCall, the old fast path; libpq's large-object calls still use it."""

from __future__ import annotations

from dataclasses import dataclass

from core.errors import QueryProtocolError
from proxy.protocol.body import BodyReader, write_int16s, write_values
from proxy.protocol.framing import message
from proxy.protocol.message_types import ClientType


@dataclass(frozen=True, slots=True)
class FunctionCall:
    """`F`: call the function `oid`; formats as in Bind."""

    oid: int
    argument_formats: tuple[int, ...] = ()
    arguments: tuple[bytes | None, ...] = ()
    result_format: int = 0

    @classmethod
    def decode(cls, body: bytes) -> FunctionCall:
        """Read the body."""
        reader = BodyReader(body)
        oid = reader.oid()
        formats = reader.int16s()
        arguments = reader.values()
        if len(formats) > 1 and len(formats) != len(arguments):
            raise QueryProtocolError(
                f"function call message contains {len(formats)} argument formats "
                f"but {len(arguments)} arguments"
            )
        result_format = reader.int16()
        reader.end()
        return cls(oid, formats, arguments, result_format)

    def encode(self) -> bytes:
        """The whole message."""
        return message(
            ClientType.FUNCTION_CALL,
            self.oid.to_bytes(4)
            + write_int16s(self.argument_formats)
            + write_values(self.arguments)
            + self.result_format.to_bytes(2),
        )
