"""The packets before typed messages: SSL and GSS requests, cancel, startup, and the answers.

They have no type byte: a length that counts itself, then a protocol number or a request code.
Follows PostgreSQL 18 (tcop/backend_startup.c): at most 10,000 bytes, any other major protocol than
3 is refused, a minor above 2 or an unknown `_pq_.` option is answered by NegotiateProtocolVersion.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from struct import Struct
from typing import Final

from core.errors import FeatureNotSupported, InvalidAuthorization, ProtocolViolation
from proxy.protocol.body import encode_string
from proxy.protocol.framing import message
from proxy.protocol.message_types import ServerType

STARTUP_BYTES_MAX: Final = 10_000
PROTOCOL_MAJOR: Final = 3
PROTOCOL_MINOR_MAX: Final = 2
CANCEL_KEY_BYTES_MAX: Final = 256

_CANCEL_CODE: Final = 80877102
_SSL_CODE: Final = 80877103
_GSS_CODE: Final = 80877104

_two_words = Struct(">II")
_cancel_head = Struct(">Ii")


class UnsupportedProtocol(FeatureNotSupported, sqlstate="0A000", severity="FATAL"):
    """The client asks for a major protocol version that is not spoken."""


@dataclass(frozen=True, slots=True)
class SslRequest:
    """Answer `S` and start TLS, or `N`."""

    def encode(self) -> bytes:
        """The whole packet."""
        return _two_words.pack(8, _SSL_CODE)


@dataclass(frozen=True, slots=True)
class GssRequest:
    """GSSENCRequest: answer `N`."""

    def encode(self) -> bytes:
        """The whole packet."""
        return _two_words.pack(8, _GSS_CODE)


@dataclass(frozen=True, slots=True)
class CancelRequest:
    """Stop what session `process_id` does; the connection ends without an answer."""

    process_id: int
    key: bytes = field(repr=False)

    def encode(self) -> bytes:
        """The whole packet."""
        body = _cancel_head.pack(_CANCEL_CODE, self.process_id) + self.key
        return (len(body) + 4).to_bytes(4) + body


@dataclass(frozen=True, slots=True)
class StartupMessage:
    """The session that a client asks for; `parameters` keep their order and spelling.

    `user`, `database`, `options` and `replication` are among them; the rest are settings.
    """

    minor: int
    parameters: dict[str, str]
    protocol_options: tuple[str, ...] = ()

    @property
    def user(self) -> str:
        """The role; 28000 when there is none."""
        user = self.parameters.get("user", "")
        if not user:
            raise InvalidAuthorization("no PostgreSQL user name specified in startup packet")
        return user

    @property
    def database(self) -> str:
        """The database; by default it has the name of the user."""
        return self.parameters.get("database") or self.user

    @property
    def agreed_minor(self) -> int:
        """The minor version that both sides speak."""
        return min(self.minor, PROTOCOL_MINOR_MAX)

    @property
    def settings(self) -> dict[str, str]:
        """The parameters that are run-time settings."""
        own = ("user", "database", "options", "replication")
        return {name: value for name, value in self.parameters.items() if name not in own}

    def negotiation(self) -> bytes:
        """NegotiateProtocolVersion when it is due, else nothing."""
        if self.minor <= PROTOCOL_MINOR_MAX and not self.protocol_options:
            return b""
        return negotiate_protocol_version(self.agreed_minor, self.protocol_options)

    def encode(self) -> bytes:
        """The whole packet; options of the protocol get an empty value."""
        pairs = [*self.parameters.items(), *((name, "") for name in self.protocol_options)]
        texts = b"".join(encode_string(name) + encode_string(value) for name, value in pairs)
        return _two_words.pack(9 + len(texts), PROTOCOL_MAJOR << 16 | self.minor) + texts + b"\0"


StartupPacket = SslRequest | GssRequest | CancelRequest | StartupMessage


class StartupReader:
    """Collects startup packets from any split of bytes.

    >>> reader = StartupReader()
    >>> reader.feed(SslRequest().encode())
    SslRequest()

    The session sets `ssl_done` / `gss_done` once it has answered; a second request of a kind is
    then read as a (wrong) protocol version, as PostgreSQL does. What follows a packet is `rest`:
    after SslRequest it must be empty (`refuse_early_data`), after StartupMessage it goes to the
    Framer, and `feed(b"")` looks for a further packet in it.
    """

    __slots__ = ("_held", "gss_done", "ssl_done")

    def __init__(self) -> None:
        self._held = bytearray()
        self.ssl_done = False
        self.gss_done = False

    @property
    def rest(self) -> bytes:
        """Bytes that came after the last packet."""
        return bytes(self._held)

    def feed(self, data: bytes) -> StartupPacket | None:
        """The next packet, or None while it is incomplete."""
        held = self._held
        held += data
        if len(held) < 4:
            return None
        length = int.from_bytes(held[:4])
        # The limit is on what follows the length word, as in PostgreSQL.
        if not 8 <= length <= STARTUP_BYTES_MAX + 4:
            held.clear()
            raise ProtocolViolation("invalid length of startup packet")
        if len(held) < length:
            return None
        packet = bytes(held[4:length])
        self._held = held[length:]
        return parse_startup_packet(packet, ssl_done=self.ssl_done, gss_done=self.gss_done)

    def refuse_early_data(self) -> None:
        """Before TLS starts: bytes sent unencrypted could be an attacker's (CVE-2021-23214)."""
        if self._held:
            raise ProtocolViolation(
                "received unencrypted data after SSL request",
                detail="This could be either a client-software bug or evidence of an attempted "
                "man-in-the-middle attack.",
            )


