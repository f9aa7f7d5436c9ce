"""Options of a Cassandra instance: read, checked, never printed with secrets (R1.6)."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from backends.cassandra.backend import CassandraBackend
from backends.cassandra.link import _tls
from backends.cassandra.options import CassandraOptions, read_options, table_choice, table_flag
from backends.stores import KINDS, StoreOptions, make_backend
from core.errors import InvalidParameterValue

CERTIFICATES = Path(__file__).parents[3] / "integration" / "certificates"


def _read(dsn: str = "", **parts: str) -> CassandraOptions:
    return read_options(StoreOptions(dsn=dsn, parts=parts))


# R1.6: everything can be said in the address
def test_dsn() -> None:
    found = _read(
        "cassandra://us%40er:p%3Aw@one,two:19042/shop?consistency=local_one&local_dc=dc1"
        "&serial_consistency=LOCAL_SERIAL&insert_mode=upsert&allow_filtering=true&scan_ranges=8"
    )
    assert found.hosts == ("one", "two")
    assert found.port == 19042
    assert (found.user, found.password) == ("us@er", "p:w")
    assert found.keyspace == "shop"
    assert found.consistency == "LOCAL_ONE"
    assert found.serial_consistency == "LOCAL_SERIAL"
    assert found.local_dc == "dc1"
    assert found.insert_mode == "upsert"
    assert found.allow_filtering
    assert found.scan_ranges == 8


@pytest.mark.parametrize(
    ("dsn", "hosts", "port"),
    [
        ("cassandra://h", ("h",), 9042),
        ("cassandra://h:1/k", ("h",), 1),
        ("cassandra://a:7,b:7", ("a", "b"), 7),
        ("cassandra://[::1]:7", ("::1",), 7),
        ("cassandra://[::1]", ("::1",), 9042),
        ("cassandra://", ("127.0.0.1",), 9042),
        ("", ("127.0.0.1",), 9042),
    ],
)
def test_hosts(dsn: str, hosts: tuple[str, ...], port: int) -> None:
    found = _read(dsn)
    assert (found.hosts, found.port) == (hosts, port)


# R1.6: parts say the same, and go before the address
def test_parts() -> None:
    found = _read("cassandra://h/k?consistency=ONE", host="x, y", port="5", consistency="ALL")
    assert (found.hosts, found.port, found.keyspace, found.consistency) == (
        ("x", "y"),
        5,
        "k",
        "ALL",
    )
    assert _read(database="d").keyspace == _read(keyspace="d").keyspace == "d"


# R1.6: a mistyped option is an error that says what there is
@pytest.mark.parametrize(
    ("dsn", "parts"),
    [
        ("mongodb://h", {}),
        ("cassandra://h?consistancy=ONE", {}),
        ("cassandra://h?consistency=SOME", {}),
        ("cassandra://a:1,b:2", {}),
        ("", {"port": "0"}),
        ("", {"port": "x"}),
        ("", {"tls": "maybe"}),
        ("", {"allow_filtering": "2"}),
        ("", {"insert_mode": "x"}),
        ("", {"scan_ranges": "-1"}),
    ],
)
def test_refused(dsn: str, parts: dict[str, str]) -> None:
    with pytest.raises(InvalidParameterValue):
        _read(dsn, **parts)


# R6: no secret in a text
def test_no_secret_is_printed() -> None:
    options = StoreOptions(dsn="cassandra://u:secret@h")
    backend = make_backend("cassandra", "ring", options)
    assert isinstance(backend, CassandraBackend)
    assert "secret" not in repr(options) + repr(read_options(options)) + repr(vars(backend))
    assert "cassandra" in KINDS


def test_table_options() -> None:
    options = (("allow_filtering", "on"), ("insert_mode", "UPSERT"))
    assert table_flag(options, "allow_filtering", False)
    assert table_flag((), "allow_filtering", True)
    assert table_choice(options, "insert_mode", "unique") == "upsert"
    assert table_choice((), "insert_mode", "unique") == "unique"
    with pytest.raises(InvalidParameterValue):
        table_flag((("allow_filtering", "perhaps"),), "allow_filtering", False)


# R6: what each level of TLS checks
def test_tls() -> None:
    assert _tls(_read()) is None
    loose = _tls(_read(tls="require"))
    assert loose is not None
    assert (loose.check_hostname, loose.verify_mode) == (False, ssl.CERT_NONE)
    strict = _tls(_read(tls="verify-full"))
    assert strict is not None
    assert (strict.check_hostname, strict.verify_mode) == (True, ssl.CERT_REQUIRED)
