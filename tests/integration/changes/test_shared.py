"""What a change did to the rows of all versions (constraints, NOT NULL, a wider type) is undone by
its rollback, done again by another promotion; what stands against it is told and kept (R4.6).
"""

from __future__ import annotations

import threading
from typing import Any

import psycopg
import pytest

from tests.integration.changes.prices import WAIT_S, in_state, reaches, rows
from tests.integration.server_process import ServerProcess, eventually

Connection = psycopg.Connection[Any]
CONSTRAINTS = (
    "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint "
    "WHERE conrelid = '{}'::regclass AND contype <> 'n' ORDER BY conname"
)
COLUMNS = (
    "SELECT a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull FROM pg_attribute a "
    "JOIN pg_class c ON c.oid = a.attrelid WHERE c.relnamespace = 'morph_store'::regnamespace "
    "AND c.relkind = 'r' AND a.attnum > 0 AND a.attname LIKE 'c%' ORDER BY c.relname, a.attnum"
)
HELD = "SELECT count(*) FROM pg_locks WHERE NOT granted AND mode = 'AccessExclusiveLock'"


def direct(client: Connection, *statements: str) -> None:
    """Statements whose changes are promoted at once."""
    client.execute("SET morph.ddl_mode = direct")
    for statement in statements:
        client.execute(statement)


def notices(client: Connection) -> list[str]:
    """What is told from now on."""
    told: list[str] = []
    client.add_notice_handler(lambda n: told.append(f"{n.message_primary}|{n.message_detail}"))
    return told


def constraints(client: Connection, table: str = "public.b") -> dict[str, str]:
    """Name → definition."""
    found = rows(client, CONSTRAINTS.format(table))
    return {name: text.replace("v1.", "") for name, text in found}


def make(client: Connection) -> None:
    """Version 1."""
    direct(
        client,
        "CREATE TABLE a (x text PRIMARY KEY)",
        "CREATE TABLE b (id int PRIMARY KEY, sku text CONSTRAINT b_u UNIQUE, "
        "n int NOT NULL CONSTRAINT pos CHECK (n > 0), w varchar(5), "
        "x text CONSTRAINT b_x REFERENCES a)",
        "INSERT INTO a VALUES ('p')",
        "INSERT INTO b VALUES (1, 'one', 1, 'w', 'p'), (2, 'two', 2, 'w', NULL)",
    )


TAKEN = (
    "ALTER TABLE b DROP CONSTRAINT b_u, DROP CONSTRAINT pos, DROP CONSTRAINT b_x, "
    "ALTER n DROP NOT NULL, ALTER w TYPE text"
)


def test_what_was_dropped_is_back_after_the_rollback_and_gone_after_the_promotion(
    server: ServerProcess,
) -> None:
    with server.connect() as client, server.root() as root:
        make(client)
        before, store = constraints(client), rows(root, COLUMNS)
        direct(client, TAKEN)
        after = constraints(client)
        assert set(before) - set(after) == {"b_u", "pos", "b_x"}
        for _ in range(2):
            client.execute("CALL morph.rollback(2)")
            assert constraints(client) == constraints(client, "v1.b") == before
            assert rows(root, COLUMNS) == store
            for bad in ("(3, 'one', 1)", "(3, 'x', -1)", "(3, 'x', NULL)"):
                with pytest.raises(psycopg.errors.IntegrityError):
                    client.execute(f"INSERT INTO b (id, sku, n) VALUES {bad}")
            client.execute("CALL morph.promote(2)")
            assert constraints(client) == after


def test_what_was_added_is_gone_after_the_rollback(server: ServerProcess) -> None:
    with server.connect() as client, server.root() as root:
        direct(client, "CREATE TABLE a (x text PRIMARY KEY)",
               "CREATE TABLE b (id int NOT NULL, sku text, n int, x text)",
               "INSERT INTO b VALUES (1, 'one', 1, NULL)")  # fmt: skip
        before, store = constraints(client), rows(root, COLUMNS)
        direct(
            client,
            "ALTER TABLE b ADD PRIMARY KEY (sku), ADD CONSTRAINT pos CHECK (n > 0), "
            "ADD FOREIGN KEY (x) REFERENCES a, ADD UNIQUE (n), ALTER n SET NOT NULL",
        )
        after = constraints(client)
        assert len(after) == 4
        client.execute("CALL morph.rollback(2)")
        assert constraints(client) == before == {}
        assert rows(root, COLUMNS) == store
        client.execute("INSERT INTO b VALUES (2, NULL, -1, 'nobody')")
        with pytest.raises(psycopg.errors.NotNullViolation) as caught:
            client.execute("CALL morph.promote(2)")
        assert caught.value.diag.message_detail == "1 row stands against it."
        client.execute("DELETE FROM b WHERE id = 2")
        client.execute("CALL morph.promote(2)")
        assert constraints(client) == after


