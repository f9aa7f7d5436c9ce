"""A disk that is full when a change writes its log or its shadow (issue 5, "bad input"; R6.3).

The disk is PostgreSQL's to find full (tests/integration/test_lifecycle.py has a real one); here a
relation of a change refuses with the error that PostgreSQL has for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest

from evolution.layouts.embedded.log import log_name
from tests.integration.changes.prices import change_type, make_prices, reaches, rows, state
from tests.integration.server_process import ServerProcess, eventually

REFUSE = """CREATE OR REPLACE FUNCTION public.no_space() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE disk_full USING MESSAGE = 'could not extend file: No space left on device';
END $$"""
REASON = "SELECT reason FROM morph.progress"


@contextmanager
def _full(server: ServerProcess, relation: str) -> Iterator[None]:
    """As long as this lasts the relation takes no row."""
    with server.root() as root:
        root.execute(REFUSE)
        root.execute(
            f"CREATE TRIGGER no_space BEFORE INSERT OR UPDATE ON {relation} "
            "FOR EACH ROW EXECUTE FUNCTION public.no_space()"
        )
        try:
            yield
        finally:
            root.execute(f"DROP TRIGGER no_space ON {relation}")
            root.execute("DROP FUNCTION public.no_space()")


# The log is full: the client's statement fails alone, whatever version it writes, nothing of it
# stays, and the change goes on
def test_a_log_that_is_full_fails_the_statement_and_nothing_else(server: ServerProcess) -> None:
    with server.connect() as client:
        make_prices(client, 50)
        change_type(client)
        reaches(client, "ready")
        [(table_id,)] = rows(client, "SELECT DISTINCT table_id FROM morph.tables")
        with _full(server, log_name(table_id)):
            for text in (
                "UPDATE v1.price SET x = 1 WHERE id = 1",
                "INSERT INTO v2.price VALUES (1001, 5)",
                "DELETE FROM v2.price WHERE id = 2",
            ):
                with pytest.raises(psycopg.errors.DiskFull):
                    client.execute(text.encode())
            assert rows(client, "SELECT x FROM v1.price WHERE id IN (1, 2)") == [(10,), (20,)]
            assert state(client) == "ready"
        client.execute("UPDATE v1.price SET x = 1 WHERE id = 1")
        client.execute("INSERT INTO v2.price VALUES (1001, 5)")
        client.execute("CALL morph.promote(2)")
        found = rows(client, "SELECT id, x::text FROM price WHERE id IN (1, 2, 1001) ORDER BY id")
        assert found == [(1, "0.010"), (2, "0.200"), (1001, "5.000")]


# The shadow is full: clients write on, morph.progress says why it does not go on, and then it does
def test_a_shadow_that_is_full_waits(server: ServerProcess) -> None:
    with server.connect() as client:
        make_prices(client, 50)
        change_type(client)
        reaches(client, "ready")
        with server.root() as root:
            [(shadow,)] = root.execute(
                "SELECT relname FROM pg_class WHERE relnamespace = 'morph_store'::regnamespace "
                "AND relname LIKE '%s2'"
            ).fetchall()
        with _full(server, f'morph_store."{shadow}"'):
            client.execute("UPDATE v1.price SET x = 1 WHERE id = 1")
            client.execute("UPDATE v2.price SET x = 7.5 WHERE id = 2")
            eventually(
                lambda: "No space left" in str(rows(client, REASON)), timeout_s=60, what="a reason"
            )
            assert rows(client, "SELECT x FROM v1.price WHERE id IN (1, 2)") == [(1,), (750,)]
        client.execute("CALL morph.promote(2)")
        found = rows(client, "SELECT x::text FROM price WHERE id IN (1, 2) ORDER BY id")
        assert found == [("0.010",), ("7.500",)]
