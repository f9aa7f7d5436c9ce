"""SCRAM-SHA-256 against RFC 7677's example, PostgreSQL's rules, and a client written here."""

from __future__ import annotations

import hashlib
import hmac
from base64 import b64decode, b64encode

import pytest

from core.errors import InternalError, InvalidPassword, MorphError, ProtocolViolation
from proxy.auth.scram import (
    MECHANISM,
    MECHANISM_PLUS,
    ScramExchange,
    Verifier,
    build_verifier,
    mock_verifier,
    prepare_password,
)

# RFC 7677 section 3
SALT = b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")
SERVER_NONCE = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
CLIENT_FIRST = b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO"
SERVER_FIRST = (
    b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
)
CLIENT_FINAL = (
    b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
    b"p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
)
SERVER_FINAL = b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
VERIFIER = build_verifier("pencil", SALT)
HASH = hashlib.sha256(b"certificate").digest()


def exchange(
    verifier: Verifier | None = VERIFIER, certificate_hash: bytes | None = None
) -> ScramExchange:
    return ScramExchange(
        "ann",
        verifier,
        nonce=SERVER_NONCE,
        mock_secret=b"secret",
        certificate_hash=certificate_hash,
    )


def client_final(password: str, first: bytes, challenge: bytes, binding: bytes) -> bytes:
    """An independent client, after RFC 5802 section 3."""
    parts = dict(part.split(b"=", 1) for part in challenge.split(b","))
    salted = hashlib.pbkdf2_hmac(
        "sha256", password.encode(), b64decode(parts[b"s"]), int(parts[b"i"])
    )
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    bare = first.split(b",", 2)[2]
    without_proof = b"c=" + b64encode(binding) + b",r=" + parts[b"r"]
    signed = b",".join((bare, challenge, without_proof))
    signature = hmac.digest(hashlib.sha256(client_key).digest(), signed, "sha256")
    proof = bytes(a ^ b for a, b in zip(client_key, signature, strict=True))
    return without_proof + b",p=" + b64encode(proof)


def test_the_example_of_rfc_7677() -> None:  # R0.1
    scram = exchange()
    assert scram.start(MECHANISM, CLIENT_FIRST) == SERVER_FIRST
    assert not scram.done
    assert scram.respond(CLIENT_FINAL) == SERVER_FINAL
    assert scram.done
    with pytest.raises(InternalError):
        scram.respond(CLIENT_FINAL)


def test_the_test_client_agrees_with_the_rfc() -> None:  # R0.1
    assert client_final("pencil", CLIENT_FIRST, SERVER_FIRST, b"n,,") == CLIENT_FINAL


@pytest.mark.parametrize(
    ("first", "binding"),
    [
        (b"n,,n=,r=abc", b"n,,"),
        (b"y,,n=,r=abc", b"y,,"),
        (b"n,,n=ignored,r=abc,x=extension,y=", b"n,,"),
        (b"n,,n=\xff\xfe,r=abc", b"n,,"),
    ],
)
def test_forms_of_the_first_message(first: bytes, binding: bytes) -> None:  # R0.1
    scram = exchange()
    challenge = scram.start(MECHANISM, first)
    assert scram.respond(client_final("pencil", first, challenge, binding)).startswith(b"v=")


def test_a_mechanism_without_a_first_message_gets_an_empty_challenge() -> None:  # R0.1
    scram = exchange()
    assert scram.start(MECHANISM, None) == b""
    assert scram.respond(CLIENT_FIRST) == SERVER_FIRST


@pytest.mark.parametrize(
    ("verifier", "password"), [(VERIFIER, "pen"), (None, "pencil"), (None, "")]
)
def test_a_wrong_password_and_an_unknown_user_look_the_same(
    verifier: Verifier | None, password: str
) -> None:  # R0.1 R6.3
    scram = exchange(verifier)
    challenge = scram.start(MECHANISM, CLIENT_FIRST)
    assert challenge.startswith(SERVER_FIRST.split(b",")[0])
    assert challenge.endswith(b",i=4096")
    assert len(challenge) == len(SERVER_FIRST)
    with pytest.raises(InvalidPassword) as caught:
        scram.respond(client_final(password, CLIENT_FIRST, challenge, b"n,,"))
    error = caught.value
    assert (error.sqlstate, error.severity) == ("28P01", "FATAL")
    assert error.primary == 'password authentication failed for user "ann"'
    assert not scram.done


def test_the_mock_of_a_user_stays_the_same() -> None:  # R6.3
    assert mock_verifier("ann", b"x") == mock_verifier("ann", b"x")
    assert mock_verifier("ann", b"x").salt != mock_verifier("bob", b"x").salt
    assert mock_verifier("ann", b"x").salt != mock_verifier("ann", b"y").salt


