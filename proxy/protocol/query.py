"""Query, the simple protocol's one message: a text of any number of statements."""

from __future__ import annotations

from dataclasses import dataclass

from proxy.protocol.body import decode_text, encode_string, invalid_format, invalid_string
from proxy.protocol.framing import message
from proxy.protocol.message_types import ClientType


@dataclass(frozen=True, slots=True)
class Query:
    """`Q`: run `sql`."""

    sql: str

    @classmethod
    def decode(cls, body: bytes, codec: str = "utf-8") -> Query:
        """Read the body; `codec` is the Python name of the session's client_encoding."""
        end = body.find(0)
        if end < 0:
            raise invalid_string()
        if end != len(body) - 1:
            raise invalid_format()
        return cls(decode_text(body[:end], codec))

    def encode(self, codec: str = "utf-8") -> bytes:
        """The whole message."""
        return message(ClientType.QUERY, encode_string(self.sql, codec))
