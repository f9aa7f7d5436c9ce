"""morph.pushdown and morph.ddl_mode are settings like PostgreSQL's, in whatever way they change."""

from __future__ import annotations

import contextlib
from typing import Any

import psycopg
import pytest
from psycopg.errors import DivisionByZero, InFailedSqlTransaction

from tests.integration.server_process import ServerProcess
from tests.integration.wire import SYNC, WireClient, bind, execute, parse

Connection = psycopg.Connection[Any]
OFF = "SET morph.pushdown = off"


def merges(client: Connection) -> bool:
    """True when a SELECT goes to the merge tier; asserts that SHOW says so, too."""
    lines = client.execute("EXPLAIN SELECT count(*) FROM orders").fetchall()
    tier = lines[-1][0].split(" (")[0]
    shown = client.execute("SHOW morph.pushdown").fetchone()
    assert tier in ("Morphgres: tier 1", "Morphgres: tier 2")
    assert (tier == "Morphgres: tier 2") == (shown in [("off",), ("scan",)]), (tier, shown)
    return bool(tier == "Morphgres: tier 2")


@pytest.mark.parametrize(
    ("statements", "expected"),
    [
        ([OFF], True),
        (["SET morph.pushdown TO 'scan'"], True),
        ([OFF, "RESET morph.pushdown"], False),
        ([OFF, "RESET ALL"], False),
        ([OFF, "DISCARD ALL"], False),
        (["SET LOCAL morph.pushdown = off"], False),
        (["BEGIN", "SET LOCAL morph.pushdown = off"], True),
        (["BEGIN", "SET LOCAL morph.pushdown = off", "COMMIT"], False),
        (["BEGIN", "SET LOCAL morph.pushdown = off", "ROLLBACK"], False),
        (["BEGIN", OFF, "COMMIT"], True),
        (["BEGIN", OFF, "ROLLBACK"], False),
        ([OFF, "BEGIN", "SET LOCAL morph.pushdown = on", "COMMIT"], True),
        (["BEGIN", "SAVEPOINT s", OFF, "ROLLBACK TO s"], False),
        (["BEGIN", "SAVEPOINT s", OFF, "RELEASE s"], True),
        ([OFF, "BEGIN", "RESET ALL", "ROLLBACK"], True),
        (["SELECT set_config('morph.pushdown', 'off', false)"], True),
        (["SELECT set_config('morph.pushdown', 'off', true)"], False),
        (["BEGIN", "SELECT set_config('morph.pushdown', 'off', true)"], True),
        (["BEGIN", "SELECT set_config('morph.pushdown', 'off', true)", "COMMIT"], False),
        (["BEGIN", "SELECT set_config('morph.pushdown', 'off', false)", "ROLLBACK"], False),
        (["DO $$ BEGIN PERFORM set_config('morph.pushdown', 'off', false); END $$"], True),
        ([OFF + "; SELECT 1/0"], False),
        (["BEGIN", "SELECT 1/0", OFF, "ROLLBACK"], False),
    ],
)
def test_pushdown_is_what_show_says(
    shop: ServerProcess, statements: list[str], expected: bool
) -> None:
    with shop.connect() as client:
        assert not merges(client)
        for statement in statements:
            with contextlib.suppress(DivisionByZero, InFailedSqlTransaction):
                client.execute(statement)
        assert merges(client) == expected


def test_pushdown_of_the_start_packet(shop: ServerProcess) -> None:
    with shop.connect(options="-c morph.pushdown=off") as client:
        assert merges(client)
        client.execute("SET morph.pushdown = on")
        assert not merges(client)
        client.execute("RESET morph.pushdown")
        assert merges(client)
        client.execute("SET morph.pushdown = on")
        client.execute("DISCARD ALL")
        assert merges(client)


def test_a_batch_that_sets_and_fails(shop: ServerProcess) -> None:
    with WireClient(shop.host, shop.port) as client:
        client.log_in()
        answers = client.ask(
            parse(OFF), bind(), execute(), parse("SELECT count(*) / 0 FROM orders"),
            bind(), execute(), SYNC,
        )  # fmt: skip
        assert [a.code for a in answers if a.kind == "E"] == ["22012"]
        assert client.values("SHOW morph.pushdown") == [[b"on"]]
        plan = client.values("EXPLAIN SELECT count(*) FROM orders")
        assert plan[-1] == [b"Morphgres: tier 1 (answered by the store)"]


def test_ddl_mode_of_a_transaction_that_is_rolled_back(shop: ServerProcess) -> None:
    def versions(client: Connection) -> int:
        row = client.execute("SELECT count(*) FROM morph.versions").fetchone()
        assert row is not None
        return int(row[0])

    with shop.connect() as client:
        for statement in ("BEGIN", "SET morph.ddl_mode = direct", "ROLLBACK"):
            client.execute(statement)
        client.execute("BEGIN")
        before = versions(client)
        client.execute("ALTER TABLE books RENAME COLUMN title TO heading")
        assert versions(client) == before + 1
        current = client.execute("SELECT version FROM morph.versions WHERE current").fetchone()
        client.execute("SELECT set_config('morph.ddl_mode', 'direct', true)")
        client.execute("ALTER TABLE books RENAME COLUMN price TO cost")
        assert client.execute("SELECT version FROM morph.versions WHERE current").fetchone() != (
            current
        )
        client.execute("ROLLBACK")
