"""Options of connections: usual names, references, and no secrets in plain."""

from __future__ import annotations

import pytest

from config.connection import check_option, holds_secret, parse_options, reference
from core.errors import InvalidParameterValue


def test_usual_names() -> None:  # R1.6
    assert check_option("dbname", "d") == ("database", "d")
    assert check_option("UserName", "u") == ("user", "u")
    assert check_option("uri", "mongodb://h/") == ("dsn", "mongodb://h/")
    assert check_option("password_ref", "env:X") == ("password_ref", "env:X")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("password", "x"),
        ("sslpassword", "x"),
        ("auth_token", "x"),
        ("client_secret", "x"),
        ("password_ref", "x"),
        ("password_ref", "env:"),
        ("password_ref", "http://x"),
        ("dsn", "mongodb://u:p@h/"),
        ("dsn", "mongodb://u:p@h1,h2/d"),
        ("dsn", "postgres://h/d?password=p"),
        ("dsn", "host=h password=p"),
        ("dsn", "host=h PassFile = /x"),
    ],
)
def test_secrets_in_plain_are_refused_and_not_repeated(name: str, value: str) -> None:  # R6.3
    with pytest.raises(InvalidParameterValue) as caught:
        check_option(name, value)
    if len(value) > 5:
        assert value not in str(caught.value) + caught.value.hint


@pytest.mark.parametrize(
    "dsn", ["mongodb://h:27017/?directConnection=true", "mongodb://u@h/", "host=h user=u", "h:9042"]
)
def test_connection_strings_without_secrets(dsn: str) -> None:  # R6.3
    assert not holds_secret(dsn)


def test_references() -> None:  # R6.3
    assert reference("file:/run/x").reference == "file:/run/x"
    assert (reference("env:A:B").scheme, reference("env:A:B").name) == ("env", "A:B")


def test_words_of_options() -> None:  # R1.6
    assert parse_options("") == {}
    assert parse_options("a=1 b='two words' token_ref=env:T") == {
        "a": "1",
        "b": "two words",
        "token_ref": "env:T",
    }
    for bad in ("a", "=1", "a=1 a=2", "a='", "password=p"):
        with pytest.raises(InvalidParameterValue):
            parse_options(bad)