def test_nobody_can_prove_the_mock_key() -> None:  # R6.3
    # A client key whose hash is all zeros is not known; and `doomed` refuses even that one.
    scram = exchange(None)
    scram._verifier = VERIFIER
    scram.start(MECHANISM, CLIENT_FIRST)
    with pytest.raises(InvalidPassword):
        scram.respond(CLIENT_FINAL)


@pytest.mark.parametrize("mechanism", ["MD5", "", "scram-sha-256", MECHANISM_PLUS])
def test_a_mechanism_that_is_not_on_offer(mechanism: str) -> None:  # R0.1
    assert exchange().mechanisms == (MECHANISM,)
    with pytest.raises(ProtocolViolation, match="invalid SASL authentication mechanism"):
        exchange().start(mechanism, CLIENT_FIRST)


MALFORMED = "malformed SCRAM message"
FIRST_FAULTS = [
    (b"", MALFORMED, "The message is empty."),
    (b"n,,n=,r=a\0b", MALFORMED, "Message length does not match input length."),
    (b"z,,n=,r=a", MALFORMED, 'Unexpected channel-binding flag "z".'),
    (b"\xff", MALFORMED, 'Unexpected channel-binding flag "0xff".'),
    (b"n", MALFORMED, 'Comma expected, but found character "0x00".'),
    (b"y-", MALFORMED, 'Comma expected, but found character "-".'),
    (b"n,a=bob,n=,r=a", "client uses authorization identity, but it is not supported", ""),
    (b"n,x,n=,r=a", MALFORMED, 'Unexpected attribute "x" in client-first-message.'),
    (b"n,,m=x,n=,r=a", "client requires an unsupported SCRAM extension", ""),
    (b"n,,r=a", MALFORMED, 'Expected attribute "n" but found "r".'),
    (b"n,,n", MALFORMED, 'Expected character "=" for attribute "n".'),
    (b"n,,n=", MALFORMED, 'Expected attribute "r" but found "0x00".'),
    (b"n,,n=,r=a\xe4", "non-printable characters in SCRAM nonce", ""),
    (b"n,,n=,r=a,,", MALFORMED, 'Attribute expected, but found invalid character ",".'),
    (b"n,,n=,r=a,x", MALFORMED, 'Expected character "=" for attribute "x".'),
    (b"p=tls-unique,,n=,r=a", MALFORMED, "The client selected SCRAM-SHA-256 without channel "
     "binding, but the SCRAM message includes channel binding data."),
]  # fmt: skip


@pytest.mark.parametrize(("data", "primary", "detail"), FIRST_FAULTS)
def test_faults_of_the_first_message(data: bytes, primary: str, detail: str) -> None:  # R0.1
    with pytest.raises(MorphError) as caught:
        exchange().start(MECHANISM, data)
    error = caught.value
    assert (error.primary, error.detail, error.severity) == (primary, detail, "FATAL")
    assert error.sqlstate in {"08P01", "0A000"}


NONCE = CLIENT_FINAL.split(b",")[1]
FINAL_FAULTS = [
    (b"", MALFORMED, "The message is empty."),
    (b"r=a", MALFORMED, 'Expected attribute "c" but found "r".'),
    (b"c=eSws," + NONCE + b",p=", "unexpected SCRAM channel-binding attribute in "
     "client-final-message", ""),
    (b"c=biws,", MALFORMED, 'Expected attribute "r" but found "0x00".'),
    (b"c=biws," + NONCE, MALFORMED, "Attribute expected, but found end of string."),
    (b"c=biws," + NONCE + b",p=!", MALFORMED, "Malformed proof in client-final-message."),
    (b"c=biws," + NONCE + b",p=AAAA", MALFORMED, "Malformed proof in client-final-message."),
    (CLIENT_FINAL + b",x=1", MALFORMED, "Garbage found at the end of client-final-message."),
    (CLIENT_FINAL.replace(NONCE, b"r=other"), "invalid SCRAM response", "Nonce does not match."),
    (CLIENT_FINAL.replace(NONCE, b"r=\xe4"), "invalid SCRAM response", "Nonce does not match."),
]  # fmt: skip


@pytest.mark.parametrize(("data", "primary", "detail"), FINAL_FAULTS)
def test_faults_of_the_final_message(data: bytes, primary: str, detail: str) -> None:  # R0.1
    scram = exchange()
    scram.start(MECHANISM, CLIENT_FIRST)
    with pytest.raises(ProtocolViolation) as caught:
        scram.respond(data)
    assert (caught.value.primary, caught.value.detail) == (primary, detail)


