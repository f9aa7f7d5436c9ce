"""The packets before typed messages."""

from __future__ import annotations

import pytest

from core.errors import FeatureNotSupported, InvalidAuthorization, MorphError, ProtocolViolation
from proxy.protocol.startup import (
    STARTUP_BYTES_MAX,
    CancelRequest,
    GssRequest,
    SslRequest,
    StartupMessage,
    StartupReader,
    parse_startup_packet,
)

USER = b"user\0ann\0"
V3 = b"\0\3\0\0"


def startup(body: bytes, version: bytes = V3) -> StartupMessage:
    packet = parse_startup_packet(version + body)
    assert isinstance(packet, StartupMessage)
    return packet


def fault(packet: bytes) -> MorphError:
    with pytest.raises(MorphError) as caught:
        parse_startup_packet(packet)
    return caught.value


def test_any_setting_is_taken_as_it_is() -> None:  # R0.1
    message = startup(USER + b"client_encoding\0'utf-8'\0datestyle\0ISO\0\0")
    assert message.user == "ann"
    assert message.database == "ann"
    assert message.settings == {"client_encoding": "'utf-8'", "datestyle": "ISO"}
    assert message.negotiation() == b""
    assert startup(USER + b"database\0shop\0options\0-c a=b\0\0").database == "shop"
    assert startup(b"user\0\xe4nn\0\0").user == "\xe4nn"


def test_the_wire_form_of_libpq() -> None:  # R0.1
    packet = b"\0\0\0\x16\0\3\0\0user\0abcdefg\0\0"
    assert StartupReader().feed(packet) == StartupMessage(0, {"user": "abcdefg"})
    assert SslRequest().encode() == bytes.fromhex("0000000804d2162f")
    assert GssRequest().encode() == bytes.fromhex("0000000804d21630")
    assert CancelRequest(7, b"abcd").encode() == bytes.fromhex("0000001004d2162e0000000761626364")


@pytest.mark.parametrize("body", [USER + b"\0", b"\0"])
def test_a_user_is_needed(body: bytes) -> None:  # R0.1
    if body == b"\0":
        error = fault(V3 + body)
        assert isinstance(error, InvalidAuthorization)
        assert (error.sqlstate, error.severity) == ("28000", "FATAL")
        assert error.primary == "no PostgreSQL user name specified in startup packet"
        assert fault(V3 + b"user\0\0\0").sqlstate == "28000"
    else:
        assert startup(body).user == "ann"


@pytest.mark.parametrize(
    "body", [b"", b"user", b"user\0", b"user\0ann", USER, USER + b"\0x", USER + b"\0\0"]
)
def test_the_layout_is_strict(body: bytes) -> None:  # R0.1
    error = fault(V3 + body)
    assert isinstance(error, ProtocolViolation)
    assert "expected terminator as last byte" in error.primary


@pytest.mark.parametrize(("code", "shown"), [(0x20000, "2.0"), (99 << 16, "99.0"), (0, "0.0")])
def test_other_protocols_are_refused(code: int, shown: str) -> None:  # R0.1
    error = fault(code.to_bytes(4) + USER + b"\0")
    assert isinstance(error, FeatureNotSupported)
    assert (error.sqlstate, error.severity) == ("0A000", "FATAL")
    assert error.primary == f"unsupported frontend protocol {shown}: server supports 3.0 to 3.2"


@pytest.mark.parametrize(
    ("minor", "option", "agreed", "negotiation"),
    [
        (0, b"", 0, b""),
        (2, b"", 2, b""),
        (9999, b"", 2, b"v\0\0\0\x0c\0\3\0\2\0\0\0\0"),
        (0, b"_pq_.x\0y\0", 0, b"v\0\0\0\x13\0\3\0\0\0\0\0\1_pq_.x\0"),
    ],
)
def test_newer_minor_versions_and_options_are_negotiated(
    minor: int, option: bytes, agreed: int, negotiation: bytes
) -> None:  # R0.1
    message = startup(USER + option + b"\0", b"\0\3" + minor.to_bytes(2))
    assert message.agreed_minor == agreed
    assert message.negotiation() == negotiation
    assert "_pq_.x" not in message.settings


@pytest.mark.parametrize("key", [b"1234", bytes(32), bytes(256)])
def test_cancel_keys_of_both_protocols(key: bytes) -> None:  # R0.1
    request = CancelRequest(-5, key)
    assert StartupReader().feed(request.encode()) == request
    assert repr(key) not in repr(request)


@pytest.mark.parametrize("rest", [b"", b"\0\0\0", b"\0\0\0\1", bytes(4 + 257)])
def test_a_cancel_packet_of_another_size_is_refused(rest: bytes) -> None:  # R0.1
    assert fault(bytes.fromhex("04d2162e") + rest).sqlstate == "08P01"


@pytest.mark.parametrize("length", [0, 4, 7, STARTUP_BYTES_MAX + 5, 0x7FFFFFFF, 0xFFFFFFFF])
def test_a_bad_length_is_refused_at_once(length: int) -> None:  # R0.1
    with pytest.raises(ProtocolViolation, match="invalid length of startup packet"):
        StartupReader().feed(length.to_bytes(4))
    assert fault(b"\0\3").sqlstate == "08P01"


def test_a_request_for_encryption_counts_once() -> None:  # R0.1
    reader = StartupReader()
    assert reader.feed(SslRequest().encode()) == SslRequest()
    reader.ssl_done = True
    assert reader.feed(GssRequest().encode()) == GssRequest()
    reader.gss_done = True
    with pytest.raises(FeatureNotSupported, match=r"1234\.5679"):
        reader.feed(SslRequest().encode())
    with pytest.raises(FeatureNotSupported, match=r"1234\.5680"):
        reader.feed(GssRequest().encode())


def test_plain_bytes_behind_an_ssl_request_are_refused() -> None:  # R0.1 R6.3
    reader = StartupReader()
    reader.feed(SslRequest().encode())
    reader.refuse_early_data()
    reader.feed(b"\0")
    with pytest.raises(ProtocolViolation, match="received unencrypted data after SSL request"):
        reader.refuse_early_data()


def test_what_follows_the_packet_is_kept() -> None:  # R0.1
    reader = StartupReader()
    first = StartupMessage(0, {"user": "ann"})
    assert reader.feed(SslRequest().encode() + first.encode() + b"rest") == SslRequest()
    assert reader.feed(b"") == first
    assert reader.rest == b"rest"
