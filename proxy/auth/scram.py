"""SCRAM-SHA-256, the server's side, without I/O (RFC 5802, RFC 7677; PostgreSQL auth-scram.c).

    client                                        server
      SASLInitialResponse  n,,n=,r=<nonce>   ->
                                             <-   SASLContinue  r=<nonce><ours>,s=<salt>,i=<n>
      SASLResponse  c=biws,r=...,p=<proof>   ->
                                             <-   SASLFinal  v=<signature>, or ErrorResponse

The stored verifier has PostgreSQL's text form, so it can be copied from and to pg_authid. An
unknown user goes through the same exchange against a mock verifier that stays the same for the
name, and fails at the end with the same error; nothing short-circuits on it. The user name in the
SCRAM message is ignored, the startup packet's counts. Randomness comes from outside.
"""

from __future__ import annotations

import binascii
import hashlib
import hmac
import stringprep
import unicodedata
from base64 import b64decode, b64encode
from dataclasses import dataclass, field
from typing import Final

from core.errors import (
    FeatureNotSupported,
    InternalError,
    InvalidAuthorization,
    InvalidPassword,
    ProtocolViolation,
)

MECHANISM: Final = "SCRAM-SHA-256"
MECHANISM_PLUS: Final = "SCRAM-SHA-256-PLUS"
ITERATIONS_DEFAULT: Final = 4096
SALT_BYTES: Final = 16
NONCE_BYTES: Final = 18
_KEY_BYTES: Final = 32
_BINDING_TYPE: Final = "tls-server-end-point"


class UnsupportedScram(FeatureNotSupported, sqlstate="0A000", severity="FATAL"):
    """A part of RFC 5802 that PostgreSQL does not speak either."""


@dataclass(frozen=True, slots=True)
class Verifier:
    """What is stored instead of a password."""

    iterations: int
    salt: bytes = field(repr=False)
    stored_key: bytes = field(repr=False)
    server_key: bytes = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> Verifier | None:
        """Read `SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>`; None if it is not."""
        scheme, _, rest = text.partition("$")
        head, _, keys = rest.partition("$")
        iterations, _, salt = head.partition(":")
        stored, _, server = keys.partition(":")
        if scheme != MECHANISM or not (iterations.isascii() and iterations.isdigit()):
            return None
        if len(iterations) > 10 or not 0 < int(iterations) < 2**31:
            return None
        raw_salt, raw_stored, raw_server = _unbase64(salt), _unbase64(stored), _unbase64(server)
        if not raw_salt or raw_stored is None or raw_server is None:
            return None
        if len(raw_stored) != _KEY_BYTES or len(raw_server) != _KEY_BYTES:
            return None
        return cls(int(iterations), raw_salt, raw_stored, raw_server)

    def encode(self) -> str:
        """The text form."""
        salt, stored, server = map(_base64, (self.salt, self.stored_key, self.server_key))
        return f"{MECHANISM}${self.iterations}:{salt}${stored}:{server}"


def build_verifier(password: str, salt: bytes, iterations: int = ITERATIONS_DEFAULT) -> Verifier:
    """The verifier of a password; `salt` is SALT_BYTES from a secure random source."""
    salted = hashlib.pbkdf2_hmac("sha256", prepare_password(password), salt, iterations)
    stored_key = hashlib.sha256(_hmac(salted, b"Client Key")).digest()
    return Verifier(iterations, salt, stored_key, _hmac(salted, b"Server Key"))


def mock_verifier(user: str, secret: bytes, iterations: int = ITERATIONS_DEFAULT) -> Verifier:
    """A verifier no password fits; its salt is stable for the name, as a real one's is."""
    salt = hashlib.sha256(user.encode() + secret).digest()[:SALT_BYTES]
    return Verifier(iterations, salt, bytes(_KEY_BYTES), bytes(_KEY_BYTES))


def prepare_password(password: str) -> bytes:
    """SASLprep (RFC 4013); a password that it prohibits is used as it is, as in PostgreSQL."""
    raw = password.encode("utf-8", "surrogateescape")
    if password.isascii():
        return raw
    mapped = "".join(
        " " if stringprep.in_table_c12(char) else char
        for char in password
        if not stringprep.in_table_b1(char)
    )
    text = unicodedata.normalize("NFKC", mapped)
    return text.encode() if text and _sasl_allowed(text) else raw


