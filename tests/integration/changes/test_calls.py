"""CALL morph.promote, hold, resume, discard, …: waiting, cancelling, and what is refused (R4.6)."""

from __future__ import annotations

import json
import threading
from decimal import Decimal
from pathlib import Path

import psycopg
import pytest

from tests.integration.changes.conftest import QUICK
from tests.integration.changes.prices import (
    change_type,
    events,
    in_state,
    make_prices,
    reaches,
    rows,
    state,
)
from tests.integration.server_process import ServerProcess, eventually, running

WANTED = "SELECT DISTINCT wanted FROM morph.changes WHERE change_id = 2"


def held_change(client: psycopg.Connection) -> None:
    """A change that does not go on, so that whoever waits for it waits."""
    make_prices(client)
    with client.transaction():
        change_type(client)
        client.execute("CALL morph.hold(2)")


def test_held_it_waits_and_resumed_it_goes_on(server: ServerProcess) -> None:
    with server.connect() as client:
        held_change(client)
        told = rows(client, "SELECT state, held, reason FROM morph.changes WHERE change_id = 2")
        assert told == [("analyzed", True, "held by morph")]
        with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState) as caught:
            client.execute("CALL morph.promote(2)")
        assert "cannot be promoted while it is held" in str(caught.value)
        assert caught.value.diag.message_hint == "CALL morph.resume(2) lets it go on."
        client.execute("CALL morph.resume(2)")
        client.execute("CALL morph.promote(2)")
        assert events(client)[:3] == ["Hold", "Resume", "Started"]
        notices: list[str] = []
        client.add_notice_handler(lambda n: notices.append(str(n.message_primary)))
        with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="cannot be held"):
            client.execute("CALL morph.hold(2)")
        client.execute("CALL morph.resume(2)")
        assert notices == ["change 2 is not held"]


def test_a_hold_is_part_of_its_transaction(server: ServerProcess) -> None:
    with server.connect() as client:
        held_change(client)
        client.execute("BEGIN")
        client.execute("CALL morph.resume(2)")
        client.execute("ROLLBACK")
        assert rows(client, "SELECT held FROM morph.changes WHERE change_id = 2") == [(True,)]


def blocked_promotion(client: psycopg.Connection, writer: psycopg.Connection) -> None:
    """A change that would be promoted, but for a transaction that has written."""
    make_prices(client)
    change_type(client)
    reaches(client, "ready")
    writer.execute("UPDATE price SET x = 11 WHERE id = 1")


def test_a_cancelled_call_takes_its_wish_back(server: ServerProcess) -> None:
    caught: list[str | None] = []

    def promote() -> None:
        try:
            caller.execute("CALL morph.promote(2)")
        except psycopg.Error as error:
            caught.append(error.sqlstate)

    with (
        server.connect() as client,
        server.connect(autocommit=False) as writer,
        server.connect() as caller,
    ):
        blocked_promotion(client, writer)
        thread = threading.Thread(target=promote)
        thread.start()
        eventually(lambda: rows(client, WANTED) == [("promote",)], timeout_s=60)
        caller.cancel_safe(timeout=30)
        thread.join(60)
        assert not thread.is_alive()
        assert caught == ["57014"]
        eventually(lambda: rows(client, WANTED) == [(None,)], timeout_s=60)
        writer.rollback()
        reaches(client, "ready")
        assert rows(client, "SELECT x FROM price WHERE id = 1") == [(10,)]


def test_statement_timeout_ends_a_waiting_call(server: ServerProcess) -> None:
    with server.connect() as client, server.connect(autocommit=False) as writer:
        blocked_promotion(client, writer)
        client.execute("SET statement_timeout = '300ms'")
        with pytest.raises(psycopg.errors.QueryCanceled, match="statement timeout"):
            client.execute("CALL morph.promote(2)")
        client.execute("RESET statement_timeout")
        eventually(lambda: rows(client, WANTED) == [(None,)], timeout_s=60)
        writer.commit()
        client.execute("CALL morph.promote(2)")
        assert rows(client, "SELECT x FROM price WHERE id = 1") == [(Decimal("0.110"),)]


