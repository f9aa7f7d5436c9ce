"""The three meanings of `p` while a client authenticates; the session knows which one is due.

All faults here are FATAL, as PostgreSQL has no way back from a failed authentication.
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct
from typing import Final

from core.errors import ProtocolViolation
from proxy.protocol.body import encode_string
from proxy.protocol.framing import message
from proxy.protocol.message_types import ClientType

# PG_MAX_SASL_MESSAGE_LENGTH (libpq/sasl.h) and PG_MAX_AUTH_TOKEN_LENGTH (libpq/auth.h)
SASL_MESSAGE_BYTES_MAX: Final = 1_024
PASSWORD_BYTES_MAX: Final = 65_535

_size = Struct(">i")


@dataclass(frozen=True, slots=True)
class PasswordMessage:
    """`p` as the answer to AuthenticationCleartextPassword; bytes, as its encoding is unknown."""

    password: bytes

    @classmethod
    def decode(cls, body: bytes) -> PasswordMessage:
        """Read the body."""
        if body.find(0) != len(body) - 1 or not body or len(body) > PASSWORD_BYTES_MAX:
            raise ProtocolViolation("invalid password packet size")
        return cls(body[:-1])

    def encode(self) -> bytes:
        """The whole message."""
        return message(ClientType.PASSWORD, self.password + b"\0")


@dataclass(frozen=True, slots=True)
class SaslInitialResponse:
    """`p` as the answer to AuthenticationSASL: the mechanism, and its first message if any."""

    mechanism: str
    response: bytes | None

    @classmethod
    def decode(cls, body: bytes) -> SaslInitialResponse:
        """Read the body."""
        _check_sasl_size(body)
        end = body.find(0)
        if end < 0:
            raise ProtocolViolation("invalid string in message")
        mechanism = body[:end].decode("ascii", "replace")
        if len(body) < end + 5:
            raise ProtocolViolation("insufficient data left in message")
        size: int = _size.unpack_from(body, end + 1)[0]
        response = body[end + 5 :]
        if size == -1:
            if response:
                raise ProtocolViolation("invalid message format")
            return cls(mechanism, None)
        if size < 0 or size > len(response):
            raise ProtocolViolation("insufficient data left in message")
        if size < len(response):
            raise ProtocolViolation("invalid message format")
        return cls(mechanism, response)

    def encode(self) -> bytes:
        """The whole message."""
        size = -1 if self.response is None else len(self.response)
        body = encode_string(self.mechanism) + _size.pack(size) + (self.response or b"")
        return message(ClientType.PASSWORD, body)


@dataclass(frozen=True, slots=True)
class SaslResponse:
    """`p` as the answer to AuthenticationSASLContinue."""

    response: bytes

    @classmethod
    def decode(cls, body: bytes) -> SaslResponse:
        """The body is the mechanism's message."""
        _check_sasl_size(body)
        return cls(body)

    def encode(self) -> bytes:
        """The whole message."""
        return message(ClientType.PASSWORD, self.response)


def _check_sasl_size(body: bytes) -> None:
    if len(body) + 4 > SASL_MESSAGE_BYTES_MAX:
        raise ProtocolViolation("invalid message length")
