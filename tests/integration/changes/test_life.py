"""The life of a change: DDL, READY by itself, promotion, rollback, contraction (R4.2, R4.6)."""

from __future__ import annotations

import time
from decimal import Decimal

import psycopg
import pytest

from tests.integration.changes.prices import (
    ROWS,
    STEPS,
    change_type,
    events,
    in_state,
    make_prices,
    reaches,
    rows,
    state,
)
from tests.integration.server_process import ServerProcess, eventually

FIRST = "SELECT x FROM {}price WHERE id = 1"


def test_ddl_leads_to_ready_by_itself_and_v1_stays(server: ServerProcess) -> None:
    with server.connect() as client:
        make_prices(client)
        change_type(client)
        assert rows(client, FIRST.format("v2.")) == [(Decimal("0.100"),)]  # at once
        assert rows(client, FIRST.format("")) == [(10,)]
        reaches(client, "ready")
        assert events(client) == STEPS[:-2]
        assert rows(client, FIRST.format("")) == [(10,)]
        shown = "SELECT rows, total, percent::int, pending, held, tables FROM morph.progress"
        assert rows(client, shown) == [(ROWS, ROWS, 100, 0, False, ["price"])]
        table = (
            "SELECT version, role, schema_definition, associated_ddl, validation_status, "
            "start_lsn > 0 FROM morph.tables ORDER BY version"
        )
        ddl = "ALTER TABLE price ALTER COLUMN x TYPE numeric(12,3) USING x / 100.0"
        assert rows(client, table) == [
            (1, "live", "id integer NOT NULL, x integer", None, None, None),
            (2, "shadow", "id integer NOT NULL, x numeric(12,3)", ddl, "valid", True),
        ]


def test_promoted_written_rolled_back_and_promoted_again(server: ServerProcess) -> None:
    with server.connect() as client:
        make_prices(client)
        change_type(client)
        client.execute("CALL morph.promote(2)")
        assert rows(client, FIRST.format("")) == [(Decimal("0.100"),)]
        assert (state(client), events(client)) == ("promoted", STEPS)
        roles = "SELECT version, role FROM morph.tables ORDER BY version"
        assert rows(client, roles) == [(1, "reverse"), (2, "live")]
        client.execute("UPDATE price SET x = 0.55 WHERE id = 1")
        client.execute("UPDATE v1.price SET x = 77 WHERE id = 2")
        client.execute("DELETE FROM price WHERE id = 3")
        client.execute("INSERT INTO price VALUES (9001, 1.5)")
        client.execute("CALL morph.rollback(2)")
        query = "SELECT id, x FROM price WHERE id IN (1, 2, 3, 9001) ORDER BY id"
        assert rows(client, query) == [(1, 55), (2, 77), (9001, 150)]
        assert rows(client, "SELECT current FROM morph.versions ORDER BY version") == [
            (True,), (False,),
        ]  # fmt: skip
        assert in_state(client, "rolled back")
        client.execute("INSERT INTO price VALUES (9002, 5)")
        client.execute("CALL morph.promote(2)")
        assert rows(client, "SELECT x FROM price WHERE id = 9002") == [(Decimal("0.050"),)]
        assert rows(client, "SELECT count(*) FROM price") == [(ROWS + 1,)]


def test_rows_that_block_a_rollback_are_told_and_can_be_accepted(server: ServerProcess) -> None:
    with server.connect() as client:
        make_prices(client)
        change_type(client)
        client.execute("CALL morph.promote(2)")
        told: list[str] = []
        client.add_notice_handler(lambda n: told.append(f"{n.message_primary} {n.message_detail}"))
        client.execute("CALL morph.check_rollback(2)")
        assert told[-1].startswith("a rollback of change 2 would lose nothing")
        client.execute("UPDATE price SET x = 0.555 WHERE id = 1")
        client.execute("CALL morph.check_rollback(2)")
        assert told[-1].startswith("1 rows stand against a rollback of change 2")
        assert told[-1].endswith("keys 1.")
        with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState) as caught:
            client.execute("CALL morph.rollback(2)")
        assert "1 rows cannot be shown" in str(caught.value.diag.message_detail)
        assert "(keys 1)" in str(caught.value.diag.message_detail)
        assert "accept => true" in str(caught.value.diag.message_hint)
        assert in_state(client, "promoted")
        client.execute("CALL morph.rollback(2, accept => true)")
        assert rows(client, FIRST.format("")) == [(56,)]
        assert rows(client, FIRST.format("v2.")) == [(Decimal("0.555"),)]  # nothing is lost
        client.execute("CALL morph.promote(2)")
        assert rows(client, FIRST.format("")) == [(Decimal("0.555"),)]


