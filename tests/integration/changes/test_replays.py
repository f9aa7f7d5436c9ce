"""R4.5: queries replayed on both layouts of a change (V6), by CALL morph.validate."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from tests.integration.changes.prices import change_type, make_prices, reaches, rows
from tests.integration.server_process import ServerProcess, eventually

FOUND = (
    "SELECT record_id, type, severity FROM morph.discrepancies WHERE report_id = "
    "(SELECT max(report_id) FROM morph.validation_reports WHERE method = 'query') ORDER BY seq"
)
LAST = (
    "SELECT state, verdict, rows_compared, message FROM morph.validation_reports "
    "WHERE method = 'query' ORDER BY report_id DESC LIMIT 1"
)


def ready(client: psycopg.Connection[Any]) -> None:
    make_prices(client)
    change_type(client)
    reaches(client, "ready")


def damage(server: ServerProcess, statement: str) -> None:
    """Change the shadow behind Morphgres's back; {0} is its name, {1} that of its converted one."""
    with server.root() as root, root.transaction():
        root.execute("SET LOCAL morph.applying = 'on'")
        query = "SELECT relname FROM pg_class WHERE relname ~ '^t[0-9]+s2$'"
        ((shadow,),) = root.execute(query).fetchall()
        query = (
            "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass "
            "AND atttypid = 'numeric'::regtype AND NOT attisdropped"
        )
        ((column,),) = root.execute(query, (f"morph_store.{shadow}",)).fetchall()
        root.execute(statement.format(f"morph_store.{shadow}", f'"{column}"'))


def asked(*queries: str) -> str:
    texts = ", ".join("'" + query.replace("'", "''") + "'" for query in queries)
    return f"CALL morph.validate(2, 'query', ARRAY[{texts}])"


GIVEN = {
    "SELECT count(*), sum(x) FROM price": None,
    "SELECT x FROM price ORDER BY id": None,
    "SELECT p.*, q.x FROM price p JOIN v1.price q USING (id) WHERE id < 50": None,
    "SELECT id FROM price LIMIT 3": "NONDETERMINISTIC",
    "SELECT random() FROM price": "NONDETERMINISTIC",
    "SELECT 1 / (id - 7) FROM price": None,
    "SELECT nothing FROM price": None,
    "WITH one AS (SELECT * FROM price WHERE id = 1) SELECT * FROM one": None,
}


@pytest.mark.timeout(300)
def test_given_queries_have_the_same_answers(server: ServerProcess) -> None:
    with server.connect() as client:
        ready(client)
        # The order of rows in the shadow is another than in the live table.
        damage(server, "UPDATE {0} SET {1} = {1} WHERE {1} < 1")
        client.execute(asked(*GIVEN))
        expected = [
            (f"query {number}", category, "info")
            for number, category in enumerate(GIVEN.values(), 1)
            if category
            for _ in (1, 2)  # in both versions
        ]
        assert rows(client, FOUND) == expected
        ((state, verdict, compared, message),) = rows(client, LAST)
        assert (state, verdict) == ("done", "equal")
        assert compared > 2_000
        assert message.startswith("16 answers (4 of them errors), median time of")


@pytest.mark.timeout(300)
def test_another_value_in_the_shadow_is_found_in_both_versions(server: ServerProcess) -> None:
    notices: list[str] = []
    with server.connect() as client:
        client.add_notice_handler(lambda n: notices.append(f"{n.severity} {n.message_primary}"))
        ready(client)
        damage(server, "UPDATE {0} SET {1} = 7 WHERE {1} = 1.5")
        client.execute(asked("SELECT x FROM price ORDER BY id", "SELECT x FROM price WHERE id = 1"))
        assert rows(client, FOUND) == [("query 1", "VALUE_MISMATCH", "critical")] * 2
        assert notices[-1].startswith("WARNING validation of change 2: price: 2 VALUE_MISMATCH")
        damage(server, "UPDATE {0} SET {1} = 0 WHERE {1} = 7")
        client.execute(asked("SELECT 1 / x::int FROM price WHERE id = 15"))
        assert rows(client, FOUND) == [("query 1", "ERROR_MISMATCH", "critical")] * 2


