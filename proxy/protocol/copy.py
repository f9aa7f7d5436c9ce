"""The client's side of COPY: data, its good end, its bad end."""

from __future__ import annotations

from dataclasses import dataclass

from proxy.protocol.body import BodyReader, encode_string
from proxy.protocol.framing import message
from proxy.protocol.message_types import ClientType


@dataclass(frozen=True, slots=True)
class CopyData:
    """`d`: a piece of the COPY stream; its borders mean nothing when a client sends it."""

    data: bytes

    @classmethod
    def decode(cls, body: bytes) -> CopyData:
        """The body is the data."""
        return cls(body)

    def encode(self) -> bytes:
        """The whole message."""
        return message(ClientType.COPY_DATA, self.data)


@dataclass(frozen=True, slots=True)
class CopyDone:
    """`c`: the stream is complete."""

    @classmethod
    def decode(cls, body: bytes) -> CopyDone:
        """PostgreSQL does not look at the body, so neither is it looked at here."""
        del body
        return cls()

    def encode(self) -> bytes:
        """The whole message."""
        return message(ClientType.COPY_DONE)


@dataclass(frozen=True, slots=True)
class CopyFail:
    """`f`: the client gives up; the server answers 57014 `COPY from stdin failed: reason`."""

    reason: str

    @classmethod
    def decode(cls, body: bytes) -> CopyFail:
        """Read the body."""
        reader = BodyReader(body)
        reason = reader.string()
        reader.end()
        return cls(reason)

    def encode(self) -> bytes:
        """The whole message."""
        return message(ClientType.COPY_FAIL, encode_string(self.reason))
