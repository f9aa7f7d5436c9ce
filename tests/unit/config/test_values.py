"""Notations of durations, sizes, addresses, secrets (R0.7, R6.3)."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.fields import Kind, Spec, choice, duration, integer, size
from config.secret import SECRET_BYTES_MAX, Secret
from config.values import (
    BadValue,
    format_duration,
    format_size,
    parse_address,
    parse_duration,
    parse_size,
    parse_value,
)
from core.errors import ConfigError

HERE = Path()


@pytest.mark.parametrize(
    ("raw", "seconds"),
    [
        ("30s", 30.0),
        ("5min", 300.0),
        ("250ms", 0.25),
        ("1.5h", 5400.0),
        ("2 d", 172_800.0),
        ("100us", 0.0001),
        ("0", 0.0),
        ("0s", 0.0),
    ],
)
def test_durations(raw: str, seconds: float) -> None:
    assert parse_duration(raw) == pytest.approx(seconds, rel=1e-12)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ("30", "needs a unit"),
        ("5m", 'unknown unit of time: "m"'),
        ("5 parsecs", "unknown unit of time"),
        ("-5s", "is not a duration"),
        ("", "is not a duration"),
        ("1e3s", "unknown unit of time|is not a duration"),
        ("5s 3s", "is not a duration"),
    ],
)
def test_bad_durations_say_what_to_write(raw: str, message: str) -> None:
    with pytest.raises(BadValue, match=message) as caught:
        parse_duration(raw)
    assert "ms" in caught.value.hint


@pytest.mark.parametrize(
    ("raw", "count"),
    [("64MB", 64 << 20), ("64MiB", 64 << 20), ("1 kB", 1024), ("1.5gb", 3 << 29), ("7", 7)],
)
def test_sizes(raw: str, count: int) -> None:
    assert parse_size(raw) == count


@pytest.mark.parametrize("raw", ["64 elephants", "-1MB", "", "1.5B", "MB", "0x10"])
def test_bad_sizes(raw: str) -> None:
    with pytest.raises(BadValue):
        parse_size(raw)


@given(st.integers(0, 1 << 50))
def test_a_size_survives_its_own_notation(count: int) -> None:
    assert parse_size(format_size(count)) == count


@given(st.integers(0, 10**9))
def test_a_duration_survives_its_own_notation(milliseconds: int) -> None:
    seconds = milliseconds / 1000
    assert parse_duration(format_duration(seconds)) == pytest.approx(seconds, rel=1e-5)


@given(st.text())
def test_any_text_is_a_value_or_a_clear_error(raw: str) -> None:
    for parse in (parse_duration, parse_size, parse_address):
        with contextlib.suppress(BadValue):
            parse(raw)


@pytest.mark.parametrize(
    ("raw", "address"),
    [
        ("", None),
        ("127.0.0.1:9187", ("127.0.0.1", 9187)),
        ("[::1]:0", ("::1", 0)),
        ("localhost:80", ("localhost", 80)),
    ],
)
def test_addresses(raw: str, address: tuple[str, int] | None) -> None:
    assert parse_address(raw) == address


@pytest.mark.parametrize("raw", ["9187", ":9187", "::1:9187", "h:port", "h:70000", "[h]:1"])
def test_bad_addresses(raw: str) -> None:
    with pytest.raises(BadValue, match="is not an address"):
        parse_address(raw)


@pytest.mark.parametrize(
    ("spec", "raw", "message"),
    [
        (integer("", 1, 64), 65, "must be 1 to 64, not 65"),
        (integer("", 1, 64), "8", "must be an integer, not the string"),
        (integer("", 1, 64), 8.0, "must be an integer, not 8.0"),
        (integer("", 1, 64), True, "must be an integer, not true"),
        (integer("", 1, 64), [1], "must be an integer, not an array"),
        (duration("", 1, 60), 30, "needs a unit: 30"),
        (duration("", 1, 60), "2min", "must be 1s to 1min, not 2min"),
        (duration("", 1, 60), "0s", "must be 1s to 1min, not 0s"),
        (size("", 1024, 2048), "4kB", "must be 1kB to 2kB, not 4kB"),
        (size("", 0, 10, zero="off"), True, "must be a size"),
        (choice("", ("a", "b")), "c", 'must be one of a, b, not "c"'),
        (Spec(Kind.BOOLEAN, ""), "true", "must be true or false"),
        (Spec(Kind.PATH, ""), "", "must be a path"),
        (Spec(Kind.TEXT, ""), "a\0b", "zero byte"),
        (Spec(Kind.TEXT, ""), {"a": 1}, "must be a string, not a table"),
    ],
)
def test_values_that_do_not_fit(spec: Spec, raw: object, message: str) -> None:
    with pytest.raises(BadValue, match=message):
        parse_value(spec, raw, HERE, from_text=False)


def test_zero_may_have_a_meaning_of_its_own() -> None:
    assert parse_value(duration("", 1, 60, zero="off"), 0, HERE, from_text=False) == 0


@pytest.mark.parametrize(
    ("spec", "raw", "value"),
    [
        (integer("", 1, 64), " 8 ", 8),
        (Spec(Kind.BOOLEAN, ""), "On", True),
        (Spec(Kind.BOOLEAN, ""), "0", False),
        (size("", 0, 10**9), "1MB", 1 << 20),
        (duration("", 0, 60), "5s", 5.0),
    ],
)
def test_texts_of_the_environment(spec: Spec, raw: str, value: object) -> None:
    assert parse_value(spec, raw, HERE, from_text=True) == value


def test_a_secret_is_never_shown() -> None:  # R6.3
    secret = parse_value(Spec(Kind.SECRET, ""), "env:APP_PASSWORD", HERE, from_text=False)
    assert isinstance(secret, Secret)
    assert "APP" not in f"{secret!r} {secret}"
    assert secret.reference == "env:APP_PASSWORD"
    assert secret.reveal({"APP_PASSWORD": "hunter2"}) == "hunter2"


@pytest.mark.parametrize("raw", ["hunter2", "env:", "env:A B", "vault:x", "", 5, None])
def test_a_plain_secret_is_refused_and_not_repeated(raw: object) -> None:  # R6.3
    with pytest.raises(BadValue, match="reference to a secret") as caught:
        parse_value(Spec(Kind.SECRET, ""), raw, HERE, from_text=False)
    assert "hunter2" not in str(caught.value) + caught.value.hint


def test_secret_files(tmp_path: Path) -> None:  # R6.3
    (tmp_path / "password").write_text("hunter2\n")
    secret = parse_value(Spec(Kind.SECRET, ""), "file:password", tmp_path, from_text=False)
    assert isinstance(secret, Secret)
    assert secret.reveal({}) == "hunter2"
    (tmp_path / "password").write_bytes(b"x" * (SECRET_BYTES_MAX + 1))
    with pytest.raises(ConfigError, match="is larger than"):
        secret.reveal({})
    (tmp_path / "password").write_bytes(b"\xff")
    with pytest.raises(ConfigError, match="not UTF-8"):
        secret.reveal({})
    (tmp_path / "password").unlink()
    with pytest.raises(ConfigError, match="no such file"):
        secret.reveal({})
    with pytest.raises(ConfigError, match='"NOPE" is not set'):
        Secret("env", "NOPE").reveal({})
