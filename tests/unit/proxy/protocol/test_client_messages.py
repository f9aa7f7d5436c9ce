"""The client's messages against bytes written down by hand, and their faults."""

from __future__ import annotations

import pytest

from core.errors import MorphError, ProtocolViolation
from proxy.protocol.bind import Bind, bind_names
from proxy.protocol.copy import CopyData, CopyDone, CopyFail
from proxy.protocol.describe_close import Close, Describe, rename_close, rename_describe
from proxy.protocol.execute import Execute, execute_name, rename_execute
from proxy.protocol.function_call import FunctionCall
from proxy.protocol.parse import Parse
from proxy.protocol.password import (
    PASSWORD_BYTES_MAX,
    SASL_MESSAGE_BYTES_MAX,
    PasswordMessage,
    SaslInitialResponse,
    SaslResponse,
)
from proxy.protocol.query import Query

GOLDEN = [
    (Query("select 1"), b"Q\0\0\0\rselect 1\0"),
    (Parse("s", "x", (20, 0)), b"P\0\0\0\x12s\0x\0\0\2\0\0\0\x14\0\0\0\0"),
    (
        Bind("p", "s", (1,), (b"\0\1", None), (0, 1)),
        b"B\0\0\0\x1ep\0s\0\0\1\0\1\0\2\0\0\0\2\0\1\xff\xff\xff\xff\0\2\0\0\0\1",
    ),
    (Describe("S", "s"), b"D\0\0\0\7Ss\0"),
    (Close("P", ""), b"C\0\0\0\6P\0"),
    (Execute("", 7), b"E\0\0\0\t\0\0\0\0\7"),
    (CopyData(b"1\t2\n"), b"d\0\0\0\x081\t2\n"),
    (CopyDone(), b"c\0\0\0\4"),
    (CopyFail("no"), b"f\0\0\0\7no\0"),
    (
        FunctionCall(1598, (0,), (b"x",), 1),
        b"F\0\0\0\x15\0\0\x06\x3e\0\1\0\0\0\1\0\0\0\1x\0\1",
    ),
    (PasswordMessage(b"pw"), b"p\0\0\0\7pw\0"),
    (SaslInitialResponse("X", b"ab"), b"p\0\0\0\x0cX\0\0\0\0\2ab"),
    (SaslInitialResponse("X", None), b"p\0\0\0\x0aX\0\xff\xff\xff\xff"),
    (SaslResponse(b"c=biws"), b"p\0\0\0\x0ac=biws"),
]


@pytest.mark.parametrize(("sent", "raw"), GOLDEN, ids=lambda value: type(value).__name__)
def test_wire_form(sent: Query, raw: bytes) -> None:  # R0.1
    assert sent.encode() == raw
    assert type(sent).decode(raw[5:]) == sent


BIND = b"p\0s\0"
FAULTS = [
    (Query, b"select", "08P01", "invalid string in message"),
    (Query, b"a\0b\0", "08P01", "invalid message format"),
    (Query, b"\xff\0", "22021", 'invalid byte sequence for encoding "UTF8": 0xff'),
    (Parse, b"s\0x", "08P01", "invalid string in message"),
    (Parse, b"s\0x\0\0", "08P01", "insufficient data left in message"),
    (Parse, b"s\0x\0\0\1\0\0\0", "08P01", "insufficient data left in message"),
    (Parse, b"s\0x\0\0\0!", "08P01", "invalid message format"),
    (Bind, BIND, "08P01", "insufficient data left in message"),
    (Bind, BIND + b"\0\0", "08P01", "insufficient data left in message"),
    (Bind, BIND + b"\0\2\0\0\0\0\0\1\0\0\0\0\0\0", "08P01",
     "bind message has 2 parameter formats but 1 parameters"),
    (Bind, BIND + b"\0\0\0\1\0\0\0\5abc\0\0", "08P01", "insufficient data left in message"),
    (Bind, BIND + b"\0\0\xff\xff\0\0", "08P01", "insufficient data left in message"),
    (Bind, BIND + b"\0\0\0\0\0\0\0", "08P01", "invalid message format"),
    (Bind, b"p", "08P01", "invalid string in message"),
    (Describe, b"", "08P01", "no data left in message"),
    (Describe, b"Xs\0", "08P01", "invalid DESCRIBE message subtype 88"),
    (Close, b"Xs\0", "08P01", "invalid CLOSE message subtype 88"),
    (Close, b"Ss", "08P01", "invalid string in message"),
    (Close, b"Ss\0x", "08P01", "invalid message format"),
    (Execute, b"p", "08P01", "invalid string in message"),
    (Execute, b"p\0\0\0\0", "08P01", "insufficient data left in message"),
    (Execute, b"p\0\0\0\0\0\0", "08P01", "invalid message format"),
    (CopyFail, b"no", "08P01", "invalid string in message"),
    (FunctionCall, b"\0\0\0\1\0\2\0\0\0\0\0\1\0\0\0\0\0\0", "08P01",
     "function call message contains 2 argument formats but 1 arguments"),
    (FunctionCall, b"\0\0", "08P01", "insufficient data left in message"),
]  # fmt: skip