@pytest.mark.parametrize(
    ("written", "state", "message", "detail"),
    [
        ("(3, 'one', 3, 'w', NULL)", "23505", 'could not create unique index "b_u"',
         "Key (sku)=(one) is duplicated. 2 rows stand against it (keys 1, 3)."),
        ("(3, 'x', -1, 'w', NULL)", "23514",
         'check constraint "pos" of relation "b" is violated by some row',
         "1 row stands against it (keys 3)."),
        ("(3, 'x', NULL, 'w', NULL)", "23502",
         'column "n" of relation "b" contains null values', "1 row stands against it (keys 3)."),
        ("(3, 'x', 3, 'w', 'q')", "23503",
         'insert or update on table "b" violates foreign key constraint "b_x"',
         'Key (x)=(q) is not present in table "a". 1 row stands against it (keys 3).'),
        ("(3, 'x', 3, 'longer', NULL)", "22001", "value too long for type character varying(5)",
         "1 row stands against it (keys 3)."),
        ("(3, 'x', 3, 'same  ', NULL)", "22001", "value too long for type character varying(5)",
         "1 row stands against it (keys 3)."),
    ],
)  # fmt: skip
def test_rows_that_stand_against_a_rollback_are_told_refused_and_kept(
    server: ServerProcess, written: str, state: str, message: str, detail: str
) -> None:
    with server.connect() as client:
        make(client)
        direct(client, TAKEN)
        told = notices(client)
        client.execute("CALL morph.check_rollback(2)")
        assert told == ["a rollback of change 2 would lose nothing|None"]
        client.execute(f"INSERT INTO b VALUES {written}")
        kept = rows(client, "SELECT * FROM b ORDER BY id")
        client.execute("CALL morph.check_rollback(2)")
        assert told[-1].endswith(f"rows stand against a rollback of change 2|{message}: {detail}")
        with pytest.raises(psycopg.Error) as caught:
            client.execute("CALL morph.rollback(2)")
        shown = caught.value.diag
        assert (shown.sqlstate, shown.message_primary, shown.message_detail) == (
            state, message, detail,
        )  # fmt: skip
        assert "accept => true" in str(shown.message_hint)
        client.execute("CALL morph.rollback(2, accept => true)")
        assert told[-1] == f"left out: {message}|{detail}"
        assert rows(client, "SELECT current FROM morph.versions ORDER BY version") == [
            (True,), (False,),
        ]  # fmt: skip
        assert rows(client, "SELECT * FROM b ORDER BY id") == kept
        client.execute("CALL morph.promote(2)")
        client.execute("DELETE FROM b WHERE id = 3")
        client.execute("CALL morph.rollback(2)")
        assert set(constraints(client)) == {"b_pkey", "b_u", "b_x", "pos"}


def test_a_constraint_is_replaced_under_its_name_in_one_statement(server: ServerProcess) -> None:
    with server.connect() as client:
        make(client)
        direct(client, "ALTER TABLE b DROP CONSTRAINT pos, ADD CONSTRAINT pos CHECK (n > -9)")
        client.execute("INSERT INTO b VALUES (3, 'x', -1)")
        with pytest.raises(psycopg.errors.CheckViolation):
            client.execute("INSERT INTO b VALUES (4, 'y', -10)")
        with pytest.raises(psycopg.errors.CheckViolation):
            client.execute("CALL morph.rollback(2)")
        client.execute("DELETE FROM b WHERE id = 3")
        client.execute("CALL morph.rollback(2)")
        assert constraints(client)["pos"] == "CHECK ((n > 0))"
        with pytest.raises(psycopg.errors.CheckViolation):
            client.execute("INSERT INTO b VALUES (3, 'x', -1)")


