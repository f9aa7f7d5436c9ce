"""Parse: make a prepared statement of one SQL text."""

from __future__ import annotations

from dataclasses import dataclass

from proxy.protocol.body import BodyReader, encode_string, write_oids
from proxy.protocol.framing import message
from proxy.protocol.message_types import ClientType


@dataclass(frozen=True, slots=True)
class Parse:
    """`P`: prepare `sql` as `statement` ("" = the unnamed one); an oid of 0 is to be inferred."""

    statement: str
    sql: str
    parameter_oids: tuple[int, ...] = ()

    @classmethod
    def decode(cls, body: bytes, codec: str = "utf-8") -> Parse:
        """Read the body; `codec` is the Python name of the session's client_encoding."""
        reader = BodyReader(body)
        statement, sql = reader.string(codec), reader.string(codec)
        oids = reader.oids()
        reader.end()
        return cls(statement, sql, oids)

    def encode(self, codec: str = "utf-8") -> bytes:
        """The whole message."""
        names = encode_string(self.statement, codec) + encode_string(self.sql, codec)
        return message(ClientType.PARSE, names + write_oids(self.parameter_oids))
