"""Random bytes into every decoder: a value or a MorphError of the expected class, nothing else."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from core.errors import (
    ConnectionFailure,
    FeatureNotSupported,
    InvalidAuthorization,
    InvalidPassword,
    InvalidText,
    OutOfMemory,
    ProtocolViolation,
    QueryProtocolError,
)
from proxy.auth.channel_binding import tls_server_end_point
from proxy.auth.scram import MECHANISM, MECHANISM_PLUS, ScramExchange, Verifier, build_verifier
from proxy.protocol import server
from proxy.protocol.bind import Bind, bind_names
from proxy.protocol.copy import CopyData, CopyDone, CopyFail
from proxy.protocol.describe_close import Close, Describe
from proxy.protocol.descriptions import (
    decode_parameter_description,
    decode_row_description,
    patch_table_oids,
)
from proxy.protocol.execute import Execute
from proxy.protocol.framing import BackendWalker, Framer
from proxy.protocol.function_call import FunctionCall
from proxy.protocol.parse import Parse
from proxy.protocol.password import PasswordMessage, SaslInitialResponse, SaslResponse
from proxy.protocol.query import Query
from proxy.protocol.reports import decode_report
from proxy.protocol.startup import StartupReader, parse_startup_packet

LIMIT = 4_096
EXPECTED = (
    ProtocolViolation,
    QueryProtocolError,
    InvalidText,
    ConnectionFailure,
    OutOfMemory,
    FeatureNotSupported,
    InvalidAuthorization,
    InvalidPassword,
)

# Small numbers and NULs make the generator reach the fields behind counts and names.
pieces = st.one_of(
    st.binary(max_size=12),
    st.sampled_from([b"\0", b"\0\0", b"\0\1", b"\0\0\0\1", b"\0\0\0\4", b"\xff\xff\xff\xff"]),
    st.sampled_from(
        [b"a\0", b"user\0", b"S", b"P", b"SCRAM-SHA-256\0", b"\0\3\0\0", b"\0\0\0\x10"]
    ),
    st.sampled_from(
        [b"D\0\0\0\6", b"Q\0\0\0\6", b"T\0\0\0\7", b"n,,", b"n=,", b"r=a", b",p=", b"0\x82"]
    ),
)
junk = st.lists(pieces, max_size=12).map(b"".join)

DECODERS: list[Callable[[bytes], object]] = [
    Query.decode,
    Parse.decode,
    Bind.decode,
    Describe.decode,
    Close.decode,
    Execute.decode,
    CopyData.decode,
    CopyDone.decode,
    CopyFail.decode,
    FunctionCall.decode,
    PasswordMessage.decode,
    SaslInitialResponse.decode,
    SaslResponse.decode,
    bind_names,
    decode_row_description,
    decode_parameter_description,
    lambda raw: patch_table_oids(raw, {0: 1, 1: 2}),
    decode_report,
    server.decode_parameter_status,
    server.decode_backend_key_data,
    server.decode_command_complete,
    parse_startup_packet,
    lambda raw: StartupReader().feed(raw),
    lambda raw: BackendWalker(LIMIT).feed(raw),
    tls_server_end_point,
    lambda raw: Verifier.parse(raw.decode("latin-1")),
    lambda raw: Verifier.parse("SCRAM-SHA-256$" + raw.decode("latin-1")),
]


def survives(decode: Callable[[bytes], object], raw: bytes) -> bool:
    """Whether a value came; any other exception than an expected one fails the test."""
    try:
        decode(raw)
    except EXPECTED:
        return False
    return True


@given(junk)
@example(b"")
@example(b"\0\xff\xff" * 3)
@example(b"\0\0\0\1\0\0\0\1\x7f\xff\xff\xff")
def test_no_decoder_raises_anything_else(raw: bytes) -> None:  # R0.1 R6.3
    for decode in DECODERS:
        survives(decode, raw)


@pytest.mark.parametrize("decode", DECODERS)
def test_no_decoder_allocates_what_is_only_announced(decode: Callable[[bytes], object]) -> None:
    # R0.1 R6.3
    for raw in (b"\0\0\xff\xff\xff\xff", b"\x7f\xff\xff\xff\xff", b"T\0\0\x0f\xff\xff\xff" * 2):
        tracemalloc.start()
        survives(decode, raw)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 100_000


@given(st.lists(junk, max_size=20))
def test_the_framer_holds_no_more_than_one_message(chunks: list[bytes]) -> None:  # R0.1 R6.3
    framer = Framer(LIMIT)
    for chunk in chunks:
        try:
            messages = framer.feed(chunk)
        except ProtocolViolation:
            assert framer.violation is not None
        else:
            assert sum(len(body) for _, body in messages) <= LIMIT + len(chunk)
        assert framer.held_bytes <= LIMIT + 1


@given(st.lists(junk, max_size=20))
def test_the_walker_loses_nothing_and_holds_little(chunks: list[bytes]) -> None:  # R0.1 R6.3
    walker = BackendWalker(LIMIT)
    passed = given_ = b""
    for chunk in chunks:
        given_ += chunk
        try:
            passed += b"".join(raw for _, raw, _ in walker.feed(chunk))
        except (ConnectionFailure, OutOfMemory):
            return
        assert walker.held_bytes <= LIMIT + 1
        assert len(passed) + walker.held_bytes == len(given_)
        assert given_.startswith(passed)


@given(junk, junk, st.booleans())
def test_scram_ends_in_a_fatal_error(first: bytes, final: bytes, binding: bool) -> None:
    # R0.1 R6.3
    scram = ScramExchange(
        "ann",
        VERIFIER,
        nonce="nonce",
        mock_secret=b"",
        certificate_hash=bytes(32) if binding else None,
    )
    for start in (first, b"n,,n=,r=" + first.replace(b"\0", b"")):
        try:
            scram.start(MECHANISM_PLUS if binding else MECHANISM, start)
            scram.respond(final)
        except EXPECTED as error:
            severity = error.severity
        else:
            severity = ""  # an empty or extended message may be good so far, the proof is not
        assert severity == "FATAL"
        assert not scram.done


VERIFIER = build_verifier("pencil", bytes(16))