def parse_startup_packet(
    packet: bytes, *, ssl_done: bool = False, gss_done: bool = False
) -> StartupPacket:
    """Read a packet without its length word."""
    if len(packet) < 4:
        raise ProtocolViolation("invalid length of startup packet")
    code = int.from_bytes(packet[:4])
    if code == _CANCEL_CODE:
        return _cancel_request(packet)
    if code == _SSL_CODE and not ssl_done:
        return SslRequest()
    if code == _GSS_CODE and not gss_done:
        return GssRequest()
    major, minor = code >> 16, code & 0xFFFF
    if major != PROTOCOL_MAJOR:
        raise UnsupportedProtocol(
            f"unsupported frontend protocol {major}.{minor}: server supports "
            f"{PROTOCOL_MAJOR}.0 to {PROTOCOL_MAJOR}.{PROTOCOL_MINOR_MAX}"
        )
    return _startup_message(packet, minor)


def _cancel_request(packet: bytes) -> CancelRequest:
    if len(packet) < 8:
        raise ProtocolViolation("invalid length of query cancel packet")
    if not 0 < len(packet) - 8 <= CANCEL_KEY_BYTES_MAX:
        raise ProtocolViolation("invalid length of cancel key in query cancel packet")
    return CancelRequest(_cancel_head.unpack_from(packet)[1], packet[8:])


def _startup_message(packet: bytes, minor: int) -> StartupMessage:
    strings = packet[4:].split(b"\0")
    # "name 0 value 0 ... 0" splits into pairs, an empty name, and the nothing after the last NUL.
    names, values = strings[:-2:2], strings[1:-2:2]
    if len(strings) % 2 or strings[-2:] != [b"", b""] or b"" in names:
        raise ProtocolViolation("invalid startup packet layout: expected terminator as last byte")
    parameters: dict[str, str] = {}
    options: list[str] = []
    for raw_name, raw_value in zip(names, values, strict=True):
        name = _startup_text(raw_name)
        if name.startswith("_pq_."):
            options.append(name)
        else:
            parameters[name] = _startup_text(raw_value)
    startup = StartupMessage(minor, parameters, tuple(options))
    _ = startup.user  # refuses a packet without one
    return startup


def _startup_text(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        # client_encoding is not yet in force; Latin-1 keeps every byte and cannot fail.
        return raw.decode("latin-1")


def negotiate_protocol_version(minor: int, options: tuple[str, ...]) -> bytes:
    """`v`: the newest version of major 3 spoken here and the options that are not."""
    head = _two_words.pack(PROTOCOL_MAJOR << 16 | minor, len(options))
    return message(
        ServerType.NEGOTIATE_PROTOCOL_VERSION,
        head + b"".join(encode_string(option) for option in options),
    )
