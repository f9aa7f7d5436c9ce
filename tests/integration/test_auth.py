"""Who comes in: TLS, SCRAM-SHA-256, client certificates, host rules (R6.3).

The certificates protect nothing: `ca.pem` signed `server.pem` (localhost, 127.0.0.1) and
`client.pem` (CN=certified), `stranger.pem` has the client's name and signed itself. They are
valid for a hundred years, and the authority's key was thrown away.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import shutil
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.integration.server_process import ServerProcess, running
from tests.integration.wire import SSL_REQUEST, Message, WireClient, message, startup

CERTIFICATES = Path(__file__).parent / "certificates"
ENVIRONMENT = {"APP_PASSWORD": "correct horse", "ODD_PASSWORD": "pässwörd \u2168 日本"}
VERIFIER_SALT = b"0123456789abcdef"
CONFIG = """
[tls]
cert = "{home}/server.pem"
key = "{home}/server.key"
client_ca = "{home}/ca.pem"
{extra}
[[auth.rule]]
address = "loopback"
user = "certified"
method = "cert"
[[auth.rule]]
address = "loopback"
user = "barred"
method = "reject"
[[auth.rule]]
address = "loopback"
user = "encrypted"
kind = "tls"
method = "trust"
[[auth.rule]]
address = "192.0.2.0/24"
method = "trust"
[[auth.rule]]
address = "loopback"
user = "morph"
method = "trust"
[[auth.rule]]
address = "127.0.0.1/32"
method = "scram"
"""
USERS = ("app", "odd", "certified", "barred", "encrypted", "stored")


def _users() -> str:
    text = ""
    for name in USERS:
        source = 'verifier = "env:STORED_VERIFIER"' if name == "stored" else "password = "
        if name != "stored":
            source += '"env:ODD_PASSWORD"' if name == "odd" else '"env:APP_PASSWORD"'
        text += f'[[auth.user]]\nname = "{name}"\n{source}\n'
    return text


def _verifier(password: str) -> str:
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), VERIFIER_SALT, 4096)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    salt, stored64, server64 = (
        base64.b64encode(x).decode() for x in (VERIFIER_SALT, stored, server)
    )
    return f"SCRAM-SHA-256$4096:{salt}${stored64}:{server64}"


def _start(directory: Path, extra: str = "") -> Any:
    home = directory.with_name(directory.name + "-certificates")
    shutil.copytree(CERTIFICATES, home)
    for key in home.glob("*.key"):
        key.chmod(0o600)  # libpq insists
    environment = {**ENVIRONMENT, "STORED_VERIFIER": _verifier("from elsewhere")}
    config = CONFIG.format(home=home, extra=extra) + _users()
    return running(directory, config, environment=environment)


@pytest.fixture(scope="module")
def guarded(open_directory: Path) -> Iterator[ServerProcess]:
    with _start(open_directory / "guarded") as server:
        yield server


def home(server: ServerProcess) -> Path:
    return server.data.with_name(server.data.name + "-certificates")


def refusal(server: ServerProcess, **parameters: Any) -> str:
    with pytest.raises(psycopg.OperationalError) as caught:
        server.connect(**parameters)
    return str(caught.value)


# ---------------------------------------------------------------------- TLS


@pytest.mark.parametrize("mode", ["require", "verify-ca", "verify-full"])
def test_tls(guarded: ServerProcess, mode: str) -> None:  # R0.1
    root = str(home(guarded) / "ca.pem")
    with guarded.connect(sslmode=mode, sslrootcert=root) as client:
        assert client.pgconn.ssl_in_use
        assert client.execute("SELECT repeat('x', 3000000)").fetchone() == ("x" * 3_000_000,)


def test_plain_connections_still_work(guarded: ServerProcess) -> None:
    with guarded.connect(sslmode="disable") as client:
        assert not client.pgconn.ssl_in_use


def test_tls_versions(guarded: ServerProcess) -> None:
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        assert _tls_session(guarded, version).kind == "Z"
    with pytest.raises((ssl.SSLError, ConnectionError)):
        _tls_session(guarded, ssl.TLSVersion.TLSv1_1)


def _tls_session(server: ServerProcess, version: ssl.TLSVersion) -> Message:
    with WireClient(server.host, server.port) as client:
        client.send(SSL_REQUEST)
        assert client.take(1) == b"S"
        context = ssl.create_default_context(cafile=str(home(server) / "ca.pem"))
        if version is ssl.TLSVersion.TLSv1_1:
            with pytest.warns(DeprecationWarning, match="TLSv1_1"):
                context.minimum_version = context.maximum_version = version
            context.set_ciphers("ALL:@SECLEVEL=0")
        else:
            context.minimum_version = context.maximum_version = version
        client.socket = context.wrap_socket(client.socket, server_hostname="localhost")
        return client.log_in()[-1]


def test_bytes_before_tls_are_refused(guarded: ServerProcess) -> None:
    """CVE-2021-23214: what came unencrypted must not be taken for part of the session."""
    with WireClient(guarded.host, guarded.port) as client:
        client.send(SSL_REQUEST + startup())
        assert client.read_all()[-1].code == "08P01"


def test_a_broken_handshake_harms_nobody(guarded: ServerProcess) -> None:
    for rubbish in (b"", b"\x16\x03\x01" + b"\xff" * 200, b"hello"):
        with socket.create_connection((guarded.host, guarded.port), timeout=10) as raw:
            raw.sendall(SSL_REQUEST)
            assert raw.recv(1) == b"S"
            raw.sendall(rubbish)
    with guarded.connect(sslmode="require") as client:
        assert client.execute("SELECT 1").fetchone() == (1,)


def test_cancel_over_tls(guarded: ServerProcess) -> None:
    with guarded.connect(sslmode="require") as client:
        client.pgconn.send_query(b"SELECT pg_sleep(20)")
        client.cancel_safe(timeout=10)
        result = client.pgconn.get_result()
        assert result is not None
        assert result.error_field(psycopg.pq.DiagnosticField.SQLSTATE) == b"57014"
        assert client.pgconn.get_result() is None


def test_tls_can_be_required(fresh_directory: Path) -> None:
    with _start(fresh_directory, "required = true") as server:
        assert "encrypted connections only" in refusal(server, sslmode="disable")
        with server.connect(sslmode="require") as client:
            assert client.execute("SELECT 1").fetchone() == (1,)


# ---------------------------------------------------------------------- SCRAM


@pytest.mark.parametrize(
    ("user", "password"),
    [
        ("app", "correct horse"),
        ("odd", "pässwörd \u2168 日本"),
        ("odd", "pässwörd IX 日本"),  # SASLprep folds the Roman numeral
        ("stored", "from elsewhere"),
    ],
)
@pytest.mark.parametrize("binding", ["disable", "require"])
def test_scram(guarded: ServerProcess, user: str, password: str, binding: str) -> None:  # R0.1
    mode = {"sslmode": "require", "channel_binding": "require"}
    if binding == "disable":
        mode = {"sslmode": "disable"}
    with guarded.connect(user=user, password=password, **mode) as client:
        assert client.execute("SELECT current_user").fetchone() == (user,)


@pytest.mark.parametrize("user", ["app", "nobody_at_all", "certified'", "morph_root"])
def test_wrong_password_and_unknown_user_look_the_same(guarded: ServerProcess, user: str) -> None:
    text = refusal(guarded, user=user, password="wrong")
    assert f'password authentication failed for user "{user}"' in text


def test_an_unknown_user_gets_the_same_exchange(guarded: ServerProcess) -> None:
    def challenge(user: str) -> tuple[str, str]:
        with WireClient(guarded.host, guarded.port) as client:
            client.send(startup(user=user))
            mechanisms = client.read()
            first = b"n,,n=,r=clientnonce"
            body = b"SCRAM-SHA-256\0" + len(first).to_bytes(4) + first
            client.send(message("p", body))
            _, salt, iterations = client.read().body[4:].decode().split(",")
            return f"{mechanisms.body!r}{iterations}{len(salt)}", salt

    known, unknown, again = challenge("app"), challenge("stranger"), challenge("stranger")
    assert known[0] == unknown[0]
    assert unknown[1] == again[1]  # a real user's salt does not change either
    assert unknown[1] != challenge("other stranger")[1]


@pytest.mark.parametrize(
    "answer",
    [
        message("p", b"MD5\0\xff\xff\xff\xff"),
        message("p", b"SCRAM-SHA-256\0\0\0\0\5hello"),
        message("p", b"SCRAM-SHA-256-PLUS\0\xff\xff\xff\xff"),
        message("p", b""),
        message("p", b"x" * 70_000),
        message("Q", b"SELECT 1\0"),
        b"X\0\0\0\4",
    ],
    ids=range(7),
)
def test_malformed_answers(guarded: ServerProcess, answer: bytes) -> None:
    with WireClient(guarded.host, guarded.port) as client:
        client.send(startup(user="app"))
        assert client.read().kind == "R"
        client.send(answer)
        last = client.read_all()
        assert [a.code for a in last if a.kind == "E"] in (["08P01"], [])
        assert all(a.kind == "E" for a in last)


def test_passwords_are_nowhere_in_the_log(guarded: ServerProcess) -> None:
    refusal(guarded, user="app", password="secret guess")
    for text in (*ENVIRONMENT.values(), "secret guess", "SCRAM-SHA-256$"):
        assert text not in guarded.output
        assert text.encode() not in (guarded.data / "pg.log").read_bytes()


# ---------------------------------------------------------------------- certificates and rules


def test_client_certificate(guarded: ServerProcess) -> None:  # R6.3
    files = {
        "sslcert": str(home(guarded) / "client.pem"),
        "sslkey": str(home(guarded) / "client.key"),
    }
    with guarded.connect(user="certified", sslmode="require", **files) as client:
        assert client.execute("SELECT current_user").fetchone() == ("certified",)
    # The certificate of one does not open the account of another.
    text = refusal(guarded, user="app", password="wrong", sslmode="require", **files)
    assert "password authentication failed" in text


@pytest.mark.parametrize("name", [None, "stranger"])
def test_no_or_a_strangers_certificate(guarded: ServerProcess, name: str | None) -> None:
    files = {}
    if name:
        files = {"sslcert": f"{home(guarded)}/{name}.pem", "sslkey": f"{home(guarded)}/{name}.key"}
    text = refusal(guarded, user="certified", sslmode="require", **files)
    if name is None:
        assert "certificate authentication failed" in text
    # A certificate that nobody we trust has signed ends the handshake.


def test_the_first_rule_that_fits_decides(guarded: ServerProcess) -> None:
    assert "rejects" in refusal(guarded, user="barred", password="correct horse")
    with guarded.connect(user="encrypted", sslmode="require"):
        pass
    # Without TLS the trust rule does not fit, and the last one asks for a password.
    assert "no password supplied" in refusal(guarded, user="encrypted", sslmode="disable")


def test_an_address_without_a_rule(fresh_directory: Path) -> None:
    config = '[[auth.rule]]\naddress = "192.0.2.0/24"\nmethod = "trust"\n'
    with running(fresh_directory, config) as server:
        assert "no host rule" in refusal(server)


def test_an_unknown_role_under_trust(server: ServerProcess) -> None:
    assert 'role "ghost" does not exist' in refusal(server, user="ghost")