def test_several_changes_are_undone_newest_first_and_names_are_those_of_each_version(
    server: ServerProcess,
) -> None:
    with server.connect() as client, server.root() as root:
        make(client)
        before, store = constraints(client), rows(root, COLUMNS)
        direct(
            client,
            "ALTER TABLE b DROP CONSTRAINT b_x",
            "ALTER TABLE a DROP CONSTRAINT a_pkey",
            "ALTER TABLE b RENAME COLUMN n TO m",
            "ALTER TABLE b DROP CONSTRAINT pos, ADD CONSTRAINT small CHECK (m < 100)",
            "ALTER TABLE a RENAME TO aa",
        )
        client.execute("SET morph.ddl_mode = virtual")
        client.execute("ALTER TABLE b ADD CONSTRAINT later UNIQUE (m)")  # made on it, not promoted
        client.execute("CALL morph.rollback(2)")
        assert constraints(client) == before
        assert constraints(client, "v1.a") == {"a_pkey": "PRIMARY KEY (x)"}
        assert rows(root, COLUMNS) == store
        client.execute("CALL morph.promote(6)")
        assert set(constraints(client)) == {"b_pkey", "b_u", "small"}
        client.execute("CALL morph.rollback(2)")
        assert constraints(client) == before


def test_columns_of_the_change_are_no_hindrance_after_the_rollback(server: ServerProcess) -> None:
    with server.connect() as client, server.root() as root:
        make(client)
        direct(client, "CREATE TABLE e (id int PRIMARY KEY, gone text NOT NULL)")
        store = rows(root, COLUMNS)
        direct(client, "ALTER TABLE e DROP COLUMN gone, ADD COLUMN here int NOT NULL UNIQUE")
        client.execute("INSERT INTO e VALUES (1, 1)")
        with pytest.raises(psycopg.errors.NotNullViolation) as caught:
            client.execute("CALL morph.rollback(2)")
        assert caught.value.diag.message_primary == (
            'column "gone" of relation "e" contains null values'
        )
        client.execute("DELETE FROM e")
        client.execute("CALL morph.rollback(2)")
        assert set(store) <= set(rows(root, COLUMNS))
        client.execute("INSERT INTO e VALUES (1, 'a'), (2, 'b')")
        with pytest.raises(psycopg.errors.NotNullViolation):
            client.execute("CALL morph.promote(2)")


def test_what_one_transaction_does_and_undoes_is_no_change(server: ServerProcess) -> None:
    with server.connect() as client, server.root() as root:
        make(client)
        direct(client, "SET morph.ddl_mode = direct")
        with client.transaction():
            client.execute("ALTER TABLE b ADD CONSTRAINT big CHECK (n < 5), ALTER w SET NOT NULL")
            client.execute("ALTER TABLE b DROP CONSTRAINT big")
            client.execute("ALTER TABLE b ALTER w DROP NOT NULL")
            client.execute("ALTER TABLE b DROP CONSTRAINT pos")
        shared = rows(root, "SELECT jsonb_path_query_array(shared, '$[*].kind') "
                            "FROM morph_catalog.versions WHERE version = 2")  # fmt: skip
        assert shared == [(["constraint"],)]
        client.execute("INSERT INTO b VALUES (3, 'x', 7, NULL, NULL)")
        client.execute("CALL morph.rollback(2)")
        assert "pos" in constraints(client)


