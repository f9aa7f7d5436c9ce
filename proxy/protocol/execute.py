"""Execute: run a portal, all of it or so many rows."""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct

from proxy.protocol.body import (
    decode_text,
    encode_string,
    insufficient_data,
    invalid_format,
    invalid_string,
)
from proxy.protocol.framing import message
from proxy.protocol.message_types import ClientType

_limit = Struct(">i")


@dataclass(frozen=True, slots=True)
class Execute:
    """`E`: `row_limit` of 0 or less means all rows."""

    portal: str
    row_limit: int = 0

    @classmethod
    def decode(cls, body: bytes) -> Execute:
        """Read the body."""
        return cls(*execute_name(body))

    def encode(self) -> bytes:
        """The whole message."""
        return rename_execute(self.portal, self.row_limit)


def execute_name(body: bytes) -> tuple[str, int]:
    """`(portal, row limit)` of a body, strictly."""
    end = body.find(0)
    if end < 0:
        raise invalid_string()
    rest = len(body) - end - 1
    if rest != 4:
        raise insufficient_data() if rest < 4 else invalid_format()
    return decode_text(body[:end]) if end else "", _limit.unpack_from(body, end + 1)[0]


def rename_execute(portal: str, row_limit: int) -> bytes:
    """The whole message for that portal."""
    return message(ClientType.EXECUTE, encode_string(portal) + _limit.pack(row_limit))
