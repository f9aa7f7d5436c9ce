"""Versions that show the same values in another form (EVOLUTION 2; decision 0008)."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import errors

from tests.integration.fresh_catalog import empty_catalog
from tests.integration.server_process import ServerProcess, running

Connection = psycopg.Connection[Any]


@pytest.fixture(scope="module")
def shared(open_directory: Path) -> Iterator[ServerProcess]:
    with running(open_directory / "converted") as process:
        yield process


@pytest.fixture
def server(shared: ServerProcess) -> ServerProcess:
    """A server with version 1 only, and one table whose column `x` is to be converted."""
    empty_catalog(shared)
    with shared.connect() as client:
        client.execute("CREATE TABLE t (id int PRIMARY KEY, x int, y text)")
        client.execute("INSERT INTO t VALUES (1, 10, 'a'), (2, 20, 'b'), (3, NULL, 'c')")
    return shared


def virtual(client: Connection, statement: str, back: str = "") -> None:
    """One change that is only looked at, not carried out."""
    client.execute("SET morph.ddl_mode = virtual")
    if back:
        client.execute("SELECT set_config('morph.back', %s, false)", [back])
    client.execute(statement)
    client.execute("SET morph.back = ''")


def rows(client: Connection, text: str) -> list[Any]:
    return client.execute(text).fetchall()


def warnings(client: Connection) -> list[str]:
    heard: list[str] = []
    client.add_notice_handler(
        lambda d: heard.append(d.message_primary or "") if d.severity == "WARNING" else None
    )
    return heard


def test_another_type_is_there_at_once_and_older_versions_keep_theirs(
    server: ServerProcess,
) -> None:  # R4.1 R4.2
    with server.connect() as client:
        virtual(client, "ALTER TABLE t ALTER COLUMN x TYPE numeric(10,2)")
        assert rows(client, "SELECT * FROM v2.t ORDER BY id") == [
            (1, Decimal("10.00"), "a"), (2, Decimal("20.00"), "b"), (3, None, "c"),
        ]  # fmt: skip
        assert rows(client, "SELECT * FROM t ORDER BY id") == [
            (1, 10, "a"), (2, 20, "b"), (3, None, "c"),
        ]  # fmt: skip


def test_what_the_older_type_cannot_hold_is_kept(server: ServerProcess) -> None:  # R4.1
    with server.connect() as client:
        virtual(client, "ALTER TABLE t ALTER COLUMN x TYPE numeric(10,2)")
        heard = warnings(client)
        client.execute("UPDATE v2.t SET x = 10.5 WHERE id = 1")
        client.execute("UPDATE v2.t SET x = x + 1 WHERE id = 2")
        client.execute("INSERT INTO v2.t VALUES (4, 12345678.25, 'd'), (5, DEFAULT, 'e')")
        client.execute("INSERT INTO v2.t (id) VALUES (6)")
        assert rows(client, "SELECT id, x FROM v2.t ORDER BY id") == [
            (1, Decimal("10.50")), (2, Decimal("21.00")), (3, None), (4, Decimal("12345678.25")),
            (5, None), (6, None),
        ]  # fmt: skip
        assert rows(client, "SELECT id, x FROM v1.t ORDER BY id") == [
            (1, 11), (2, 21), (3, None), (4, 12345678), (5, None), (6, None),
        ]  # fmt: skip
        assert heard == ['column "x" holds a value here that other versions cannot show'] * 2
        # GetPut of the older version: what it does not change stays.
        client.execute("UPDATE v1.t SET x = x, y = 'z' WHERE id = 1")
        assert rows(client, "SELECT x FROM v2.t WHERE id = 1") == [(Decimal("10.50"),)]
        client.execute("UPDATE v1.t SET x = 12 WHERE id = 1")
        assert rows(client, "SELECT x FROM v2.t WHERE id = 1") == [(Decimal("12.00"),)]


def test_values_that_the_older_type_has_none_for(server: ServerProcess) -> None:  # R4.1
    with server.connect() as client:
        virtual(client, "ALTER TABLE t ALTER COLUMN x TYPE text")
        client.execute("UPDATE v2.t SET x = 'many' WHERE id = 1")
        client.execute("UPDATE v2.t SET x = '021' WHERE id = 2")
        assert rows(client, "SELECT id, x FROM v2.t ORDER BY id") == [
            (1, "many"), (2, "021"), (3, None),
        ]  # fmt: skip
        assert rows(client, "SELECT id, x FROM v1.t ORDER BY id") == [(1, None), (2, 21), (3, None)]


def test_every_statement_that_writes(server: ServerProcess) -> None:  # R4.1 R1.4
    with server.connect() as client:
        virtual(client, "ALTER TABLE t ALTER COLUMN x TYPE text")
        client.execute("SET search_path = v2")
        client.execute("INSERT INTO t SELECT id + 10, x || '!', y FROM t WHERE id = 1")
        client.execute(
            "INSERT INTO t VALUES (1, 'one', 'new'), (7, 'seven', 'new') ON CONFLICT (id) "
            "DO UPDATE SET x = EXCLUDED.x || '/' || t.x, y = EXCLUDED.y"
        )
        client.execute(
            "MERGE INTO t USING (VALUES (2, 'two'), (8, 'eight')) s(id, v) ON t.id = s.id "
            "WHEN MATCHED THEN UPDATE SET x = s.v WHEN NOT MATCHED THEN INSERT (id, x) "
            "VALUES (s.id, s.v)"
        )
        client.execute("UPDATE t SET (x, y) = (SELECT 'three', 'sub') WHERE id = 3")
        client.execute(
            "UPDATE t SET x = s.v FROM (VALUES (11, 'eleven')) s(id, v) WHERE t.id = s.id"
        )
        with client.cursor() as cursor, cursor.copy("COPY t (id, x) FROM STDIN") as copy:
            copy.write("9\tnine\n10\t\\N\n")
        returned = client.execute(
            "INSERT INTO t VALUES (%s, %s, 'p') RETURNING id, x", [12, "twelve"], prepare=True
        )
        assert returned.fetchall() == [(12, "twelve")]
        changed = client.execute("UPDATE t SET x = '05' WHERE id = 9 RETURNING old.x, new.x")
        assert changed.fetchall() == [("nine", "05")]
        assert rows(client, "SELECT id, x FROM v2.t ORDER BY id") == [
            (1, "one/10"), (2, "two"), (3, "three"), (7, "seven"), (8, "eight"), (9, "05"),
            (10, None), (11, "eleven"), (12, "twelve"),
        ]  # fmt: skip
        assert rows(client, "SELECT id, x FROM v1.t WHERE x IS NOT NULL ORDER BY id") == [(9, 5)]


def test_not_null_with_a_value_for_nulls(server: ServerProcess) -> None:  # R4.1 R4.2
    with server.connect() as client:
        virtual(
            client,
            "ALTER TABLE t ALTER COLUMN x TYPE int USING coalesce(x, 0), "
            "ALTER COLUMN x SET NOT NULL",
        )
        assert rows(client, "SELECT id, x FROM v2.t ORDER BY id") == [(1, 10), (2, 20), (3, 0)]
        assert rows(client, "SELECT id, x FROM v1.t ORDER BY id") == [(1, 10), (2, 20), (3, None)]
        with pytest.raises(errors.NotNullViolation) as caught:
            client.execute("UPDATE v2.t SET x = NULL WHERE id = 1")
        assert caught.value.diag.message_primary == (
            'null value in column "x" of relation "t" violates not-null constraint'
        )
        client.execute("INSERT INTO v1.t VALUES (4, NULL, 'd')")
        assert rows(client, "SELECT x FROM v2.t WHERE id = 4") == [(0,)]


def test_a_way_back_of_ones_own(server: ServerProcess) -> None:  # R4.2
    with server.connect() as client:
        with pytest.raises(errors.FeatureNotSupported) as caught:
            virtual(client, "ALTER TABLE t ALTER COLUMN x TYPE bigint USING x * 100")
        assert "SET morph.back" in (caught.value.diag.message_hint or "")
        virtual(client, "ALTER TABLE t ALTER COLUMN x TYPE bigint USING x * 100", "x / 100")
        client.execute("UPDATE v2.t SET x = 555 WHERE id = 1")
        assert rows(client, "SELECT id, x FROM v2.t ORDER BY id") == [
            (1, 555),
            (2, 2000),
            (3, None),
        ]
        assert rows(client, "SELECT id, x FROM v1.t ORDER BY id") == [(1, 5), (2, 20), (3, None)]


def test_lenses_over_lenses(server: ServerProcess) -> None:  # R4.1
    with server.connect() as client:
        virtual(client, "ALTER TABLE t ALTER COLUMN x TYPE numeric")
        virtual(client, "ALTER TABLE t ALTER COLUMN x TYPE text")
        client.execute("UPDATE v3.t SET x = '7.5' WHERE id = 1")
        client.execute("UPDATE v3.t SET x = 'none' WHERE id = 2")
        assert rows(client, "SELECT x FROM v3.t ORDER BY id") == [("7.5",), ("none",), (None,)]
        assert rows(client, "SELECT x FROM v2.t ORDER BY id") == [
            (Decimal("7.5"),),
            (None,),
            (None,),
        ]
        assert rows(client, "SELECT x FROM v1.t ORDER BY id") == [(8,), (None,), (None,)]
        client.execute("UPDATE v2.t SET x = 3.25 WHERE id IN (1, 2)")
        assert rows(client, "SELECT x FROM v3.t ORDER BY id") == [("3.25",), ("3.25",), (None,)]
        client.execute("UPDATE v1.t SET x = 4 WHERE id = 1")
        assert rows(client, "SELECT x FROM v3.t ORDER BY id") == [("4",), ("3.25",), (None,)]


def test_direct_converts_at_once_and_older_versions_go_on(server: ServerProcess) -> None:  # R4.2
    with server.connect() as client:
        client.execute("INSERT INTO t VALUES (4, 40, 'd')")
        client.execute("SET morph.ddl_mode = direct")
        client.execute("ALTER TABLE t ALTER COLUMN x TYPE text USING x::text")
        assert rows(client, "SELECT x FROM t ORDER BY id") == [("10",), ("20",), (None,), ("40",)]
        client.execute("UPDATE t SET x = 'many' WHERE id = 1")
        client.execute("UPDATE t SET x = '007' WHERE id = 2")
        assert rows(client, "SELECT x FROM v1.t ORDER BY id") == [(None,), (7,), (None,), (40,)]
        client.execute("UPDATE v1.t SET x = 8 WHERE id = 1")
        client.execute("INSERT INTO v1.t VALUES (5, 50, 'e')")
        assert rows(client, "SELECT x FROM t ORDER BY id") == [
            ("8",), ("007",), (None,), ("40",), ("50",),
        ]  # fmt: skip
        client.execute("ALTER TABLE t ALTER COLUMN x TYPE numeric USING x::numeric")
        client.execute("UPDATE t SET x = 1.25 WHERE id = 3")
        shown = [rows(client, f"SELECT x::text FROM v{n}.t ORDER BY id") for n in (1, 2, 3)]
        assert shown == [
            [("8",), ("7",), (None,), ("40",), ("50",)],
            [("8",), ("007",), ("1.25",), ("40",), ("50",)],
            [("8",), ("7",), ("1.25",), ("40",), ("50",)],
        ]


def test_direct_after_a_change_that_is_only_looked_at(server: ServerProcess) -> None:  # R4.2
    with server.connect() as client:
        virtual(client, "ALTER TABLE t ALTER COLUMN x TYPE numeric")
        client.execute("UPDATE v2.t SET x = 1.5 WHERE id = 1")
        client.execute("SET morph.ddl_mode = direct")
        client.execute("ALTER TABLE t ALTER COLUMN x TYPE text")
        assert rows(client, "SELECT x FROM t ORDER BY id") == [("1.5",), ("20",), (None,)]
        assert rows(client, "SELECT x::text FROM v2.t ORDER BY id") == [("1.5",), ("20",), (None,)]
        assert rows(client, "SELECT x FROM v1.t ORDER BY id") == [(2,), (20,), (None,)]
        client.execute("UPDATE v1.t SET x = 3 WHERE id = 1")
        client.execute("UPDATE v2.t SET x = 2.5 WHERE id = 2")
        assert rows(client, "SELECT x FROM t ORDER BY id") == [("3",), ("2.5",), (None,)]


def test_direct_says_what_postgresql_says_of_values(server: ServerProcess) -> None:  # R4.2
    with server.connect() as client:
        client.execute("SET morph.ddl_mode = direct")
        with pytest.raises(errors.InvalidTextRepresentation) as caught:
            client.execute("ALTER TABLE t ALTER COLUMN y TYPE int USING y::int")
        assert caught.value.diag.message_primary == 'invalid input syntax for type integer: "a"'
        with pytest.raises(errors.DatatypeMismatch):
            client.execute("ALTER TABLE t ALTER COLUMN y TYPE int")
        with pytest.raises(errors.StringDataRightTruncation):
            client.execute("ALTER TABLE t ALTER COLUMN x TYPE varchar(1)")
        assert rows(client, "SELECT * FROM t WHERE id = 1") == [(1, 10, "a")]


def test_two_versions_write_the_same_rows(server: ServerProcess) -> None:  # R4.1 R1.4
    """Both count in their own form; no update of either is lost."""
    with server.connect() as client:
        client.execute("UPDATE t SET x = 0")
        virtual(client, "ALTER TABLE t ALTER COLUMN x TYPE bigint USING x * 100", "x / 100")
    rounds, faults = 40, list[psycopg.Error]()

    def count(version: str, step: int) -> None:
        try:
            with server.connect() as own:
                for number in range(rounds):
                    own.execute(
                        f"UPDATE {version}.t SET x = x + {step} WHERE id = {number % 3 + 1}"
                    )
        except psycopg.Error as error:
            faults.append(error)

    threads = [threading.Thread(target=count, args=arguments) for arguments in
               [("v1", 1), ("v2", 100), ("v1", 1), ("v2", 100)]]  # fmt: skip
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert not faults
    with server.connect() as client:
        assert rows(client, "SELECT sum(x) FROM v1.t") == [(4 * rounds,)]
        assert rows(client, "SELECT sum(x) FROM v2.t") == [(4 * rounds * 100,)]


def test_a_transaction_over_two_versions(server: ServerProcess) -> None:  # R4.1
    with server.connect() as client:
        virtual(client, "ALTER TABLE t ALTER COLUMN x TYPE text")
        client.execute("BEGIN")
        client.execute("UPDATE v2.t SET x = 'many' WHERE id = 1")
        client.execute("SAVEPOINT s")
        client.execute("UPDATE v1.t SET x = 5 WHERE id = 1")
        assert rows(client, "SELECT x FROM v2.t WHERE id = 1") == [("5",)]
        client.execute("ROLLBACK TO s")
        assert rows(client, "SELECT x FROM v2.t WHERE id = 1") == [("many",)]
        client.execute("COMMIT")
        assert rows(client, "SELECT x FROM v1.t WHERE id = 1") == [(None,)]


def test_ddl_that_is_rolled_back_leaves_no_lens(server: ServerProcess) -> None:  # R4.2
    with server.connect() as client:
        client.execute("BEGIN")
        virtual(client, "ALTER TABLE t ALTER COLUMN x TYPE text")
        virtual(client, "ALTER TABLE t ALTER COLUMN x TYPE numeric USING x::numeric")
        client.execute("UPDATE v2.t SET x = 1.5 WHERE id = 1")
        client.execute("ROLLBACK")
        client.execute("UPDATE t SET x = 11 WHERE id = 1")
        assert rows(client, "SELECT x FROM t ORDER BY id") == [(11,), (20,), (None,)]
        with pytest.raises(errors.UndefinedTable):
            client.execute("SELECT * FROM v2.t")


def test_what_reads_a_converted_column(server: ServerProcess) -> None:  # R4.1 R3.1
    with server.connect() as client:
        virtual(client, "ALTER TABLE t ALTER COLUMN x TYPE text")
        virtual(client, "ALTER TABLE t RENAME COLUMN x TO label")
        virtual(
            client, "ALTER TABLE t ADD COLUMN loud text GENERATED ALWAYS AS (label || '!') VIRTUAL"
        )
        client.execute("UPDATE v4.t SET label = 'many' WHERE id = 1")
        assert rows(client, "SELECT label, loud FROM v4.t WHERE id < 3 ORDER BY id") == [
            ("many", "many!"), ("20", "20!"),
        ]  # fmt: skip
        client.execute("CREATE INDEX by_label ON v4.t (label)")
        client.execute("SET search_path = v4")
        client.execute("CREATE VIEW labels AS SELECT id, label FROM t")
        assert rows(client, "SELECT label FROM v4.labels WHERE id = 1") == [("many",)]
        virtual(client, "ALTER TABLE t DROP COLUMN label CASCADE")
        client.execute("INSERT INTO v5.t (id) VALUES (4)")
        assert rows(client, "SELECT x FROM v1.t WHERE id = 4") == [(None,)]


def test_what_a_dropped_column_had(server: ServerProcess) -> None:  # R4.1
    with server.connect() as client:
        virtual(
            client,
            "ALTER TABLE t ALTER COLUMN x TYPE bigint USING x * 100, "
            "ALTER COLUMN x SET DEFAULT 700",
            "x / 100",
        )
        virtual(client, "ALTER TABLE t DROP COLUMN x")
        client.execute("INSERT INTO v3.t (id) VALUES (4)")
        assert rows(client, "SELECT x FROM v2.t WHERE id = 4") == [(700,)]
        assert rows(client, "SELECT x FROM v1.t WHERE id = 4") == [(7,)]


def test_a_wider_type_under_a_lens(server: ServerProcess) -> None:  # R4.1
    with server.connect() as client:
        client.execute("CREATE TABLE w (id int PRIMARY KEY, c varchar(3))")
        client.execute("INSERT INTO w VALUES (1, 'abc')")
        virtual(client, "ALTER TABLE w ALTER COLUMN c TYPE int USING length(c)", "repeat('x', c)")
        client.execute("CALL morph.promote(2)")
        client.execute("CALL morph.rollback(2)")
        virtual(client, "ALTER TABLE w ALTER COLUMN c TYPE varchar(9)")
        client.execute("UPDATE v3.w SET c = 'abcdef'")
        assert rows(client, "SELECT c FROM v2.w") == [(6,)]
        client.execute("UPDATE v2.w SET c = 2")
        assert rows(client, "SELECT c FROM v3.w") == [("xx",)]


def test_refused_conversions(server: ServerProcess) -> None:  # R4.2
    with server.connect() as client:
        client.execute(
            "CREATE TABLE p (id int PRIMARY KEY, k int UNIQUE, c int CHECK (c > 0), "
            "r int REFERENCES t (id), g int, s serial, i int GENERATED ALWAYS AS IDENTITY, "
            "at timestamp, d text)"
        )
        client.execute(
            "CREATE FUNCTION public.f(int) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT 1'"
        )
        for statement, words in [
            ("ALTER TABLE p ALTER COLUMN c TYPE text USING c::text", "operator does not exist"),
            ("ALTER TABLE p ALTER COLUMN r TYPE text", "cannot be implemented"),
            ("ALTER TABLE t ALTER COLUMN id TYPE numeric", 'constraint "t_pkey" uses it'),
            ("ALTER TABLE p ALTER COLUMN i TYPE smallint", "it is an identity column"),
            ("ALTER TABLE p ALTER COLUMN at TYPE timestamptz", "not immutable"),
            ("ALTER TABLE p ALTER COLUMN d TYPE date USING d::date", "not immutable"),
            ("ALTER TABLE p ALTER COLUMN g TYPE text USING f(g)", "not built in|permission denied"),
            (
                "ALTER TABLE p ALTER COLUMN d TYPE bytea USING decode(d, 'hex')",
                "not get the values",
            ),
        ]:
            with pytest.raises(psycopg.Error, match=words):
                virtual(client, statement)
        for back in ("nosuch + 1", "now()::text", "{oops", "1 +"):
            with pytest.raises(errors.InvalidParameterValue, match=r"morph\.back"):
                virtual(client, "ALTER TABLE p ALTER COLUMN d TYPE int USING length(d)", back)
        assert rows(client, "SELECT count(*) FROM morph.versions") == [(1,)]


def test_time_zones_are_said(server: ServerProcess) -> None:  # R4.2
    with server.connect() as client:
        client.execute("CREATE TABLE z (id int PRIMARY KEY, at timestamp)")
        client.execute("INSERT INTO z VALUES (1, '2024-03-31 02:30')")
        virtual(
            client, "ALTER TABLE z ALTER COLUMN at TYPE timestamptz USING at AT TIME ZONE 'UTC'"
        )
        for zone in ("UTC", "Europe/Berlin", "America/New_York"):
            client.execute(f"SET timezone = '{zone}'")
            client.execute("UPDATE v2.z SET at = at + interval '1 day'")
        assert rows(client, "SELECT at::text FROM v1.z") == [("2024-04-03 02:30:00",)]


def test_direct_takes_constraints_along(server: ServerProcess) -> None:  # R4.2
    """Keys, checks and indexes hold over the new form for every version, under their names."""
    with server.connect() as client:
        client.execute(
            "CREATE TABLE a (id text PRIMARY KEY, name varchar(150) UNIQUE, n int CHECK (n > 0))"
        )
        client.execute(
            "CREATE TABLE b (id int PRIMARY KEY, a_id text REFERENCES a ON DELETE CASCADE, "
            "name varchar(150) REFERENCES a (name))"
        )
        client.execute("CREATE INDEX a_n ON a (n)")
        one, two = (f"00000000-0000-0000-0000-00000000000{n}" for n in (1, 2))
        client.execute(f"INSERT INTO a VALUES ('{one}', 'x', 1); INSERT INTO b VALUES (1, '{one}')")
        client.execute("SET morph.ddl_mode = direct")
        client.execute("ALTER TABLE a ALTER COLUMN name TYPE varchar(80) USING name::varchar(80)")
        client.execute("ALTER TABLE a ALTER COLUMN n TYPE numeric(5,1)")
        client.execute("BEGIN")
        client.execute("ALTER TABLE b DROP CONSTRAINT b_a_id_fkey")
        client.execute("ALTER TABLE a ALTER COLUMN id TYPE uuid USING id::uuid")
        client.execute("ALTER TABLE b ALTER COLUMN a_id TYPE uuid USING a_id::uuid")
        client.execute("ALTER TABLE b ADD FOREIGN KEY (a_id) REFERENCES a ON DELETE CASCADE")
        client.execute("COMMIT")
        for version in ("public", "v1"):
            client.execute(f"SET search_path = {version}")
            for statement, name in [
                (f"INSERT INTO a VALUES ('{one}', 'y', 1)", "a_pkey"),
                (f"INSERT INTO a VALUES ('{two}', 'x', 1)", "a_name_key"),
                (f"INSERT INTO a VALUES ('{two}', 'y', -1)", "a_n_check"),
                (f"INSERT INTO b VALUES (2, '{two}')", "b_a_id_fkey"),
                ("INSERT INTO b VALUES (2, NULL, 'none')", "b_name_fkey"),
            ]:
                with pytest.raises(errors.IntegrityError) as caught:
                    client.execute(statement)
                assert caught.value.diag.constraint_name == name
        client.execute("SET search_path = public")
        client.execute(
            f"INSERT INTO a VALUES ('{one}', 'z', 2.5) "
            "ON CONFLICT (id) DO UPDATE SET n = EXCLUDED.n"
        )
        assert rows(client, "SELECT id, n FROM v1.a") == [(one, 3)]
        client.execute(f"DELETE FROM v1.a WHERE id = '{one}'")
        assert rows(client, "SELECT count(*) FROM b") == [(0,)]


def test_names_of_the_store_are_not_shown(server: ServerProcess) -> None:  # R0.8 R4.1
    with server.connect() as client:
        client.execute("CREATE TABLE n (id int PRIMARY KEY, x int CHECK (x > 0))")
        client.execute("INSERT INTO n VALUES (1, 1)")
        client.execute("ALTER TABLE n ALTER COLUMN x TYPE numeric(9,2)")
        client.execute("CALL morph.promote(2)")
        for version in ("v1", "v2"):
            with pytest.raises(errors.CheckViolation) as caught:
                client.execute(f"UPDATE {version}.n SET x = -1")
            assert caught.value.diag.message_primary == (
                'new row for relation "n" violates check constraint "n_x_check"'
            )
            client.execute(f"ANALYZE {version}.n (x)")
            plan = rows(client, f"EXPLAIN (VERBOSE) SELECT * FROM {version}.n WHERE x = 3")
            shown = "\n".join(row[0] for row in plan).partition("Native")[0]
            assert not re.search(r"\b(?:c|t)\d+", shown), shown


def test_direct_takes_what_postgresql_takes(server: ServerProcess) -> None:  # R4.2
    """Conversions by the session's settings, which stay those of the ALTER TABLE; and such without
    a way back: older versions keep what they have.
    """
    with server.connect() as client:
        client.execute("CREATE TABLE d (id int PRIMARY KEY, at timestamp, day text, n int)")
        client.execute("INSERT INTO d VALUES (1, '2024-07-01 10:00', '02/03/2024', 5)")
        client.execute("INSERT INTO d VALUES (2)")
        client.execute("SET timezone = 'Europe/Berlin'")
        client.execute("SET datestyle = 'ISO, DMY'")
        client.execute("SET morph.ddl_mode = direct")
        client.execute("ALTER TABLE d ALTER COLUMN at TYPE timestamptz")
        client.execute("ALTER TABLE d ALTER COLUMN day TYPE date USING day::date")
        heard = list[str]()
        client.add_notice_handler(lambda d: heard.append(d.message_primary or ""))
        client.execute("ALTER TABLE d ALTER COLUMN n TYPE bigint USING n * 100")
        assert heard == ['rows written from now on have NULL in column "n" in older versions']
    with server.connect() as client:
        client.execute("SET timezone = 'America/New_York'")
        client.execute("SET datestyle = 'SQL, MDY'")
        new = "SELECT extract(epoch FROM at)::int, to_char(day, 'YYYYMMDD'), n FROM d ORDER BY id"
        old = "SELECT to_char(at, 'YYYYMMDD HH24'), day, n FROM v1.d ORDER BY id"
        before = 1719820800  # 2024-07-01 10:00 in Berlin
        assert rows(client, new) == [(before, "20240302", 500), (None, None, None)]
        assert rows(client, old) == [("20240701 10", "02/03/2024", 5), (None, None, None)]
        client.execute("UPDATE v1.d SET at = at, day = day, n = n")
        assert rows(client, new) == [(before, "20240302", 500), (None, None, None)]
        client.execute("UPDATE d SET at = at + interval '1h', day = day + 1, n = 700 WHERE id = 1")
        assert rows(client, old) == [("20240701 11", "2024-03-03", None), (None, None, None)]
        client.execute("UPDATE v1.d SET n = 8, day = '5.6.2025' WHERE id = 2")
        assert rows(client, new)[1] == (None, "20250605", 800)
        assert rows(client, old)[1] == (None, "5.6.2025", 8)


def test_not_null_without_a_value_for_nulls(server: ServerProcess) -> None:  # R4.2
    """It is PostgreSQL's: NULLs stand against it, and then it holds for writes of every version."""
    with server.connect() as client:
        both = "ALTER TABLE t ALTER COLUMN x TYPE text, ALTER COLUMN x SET NOT NULL"
        with pytest.raises(errors.NotNullViolation, match="contains null values"):
            virtual(client, both)
        client.execute("DELETE FROM t WHERE x IS NULL")
        virtual(client, both)
        for version in ("v1", "v2"):
            with pytest.raises(errors.NotNullViolation):
                client.execute(f"INSERT INTO {version}.t VALUES (9, NULL, 'y')")
