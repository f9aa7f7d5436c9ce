"""What each form of DDL does on store tables: published, a new version, refused (docs/ddl.md)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import errors
from psycopg.pq import TransactionStatus

from tests.integration.fresh_catalog import empty_catalog
from tests.integration.server_process import ServerProcess, running

Connection = psycopg.Connection[Any]


@pytest.fixture(scope="module")
def shared(open_directory: Path) -> Iterator[ServerProcess]:
    with running(open_directory / "ddl") as process:
        yield process


@pytest.fixture
def client(shared: ServerProcess) -> Iterator[Connection]:
    """A session on version 1 with two tables, a foreign key, a view and an index."""
    empty_catalog(shared)
    with shared.connect() as connection:
        connection.execute("CREATE TABLE a (id int PRIMARY KEY, name text, code varchar(5), n int)")
        connection.execute("CREATE TABLE b (id serial PRIMARY KEY, a_id int REFERENCES a)")
        connection.execute("CREATE VIEW va AS SELECT id, name FROM a")
        connection.execute("CREATE INDEX a_name ON a (name)")
        connection.execute("INSERT INTO a VALUES (1, 'x', 'c', 5); INSERT INTO b (a_id) VALUES (1)")
        yield connection


def rows(client: Connection, text: str) -> list[Any]:
    return client.execute(text).fetchall()


def versions(client: Connection) -> list[int]:
    return [r[0] for r in rows(client, "SELECT version FROM morph.versions ORDER BY 1")]


REFUSED = [
    ("ALTER TABLE a ALTER COLUMN n TYPE bigint USING n * 2", "0A000", "older versions could not"),
    ("ALTER TABLE a ALTER COLUMN n TYPE bigint USING n + id", "0A000", 'reads column "id"'),
    ("ALTER TABLE a ALTER COLUMN n TYPE text USING to_char(n, '9')", "42P17", "not immutable"),
    ("ALTER TABLE a ALTER COLUMN n TYPE date", "42804", "cannot be cast automatically"),
    ("ALTER TABLE b ALTER COLUMN id TYPE text", "0A000", "used by|constraint"),
    ("ALTER TABLE b ALTER COLUMN a_id TYPE text", "42804", "cannot be implemented"),
    ("ALTER TABLE a ALTER COLUMN name TYPE bytea USING name::bytea", "0A000", "used by a view"),
    ("ALTER TABLE a ADD COLUMN x int NOT NULL", "0A000", "older versions could not insert"),
    ("ALTER TABLE a ADD COLUMN x int GENERATED ALWAYS AS (g) STORED", "42703", "g"),
    ("ALTER TABLE a DROP COLUMN id", "2BP01", "depend on it"),
    ("ALTER TABLE a DROP COLUMN id CASCADE", "0A000", "part of the primary key"),
    ("ALTER TABLE a DROP CONSTRAINT a_pkey", "2BP01", "cannot drop constraint a_pkey on table a"),
    ("ALTER TABLE a DROP CONSTRAINT a_pkey CASCADE", "0A000", 'what "a_pkey" makes unique'),
    ("ALTER TABLE a OWNER TO morph", "0A000", "OWNER"),
    ("ALTER TABLE a SET SCHEMA v1", "0A000", "SET SCHEMA"),
    ("ALTER TABLE a ENABLE ROW LEVEL SECURITY", "0A000", "ROW SECURITY"),
    ("ALTER TABLE a SET (fillfactor = 70)", "0A000", "REL OPTIONS"),
    ("ALTER TABLE a INHERIT b", "0A000", "INHERIT"),
    ("ALTER TABLE a ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY", "0A000", "IDENTITY"),
    (
        "ALTER TABLE a ADD COLUMN v int GENERATED ALWAYS AS (morph.nope(id)) VIRTUAL",
        "42883",
        "nope",
    ),
    (
        "ALTER TABLE a ADD COLUMN v float GENERATED ALWAYS AS (random()) VIRTUAL",
        "42P17",
        "immutable",
    ),
    ("ALTER TABLE a ADD COLUMN v int GENERATED ALWAYS AS (gone + 1) VIRTUAL", "42703", "gone"),
    ("ALTER TABLE a ADD COLUMN v int GENERATED ALWAYS AS (v + 1) VIRTUAL", "42P17", "itself"),
    ("ALTER TABLE a RENAME COLUMN gone TO x", "42703", "gone"),
    ("ALTER TABLE a RENAME TO b", "42P07", "already exists"),
    ("ALTER TABLE gone ADD COLUMN x int", "42P01", "gone"),
    ("CREATE TABLE a (id int)", "42P07", "already exists"),
    ("CREATE TABLE pg_x (id int)", "42939", "reserved"),
    ("CREATE TABLE p (id int, n int) PARTITION BY HASH (id, n)", "0A000", "one column"),
    ("CREATE TABLE p (id int) PARTITION BY LIST (gone)", "42703", "gone"),
    ("CREATE TABLE p () INHERITS (a)", "0A000", "inheritance"),
    ("CREATE UNLOGGED TABLE p (id int)", "0A000", "unlogged"),
    ("CREATE TABLE p (id int, x nosuch)", "42704", "nosuch"),
    ("CREATE MATERIALIZED VIEW m AS SELECT * FROM a", "0A000", "materialized"),
    ("CREATE VIEW w AS SELECT gone FROM a", "42703", "gone"),
    ("CREATE VIEW w AS SELECT id FROM a WITH CHECK OPTION", "0A000", "CHECK OPTION"),
    ("CREATE OR REPLACE VIEW va AS SELECT name FROM a", "42P16", "drop columns from view"),
    ("CREATE INDEX a_name ON a (n)", "42P07", "already exists"),
    ("CREATE INDEX ON a (gone)", "42703", "gone"),
    ("CREATE INDEX ON va (id)", "42809", "va"),
    ("DROP TABLE a", "2BP01", "depend on it"),
    ("DROP TABLE va", "42809", "not a table"),
    ("DROP VIEW a", "42809", "not a view"),
    ("DROP TABLE gone", "42P01", "gone"),
    ("DROP INDEX gone", "42704", "gone"),
    ("GRANT SELECT ON a TO morph", "0A000", "GRANT"),
    ("REVOKE SELECT ON a FROM morph", "0A000", "GRANT or REVOKE"),
    ("COMMENT ON COLUMN a.gone IS 'x'", "42703", "gone"),
]


def test_refused_forms_change_nothing(client: Connection) -> None:  # R1.2 R4.1
    epoch = (
        rows(client, "SELECT * FROM morph.versions"),
        rows(client, "SELECT * FROM morph.columns"),
    )
    for text, state, words in REFUSED:
        with pytest.raises(psycopg.Error, match=words) as caught:
            client.execute(text)
        assert caught.value.sqlstate == state, text
        assert "morph_" not in str(caught.value), text
    after = (
        rows(client, "SELECT * FROM morph.versions"),
        rows(client, "SELECT * FROM morph.columns"),
    )
    assert after == epoch


def test_the_first_table_may_name_its_schema(shared: ServerProcess) -> None:  # R1.2
    empty_catalog(shared)
    with shared.connect() as client:
        client.execute("CREATE TABLE public.first (id int)")
        assert rows(client, "SELECT count(*) FROM public.first") == [(0,)]


def test_positions_are_those_of_the_client(client: Connection) -> None:  # R0.1
    for text, at in (
        ("ALTER TABLE a ADD COLUMN v int GENERATED ALWAYS AS (gone + 1) VIRTUAL", "gone"),
        ("  ALTER TABLE a ADD COLUMN v nosuch", "nosuch"),
        ("CREATE VIEW w AS SELECT gone FROM a", "gone"),
        ("CREATE TABLE p AS SELECT id, gone FROM a", "gone"),
        ("SELECT gone INTO p FROM a", "gone"),
    ):
        with pytest.raises(psycopg.Error) as caught:
            client.execute(text)
        assert caught.value.diag.statement_position == str(text.index(at) + 1), text


def test_published_at_once_in_every_version(client: Connection) -> None:  # R1.2
    client.execute("ALTER TABLE a RENAME COLUMN name TO full_name")
    client.execute("CREATE TABLE c (id int PRIMARY KEY, a_id int REFERENCES a (id), x text)")
    client.execute("CREATE INDEX c_x ON c (x)")
    client.execute("CREATE INDEX a_n ON a (n, full_name)")
    assert versions(client) == [1, 2]
    shown = "SELECT schemaname, indexdef FROM pg_indexes WHERE indexname = 'a_n' ORDER BY 1"
    assert [(s, d.split(" USING ")[1]) for s, d in rows(client, shown)] == [
        (schema, f"btree (n, {name})")
        for schema, name in (("public", "name"), ("v1", "name"), ("v2", "full_name"))
    ]
    for number in (1, 2):
        client.execute(f"INSERT INTO v{number}.c VALUES ({number}, 1)")
    with pytest.raises(errors.ForeignKeyViolation):
        client.execute("INSERT INTO c VALUES (9, 9)")


def test_views_indexes_and_keys_follow_a_rename(client: Connection) -> None:  # R1.4 R5.3
    client.execute("ALTER TABLE a RENAME COLUMN name TO full_name")
    client.execute("ALTER TABLE a RENAME COLUMN id TO a_no")
    client.execute("ALTER TABLE a RENAME TO aa")
    assert rows(client, "SELECT * FROM v4.va") == [(1, "x")]
    assert rows(client, "SELECT * FROM v1.va") == [(1, "x")]
    key = "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = 'v4.b'::regclass "
    assert rows(client, key + "AND contype = 'f'") == [
        ("FOREIGN KEY (a_id) REFERENCES v4.aa(a_no)",)
    ]
    with pytest.raises(errors.ForeignKeyViolation, match='"b"'):
        client.execute("INSERT INTO v4.b (a_id) VALUES (7)")
    index = "SELECT indexdef FROM pg_indexes WHERE schemaname = 'v4' AND indexname = 'a_name'"
    assert rows(client, index)[0][0].endswith("btree (full_name)")


def test_drop_column_and_cascade(client: Connection) -> None:  # R1.4
    with pytest.raises(errors.DependentObjectsStillExist) as caught:
        client.execute("ALTER TABLE a DROP COLUMN name")
    assert caught.value.diag.message_detail == "view va depends on column name of table a"
    client.execute("ALTER TABLE a DROP COLUMN name CASCADE")
    with pytest.raises(errors.UndefinedTable):
        client.execute("SELECT * FROM v2.va")
    assert rows(client, "SELECT * FROM va") == [(1, "x")]
    client.execute("INSERT INTO v2.a (id) VALUES (2)")
    assert rows(client, "SELECT name FROM a WHERE id = 2") == [(None,)]


def test_drop_table_and_its_name(client: Connection) -> None:  # R1.5
    client.execute("SET morph.ddl_mode = direct")
    client.execute("DROP TABLE a CASCADE")
    client.execute("DROP TABLE IF EXISTS a")
    client.execute("DROP TABLE b")
    client.execute("CREATE TABLE b (id serial PRIMARY KEY, other text)")
    client.execute("INSERT INTO b (other) VALUES ('new')")
    assert rows(client, "SELECT * FROM b") == [(1, "new")]
    assert rows(client, "SELECT a_id FROM v1.b") == [(1,)]
    assert rows(client, "SELECT name FROM v1.va") == [("x",)]


def test_types_that_need_no_data_work(client: Connection) -> None:  # R1.3
    client.execute("ALTER TABLE a ALTER COLUMN code TYPE varchar(9)")
    client.execute('ALTER TABLE a ALTER COLUMN n TYPE bigint USING "n"::bigint')
    client.execute("INSERT INTO v3.a (id, code, n) VALUES (2, '123456789', 7)")
    assert rows(client, "SELECT code, n FROM v1.a WHERE id = 2") == [("123456789", 7)]
    with pytest.raises(errors.NumericValueOutOfRange):
        client.execute("INSERT INTO v3.a (id, n) VALUES (3, 3000000000)")
    with pytest.raises(errors.StringDataRightTruncation):
        client.execute("INSERT INTO v3.a (id, code) VALUES (3, '1234567890')")


def test_defaults_belong_to_a_version(client: Connection) -> None:  # R1.5
    client.execute("ALTER TABLE a ALTER COLUMN name SET DEFAULT 'two'")
    client.execute("ALTER TABLE a ALTER COLUMN name SET DEFAULT 'three'")
    for number in (1, 2, 3):
        client.execute(f"INSERT INTO v{number}.a (id) VALUES ({number * 10})")
    found = rows(client, "SELECT name FROM a WHERE id >= 10 ORDER BY id")
    assert found == [(None,), ("two",), ("three",)]


def test_constraints_hold_for_every_version(client: Connection) -> None:  # R1.5
    heard: list[str] = []
    client.add_notice_handler(lambda d: heard.append(str(d.message_primary)))
    client.execute("ALTER TABLE a RENAME COLUMN name TO full_name")
    client.execute("ALTER TABLE a ADD CONSTRAINT positive CHECK (n > 0)")
    client.execute("ALTER TABLE a ALTER COLUMN n SET NOT NULL")
    assert heard == [
        'constraint "positive" holds for writes through every version',
        "NOT NULL holds for writes through every version",
    ]
    with pytest.raises(errors.CheckViolation, match='"positive"'):
        client.execute("INSERT INTO v1.a (id, n) VALUES (2, -1)")
    with pytest.raises(errors.NotNullViolation, match='"n"'):
        client.execute("INSERT INTO v2.a (id) VALUES (2)")
    client.execute("ALTER TABLE a DROP CONSTRAINT positive")
    client.execute("ALTER TABLE a ALTER COLUMN n DROP NOT NULL")
    client.execute("INSERT INTO v1.a (id, n) VALUES (2, -1)")
    left = "SELECT count(*) FROM pg_constraint WHERE conname = 'positive' AND "
    left += "connamespace IN ('v1'::regnamespace, 'v4'::regnamespace, 'public'::regnamespace)"
    assert rows(client, left) == [(0,)]


def test_virtual_columns_read_one_another(client: Connection) -> None:  # R3.1
    add = "ALTER TABLE {} ADD COLUMN {} GENERATED ALWAYS AS ({}) VIRTUAL"
    client.execute(add.format("a", "v int", "n * 2"))
    client.execute(add.format("a", "w int", "v + 1"))
    client.execute(add.format("a", "bs bigint", "morph.aggregate('b', 'count', '*')"))
    client.execute(add.format("b", "aname text", "morph.lookup('a', 'name', 'id', a_id)"))
    assert rows(client, "SELECT v, w, bs FROM v5.a") == [(10, 11, 1)]
    assert rows(client, "SELECT aname FROM v5.b") == [("x",)]
    client.execute("ALTER TABLE a RENAME COLUMN n TO amount")
    assert rows(client, "SELECT amount, v, w FROM v6.a WHERE w = 11") == [(5, 10, 11)]
    with pytest.raises(errors.FeatureNotSupported, match='"aname" of table "b"'):
        client.execute("ALTER TABLE a RENAME COLUMN name TO full_name")
    with pytest.raises(errors.DependentObjectsStillExist):
        client.execute("ALTER TABLE a DROP COLUMN amount")
    client.execute("ALTER TABLE a DROP COLUMN amount CASCADE")
    names = "SELECT name FROM morph.columns WHERE version = 7 AND table_name = 'a' ORDER BY 1"
    assert [n for (n,) in rows(client, names)] == ["bs", "code", "id", "name"]


def test_create_table_in_many_forms(client: Connection) -> None:  # R0.2
    client.execute(
        'CREATE TABLE "Odd ""Name" ("A b" int PRIMARY KEY, t text DEFAULT \'it\'\'s\', '
        "g bigint GENERATED BY DEFAULT AS IDENTITY (START 7), up int, UNIQUE (t, g), "
        'CHECK ("A b" > 0), FOREIGN KEY (up) REFERENCES "Odd ""Name", '
        'v int GENERATED ALWAYS AS ("A b" * 2) VIRTUAL)'
    )
    client.execute('INSERT INTO "Odd ""Name" ("A b") VALUES (3)')
    assert rows(client, 'SELECT * FROM "Odd ""Name"') == [(3, "it's", 7, None, 6)]
    client.execute("CREATE TABLE l (LIKE a INCLUDING ALL)")
    client.execute("INSERT INTO l VALUES (1, 'x')")
    client.execute("CREATE TABLE IF NOT EXISTS l (z int)")
    wide = ", ".join(f"c{n} int DEFAULT {n}" for n in range(1000))
    client.execute(f"CREATE TABLE wide (id int PRIMARY KEY, {wide})")
    client.execute("INSERT INTO wide (id) VALUES (1)")
    assert rows(client, "SELECT c999 FROM wide") == [(999,)]
    client.execute("DELETE FROM b; DELETE FROM a")
    client.execute("CREATE TABLE kid (id int, a int REFERENCES a ON DELETE CASCADE)")
    client.execute("INSERT INTO a (id) VALUES (1); INSERT INTO kid VALUES (1, 1)")
    client.execute("DELETE FROM a")
    assert rows(client, "SELECT * FROM kid") == []


def test_create_table_as(client: Connection) -> None:  # R0.2
    assert (
        client.execute("CREATE TABLE x AS SELECT id, name AS n FROM a").statusmessage == "SELECT 1"
    )
    assert client.execute("SELECT a.*, 1.5 AS y INTO z FROM a").statusmessage == "SELECT 1"
    made = client.execute("CREATE TABLE e (p, q) AS SELECT id, n FROM a WITH NO DATA")
    assert made.statusmessage == "CREATE TABLE AS"
    assert rows(client, "SELECT * FROM x") == [(1, "x")]
    assert [c.name for c in client.execute("SELECT * FROM z").description or ()] == [
        "id", "name", "code", "n", "y",
    ]  # fmt: skip
    assert rows(client, "SELECT p, q FROM e") == []
    client.execute("BEGIN; CREATE TABLE gone AS SELECT 1 AS a; ROLLBACK")
    with pytest.raises(errors.UndefinedTable):
        client.execute("SELECT * FROM gone")
    assert versions(client) == [1]


def test_views(client: Connection) -> None:  # R1.4
    client.execute("CREATE VIEW vv AS SELECT name FROM va")
    client.execute("CREATE OR REPLACE VIEW va AS SELECT id, name, n FROM a")
    assert rows(client, "SELECT * FROM vv") == [("x",)]
    client.execute("CREATE VIEW star AS SELECT * FROM a")
    client.execute("ALTER TABLE a ADD COLUMN extra int DEFAULT 4")
    assert rows(client, "SELECT * FROM v2.star") == [(1, "x", "c", 5)]
    client.execute("SET search_path = v2")
    client.execute("CREATE VIEW late AS SELECT extra FROM a")
    assert rows(client, "SELECT * FROM late") == [(4,)]
    with pytest.raises(errors.UndefinedTable):
        client.execute("SELECT * FROM v1.late")
    with pytest.raises(errors.DependentObjectsStillExist, match="view va"):
        client.execute("DROP VIEW va")
    client.execute("DROP VIEW va CASCADE")
    assert rows(client, "SELECT * FROM v1.vv") == [("x",)]


def test_indexes_are_used_renamed_and_dropped(client: Connection) -> None:  # R5.4
    client.execute("CREATE TABLE d (id int PRIMARY KEY, a text, n bigint, j jsonb)")
    client.execute(
        "INSERT INTO d SELECT i, 't' || i, i, jsonb_build_object('k', i) "
        "FROM generate_series(1, 2000) i"
    )
    for definition, condition in (
        ("d (a)", "a = 't7'"),
        ("CONCURRENTLY d_n ON d (n) WHERE n > 0", "n = 7 AND n > 0"),
        ("d ((j ->> 'k'))", "j ->> 'k' = '7'"),
        ("d (lower(a), n DESC)", "lower(a) = 't7'"),
    ):
        client.execute(f"CREATE INDEX {'' if ' ON ' in definition else 'ON '}{definition}")
        plan = "\n".join(r[0] for r in rows(client, f"EXPLAIN SELECT * FROM d WHERE {condition}"))
        assert "Index Scan" in plan or "Bitmap Index Scan" in plan, plan
    with pytest.raises(errors.UniqueViolation, match='"a_of_d"'):
        client.execute("INSERT INTO d VALUES (0, 't7'); CREATE UNIQUE INDEX a_of_d ON d (a)")
    client.execute("CREATE INDEX IF NOT EXISTS d_n ON d (n)")
    client.execute("ALTER INDEX d_n RENAME TO d_m")
    client.execute("DROP INDEX CONCURRENTLY d_m")
    client.execute("DROP INDEX IF EXISTS d_m")


def test_comments_and_psql(client: Connection) -> None:  # R0.2
    client.execute("COMMENT ON TABLE a IS 'all of it'; COMMENT ON COLUMN a.n IS 'a number'")
    client.execute("ALTER TABLE a RENAME COLUMN n TO m")
    said = "SELECT obj_description('{0}.a'::regclass), col_description('{0}.a'::regclass, 4)"
    for schema in ("public", "v1", "v2"):
        assert rows(client, said.format(schema)) == [("all of it", "a number")]


# what a Flyway script of a real project does: the serial key goes, a natural one comes
def test_a_table_gets_another_primary_key(client: Connection) -> None:
    client.execute("SET morph.ddl_mode = direct")
    with client.transaction():
        client.execute("ALTER TABLE b DROP CONSTRAINT IF EXISTS b_pkey")
        client.execute("ALTER TABLE b DROP COLUMN IF EXISTS id")
        client.execute("ALTER TABLE b ADD PRIMARY KEY (a_id)")
    assert rows(client, "INSERT INTO b VALUES (1) ON CONFLICT (a_id) DO NOTHING RETURNING *") == []
    assert rows(client, "SELECT * FROM b") == [(1,)]
    with pytest.raises(errors.UniqueViolation):
        client.execute("INSERT INTO v1.b (a_id) VALUES (1)")
    client.execute("INSERT INTO a (id) VALUES (2)")
    assert rows(client, "INSERT INTO v1.b (a_id) VALUES (2) RETURNING id > 1") == [(True,)]
    client.execute("INSERT INTO a (id) VALUES (3); INSERT INTO b VALUES (3)")
    assert rows(client, "SELECT id > 2 FROM v1.b WHERE a_id = 3") == [(True,)]


def shown(client: Connection, schema: str, table: str) -> list[Any]:
    return rows(
        client,
        "SELECT column_name, data_type, is_nullable FROM information_schema.columns "
        f"WHERE table_schema = '{schema}' AND table_name = '{table}' ORDER BY ordinal_position",
    )


# each statement of a transaction shows in public, not the first alone
def test_a_direct_transaction_shows_all_of_it(client: Connection) -> None:
    client.execute("SET morph.ddl_mode = direct")
    with client.transaction():
        client.execute("ALTER TABLE a ADD COLUMN x1 int")
        client.execute("ALTER TABLE a ADD COLUMN x2 text")
        client.execute("ALTER TABLE a RENAME x1 TO y1")
        assert [c[0] for c in shown(client, "public", "a")][-2:] == ["y1", "x2"]
        client.execute("ALTER TABLE a RENAME TO aa")
        client.execute("CREATE INDEX aa_y1 ON aa (y1)")
    assert shown(client, "public", "aa") == shown(client, "v2", "aa")
    assert shown(client, "public", "a") == shown(client, "v2", "a") == []
    keys = "SELECT conrelid::regclass::text, confrelid::regclass::text FROM pg_constraint " \
        "WHERE contype = 'f' AND connamespace = '{0}'::regnamespace"  # fmt: skip
    assert rows(client, keys.format("public")) == [("b", "aa")]
    assert rows(client, keys.format("v2")) == [("v2.b", "v2.aa")]
    assert rows(client, "SELECT * FROM va") == [(1, "x")]


# one long script in one transaction, as Flyway runs it, within PostgreSQL's lock table
def test_a_script_of_many_statements(client: Connection) -> None:
    client.execute("SET morph.ddl_mode = direct")
    for number in range(20):
        client.execute(f"CREATE TABLE s{number} (id serial PRIMARY KEY, code text, v int)")
    with client.transaction():
        for number in range(20):
            client.execute(f"ALTER TABLE s{number} DROP CONSTRAINT s{number}_pkey")
            client.execute(f"ALTER TABLE s{number} DROP COLUMN id")
            client.execute(f"ALTER TABLE s{number} ADD PRIMARY KEY (code)")
            client.execute(f"ALTER TABLE s{number} ADD COLUMN w int DEFAULT 7")
    assert rows(client, "INSERT INTO s19 VALUES ('k', 1) RETURNING *") == [("k", 1, 7)]


# ON DELETE SET NULL with a list: its names are each version's own
def test_a_foreign_key_sets_some_of_its_columns(client: Connection) -> None:
    client.execute("CREATE TABLE sites (tenant int, id int, PRIMARY KEY (tenant, id))")
    client.execute(
        "CREATE TABLE pages (tenant int, site int, title text, FOREIGN KEY (tenant, site) "
        "REFERENCES sites ON DELETE SET NULL (site) ON UPDATE CASCADE)"
    )
    client.execute("ALTER TABLE pages RENAME COLUMN site TO of_site")
    client.execute("INSERT INTO sites VALUES (1, 2); INSERT INTO pages VALUES (1, 2, 't')")
    client.execute("DELETE FROM sites")
    assert rows(client, "SELECT * FROM v2.pages") == [(1, None, "t")]
    definition = (
        "SELECT pg_get_constraintdef(oid) FROM pg_constraint "
        "WHERE contype = 'f' AND conrelid = 'v2.pages'::regclass"
    )
    assert rows(client, definition) == [
        (
            "FOREIGN KEY (tenant, of_site) REFERENCES v2.sites(tenant, id) "
            "ON UPDATE CASCADE ON DELETE SET NULL (of_site)",
        )
    ]


# computed on writing, as in PostgreSQL: an error is the writer's; through every version
def test_a_stored_generated_column(client: Connection) -> None:
    client.execute(
        "CREATE TABLE spans (id int PRIMARY KEY, t0 bigint, t1 bigint, "
        "took bigint GENERATED ALWAYS AS (t1 - t0) STORED UNIQUE)"
    )
    client.execute("SET morph.ddl_mode = direct")
    client.execute("ALTER TABLE spans RENAME t0 TO began")
    client.execute("ALTER TABLE spans ADD COLUMN per int GENERATED ALWAYS AS (100 / began) STORED")
    client.execute("CREATE INDEX ON spans (took)")
    assert rows(client, "INSERT INTO spans (id, began, t1) VALUES (1, 2, 5) RETURNING *") == [
        (1, 2, 5, 3, 50)
    ]
    with pytest.raises(errors.DivisionByZero):
        client.execute("INSERT INTO v1.spans (id, t0, t1) VALUES (2, 0, 5)")
    with pytest.raises(errors.UniqueViolation):
        client.execute("INSERT INTO v1.spans (id, t0, t1) VALUES (2, 3, 6)")
    with pytest.raises(errors.GeneratedAlways, match='column "took"'):
        client.execute("UPDATE spans SET took = 1")
    client.execute("UPDATE v1.spans SET t1 = 7")
    assert rows(client, "SELECT took FROM spans WHERE took = 5") == [(5,)]
    generated = (
        "SELECT attname, attgenerated FROM pg_attribute "
        "WHERE attrelid = 'public.spans'::regclass AND attgenerated <> '' ORDER BY 1"
    )
    assert rows(client, generated) == [("per", "s"), ("took", "s")]
    with pytest.raises(errors.FeatureNotSupported, match="STORED"):
        client.execute("ALTER TABLE spans ADD z int GENERATED ALWAYS AS (took + 1) STORED")


# a column that was converted has its name still: no hint about another one's errors
def test_a_converted_column_is_not_renamed(client: Connection) -> None:
    client.execute("SET morph.ddl_mode = direct")
    client.execute("CREATE TABLE conv (q int, b int)")
    client.execute("ALTER TABLE conv ALTER COLUMN q TYPE text USING q::text")
    with pytest.raises(errors.UndefinedColumn) as caught:
        client.execute("SELECT s.q FROM (SELECT b FROM conv) s")
    assert caught.value.diag.message_hint is None


@pytest.mark.parametrize("end", ["ROLLBACK", "ROLLBACK TO s; ROLLBACK", "ABORT", "COMMIT"])
def test_nothing_is_left_open_behind_a_block_with_ddl(client: Connection, end: str) -> None:  # R1.2
    client.autocommit = True
    link = client.pgconn
    link.exec_(b"BEGIN; SAVEPOINT s")
    assert link.exec_(b"ALTER TABLE a RENAME COLUMN n TO m").error_message == b""
    for part in end.split("; "):
        link.exec_(part.encode())
    states = []
    for text in (
        b"SELECT 1",
        b"SELECT max(version) FROM morph.versions",
        b"SELECT count(*) FROM a",
    ):
        assert link.exec_(text).error_message == b""
        states.append(link.transaction_status)
    assert states == [TransactionStatus.IDLE] * 3
    with client.transaction():
        client.execute("SELECT 1")