def test_a_cut_over_that_gets_no_lock_is_given_up_after_its_tries(server: ServerProcess) -> None:
    """Writers go on with the old layout meanwhile: no client sees an error (R4.6)."""
    with server.connect() as client, server.connect(autocommit=False) as writer:
        blocked_promotion(client, writer)
        with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState) as caught:
            client.execute("CALL morph.promote(2)")
        assert "change 2 could not be promoted" in str(caught.value)
        assert caught.value.diag.message_detail
        assert in_state(client, "ready")
        assert events(client).count("Unfenced") >= 2
        client.execute("UPDATE price SET x = 12 WHERE id = 2")
        writer.commit()
        client.execute("CALL morph.promote(2)")
        query = "SELECT x FROM price WHERE id IN (1, 2) ORDER BY id"
        assert rows(client, query) == [(Decimal("0.110"),), (Decimal("0.120"),)]


# ---------------------------------------------------------------- what is refused


def test_calls_that_wait_run_outside_of_transactions(server: ServerProcess) -> None:
    with server.connect() as client:
        make_prices(client)
        change_type(client)
        for call in ("promote(2)", "discard(2)", "contract(2)"):
            with pytest.raises(psycopg.errors.ActiveSqlTransaction) as caught, client.transaction():
                client.execute(f"CALL morph.{call}")
            assert "cannot run inside a transaction block" in str(caught.value)
        with pytest.raises(psycopg.errors.ActiveSqlTransaction):
            client.execute("SELECT 1; CALL morph.promote(2)")
        client.execute("SET default_transaction_read_only = on")
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            client.execute("CALL morph.promote(2)")
        client.execute("SET default_transaction_read_only = off")
        reaches(client, "ready")
        with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="cannot be contr"):
            client.execute("CALL morph.contract(2)")
        with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="is not promoted"):
            client.execute("CALL morph.rollback(2)")
        with pytest.raises(psycopg.errors.UndefinedObject, match="change 1 has no data work"):
            client.execute("CALL morph.discard(1)")


def test_a_discarded_change_leaves_the_table_as_it_was(server: ServerProcess) -> None:  # I11
    with server.connect() as client:
        make_prices(client)
        change_type(client)
        reaches(client, "ready")
        client.execute("UPDATE price SET x = 5 WHERE id = 1")
        client.execute("CALL morph.discard(2)")
        assert in_state(client, "discarded")
        assert rows(client, "SELECT * FROM morph.progress") == []
        assert rows(client, "SELECT x FROM price WHERE id IN (1, 2) ORDER BY id") == [(5,), (20,)]
        client.execute("DELETE FROM price WHERE id > 2")
        with server.root() as root:
            kept = (
                "SELECT (SELECT count(*) FROM pg_class WHERE relkind = 'r' "
                "AND relnamespace = 'morph_store'::regnamespace AND relname ~ 's[0-9]+$'), "
                "(SELECT count(*) FROM morph_log.shadows)"
            )
            assert root.execute(kept).fetchone() == (0, 0)
        with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="is discarded"):
            client.execute("CALL morph.promote(2)")
        client.execute("ALTER TABLE price RENAME COLUMN x TO cents")  # from the version before it
        client.execute("CALL morph.promote(3)")
        assert rows(client, "SELECT cents FROM price WHERE id = 1") == [(5,)]