def _sasl_allowed(text: str) -> bool:
    prohibited = (
        stringprep.in_table_a1,
        stringprep.in_table_c12,
        stringprep.in_table_c21_c22,
        stringprep.in_table_c3,
        stringprep.in_table_c4,
        stringprep.in_table_c5,
        stringprep.in_table_c6,
        stringprep.in_table_c7,
        stringprep.in_table_c8,
        stringprep.in_table_c9,
    )
    if any(table(char) for char in text for table in prohibited):
        return False
    if not any(map(stringprep.in_table_d1, text)):
        return True
    # Right-to-left text must begin and end so, and hold no left-to-right letters.
    ends = stringprep.in_table_d1(text[0]) and stringprep.in_table_d1(text[-1])
    return ends and not any(map(stringprep.in_table_d2, text))


class ScramExchange:
    """One authentication. Payloads in and out are those of the SASL messages.

    >>> verifier = build_verifier("pencil", bytes(16))
    >>> exchange = ScramExchange("ann", verifier, nonce="srv", mock_secret=b"")
    >>> exchange.start("SCRAM-SHA-256", b"n,,n=,r=cli")
    b'r=clisrv,s=AAAAAAAAAAAAAAAAAAAAAA==,i=4096'

    Every fault is FATAL: ProtocolViolation for malformed messages, InvalidPassword at the end.
    """

    __slots__ = (
        "_binding_used",
        "_certificate_hash",
        "_client_first",
        "_doomed",
        "_flag",
        "_nonce",
        "_server_first",
        "_user",
        "_verifier",
        "done",
    )

    def __init__(
        self,
        user: str,
        verifier: Verifier | None,
        *,
        nonce: str,
        mock_secret: bytes,
        certificate_hash: bytes | None = None,
    ) -> None:
        """`nonce`: printable, without comma; `certificate_hash`: set on TLS if it has one."""
        self._user = user
        self._doomed = verifier is None
        self._verifier = verifier or mock_verifier(user, mock_secret)
        self._nonce = nonce
        self._certificate_hash = certificate_hash
        self._binding_used = False
        self._flag = ""
        self._client_first = ""
        self._server_first = ""
        self.done = False

    @property
    def mechanisms(self) -> tuple[str, ...]:
        """What AuthenticationSASL offers."""
        if self._certificate_hash is None:
            return (MECHANISM,)
        return (MECHANISM_PLUS, MECHANISM)

    def start(self, mechanism: str, data: bytes | None) -> bytes:
        """The challenge for a SASLInitialResponse; empty when it brought no message yet."""
        if mechanism not in self.mechanisms:
            raise ProtocolViolation("client selected an invalid SASL authentication mechanism")
        self._binding_used = mechanism == MECHANISM_PLUS
        return b"" if data is None else self.respond(data)

    def respond(self, data: bytes) -> bytes:
        """The next payload: SASLContinue while `done` is false after the call, else SASLFinal."""
        if self.done:
            raise InternalError("SCRAM exchange is over")
        text = _message_text(data)
        if self._server_first:
            return self._final(text).encode("latin-1")
        return self._first(text).encode("latin-1")

    def _first(self, text: str) -> str:
        bare = self._gs2_header(text)
        if bare.startswith("m"):
            raise UnsupportedScram("client requires an unsupported SCRAM extension")
        _, rest = _attribute(bare, "n")
        client_nonce, rest = _attribute(rest, "r")
        if not all("!" <= char <= "~" for char in client_nonce):
            raise ProtocolViolation("non-printable characters in SCRAM nonce")
        while rest:
            _, _, rest = _any_attribute(rest)
        self._client_first = bare
        self._nonce = client_nonce + self._nonce
        salt = _base64(self._verifier.salt)
        self._server_first = f"r={self._nonce},s={salt},i={self._verifier.iterations}"
        return self._server_first

    def _gs2_header(self, text: str) -> str:
        """Check the channel-binding flag and the authorization id; the rest of the message."""
        flag = text[0]
        if flag not in "nyp":
            raise _malformed(f'Unexpected channel-binding flag "{_shown(flag)}".')
        if flag == "p":
            rest = self._binding_type(text)
        else:
            if self._binding_used:
                raise _malformed(
                    "The client selected SCRAM-SHA-256-PLUS, but the SCRAM message does not "
                    "include channel binding data."
                )
            if flag == "y" and self._certificate_hash is not None:
                raise InvalidAuthorization(
                    "SCRAM channel binding negotiation error",
                    detail="The client supports SCRAM channel binding but thinks the server does "
                    "not.  However, this server does support channel binding.",
                )
            if text[1:2] != ",":
                raise _malformed(f'Comma expected, but found character "{_shown(text[1:2])}".')
            rest = text[2:]
        self._flag = flag
        if rest.startswith("a"):
            raise UnsupportedScram("client uses authorization identity, but it is not supported")
        if not rest.startswith(","):
            shown = _shown(rest[:1])
            raise _malformed(f'Unexpected attribute "{shown}" in client-first-message.')
        return rest[1:]

    def _binding_type(self, text: str) -> str:
        if not self._binding_used:
            raise _malformed(
                "The client selected SCRAM-SHA-256 without channel binding, but the SCRAM "
                "message includes channel binding data."
            )
        binding, rest = _attribute(text, "p")
        if binding != _BINDING_TYPE:
            shown = "".join(char if "!" <= char <= "~" else "?" for char in binding[:30])
            raise ProtocolViolation(f'unsupported SCRAM channel-binding type "{shown}"')
        return rest

    def _final(self, text: str) -> str:
        binding, rest = _attribute(text, "c")
        self._check_binding(binding)
        nonce, rest = _attribute(rest, "r")
        while True:
            before = len(text) - len(rest) - 1
            name, value, rest = _any_attribute(rest)
            if name == "p":
                break
        proof = _unbase64(value)
        if proof is None or len(proof) != _KEY_BYTES:
            raise _malformed("Malformed proof in client-final-message.")
        if rest:
            raise _malformed("Garbage found at the end of client-final-message.")
        if not hmac.compare_digest(nonce.encode("latin-1"), self._nonce.encode("latin-1")):
            raise ProtocolViolation("invalid SCRAM response", detail="Nonce does not match.")
        signed = f"{self._client_first},{self._server_first},{text[:before]}".encode("latin-1")
        verifier = self._verifier
        signature = _hmac(verifier.stored_key, signed)
        client_key = bytes(a ^ b for a, b in zip(proof, signature, strict=True))
        computed = hashlib.sha256(client_key).digest()
        # Both are computed before either is looked at.
        fits = hmac.compare_digest(computed, verifier.stored_key)
        if not fits or self._doomed:
            raise InvalidPassword(f'password authentication failed for user "{self._user}"')
        self.done = True
        return f"v={_base64(_hmac(verifier.server_key, signed))}"

    def _check_binding(self, binding: str) -> None:
        if self._binding_used:
            header = f"p={_BINDING_TYPE},,".encode()
            expected = _base64(header + (self._certificate_hash or b""))
            if not hmac.compare_digest(binding.encode("latin-1"), expected.encode()):
                raise InvalidAuthorization("SCRAM channel binding check failed")
        elif binding != ("biws" if self._flag == "n" else "eSws"):  # base64 of "n,,", "y,,"
            raise ProtocolViolation(
                "unexpected SCRAM channel-binding attribute in client-final-message"
            )


