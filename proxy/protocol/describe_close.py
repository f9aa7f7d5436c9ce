"""Describe and Close: both name a statement or a portal by a letter and a name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, cast

from core.errors import QueryProtocolError
from proxy.protocol.body import (
    BodyReader,
    decode_text,
    encode_string,
    invalid_format,
    invalid_string,
)
from proxy.protocol.framing import message
from proxy.protocol.message_types import ClientType

Target = Literal["S", "P"]
_targets: Final = {ord("S"): "S", ord("P"): "P"}


@dataclass(frozen=True, slots=True)
class Describe:
    """`D`: tell the row shape of statement (`S`, with parameter types) or portal (`P`)."""

    target: Target
    name: str

    @classmethod
    def decode(cls, body: bytes) -> Describe:
        """Read the body."""
        return cls(*target_name(body, "DESCRIBE"))

    def encode(self) -> bytes:
        """The whole message."""
        return rename_describe(self.target, self.name)


@dataclass(frozen=True, slots=True)
class Close:
    """`C`: forget statement (`S`) or portal (`P`); it is no fault when there is none."""

    target: Target
    name: str

    @classmethod
    def decode(cls, body: bytes) -> Close:
        """Read the body."""
        return cls(*target_name(body, "CLOSE"))

    def encode(self) -> bytes:
        """The whole message."""
        return rename_close(self.target, self.name)


def target_name(body: bytes, command: Literal["DESCRIBE", "CLOSE"]) -> tuple[Target, str]:
    """`(S or P, name)` of a body, strictly."""
    if not body:
        BodyReader(body).byte()
    end = body.find(0, 1)
    if end < 0:
        raise invalid_string()
    if end != len(body) - 1:
        raise invalid_format()
    target = _targets.get(body[0])
    if target is None:
        raise QueryProtocolError(f"invalid {command} message subtype {body[0]}")
    return cast("Target", target), decode_text(body[1:end]) if end > 1 else ""


def rename_describe(target: Target, name: str) -> bytes:
    """The whole Describe message for that name."""
    return message(ClientType.DESCRIBE, target.encode() + encode_string(name))


def rename_close(target: Target, name: str) -> bytes:
    """The whole Close message for that name."""
    return message(ClientType.CLOSE, target.encode() + encode_string(name))