def test_rows_that_do_not_convert_fail_the_review_and_it_can_be_tried_again(
    server: ServerProcess,
) -> None:
    with server.connect() as client:
        client.execute("CREATE TABLE code (id int PRIMARY KEY, x text)")
        client.execute("INSERT INTO code SELECT g, g::text FROM generate_series(1, 300) g")
        client.execute("UPDATE code SET x = 'seven' WHERE id = 7")
        client.execute("ALTER TABLE code ALTER COLUMN x TYPE int USING x::int")
        with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState) as caught:
            client.execute("CALL morph.promote(2)")
        assert "change 2 has failed its review" in str(caught.value)
        assert "seven" in str(caught.value.diag.message_detail)
        assert "CALL morph.resume(2)" in str(caught.value.diag.message_hint)
        assert rows(client, "SELECT x FROM code WHERE id = 7") == [("seven",)]
        found = "SELECT type, record_id FROM morph.discrepancies"
        assert rows(client, found) == [("COERCION_ERROR", "7")]
        status = "SELECT validation_status FROM morph.tables WHERE version = 2"
        assert rows(client, status) == [("invalid",)]
        client.execute("UPDATE code SET x = '7' WHERE id = 7")
        client.execute("CALL morph.resume(2)")
        client.execute("CALL morph.promote(2)")
        assert rows(client, "SELECT x FROM code WHERE id = 7") == [(7,)]


# ---------------------------------------------------------------- comparing


def test_a_damaged_shadow_is_found_and_repaired(server: ServerProcess) -> None:
    notices: list[str] = []
    with server.connect() as client:
        client.add_notice_handler(lambda n: notices.append(f"{n.severity} {n.message_primary}"))
        make_prices(client)
        change_type(client)
        reaches(client, "ready")
        client.execute("CALL morph.validate(2)")
        assert notices[-1] == "NOTICE validation of change 2: no differences"
        with server.root() as root, root.transaction():
            root.execute("SET LOCAL morph.applying = 'on'")
            store = "SELECT relname FROM pg_class WHERE relname ~ '^t[0-9]+s2$'"
            ((shadow,),) = root.execute(store).fetchall()
            column = "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum = 1"
            ((key,),) = root.execute(column, (f"morph_store.{shadow}",)).fetchall()
            root.execute(f"DELETE FROM morph_store.{shadow} WHERE {key} = 4")
        client.execute("CALL morph.validate(2, method => 'full')")
        assert notices[-1].startswith("WARNING validation of change 2: price: 1 MISSING_IN_SHADOW")
        query = "SELECT max(report_id) FROM morph.validation_reports WHERE verdict = 'different'"
        ((report,),) = rows(client, query)
        client.execute(f"CALL morph.repair(2, {report})")
        assert notices[-1] == "NOTICE 1 rows were made again"
        client.execute("CALL morph.validate(2)")
        assert notices[-1] == "NOTICE validation of change 2: no differences"
        with pytest.raises(psycopg.errors.InvalidParameterValue, match="does not exist"):
            client.execute("CALL morph.validate(2, 'guess')")


# ---------------------------------------------------------------- others


def test_the_old_layout_goes_when_the_window_is_over(fresh_directory: Path) -> None:
    config = f'{QUICK}rollback_window = "1s"\ncontraction = "after_window"\n'
    with running(fresh_directory, config) as server, server.connect() as client:
        make_prices(client, rows=10)
        change_type(client)
        client.execute("CALL morph.promote(2)")
        reaches(client, "completed")
        assert events(client)[-2:] == ["Contract", "Contracted"]
        assert rows(client, "SELECT x FROM price WHERE id = 1") == [(Decimal("0.100"),)]


def test_a_session_on_the_old_version_stops_a_contraction(server: ServerProcess) -> None:
    with server.connect() as client, server.connect() as pinned:
        make_prices(client)
        change_type(client)
        client.execute("CALL morph.promote(2)")
        pinned.execute("SET search_path = v1")
        assert rows(pinned, "SELECT x FROM price WHERE id = 1") == [(10,)]
        with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState) as caught:
            client.execute("CALL morph.contract(2)")
        assert "1 sessions use a version" in str(caught.value.diag.message_detail)
        pinned.execute("SET search_path = public")
        client.execute("CALL morph.contract(2)")
        assert in_state(client, "completed")