def test_a_change_with_a_shadow_takes_its_constraints_back_too(server: ServerProcess) -> None:
    with server.connect() as client, server.root() as root:
        make(client)
        before, store = constraints(client), rows(root, COLUMNS)
        client.execute("SET morph.ddl_mode = auto")
        with client.transaction():
            client.execute("SET LOCAL morph.back = 'repeat(''w'', w)'")
            client.execute("ALTER TABLE b ALTER w TYPE int USING length(w)")
            client.execute("RESET morph.back")
            client.execute(
                "ALTER TABLE b DROP CONSTRAINT pos, ALTER n DROP NOT NULL, ADD UNIQUE (n)"
            )
        client.execute("CALL morph.promote(2)")
        assert set(constraints(client)) == {"b_pkey", "b_u", "b_x", "b_n_key"}
        client.execute("INSERT INTO b VALUES (3, 'x', NULL)")
        told = notices(client)
        client.execute("CALL morph.check_rollback(2)")
        assert any('column "n" of relation "b" contains null' in text for text in told)
        with pytest.raises(psycopg.errors.NotNullViolation):
            client.execute("CALL morph.rollback(2)")
        assert in_state(client, "promoted")
        client.execute("UPDATE b SET n = 3 WHERE id = 3")
        client.execute("CALL morph.rollback(2)")
        assert constraints(client) == before
        assert set(store) <= set(rows(root, COLUMNS))
        client.execute("INSERT INTO b VALUES (4, 'y', 3)")  # not unique any more
        with pytest.raises(psycopg.errors.UniqueViolation):
            client.execute("CALL morph.promote(2)")
        client.execute("DELETE FROM b WHERE id = 4")
        client.execute("CALL morph.promote(2)")
        reaches(client, "promoted")
        client.execute("INSERT INTO b VALUES (5, 'z', NULL)")
        client.execute("CALL morph.rollback(2, accept => true)")
        assert set(constraints(client)) == set(before)
        assert rows(client, "SELECT n FROM b WHERE id = 5") == [(None,)]


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("(3, 'x', NULL, 'w', NULL)", 'column "n" of relation "b" contains null values'),
        ("(3, 'one', 3, 'w', NULL)", 'could not create unique index "b_u"'),
        ("(3, 'x', -1, 'w', NULL)",
         'check constraint "pos" of relation "b" is violated by some row'),
        ("(3, 'x', 3, 'w', 'q')",
         'insert or update on table "b" violates foreign key constraint "b_x"'),
    ],
)  # fmt: skip
def test_a_row_that_is_committed_while_the_rollback_waits_refuses_it(
    server: ServerProcess, written: str, message: str
) -> None:
    with server.connect() as client, server.connect() as writer, server.root() as root:
        make(client)
        direct(client, TAKEN)
        failed: list[psycopg.Error] = []

        def roll_back() -> None:
            try:
                client.execute("CALL morph.rollback(2)")
            except psycopg.Error as error:
                failed.append(error)

        waiting = threading.Thread(target=roll_back)
        with writer.transaction():
            writer.execute(f"INSERT INTO b VALUES {written}")
            waiting.start()
            held = (
                "SELECT count(*) FROM pg_locks WHERE NOT granted AND mode = 'AccessExclusiveLock'"
            )
            eventually(lambda: rows(root, held) != [(0,)], timeout_s=WAIT_S, what="it waits")
        waiting.join(WAIT_S)
        assert [str(e.diag.message_primary) for e in failed] == [message]
        assert rows(client, "SELECT max(id) FROM b") == [(3,)]
        assert "pos" not in constraints(client)


def test_a_conversion_made_in_place_keeps_what_it_did_to_its_column_and_says_so(
    server: ServerProcess,
) -> None:
    with server.connect() as client:
        make(client)
        direct(
            client,
            "SET morph.back = 'repeat(''s'', sku)'",
            "ALTER TABLE b DROP CONSTRAINT b_u, ALTER sku TYPE int USING length(sku), "
            "ALTER w SET NOT NULL",
            "RESET morph.back",
        )
        told = notices(client)
        client.execute("CALL morph.rollback(2)")
        kept = "what change 2 did to columns that are kept in another form now stays|None"
        assert told == [kept]
        assert "b_u" not in constraints(client)
        client.execute("INSERT INTO b VALUES (3, 'one', 3, NULL)")  # what else it did is undone
        assert rows(client, "SELECT sku FROM b ORDER BY id") == [("one",), ("two",), ("one",)]


def test_a_discarded_change_leaves_the_table_as_it_was(server: ServerProcess) -> None:
    with server.connect() as client, server.root() as root:
        make(client)
        before, store = constraints(client), rows(root, COLUMNS)
        client.execute("SET morph.ddl_mode = auto")
        with client.transaction():
            client.execute("SET LOCAL morph.back = 'repeat(''w'', w)'")
            client.execute("ALTER TABLE b ALTER w TYPE int USING length(w)")
            client.execute("RESET morph.back")
            client.execute(
                "ALTER TABLE b DROP CONSTRAINT pos, ALTER n DROP NOT NULL, ADD UNIQUE (n)"
            )
        reaches(client, "ready")
        client.execute("INSERT INTO b VALUES (3, 'x', NULL)")
        with pytest.raises(psycopg.errors.NotNullViolation) as caught:
            client.execute("CALL morph.discard(2)")
        assert caught.value.diag.message_detail == "1 row stands against it (keys 3)."
        assert in_state(client, "ready")
        client.execute("DELETE FROM b WHERE id = 3")
        client.execute("CALL morph.discard(2)")
        assert constraints(client) == constraints(client, "v1.b") == before
        assert set(store) <= set(rows(root, COLUMNS))
        client.execute("INSERT INTO b VALUES (3, 'x', 1)")
        client.execute("ALTER TABLE b ADD COLUMN more int")  # from version 1
        assert rows(client, "SELECT parent FROM morph.versions WHERE version = 3") == [(1,)]