# --- channel binding ----------------------------------------------------------------------------

PLUS_FIRST = b"p=tls-server-end-point,,n=,r=abc"
PLUS_HEADER = b"p=tls-server-end-point,,"


def test_channel_binding() -> None:  # R0.1
    scram = exchange(certificate_hash=HASH)
    assert scram.mechanisms == (MECHANISM_PLUS, MECHANISM)
    challenge = scram.start(MECHANISM_PLUS, PLUS_FIRST)
    answer = client_final("pencil", PLUS_FIRST, challenge, PLUS_HEADER + HASH)
    assert scram.respond(answer).startswith(b"v=")


def test_a_client_may_go_without_binding_on_tls() -> None:  # R0.1
    scram = exchange(certificate_hash=HASH)
    assert scram.start(MECHANISM, CLIENT_FIRST) == SERVER_FIRST
    assert scram.respond(CLIENT_FINAL) == SERVER_FINAL


def test_the_binding_to_another_certificate_is_refused() -> None:  # R6.3
    scram = exchange(certificate_hash=HASH)
    challenge = scram.start(MECHANISM_PLUS, PLUS_FIRST)
    with pytest.raises(MorphError, match="SCRAM channel binding check failed") as caught:
        scram.respond(client_final("pencil", PLUS_FIRST, challenge, PLUS_HEADER + bytes(32)))
    assert (caught.value.sqlstate, caught.value.severity) == ("28000", "FATAL")


@pytest.mark.parametrize(
    ("mechanism", "data", "primary"),
    [
        (MECHANISM, b"y,,n=,r=a", "SCRAM channel binding negotiation error"),
        (MECHANISM_PLUS, b"n,,n=,r=a", MALFORMED),
        (MECHANISM_PLUS, b"y,,n=,r=a", MALFORMED),
        (MECHANISM_PLUS, b"p=tls-unique\xff,,n=,r=a", "unsupported SCRAM channel-binding type "
         '"tls-unique?"'),
        (MECHANISM_PLUS, b"p", MALFORMED),
    ],
)  # fmt: skip
def test_downgrades_are_refused(mechanism: str, data: bytes, primary: str) -> None:  # R6.3
    with pytest.raises(MorphError) as caught:
        exchange(certificate_hash=HASH).start(mechanism, data)
    assert (caught.value.primary, caught.value.severity) == (primary, "FATAL")


# --- verifiers and passwords --------------------------------------------------------------------


def test_the_text_of_a_verifier_is_postgresqls() -> None:  # R0.1
    # The keys of RFC 7677's example.
    text = (
        "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$"
        "WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
    )
    assert VERIFIER.encode() == text
    assert Verifier.parse(text) == VERIFIER
    assert "WG5d8" not in repr(VERIFIER)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "pencil",
        "md5abc",
        "SCRAM-SHA-256$4096:AAAA$AAAA:AAAA",
        VERIFIER.encode().replace("4096", "0"),
        VERIFIER.encode().replace("4096", "-1"),
        VERIFIER.encode().replace("4096", "9" * 5000),
        VERIFIER.encode().replace("4096", "²"),
        VERIFIER.encode().replace("SHA-256", "SHA-1"),
        VERIFIER.encode().replace("W22ZaJ0SNY7soEsUEjb6gQ==", ""),
        VERIFIER.encode().replace("=:", "ä:"),
        VERIFIER.encode()[:-4],
    ],
)
def test_what_is_no_verifier(text: str) -> None:  # R0.1
    assert Verifier.parse(text) is None


@pytest.mark.parametrize(
    ("password", "prepared"),
    [
        ("pencil", b"pencil"),
        ("", b""),
        ("I\xadX", b"IX"),  # RFC 4013 section 3
        ("\xaa", b"a"),
        ("\u2168", b"IX"),
        ("a\u00a0b", b"a b"),
        ("a\u0301", "á".encode()),
        ("\xad", "\xad".encode()),  # nothing would be left: as it is
        ("ä\x07", "ä\x07".encode()),  # prohibited: as it is
        ("\u0627\u0031", "\u0627\u0031".encode()),  # bidi rule broken: as it is
        ("\u0627a\u0628", "\u0627a\u0628".encode()),
        ("\u0627\xaa\u0628", "\u0627\xaa\u0628".encode()),
        ("\u0627\u0031\u0628\u2168"[:3], "\u0627\u0031\u0628".encode()),
        ("\x07\udcff", b"\x07\xff"),
        ("\ue000", "\ue000".encode()),
    ],
)
def test_saslprep_falls_back_to_the_password_as_it_is(password: str, prepared: bytes) -> None:
    # R0.1
    assert prepare_password(password) == prepared