def test_a_change_waits_for_one_that_works_on_its_table(server: ServerProcess) -> None:
    with server.connect() as client:
        held_change(client)
        client.execute("ALTER TABLE price ALTER COLUMN x TYPE text")
        reason = "SELECT reason FROM morph.changes WHERE change_id = 3"
        eventually(lambda: "change 2" in str(rows(client, reason)), timeout_s=60)
        assert state(client, 3) == "analyzed"
        client.execute("CALL morph.resume(2)")
        client.execute("CALL morph.promote(3)")  # everything on the line up to it
        assert rows(client, "SELECT x FROM price WHERE id = 1") == [("0.100",)]
        assert state(client, 2) == "promoted"


def test_several_steps_forward_and_back(server: ServerProcess) -> None:
    with server.connect() as client:
        make_prices(client)
        change_type(client)
        client.execute("CALL morph.promote(2)")
        client.execute("ALTER TABLE price ALTER COLUMN x TYPE text")
        client.execute("CALL morph.promote(3)")
        client.execute("UPDATE price SET x = '0.250' WHERE id = 1")
        client.execute("INSERT INTO v1.price VALUES (9001, 7)")
        with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState) as caught:
            client.execute("CALL morph.contract(3)")
        assert "change 2 can be rolled back only through it" in str(
            caught.value.diag.message_detail
        )
        client.execute("CALL morph.rollback(2)")
        query = "SELECT x FROM {}price WHERE id IN (1, 9001) ORDER BY id"
        assert rows(client, query.format("")) == [(25,), (7,)]
        assert rows(client, query.format("v3.")) == [("0.250",), ("0.070",)]
        assert (state(client, 2), state(client, 3)) == ("rolled back", "rolled back")
        client.execute("CALL morph.promote(3)")
        assert rows(client, query.format("")) == [("0.250",), ("0.070",)]
        client.execute("CALL morph.contract(2)")
        client.execute("CALL morph.contract(3)")
        assert rows(client, query.format("")) == [("0.250",), ("0.070",)]


def test_ddl_beside_a_change(server: ServerProcess) -> None:
    """What is added to the table reaches both layouts."""
    with server.connect() as client:
        make_prices(client)
        change_type(client)
        reaches(client, "ready")
        client.execute("ALTER TABLE price ADD COLUMN note text")
        client.execute("CREATE UNIQUE INDEX price_note ON price (note)")
        client.execute("UPDATE v3.price SET note = 'a' WHERE id = 1")
        client.execute("CALL morph.promote(3)")
        query = "SELECT x, note FROM price WHERE id < 3 ORDER BY id"
        assert rows(client, query) == [(Decimal("0.100"), "a"), (Decimal("0.200"), None)]
        with pytest.raises(psycopg.errors.UniqueViolation):
            client.execute("UPDATE price SET note = 'a' WHERE id = 2")
        client.execute("ALTER TABLE price ADD COLUMN later int")
        client.execute("UPDATE v4.price SET later = 4 WHERE id = 1")
        client.execute("CALL morph.rollback(2)")
        assert rows(client, "SELECT * FROM price WHERE id = 1") == [(1, 10)]
        assert rows(client, "SELECT * FROM v4.price WHERE id = 1") == [
            (1, Decimal("0.100"), "a", 4)
        ]


def test_every_step_is_announced(server: ServerProcess) -> None:
    with server.connect() as client, server.connect() as listener:
        listener.execute("LISTEN morph_change")
        make_prices(client)
        change_type(client)
        client.execute("CALL morph.promote(2)")
        told = []
        for note in listener.notifies(timeout=60):
            told.append(json.loads(note.payload))
            if told[-1].get("state") == "PROMOTED":
                break
        states = [each["state"] for each in told if "state" in each]
        assert states[-2:] == ["FENCED", "PROMOTED"]
        assert all(each["changeId"] == 2 for each in told)
