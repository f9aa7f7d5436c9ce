"""How a PostgreSQL server is reached; no password but the instance's own is sent."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import pytest

from backends.postgres.connection import dsn_of
from backends.postgres.transactions import begin_text
from backends.stores import StoreOptions
from core.errors import InvalidParameterValue, InvalidTransactionState


def _made(options: StoreOptions) -> tuple[str, dict[str, str], str | None]:
    """(database, query, password) of the URI."""
    dsn, password = dsn_of(options)
    parts = urlsplit(dsn)
    query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    return parts.path.lstrip("/"), query, password


def test_parts() -> None:  # R1.6
    given = {"host": "h", "user": "ü", "database": "a/b", "sslmode": "require", "password": "p&w"}
    assert _made(StoreOptions(parts=given)) == (
        "a%2Fb",
        {"host": "h", "port": "5432", "user": "ü", "sslmode": "require"},
        "p&w",
    )


def test_defaults() -> None:  # R6.3
    """Without a password the driver must not look for one: "" is one, None is not."""
    assert _made(StoreOptions()) == ("", {"host": "localhost", "port": "5432"}, "")


def test_several_hosts_have_several_ports() -> None:  # R1.9
    _, query, _ = _made(StoreOptions(parts={"host": "a,b", "port": "5433"}))
    assert (query["host"], query["port"]) == ("a,b", "5433,5433")


def test_words_of_libpq() -> None:  # R1.6
    options = StoreOptions(dsn="host = h dbname='my db' password = 'x y'", parts={"user": "u"})
    database, query, password = _made(options)
    assert (database, query["host"], query["user"], password) == ("my%20db", "h", "u", "x y")


@pytest.mark.parametrize(
    ("dsn", "parts", "password"),
    [
        ("postgresql://u:p@h/d", {}, None),
        ("postgres://u@h/d?password=p", {}, None),
        ("postgresql://u@h/d", {}, ""),
        ("postgresql://u@h/d", {"password": "x"}, "x"),
        ("postgresql://u@h/d?service=theirs", {}, ""),
    ],
)
def test_uris(dsn: str, parts: dict[str, str], password: str | None) -> None:  # R6.3
    assert dsn_of(StoreOptions(dsn=dsn, parts=parts)) == (dsn, password)


@pytest.mark.parametrize("options", [StoreOptions(dsn="host"), StoreOptions(dsn="host='")])
def test_strings_that_are_none(options: StoreOptions) -> None:  # R1.6
    with pytest.raises(InvalidParameterValue):
        dsn_of(options)


def test_unknown_options_are_refused() -> None:  # R1.6
    with pytest.raises(InvalidParameterValue, match='"hots"') as caught:
        dsn_of(StoreOptions(parts={"hots": "x", "password": "hunter2"}))
    assert "hunter2" not in str(caught.value) + caught.value.hint


def test_begin() -> None:  # R1.8
    text = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
    assert begin_text("repeatable read", read_only=True) == text
    with pytest.raises(InvalidTransactionState):
        begin_text("serializable; DROP TABLE x", read_only=False)
