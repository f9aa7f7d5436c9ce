"""Rows that the new form cannot hold, up to `changes.error_limit` (issue 5, point 5)."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from tests.integration.changes.conftest import QUICK
from tests.integration.changes.prices import reaches, rows, state
from tests.integration.server_process import running


def test_the_review_goes_on_without_them_and_the_promotion_does_not(
    fresh_directory: Path,
) -> None:
    with (
        running(fresh_directory, f"{QUICK}error_limit = 1\n") as server,
        server.connect() as client,
    ):
        client.execute("CREATE TABLE price (id int PRIMARY KEY, x text)")
        client.execute("INSERT INTO price VALUES (1, '1'), (2, 'two'), (3, '3')")
        client.execute("SET morph.back = 'x::text'")
        client.execute("ALTER TABLE price ALTER COLUMN x TYPE int USING x::int")
        reaches(client, "ready")
        assert rows(client, "SELECT left_out FROM morph.progress") == [(1,)]
        with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="promoted") as raised:
            client.execute("CALL morph.promote(2)")
        assert "1 rows cannot be in the new layout (keys 2)" in str(
            raised.value.diag.message_detail
        )
        assert state(client) == "ready"
        assert rows(client, "SELECT x FROM v1.price ORDER BY id") == [("1",), ("two",), ("3",)]
        client.execute("UPDATE v1.price SET x = '2' WHERE id = 2")
        client.execute("CALL morph.promote(2)")
        assert rows(client, "SELECT x FROM price ORDER BY id") == [(1,), (2,), (3,)]