def _message_text(data: bytes) -> str:
    """Latin-1, because the bytes are hashed as they are."""
    if not data:
        raise _malformed("The message is empty.")
    if b"\0" in data:
        raise _malformed("Message length does not match input length.")
    return data.decode("latin-1")


def _attribute(text: str, name: str) -> tuple[str, str]:
    """`(value, rest)` of the attribute that must come first."""
    if text[:1] != name:
        raise _malformed(f'Expected attribute "{name}" but found "{_shown(text[:1])}".')
    if text[1:2] != "=":
        raise _malformed(f'Expected character "=" for attribute "{name}".')
    value, _, rest = text[2:].partition(",")
    return value, rest


def _any_attribute(text: str) -> tuple[str, str, str]:
    """`(name, value, rest)` of the next attribute, whichever it is."""
    if not text:
        raise _malformed("Attribute expected, but found end of string.")
    name = text[0]
    if not (name.isascii() and name.isalpha()):
        raise _malformed(f'Attribute expected, but found invalid character "{_shown(name)}".')
    value, rest = _attribute(text, name)
    return name, value, rest


def _malformed(detail: str) -> ProtocolViolation:
    return ProtocolViolation("malformed SCRAM message", detail=detail)


def _shown(char: str) -> str:
    """A client's character as PostgreSQL's sanitize_char shows it."""
    if "!" <= char <= "~":
        return char
    return f"0x{ord(char or chr(0)):02x}"


def _hmac(key: bytes, data: bytes) -> bytes:
    return hmac.digest(key, data, "sha256")


def _base64(raw: bytes) -> str:
    return b64encode(raw).decode()


def _unbase64(text: str) -> bytes | None:
    try:
        return b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