def test_contracted_it_is_over(server: ServerProcess) -> None:
    with server.connect() as client:
        make_prices(client)
        change_type(client)
        client.execute("CALL morph.promote(2)")
        client.execute("CALL morph.contract(2)")
        assert in_state(client, "completed")
        client.execute("UPDATE price SET x = 2 WHERE id = 1")
        assert rows(client, FIRST.format("")) == [(Decimal("2.000"),)]
        assert rows(client, "SELECT * FROM morph.progress") == []
        with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="is completed"):
            client.execute("CALL morph.rollback(2)")
        client.execute("CALL morph.promote(2)")  # what is current: nothing
        client.execute("ALTER TABLE price ADD COLUMN note text DEFAULT 'n'")
        client.execute("CALL morph.promote(3)")
        assert rows(client, "SELECT x, note FROM price WHERE id = 1") == [(Decimal("2.000"), "n")]
        with server.root() as root:
            left = (
                "SELECT count(*) FROM pg_class WHERE relnamespace = 'morph_store'::regnamespace "
                "AND relkind = 'r' AND relname LIKE 't%'"
            )
            assert root.execute(left).fetchone() == (1,)


def test_an_empty_table_needs_no_copying(server: ServerProcess) -> None:
    with server.connect() as client:
        make_prices(client, rows=0)
        change_type(client)
        client.execute("INSERT INTO price VALUES (1, 10)")
        client.execute("CALL morph.promote(2)")
        assert rows(client, FIRST.format("")) == [(Decimal("0.100"),)]


def test_a_batch_of_tables_flips_together(server: ServerProcess) -> None:
    """A transaction of DDL is one change: all its tables or none."""
    with server.connect() as client:
        make_prices(client)
        client.execute("CREATE TABLE cost (id int PRIMARY KEY, y int)")
        client.execute("INSERT INTO cost SELECT g, g FROM generate_series(1, 50) g")
        with client.transaction():
            change_type(client)
            client.execute("ALTER TABLE cost ALTER COLUMN y TYPE text")
        client.execute("CALL morph.promote(2)")
        assert rows(client, "SELECT x, y FROM price JOIN cost USING (id) WHERE id = 1") == [
            (Decimal("0.100"), "1")
        ]
        assert rows(client, "SELECT tables FROM morph.progress") == [(["price", "cost"],)]
        client.execute("CALL morph.rollback(2)")
        assert rows(client, "SELECT x, y FROM price JOIN cost USING (id) WHERE id = 1") == [(10, 1)]


def test_promoted_lazily_the_layout_follows(server: ServerProcess) -> None:
    with server.connect() as client:
        make_prices(client)
        client.execute("BEGIN")
        change_type(client)
        client.execute("CALL morph.promote(2, lazy => true)")
        assert rows(client, FIRST.format("")) == [(Decimal("0.100"),)]
        client.execute("COMMIT")
        client.execute("UPDATE price SET x = 0.7 WHERE id = 1")
        reaches(client, "promoted")
        eventually(lambda: "Flipped" in events(client), timeout_s=60, what="the flip")
        assert rows(client, FIRST.format("")) == [(Decimal("0.700"),)]
        client.execute("CALL morph.rollback(2)")
        assert rows(client, FIRST.format("")) == [(70,)]


def test_a_lazy_promotion_can_be_taken_back_before_the_layout_follows(
    server: ServerProcess,
) -> None:
    with server.connect() as client:
        make_prices(client)
        client.execute("BEGIN")
        change_type(client)
        client.execute("CALL morph.promote(2, lazy => true)")
        client.execute("CALL morph.hold(2)")
        client.execute("COMMIT")
        client.execute("UPDATE price SET x = 0.7 WHERE id = 1")
        client.execute("CALL morph.rollback(2)")
        assert rows(client, FIRST.format("")) == [(70,)]
        client.execute("CALL morph.resume(2)")
        reaches(client, "ready")
        time.sleep(0.2)  # a flip that must not come would come now
        assert in_state(client, "ready")


def test_in_mode_virtual_nothing_is_copied(server: ServerProcess) -> None:
    with server.connect() as client:
        make_prices(client)
        client.execute("SET morph.ddl_mode = virtual")
        change_type(client)
        client.execute("CALL morph.promote(2)")
        assert rows(client, FIRST.format("")) == [(Decimal("0.100"),)]
        assert rows(client, "SELECT * FROM morph.change_steps") == []
        assert in_state(client, "promoted")
