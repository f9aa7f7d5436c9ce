"""How a PostgreSQL server is reached; no password but the instance's own is sent."""

from __future__ import annotations

from typing import Any

import pytest

from backends.postgres.connection import connect_arguments
from backends.postgres.transactions import begin_text
from backends.stores import StoreOptions
from core.errors import InvalidParameterValue, InvalidTransactionState


def _made(dsn: str = "", **parts: str) -> dict[str, Any]:
    """The arguments, without the settings of the session."""
    made = connect_arguments(StoreOptions(dsn=dsn, parts=parts))
    assert made.pop("server_settings")["search_path"] == "pg_catalog"
    return made


def _target(
    host: str | list[str], port: int | list[int] = 5432, **given: str | None
) -> dict[str, Any]:
    hosts = [host] if isinstance(host, str) else host
    ports = [port] * len(hosts) if isinstance(port, int) else port
    return {
        "dsn": None,
        "host": hosts,
        "port": ports,
        "user": None,
        "password": "",
        "database": None,
        **given,
    }


def test_parts() -> None:  # R1.6
    made = _made(host="h", user="ü", database="a/b", sslmode="require", password="p&w")
    ssl = "postgresql://?sslmode=require"
    assert made == _target("h", user="ü", database="a/b", password="p&w", dsn=ssl)


def test_without_anything_nothing_is_looked_for() -> None:  # R6.3
    """The driver looks for a host or password that is None; "" is one."""
    assert _made() == _target("localhost")


def test_several_hosts_have_several_ports() -> None:  # R1.9
    assert _made(host="a, b", port="5433") == _target(["a", "b"], 5433)
    assert _made(host="a,b", port="1,2") == _target(["a", "b"], [1, 2])


def test_words_of_libpq() -> None:  # R1.6
    made = _made("host = h dbname='my db' password = 'x y'", user="u")
    assert made == _target("h", database="my db", user="u", password="x y")


@pytest.mark.parametrize(
    ("dsn", "target"),
    [
        ("postgresql://u:p%40@h/d", {"user": "u", "password": "p@", "database": "d"}),
        (
            "postgres://u@h:7/d?password=p",
            {"port": [7], "user": "u", "password": "p", "database": "d"},
        ),
        ("postgresql://h", {}),
        ("postgresql://?host=h", {}),
        ("postgresql://[::1]:9/", {"host": ["::1"], "port": [9]}),
        ("postgresql://h,i:2/", {"host": ["h", "i"], "port": [5432, 2]}),
    ],
)
def test_uris(dsn: str, target: dict[str, Any]) -> None:  # R6.3
    assert _made(dsn) == {**_target("h"), **target}
    assert _made(dsn, user="mapped")["user"] == "mapped"


@pytest.mark.parametrize(
    "dsn",
    [
        *("host", "host='", "postgresql://h/?x", "postgresql://h:port/", "port=1,2 host=h"),
        *("host=/tmp", "host=@abstract", "host=h,/tmp", "host=''", "host=h,"),
        *("postgresql://%2Ftmp/d", "postgresql://h/d?host=/tmp", "postgresql:///d?host="),
        *("service=x", "postgresql://h/?service=x", "postgresql://h/?passfile=/x"),
    ],
)
def test_what_is_refused(dsn: str) -> None:  # R6.3
    with pytest.raises(InvalidParameterValue):
        _made(dsn)


def test_unknown_options_are_refused() -> None:  # R1.6
    with pytest.raises(InvalidParameterValue, match='"hots"') as caught:
        _made(hots="x", password="hunter2")
    assert "hunter2" not in str(caught.value) + caught.value.hint


def test_begin() -> None:  # R1.8
    text = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
    assert begin_text("repeatable read", read_only=True) == text
    with pytest.raises(InvalidTransactionState):
        begin_text("serializable; DROP TABLE x", read_only=False)
