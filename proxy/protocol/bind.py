"""Bind: give a prepared statement its parameters and make a portal of it.

Parameter values stay the bytes of the client: their text or binary form is PostgreSQL's business.
The relay does not decode at all; it reads the two names.
"""

from __future__ import annotations

from dataclasses import dataclass

from core.errors import QueryProtocolError
from proxy.protocol.body import (
    BodyReader,
    encode_names,
    two_names,
    write_int16s,
    write_values,
)
from proxy.protocol.framing import message
from proxy.protocol.message_types import ClientType


@dataclass(frozen=True, slots=True)
class Bind:
    """`B`: no format code = all text, one = for all, else one for each (0 text, 1 binary)."""

    portal: str
    statement: str
    parameter_formats: tuple[int, ...] = ()
    parameters: tuple[bytes | None, ...] = ()
    result_formats: tuple[int, ...] = ()

    @classmethod
    def decode(cls, body: bytes) -> Bind:
        """Read the body."""
        portal, statement, end = two_names(body)
        reader = BodyReader(body, end)
        formats = reader.int16s()
        count = int.from_bytes(body[reader.pos : reader.pos + 2])
        if len(formats) > 1 and len(formats) != count and reader.pos + 2 <= len(body):
            raise QueryProtocolError(
                f"bind message has {len(formats)} parameter formats but {count} parameters"
            )
        parameters = reader.values()
        results = reader.int16s()
        reader.end()
        return cls(portal, statement, formats, parameters, results)

    def encode(self) -> bytes:
        """The whole message."""
        return message(
            ClientType.BIND,
            b"".join(
                (
                    encode_names(self.portal, self.statement),
                    write_int16s(self.parameter_formats),
                    write_values(self.parameters),
                    write_int16s(self.result_formats),
                )
            ),
        )


def bind_names(body: bytes) -> tuple[str, str, int]:
    """`(portal, statement, offset of the parameter formats)` without a look at the parameters."""
    return two_names(body)