@pytest.mark.timeout(300)
def test_logged_statements_are_replayed(server: ServerProcess) -> None:
    with server.connect() as client:
        make_prices(client)
        change_type(client)
        reaches(client, "ready")
        for number in (3, 4):
            client.execute(f"SELECT max(x) FROM price WHERE id > {number}")
        client.execute("SELECT x FROM price WHERE id = %s", (9,))
        client.execute("UPDATE price SET x = 11 WHERE id = 1")
        client.execute("CALL morph.validate(2, method => 'query')")
        ((_, verdict, _, message),) = rows(client, LAST)
        assert verdict == "equal"
        assert int(message.split()[0]) >= 2  # other tests of this server have asked, too
        damage(server, "DELETE FROM {0} WHERE {1} = 50")
        client.execute("CALL morph.validate(2, method => 'query')")
        found = rows(client, FOUND)
        logged = rows(client, "SELECT fingerprint FROM morph.statements WHERE query ~ 'max.x.'")
        assert logged
        assert {row[0] for row in logged} <= {row[0] for row in found}


@pytest.mark.timeout(300)
def test_one_layout_has_nothing_to_compare_with(server: ServerProcess) -> None:
    with server.connect() as client:
        ready(client)
        client.execute("CALL morph.promote(2)")
        client.execute("CALL morph.contract(2)")
        with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState):
            client.execute("CALL morph.validate(2, 'query')")


@pytest.mark.timeout(300)
def test_what_is_being_written_is_no_difference(server: ServerProcess) -> None:
    """A write that the shadow does not have yet is read through the change's expressions."""
    with server.connect() as client:
        ready(client)
        client.execute("CALL morph.promote(2)")
        newest = "SELECT coalesce(max(report_id), 0) FROM morph.validation_reports"
        ((before,),) = rows(client, newest)
        for number in range(1, 9):
            client.execute(f"UPDATE price SET x = {number}.25 WHERE id = {number}")
            client.execute(f"DELETE FROM price WHERE id = {number + 100}")
            client.execute(asked("SELECT * FROM price"))
        assert rows(
            client,
            "SELECT count(*), sum(discrepancies) FROM morph.validation_reports "
            f"WHERE method = 'query' AND verdict = 'equal' AND report_id > {before}",
        ) == [(8, 0)]


@pytest.mark.timeout(300)
def test_what_cannot_be_replayed_is_refused(server: ServerProcess) -> None:
    with server.connect() as client:
        ready(client)
        client.execute("CREATE TABLE other (id int PRIMARY KEY)")
        for query in ("SELECT 1", "SELECT * FROM other", "DELETE FROM price", "no SQL"):
            with pytest.raises(psycopg.errors.InvalidParameterValue, match="query 1 is no SELECT"):
                client.execute(asked(query))
        with pytest.raises(psycopg.errors.InvalidParameterValue, match="takes no queries"):
            client.execute("CALL morph.validate(2, 'full', ARRAY['SELECT * FROM price'])")
        with pytest.raises(psycopg.errors.InvalidParameterValue, match=r"ARRAY\['…', '…'\]"):
            client.execute("CALL morph.validate(2, 'query', 'SELECT * FROM price')")
        client.execute(asked("SELECT set_config('role', 'morph_root', true) FROM price"))
        assert rows(client, LAST)[0][3].startswith("2 answers (2 of them errors)")
        client.execute(asked("SELECT nextval('pg_temp.none') FROM price"))
        left = "SELECT count(*) FROM pg_namespace WHERE nspname ~ '9[0-9]{8}'"
        with server.root() as root:
            assert root.execute(left).fetchone() == (0,)


@pytest.mark.timeout(300)
def test_a_replay_ends_with_the_statement_that_asked_for_it(server: ServerProcess) -> None:
    running_now = "SELECT count(*) FROM pg_stat_activity WHERE query ~ 'pg_sleep' AND pid <> %s"
    with server.connect() as client, server.root() as root:
        ready(client)
        client.execute("SET statement_timeout = '2s'")
        with pytest.raises(psycopg.errors.QueryCanceled, match="statement timeout"):
            client.execute(asked("SELECT pg_sleep(200) FROM price WHERE id = 1"))
        client.execute("RESET statement_timeout")
        pid = root.execute("SELECT pg_backend_pid()").fetchone()
        eventually(lambda: root.execute(running_now, pid).fetchone() == (0,), timeout_s=60)
        client.execute(asked("SELECT x FROM price WHERE id = 1"))
        assert rows(client, LAST)[0][1] == "equal"
