"""Fields of bodies, and PostgreSQL's wording when they are wrong."""

from __future__ import annotations

import pytest

from core.errors import InvalidText, MorphError, QueryProtocolError
from proxy.protocol.body import BodyReader, decode_text, encode_string, two_names


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        (b"a\xff", "0xff"),
        (b"\x80", "0x80"),
        (b"\xc3", "0xc3"),
        (b"\xc3(", "0xc3 0x28"),
        (b"\xed\xa0\x80", "0xed 0xa0 0x80"),
        (b"\xf0\x90\x28\xbcx", "0xf0 0x90 0x28 0xbc"),
        (b"a\0b", "0x00"),
    ],
)
def test_invalid_text_shows_its_bytes_as_postgresql(raw: bytes, shown: str) -> None:  # R0.1
    with pytest.raises(InvalidText) as caught:
        decode_text(raw)
    assert caught.value.sqlstate == "22021"
    assert caught.value.primary == f'invalid byte sequence for encoding "UTF8": {shown}'


def test_another_client_encoding() -> None:  # R0.1
    assert decode_text(b"\xe4", "latin-1") == "ä"
    with pytest.raises(InvalidText, match='"ASCII": 0xe4'):
        decode_text(b"\xe4", "ascii")


def test_a_nul_cannot_be_written() -> None:  # R0.1
    with pytest.raises(InvalidText):
        encode_string("a\0b")


@pytest.mark.parametrize(
    ("take", "body", "message"),
    [
        ("string", b"abc", "invalid string in message"),
        ("byte", b"", "no data left in message"),
        ("int16", b"\0", "insufficient data left in message"),
        ("int32", b"\0\0\0", "insufficient data left in message"),
        ("oid", b"\0\0\0", "insufficient data left in message"),
        ("int16s", b"\0\2\0\1", "insufficient data left in message"),
        ("oids", b"\xff\xff", "insufficient data left in message"),
        ("values", b"\0\1\0\0\0\2x", "insufficient data left in message"),
        ("values", b"\0\1\xff\xff\xff\xfe", "insufficient data left in message"),
        ("end", b"x", "invalid message format"),
    ],
)
def test_wording(take: str, body: bytes, message: str) -> None:  # R0.1
    with pytest.raises(QueryProtocolError) as caught:
        getattr(BodyReader(body), take)()
    assert (caught.value.primary, caught.value.severity) == (message, "ERROR")


@pytest.mark.parametrize("body", [b"", b"a", b"a\0", b"a\0b", b"\xff\0\0", b"\0\xff\0"])
def test_two_names_are_checked(body: bytes) -> None:  # R0.1
    with pytest.raises(MorphError):
        two_names(body)
    assert two_names(b"\0\0x") == ("", "", 2)
    assert two_names("ä\0b\0".encode()) == ("ä", "b", 5)