@pytest.mark.parametrize(("family", "body", "sqlstate", "primary"), FAULTS)
def test_faults_are_errors_with_postgresqls_words(
    family: type[Query], body: bytes, sqlstate: str, primary: str
) -> None:  # R0.1
    with pytest.raises(MorphError) as caught:
        family.decode(body)
    error = caught.value
    assert (error.sqlstate, error.primary, error.severity) == (sqlstate, primary, "ERROR")


@pytest.mark.parametrize(
    ("family", "body"),
    [
        (PasswordMessage, b""),
        (PasswordMessage, b"pw"),
        (PasswordMessage, b"p\0w\0"),
        (PasswordMessage, b"x" * PASSWORD_BYTES_MAX + b"\0"),
        (SaslInitialResponse, b"SCRAM"),
        (SaslInitialResponse, b"SCRAM\0\0\0"),
        (SaslInitialResponse, b"SCRAM\0\0\0\0\2x"),
        (SaslInitialResponse, b"SCRAM\0\0\0\0\1xy"),
        (SaslInitialResponse, b"SCRAM\0\xff\xff\xff\xfe"),
        (SaslInitialResponse, b"SCRAM\0\xff\xff\xff\xffx"),
        (SaslResponse, bytes(SASL_MESSAGE_BYTES_MAX)),
    ],
)
def test_faults_while_authenticating_are_fatal(family: type[SaslResponse], body: bytes) -> None:
    # R0.1
    with pytest.raises(ProtocolViolation) as caught:
        family.decode(body)
    assert caught.value.severity == "FATAL"


def test_renaming_touches_the_names_only() -> None:  # R0.1
    bind = Bind("p", "s", (1,), (b"\0\1", None), (0, 1))
    body = bind.encode()[5:]
    portal, statement, end = bind_names(body)
    assert (portal, statement, body[end:]) == ("p", "s", body[4:])
    assert execute_name(b"p\0\0\0\0\2") == ("p", 2)
    assert rename_execute("q", 2) == Execute("q", 2).encode()
    assert rename_describe("S", "t") == Describe("S", "t").encode()
    assert rename_close("P", "t") == Close("P", "t").encode()


def test_sixty_five_thousand_parameters() -> None:  # R0.1
    bind = Bind("", "", (), (b"1",) * 65_535)
    assert Bind.decode(bind.encode()[5:]) == bind


def test_an_announced_count_alone_is_refused() -> None:  # R0.1
    with pytest.raises(MorphError):
        Bind.decode(b"\0\0\xff\xff")


def test_texts_in_another_client_encoding() -> None:  # R0.1
    assert Query.decode(b"select '\xe4'\0", "latin-1") == Query("select 'ä'")
    assert Query("ä").encode("latin-1") == b"Q\0\0\0\6\xe4\0"
    parse = Parse("ä", "ö")
    assert Parse.decode(parse.encode("latin-1")[5:], "latin-1") == parse


def test_copy_done_may_carry_anything() -> None:  # R0.1
    assert CopyDone.decode(b"why") == CopyDone()
