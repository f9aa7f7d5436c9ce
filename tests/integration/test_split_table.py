"""CALL morph.split_table and morph.merge_tables: a table by its rows in two (EVOLUTION 2)."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from psycopg import errors

from tests.integration.changed_tables import Connection, looking, rows
from tests.integration.server_process import ServerProcess

SPLIT = "CALL morph.split_table('orders', 'orders_eu', 'region = ''eu''', rest => 'orders_rest')"
MERGE = "CALL morph.merge_tables('orders_eu', 'orders_rest', 'orders')"


@pytest.fixture
def client(changed: ServerProcess) -> Iterator[Connection]:
    """A session on version 1 with one table; changes are only looked at."""
    with looking(
        changed,
        "CREATE TABLE orders (id int PRIMARY KEY, region text, n int NOT NULL DEFAULT 1 "
        "CHECK (n > 0), code text UNIQUE)",
        "CREATE INDEX by_n ON orders (n)",
        "INSERT INTO orders VALUES (1, 'eu', 5, 'a'), (2, 'us', 6, 'b'), (3, NULL, 7, NULL)",
    ) as connection:
        yield connection


def ids(client: Connection, table: str) -> list[int]:
    return [row[0] for row in rows(client, f"SELECT id FROM {table} ORDER BY id")]


def heard(client: Connection) -> list[str]:
    told: list[str] = []
    client.add_notice_handler(lambda d: told.append(f"{d.message_primary} {d.message_hint}"))
    return told


def test_both_parts_and_the_whole_are_written(client: Connection) -> None:  # R4.1
    client.execute(SPLIT)
    assert (ids(client, "v2.orders_eu"), ids(client, "v2.orders_rest")) == ([1], [2, 3])
    client.execute("INSERT INTO v2.orders_eu VALUES (4, 'eu', DEFAULT, 'd')")
    client.execute("INSERT INTO v2.orders_rest (id) VALUES (5)")
    client.execute("UPDATE v2.orders_rest SET n = n + 10")
    client.execute("DELETE FROM v2.orders_eu WHERE id IN (1, 2)")
    assert rows(client, "SELECT * FROM v1.orders ORDER BY id") == [
        (2, "us", 16, "b"), (3, None, 17, None), (4, "eu", 1, "d"), (5, None, 11, None),
    ]  # fmt: skip
    client.execute("UPDATE v1.orders SET region = 'eu' WHERE id = 3")
    client.execute("INSERT INTO v1.orders VALUES (6, 'as', 2)")
    assert (ids(client, "v2.orders_eu"), ids(client, "v2.orders_rest")) == ([3, 4], [2, 5, 6])
    client.execute(
        "MERGE INTO v2.orders_eu o USING (VALUES (4, 9), (7, 9)) s(id, n) ON o.id = s.id WHEN "
        "MATCHED THEN UPDATE SET n = s.n WHEN NOT MATCHED THEN INSERT VALUES (s.id, 'eu', s.n)"
    )
    with client.cursor() as cursor, cursor.copy("COPY v2.orders_rest (id) FROM STDIN") as copy:
        copy.write("8\n")
    assert (ids(client, "v2.orders_eu"), ids(client, "v2.orders_rest")) == ([3, 4, 7], [2, 5, 6, 8])


@pytest.mark.parametrize("pushdown", ["on", "scan", "off"])
def test_parts_are_read_by_every_tier(client: Connection, pushdown: str) -> None:  # R4.1 R3.1
    client.execute(SPLIT)
    client.execute(f"SET morph.pushdown = {pushdown}")
    joined = "SELECT e.id, r.id FROM v2.orders_eu e JOIN v2.orders_rest r ON r.n > e.n ORDER BY 2"
    assert rows(client, joined) == [(1, 2), (1, 3)]
    assert rows(client, "SELECT count(*), sum(n) FROM v2.orders_rest") == [(2, 13)]
    plan = "\n".join(row[0] for row in rows(client, "EXPLAIN SELECT * FROM v2.orders_eu"))
    assert pushdown != "on" or "orders_eu" in plan
    assert "morph_store" not in plan


OUTSIDE = [
    "INSERT INTO v2.orders_eu VALUES (9, 'us')",
    "INSERT INTO v2.orders_eu VALUES (9, NULL)",
    "INSERT INTO v2.orders_rest VALUES (9, 'eu')",
    "UPDATE v2.orders_eu SET region = 'us'",
    "UPDATE v2.orders_rest SET region = 'eu' WHERE id = 2",
    "MERGE INTO v2.orders_eu o USING (VALUES (1)) s(id) ON o.id = s.id WHEN MATCHED THEN UPDATE "
    "SET region = 'us'",
]


@pytest.mark.parametrize("statement", OUTSIDE)
def test_a_row_that_belongs_elsewhere_is_refused(client: Connection, statement: str) -> None:
    # R4.1
    client.execute(SPLIT)
    with pytest.raises(errors.WithCheckOptionViolation) as caught:
        client.execute(statement)
    name = "orders_rest" if "orders_rest" in statement else "orders_eu"
    told = caught.value.diag
    assert told.message_primary == f'new row violates check option for view "{name}"'
    assert told.message_detail is None
    assert (ids(client, "v2.orders_eu"), ids(client, "v2.orders_rest")) == ([1], [2, 3])


def test_a_copy_of_rows_that_belong_elsewhere_is_refused(client: Connection) -> None:  # R4.1
    client.execute(SPLIT)

    def copy_in() -> None:
        with client.cursor() as cursor, cursor.copy("COPY v2.orders_eu FROM STDIN") as copy:
            copy.write("9\tus\t1\t\\N\n")

    with pytest.raises(errors.WithCheckOptionViolation):
        copy_in()
    assert ids(client, "v1.orders") == [1, 2, 3]


def test_a_row_goes_over_by_delete_and_insert(client: Connection) -> None:  # R4.1
    client.execute(SPLIT)
    client.execute("DELETE FROM v2.orders_rest WHERE id = 2")
    client.execute("INSERT INTO v2.orders_eu VALUES (2, 'eu', 6, 'b')")
    assert (ids(client, "v2.orders_eu"), ids(client, "v2.orders_rest")) == ([1, 2], [3])


def test_keys_constraints_and_indexes_are_those_of_all_rows(client: Connection) -> None:  # R4.1
    client.execute(SPLIT)
    with pytest.raises(errors.UniqueViolation) as caught:
        client.execute("INSERT INTO v2.orders_eu VALUES (2, 'eu')")
    assert (caught.value.diag.constraint_name, caught.value.diag.table_name) == (
        "orders_eu_pkey", "orders_eu",
    )  # fmt: skip
    with pytest.raises(errors.UniqueViolation, match="orders_rest_code_key"):
        client.execute("INSERT INTO v2.orders_rest VALUES (9, 'us', 1, 'a')")
    with pytest.raises(errors.CheckViolation, match="orders_n_check"):
        client.execute("UPDATE v2.orders_rest SET n = 0 WHERE id = 2")
    with pytest.raises(errors.NotNullViolation) as missing:
        client.execute("UPDATE v2.orders_rest SET n = NULL WHERE id = 2")
    assert missing.value.diag.table_name == "orders_rest"
    shown = rows(
        client,
        "SELECT c.relname, i.relname FROM pg_index x JOIN pg_class c ON c.oid = x.indrelid "
        "JOIN pg_class i ON i.oid = x.indexrelid WHERE c.relnamespace = 'v2'::regnamespace "
        "ORDER BY 1, 2",
    )
    assert shown == [
        ("orders_eu", "orders_eu_by_n"), ("orders_eu", "orders_eu_code_key"),
        ("orders_eu", "orders_eu_pkey"), ("orders_rest", "orders_rest_by_n"),
        ("orders_rest", "orders_rest_code_key"), ("orders_rest", "orders_rest_pkey"),
    ]  # fmt: skip
    client.execute("INSERT INTO v2.orders_eu VALUES (2, 'eu') ON CONFLICT (id) DO NOTHING")
    with pytest.raises(errors.FeatureNotSupported, match="ON CONFLICT DO UPDATE"):
        client.execute(
            "INSERT INTO v2.orders_eu VALUES (2, 'eu') ON CONFLICT (id) DO UPDATE SET n = 1"
        )


def test_rows_in_no_part_stay_and_are_told(client: Connection) -> None:  # R4.1
    told = heard(client)
    client.execute(
        "CALL morph.split_table('orders', 'orders_eu', 'region = ''eu''', 'orders_us', "
        "'region = ''us''')"
    )
    ((notice),) = told
    assert notice.startswith('1 rows of table "orders" are in none of the new tables')
    query = notice[notice.index("SELECT") : notice.index(";")]
    assert rows(client, query) == [(3, None, 7, None)]
    assert (ids(client, "v2.orders_eu"), ids(client, "v2.orders_us")) == ([1], [2])
    listed = "SELECT version, table_name, part_of, condition FROM morph.table_parts"
    assert rows(client, listed) == [
        (2, "orders_eu", "orders", "region = 'eu'"),
        (2, "orders_us", "orders", "(region = 'eu') IS NOT TRUE AND (region = 'us')"),
    ]
    told.clear()
    client.execute("SET search_path = v2")
    client.execute("CALL morph.merge_tables('orders_us', 'orders_eu', 'orders')")
    assert told == ["1 rows that neither table shows are rows of the result None"]
    assert ids(client, "v3.orders") == [1, 2, 3]


def test_one_part_alone(client: Connection) -> None:  # R4.1
    told = heard(client)
    client.execute("CALL morph.split_table('orders', part => 'big', predicate => 'n > 5')")
    assert told[0].startswith('1 rows of table "orders" are not in "big"')
    assert ids(client, "v2.big") == [2, 3]


@pytest.mark.parametrize("mode", ["direct", "auto", "shadow"])
def test_promoted_rolled_back_and_merged_again(client: Connection, mode: str) -> None:  # R4.1 R4.2
    shape = "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = " \
        "'{}.orders'::regclass ORDER BY 1"  # fmt: skip
    before = rows(client, shape.format("public"))
    client.execute(f"SET morph.ddl_mode = {mode}")
    client.execute(SPLIT)
    if mode != "direct":
        client.execute("CALL morph.promote(2)")
    assert (ids(client, "orders_eu"), ids(client, "orders_rest")) == ([1], [2, 3])
    with pytest.raises(errors.UndefinedTable):
        client.execute("SELECT * FROM public.orders")
    client.execute("INSERT INTO orders_eu VALUES (4, 'eu')")
    client.execute("CALL morph.rollback(2)")
    assert ids(client, "orders") == [1, 2, 3, 4]
    assert rows(client, shape.format("public")) == before
    client.execute("CALL morph.promote(2)")
    client.execute(MERGE)
    if mode != "direct":
        client.execute("CALL morph.promote(3)")
    assert ids(client, "orders") == [1, 2, 3, 4]
    assert rows(client, shape.format("public")) == before
    kinds = rows(client, "SELECT kind FROM morph.changes WHERE change_id > 1 ORDER BY change_id")
    assert kinds == [("split table",), ("merge tables",)]


def test_a_part_is_changed_like_a_table(client: Connection) -> None:  # R4.1
    client.execute(SPLIT)
    with client.transaction():
        client.execute("ALTER TABLE v2.orders_eu RENAME COLUMN code TO vat")
        client.execute("ALTER TABLE v2.orders_eu ADD COLUMN land text DEFAULT 'at'")
        client.execute("ALTER TABLE v2.orders_rest ALTER COLUMN region SET DEFAULT 'us'")
        client.execute("ALTER TABLE v2.orders_rest RENAME TO others")
    assert rows(client, "SELECT * FROM v3.orders_eu") == [(1, "eu", 5, "a", "at")]
    client.execute("INSERT INTO v3.others (id) VALUES (4)")
    assert rows(client, "SELECT * FROM v3.others WHERE id = 4") == [(4, "us", 1, None)]
    client.execute("ALTER TABLE v3.orders_eu DROP COLUMN region")
    assert rows(client, "SELECT * FROM v4.orders_eu") == [(1, 5, "a", "at")]
    with pytest.raises(errors.WithCheckOptionViolation):
        client.execute("INSERT INTO v4.orders_eu VALUES (9, 1, NULL, NULL)")
    client.execute("SET search_path = v4")
    client.execute("CALL morph.merge_tables('orders_eu', 'others', 'orders')")
    assert rows(client, "SELECT id, n, vat, land, region FROM v5.orders ORDER BY id") == [
        (1, 5, "a", "at", "eu"), (2, 6, "b", "at", "us"), (3, 7, None, "at", None),
        (4, 1, None, "at", "us"),
    ]  # fmt: skip


REFUSED = [
    ("CALL morph.split_table('gone', 'a', 'true')", "42P01", "gone"),
    ("CALL morph.split_table('orders', 'a', 'nosuch > 1')", "42703", "nosuch"),
    ("CALL morph.split_table('orders', 'a', 'n')", "42804", "type boolean, not of type integer"),
    (
        "CALL morph.split_table('orders', 'a', 'n > extract(epoch from now())')",
        "42P17",
        "immutable",
    ),
    ("CALL morph.split_table('orders', 'a', 'n > (SELECT 1)')", "", "subquer"),
    ("CALL morph.split_table('orders', 'a', 'true')", "22023", "no column"),
    ("CALL morph.split_table('orders', 'a', 'n >')", "42601", ""),
    ("CALL morph.split_table('orders', 'taken', 'n > 1')", "42P07", "taken"),
    ("CALL morph.split_table('orders', 'a', 'n > 1', 'a')", "42P07", "exists"),
    ("CALL morph.split_table('orders', 'a', 'n > 1', rest_predicate => 'n < 1')", "22023", "rest"),
    ("CALL morph.split_table('orders', 'a')", "42883", "takes the texts"),
    ("CALL morph.split_table('read', 'a', 'n > 1')", "42809", "not a table"),
    ("CALL morph.split_table('taken', 'a', 'n > 1')", "2BP01", "depend"),
    ("CALL morph.merge_tables('orders', 'taken', 'x')", "0A000", "not parts"),
    ("CALL morph.merge_tables('orders', 'orders', 'x')", "22023", "two tables"),
    ("CALL morph.merge_tables('orders', 'gone', 'x')", "42P01", "gone"),
]
PARTED = [
    ("ALTER TABLE orders_eu ADD CHECK (n < 100)", "0A000", "split"),
    ("ALTER TABLE orders_eu ALTER COLUMN n TYPE text", "0A000", "split"),
    ("ALTER TABLE orders_eu ALTER COLUMN code SET NOT NULL", "0A000", "split"),
    ("ALTER TABLE orders_eu ADD COLUMN x int REFERENCES taken", "0A000", "split"),
    ("ALTER TABLE orders_eu ADD COLUMN x int NOT NULL", "0A000", "insert any more"),
    ("CALL morph.nest_columns('orders_eu', 'd', '{region}')", "0A000", "split"),
    ("CALL morph.split_table('orders_eu', 'x', 'n > 1')", "0A000", "split off"),
    ("CREATE UNIQUE INDEX ON orders_eu (n)", "0A000", "unique index"),
    ("CREATE TABLE y (id int REFERENCES orders_eu)", "0A000", "split"),
    ("TRUNCATE orders_eu", "0A000", "Use DELETE"),
    ("CALL morph.merge_tables('orders_eu', 'orders_rest', 'taken')", "42P07", "taken"),
]  # fmt: skip


def test_refused_statements_change_nothing(client: Connection) -> None:  # R4.2
    client.execute("CREATE TABLE taken (id int PRIMARY KEY, n int)")
    client.execute("CREATE VIEW read AS SELECT id, n FROM taken")
    for sets in (REFUSED, PARTED):
        if sets is PARTED:
            client.execute(SPLIT)
            client.execute("SET search_path = v2")
        before = rows(client, "SELECT count(*) FROM morph.versions")
        for statement, code, words in sets:
            with pytest.raises(psycopg.Error) as caught:
                client.execute(statement)
            told = f"{caught.value} {caught.value.diag.message_hint}"
            assert words in told, (statement, told)
            assert code in ("", caught.value.sqlstate), (statement, told)
        assert rows(client, "SELECT count(*) FROM morph.versions") == before


def test_a_script_and_a_rollback_of_the_transaction(client: Connection) -> None:  # R4.1 R1.5
    with client.transaction():
        client.execute("ALTER TABLE orders RENAME COLUMN n TO amount")
        client.execute(SPLIT)
        client.execute("ALTER TABLE v2.orders_rest DROP COLUMN code")
    assert rows(client, "SELECT * FROM v2.orders_rest ORDER BY id") == [(2, "us", 6), (3, None, 7)]
    assert rows(client, "SELECT id, amount FROM v2.orders_eu") == [(1, 5)]
    client.execute("SET search_path = v2")
    with client.transaction(force_rollback=True):
        client.execute(MERGE)
        client.execute("INSERT INTO v3.orders VALUES (4, 'eu')")
    assert rows(client, "SELECT max(version) FROM morph.versions") == [(2,)]
    assert ids(client, "v1.orders") == [1, 2, 3]
