"""COPY FROM STDIN into store tables, TRUNCATE, VACUUM and ANALYZE, through real clients."""

from __future__ import annotations

import asyncio
import contextlib
import re
import struct
from collections.abc import Iterator
from typing import Any

import asyncpg
import psycopg
import pytest
from psycopg import errors

from tests.integration.server_process import ServerProcess, eventually
from tests.integration.shop import rolled_back
from tests.integration.wire import (
    FLUSH,
    SYNC,
    WireClient,
    bind,
    describe,
    error_of,
    execute,
    kinds,
    message,
    parse,
    query,
)

Connection = psycopg.Connection[Any]
BOOKS = "COPY books (id, title, price) FROM STDIN"


@pytest.fixture
def client(shop: ServerProcess) -> Iterator[Connection]:
    with rolled_back(shop) as connection:
        yield connection


@pytest.fixture
def raw(shop: ServerProcess) -> Iterator[WireClient]:
    with WireClient(shop.host, shop.port) as connection:
        connection.log_in()
        yield connection


def copy(connection: Connection, sql: str, data: str | bytes) -> str:
    with connection.cursor() as cursor:
        with cursor.copy(sql) as stream:
            stream.write(data)
        return f"COPY {cursor.rowcount}"


def rows(connection: Connection, sql: str) -> list[tuple[Any, ...]]:
    return connection.execute(sql).fetchall()


def count(server: ServerProcess, table: str = "books") -> int:
    with server.connect() as connection:
        return int(rows(connection, f"SELECT count(*) FROM {table}")[0][0])


@pytest.mark.parametrize("form", ["text", "csv", "binary"])
@pytest.mark.parametrize("table", ["customers", "orders", "products", "events"])
def test_what_copy_to_wrote_copy_from_reads(client: Connection, table: str, form: str) -> None:
    # R1.2: all columns of documents, nested ones included, in every format
    part = f"(SELECT * FROM {table} ORDER BY _id LIMIT 200)"
    before = rows(client, f"SELECT * FROM {table} ORDER BY _id LIMIT 200")
    out_text = f"COPY {part} TO STDOUT (FORMAT {form})"
    with client.cursor() as cursor, cursor.copy(out_text) as out:
        data = b"".join(out)
    client.execute(f"DELETE FROM {table} WHERE _id IN (SELECT _id FROM {part} AS p)")
    assert copy(client, f"COPY {table} FROM STDIN (FORMAT {form})", data) == "COPY 200"
    assert rows(client, f"SELECT * FROM {table} ORDER BY _id LIMIT 200") == before


@pytest.mark.parametrize("table", ["customers", "orders", "products", "events"])
def test_copied_documents_are_those_of_an_insert(client: Connection, table: str) -> None:
    # rows of a file and rows of a query; the sides of the next test are older than both
    names = ", ".join(
        f'"{r[0]}"'
        for r in rows(
            client,
            "SELECT column_name FROM information_schema.columns WHERE table_schema = 'public' "
            f"AND table_name = '{table}' ORDER BY ordinal_position",
        )
    )
    client.execute(
        f"CREATE TEMP TABLE kept AS SELECT {names} FROM {table} ORDER BY _id DESC LIMIT 300"
    )
    with client.cursor() as cursor, cursor.copy("COPY kept TO STDOUT") as out:
        data = b"".join(out)
    stored = f"SELECT _doc::text FROM {table} WHERE _id IN (SELECT _id FROM kept) ORDER BY _id"
    remove = f"DELETE FROM {table} WHERE _id IN (SELECT _id FROM kept)"
    client.execute(remove)
    client.execute(f"INSERT INTO {table} ({names}) SELECT {names} FROM kept")
    inserted = rows(client, stored)
    client.execute(remove)
    assert copy(client, f"COPY {table} ({names}) FROM STDIN", data) == "COPY 300"
    assert rows(client, stored) == inserted


def test_parts_of_documents(client: Connection) -> None:
    columns = '_id, address, "address.city", "address.geo.lat", tags'
    data = (
        "1\t\\N\t\\N\t\\N\t\\N\n2\t\\N\tRome\t\\N\t{a,NULL}\n"
        '3\t{"city": "x", "geo": {"lat": 1, "lon": 2}}\t\\N\t\\N\t{}\n'
        '4\t{"zip": null, "geo": {"lon": 2}}\tOslo\t5\t\\N\n'
    )
    client.execute("DELETE FROM orders WHERE _id < 10")
    assert copy(client, f"COPY orders ({columns}) FROM STDIN", data) == "COPY 4"
    assert [r[0] for r in rows(client, "SELECT _doc FROM orders WHERE _id < 10 ORDER BY _id")] == [
        {"_id": 1},
        {"_id": 2, "address": {"city": "Rome"}, "tags": ["a", None]},
        {"_id": 3, "address": {"geo": {"lon": 2}}, "tags": []},
        {"_id": 4, "address": {"zip": None, "city": "Oslo", "geo": {"lat": 5, "lon": 2}}},
    ]


def test_a_field_cannot_go_into_what_is_no_object(client: Connection) -> None:
    with pytest.raises(psycopg.Error) as caught:
        copy(client, 'COPY orders (_id, address, "address.city") FROM STDIN', "-1\t5\tRome\n")
    assert caught.value.sqlstate == "22023"


@pytest.mark.parametrize(
    ("columns", "row"),
    [
        ("_id, address", '-1\t{"city": 5}'),
        ("_id, address", "-1\t5"),
        ("_id, address", '-1\t{"geo": [1]}'),
        ("_id, items", '-1\t[{"qty": "many"}]'),
    ],
)
def test_misfits_are_refused_as_by_an_insert(client: Connection, columns: str, row: str) -> None:
    # R0.3, DESIGN 7.8
    with pytest.raises(psycopg.errors.InvalidTextRepresentation) as copied, client.transaction():
        copy(client, f"COPY orders ({columns}) FROM STDIN", row + "\n")
    with pytest.raises(psycopg.errors.InvalidTextRepresentation) as inserted, client.transaction():
        client.execute(f"INSERT INTO orders ({columns}) VALUES (%s, %s)", row.split("\t"))
    assert copied.value.diag.message_primary == inserted.value.diag.message_primary


def test_a_json_null_is_stored_as_by_an_insert(client: Connection) -> None:
    # R1.2
    copy(client, "COPY orders (_id, address) FROM STDIN", "-1\tnull\n-2\t\\N\n")
    client.execute("INSERT INTO orders (_id, address) VALUES (-3, 'null'), (-4, NULL)")
    stored = rows(client, "SELECT _doc - '_id' FROM orders WHERE _id < 0 ORDER BY _id DESC")
    assert [r[0] for r in stored] == [{"address": None}, {}, {"address": None}, {}]


def test_whole_documents(client: Connection) -> None:
    copy(client, "COPY orders (_doc) FROM STDIN", '{"_id": -5, "status": "x", "more": [1]}\n')
    assert rows(client, "SELECT status, _doc FROM orders WHERE _id = -5") == [
        ("x", {"_id": -5, "status": "x", "more": [1]})
    ]


@pytest.mark.parametrize(
    ("options", "data", "ids"),
    [
        ("", "1\ta\t2\n2\tb\t\\N\n", [1, 2]),
        (" (FORMAT csv, HEADER)", "x,y,z\n1,a,2\n", [1]),
        (" (FORMAT csv, HEADER MATCH, DELIMITER ';')", "id;title;price\n1;a;2\n", [1]),
        (" (FORMAT csv, NULL 'none', QUOTE '|')", "1,|a,b|,none\n", [1]),
        (" WITH CSV", "1,a,2\n", [1]),
        (" WHERE price > 1 AND id < 10", "1\ta\t2\n2\tb\t1\n30\tc\t9\n", [1]),
        (" WHERE books.added = '2024-02-29' AND tags IS NULL", "1\ta\t2\n", [1]),
        (" (ON_ERROR ignore)", "1\ta\t2\nx\tb\t1\n2\tb\tz\n", [1]),
        (" (ENCODING 'latin1')", b"1\t\xe9\t2\n", [1]),
    ],
)
def test_options(client: Connection, options: str, data: str | bytes, ids: list[int]) -> None:
    assert copy(client, BOOKS + options, data) == f"COPY {len(ids)}"
    assert [r[0] for r in rows(client, "SELECT id FROM books ORDER BY id")] == ids


def test_a_default_marker(client: Connection) -> None:
    copy(client, "COPY books (id, title, added) FROM STDIN (DEFAULT '\\D')", "1\ta\t\\D\n")
    assert str(rows(client, "SELECT added FROM books")[0][0]) == "2024-02-29"


@pytest.mark.parametrize(
    ("sql", "data", "code", "text", "context"),
    [
        (BOOKS, "1\ta\tx\n", "22P02", 'invalid input syntax for type numeric: "x"',
         'COPY books, line 1, column price: "x"'),
        (BOOKS, "1\ta\t1\n2\t\\N\t1\n", "23502",
         'null value in column "title" of relation "books" violates not-null constraint',
         'COPY books, line 2: "2\t\\N\t1"'),
        (BOOKS, "1\ta\t-1\n", "23514",
         'new row for relation "books" violates check constraint "books_price_check"',
         'COPY books, line 1: "1\ta\t-1"'),
        (BOOKS, "1\ta\t1\n1\tb\t1\n", "23505",
         'duplicate key value violates unique constraint "books_pkey"', None),
        (BOOKS, "1\ta\n", "22P04", 'missing data for column "price"',
         'COPY books, line 1: "1\ta"'),
        (BOOKS + " (FORMAT csv, HEADER MATCH)", "id,name,price\n", "22P04",
         'column name mismatch in header line field 2: got "name", expected "title"',
         'COPY books, line 1: "id,name,price"'),
        (BOOKS + " (FORMAT binary)", b"nothing\n", "22P04", "COPY file signature not recognized",
         None),
        ("COPY books (id, nope) FROM STDIN", "", "42703",
         'column "nope" of relation "books" does not exist', None),
        ("COPY books (id, id) FROM STDIN", "", "42701",
         'column "id" specified more than once', None),
        ("COPY books FROM STDIN (FREEZE)", "", "55000",
         "cannot perform COPY FREEZE because the table was not created or truncated in the "
         "current subtransaction", None),
        ("COPY books FROM STDIN (FORMAT none)", "", "22023",
         'COPY format "none" not recognized', None),
        ("COPY books FROM '/etc/passwd'", "", "42501", "permission denied to COPY from a file",
         None),
        ("COPY books FROM PROGRAM 'id'", "", "42501",
         "permission denied to COPY to or from an external program", None),
    ],
)  # fmt: skip
def test_errors_are_postgresqls(
    client: Connection, sql: str, data: str | bytes, code: str, text: str, context: str | None
) -> None:
    # R0.2: code, text, context and names
    with pytest.raises(psycopg.Error) as caught:
        copy(client, sql, data)
    report = caught.value.diag
    assert (report.sqlstate, report.message_primary, report.context) == (code, text, context)
    if code in ("23502", "23505", "23514"):
        assert (report.schema_name, report.table_name) == ("public", "books")


def test_the_position_in_where_is_the_clients(client: Connection) -> None:
    sql = f"{BOOKS} WHERE nope > 1"
    with pytest.raises(errors.UndefinedColumn) as caught:
        copy(client, sql, "")
    assert caught.value.diag.statement_position == str(sql.index("nope") + 1)


def test_a_read_only_transaction_refuses(shop: ServerProcess) -> None:
    with shop.connect() as connection:
        connection.execute("BEGIN READ ONLY")
        with pytest.raises(errors.ReadOnlySqlTransaction, match="cannot execute COPY FROM in"):
            copy(connection, BOOKS, "")
        connection.execute("ROLLBACK; BEGIN READ ONLY")
        with pytest.raises(errors.ReadOnlySqlTransaction, match="cannot execute TRUNCATE"):
            connection.execute("TRUNCATE books")


def test_a_temporary_table_of_the_name_is_left_alone(client: Connection) -> None:
    client.execute("CREATE TEMP TABLE mine (a int); ALTER TABLE mine RENAME TO books")
    with pytest.raises(psycopg.Error) as caught:
        copy(client, "COPY public.books (id, title) FROM STDIN", "1\ta\nx\tb\n")
    assert caught.value.diag.context == 'COPY books, line 2, column id: "x"'


def test_an_error_leaves_nothing(shop: ServerProcess) -> None:
    with shop.connect() as connection:
        with pytest.raises(errors.UniqueViolation):
            copy(connection, BOOKS, "1\ta\t1\n2\tb\t1\n1\tc\t1\n")
        with connection.cursor() as cursor:
            stream = cursor.copy(BOOKS)
            stream.__enter__().write("1\ta\t1\n")
            stream.__exit__(OSError, OSError("no more"), None)
            assert cursor.rowcount in (-1, 0)
        assert rows(connection, "SELECT count(*) FROM pg_class WHERE relname = 'books' "
                    "AND relnamespace = pg_my_temp_schema()") == [(0,)]  # fmt: skip
    assert count(shop) == 0


def test_within_a_block_and_savepoints(client: Connection) -> None:
    copy(client, BOOKS, "1\ta\t1\n")
    client.execute("SAVEPOINT s")
    copy(client, BOOKS, "2\tb\t1\n")
    client.execute("ROLLBACK TO s")
    copy(client, BOOKS, "3\tc\t1\n")
    assert [r[0] for r in rows(client, "SELECT id FROM books ORDER BY id")] == [1, 3]


def test_in_a_text_of_several_statements(raw: WireClient, shop: ServerProcess) -> None:
    text = f"SELECT 1; {BOOKS}; SELECT count(*) FROM books; {BOOKS}; SELECT nonsense"
    raw.send(query(text))
    assert kinds(raw.read_until("G")) == "TDCG"
    raw.send(message("d", b"1\ta\t1\n2\tb\t"), message("d", b"1\n"), message("c"))
    middle = raw.read_until("G")
    assert (kinds(middle), middle[0].text, middle[2].values) == ("CTDCG", "COPY 2", [b"2"])
    raw.send(message("d", b"3\tc\t1\n"), message("c"))
    answers = raw.read_until()
    assert (kinds(answers), error_of(answers)["C"]) == ("CEZ", "42703")
    assert count(shop) == 0  # one implicit transaction


def test_extended_protocol(raw: WireClient, shop: ServerProcess) -> None:
    raw.send(parse("BEGIN"), bind(), execute(), SYNC)
    raw.read_until()
    raw.send(parse(BOOKS), bind(), describe("P"), execute(), SYNC)
    assert kinds(raw.read_until("G")) == "12nG"
    raw.send(message("d", b"1\ta\t1\n"), FLUSH, SYNC, message("d", b"2\tb\t1\n"), message("c"))
    raw.send(SYNC)
    answers = raw.read_until()
    assert (kinds(answers), answers[0].text, answers[1].text) == ("CZ", "COPY 2", "T")
    assert raw.values("SELECT count(*) FROM books") == [[b"2"]]
    raw.simple("ROLLBACK")


def test_extended_error_skips_to_sync(raw: WireClient) -> None:
    raw.send(parse(BOOKS), bind(), execute(), SYNC)
    assert kinds(raw.read_until("G")) == "12G"
    raw.send(message("d", b"x\ta\t1\n"), message("c"), parse("SELECT 1"), bind(), execute(), SYNC)
    answers = raw.read_until()
    assert (kinds(answers), error_of(answers)["C"]) == ("EZ", "22P02")
    assert raw.values("SELECT 5") == [[b"5"]]


def test_an_unnamed_statement_survives_a_copy(raw: WireClient) -> None:
    raw.ask(parse("SELECT 42"), SYNC)
    raw.send(parse(BOOKS, "c"), bind(statement="c"), execute(), SYNC)
    raw.read_until("G")
    raw.ask(message("c"), SYNC)
    answers = raw.ask(bind(), execute(), SYNC)
    assert [a.values for a in answers if a.kind == "D"] == [[b"42"]]


def test_copy_fail_and_stray_messages(raw: WireClient, shop: ServerProcess) -> None:
    raw.send(query(BOOKS))
    raw.read_until("G")
    raw.send(message("d", b"1\ta\t1\n"), message("f", b"enough\0"), message("d", b"2"))
    answers = raw.read_until()
    report = error_of(answers)
    assert (report["C"], report["M"]) == ("57014", "COPY from stdin failed: enough")
    assert raw.values("SELECT 5") == [[b"5"]]
    assert count(shop) == 0


def test_a_client_that_goes_away_leaves_nothing(shop: ServerProcess) -> None:
    with WireClient(shop.host, shop.port) as leaver:
        leaver.log_in()
        leaver.send(query(BOOKS))
        leaver.read_until("G")
        leaver.send(message("d", b"1\ta\t1\n"))
    with shop.root() as root:
        query_text = "SELECT count(*) FROM pg_class WHERE relpersistence = 't' AND relkind = 'r'"
        eventually(lambda: rows(root, query_text) == [(0,)], what="staging tables")
    assert count(shop) == 0


def test_cancel(raw: WireClient, shop: ServerProcess) -> None:
    raw.send(query(BOOKS))
    raw.read_until("G")
    raw.send(message("d", b"1\ta\t1\n"))
    with WireClient(shop.host, shop.port) as other:
        other.cancel(raw.process_id, raw.key)
    # As in PostgreSQL the cancel is seen when the next data come.
    raw.send(message("d", b"2\ta\t1\n"), message("c"))
    answers = raw.read_until()
    assert error_of(answers)["C"] == "57014"
    assert count(shop) == 0


def test_more_than_the_buffers_hold(shop: ServerProcess) -> None:
    line = struct.pack(">8s", b"x" * 8).decode() * 100
    with rolled_back(shop) as connection:
        with connection.cursor() as cursor, cursor.copy(BOOKS) as stream:
            for first in range(0, 40_000, 400):
                stream.write("".join(f"{n}\t{line}\t1\n" for n in range(first, first + 400)))
        assert rows(connection, "SELECT count(*), sum(length(title)) FROM books") == [
            (40_000, 32_000_000)
        ]


async def test_asyncpg_copies_records(shop: ServerProcess) -> None:
    connection = await asyncpg.connect(
        host=shop.host, port=shop.port, user="morph", database="morph"
    )
    with contextlib.suppress(asyncio.CancelledError):
        transaction = connection.transaction()
        await transaction.start()
        records = [(1, "a", None), (2, "b", None)]
        tag = await connection.copy_records_to_table(
            "books", records=records, columns=["id", "title", "price"]
        )
        assert tag == "COPY 2"
        assert await connection.fetchval("SELECT count(*) FROM books") == 2
        await transaction.rollback()
    await connection.close()


def test_truncate(client: Connection) -> None:
    copy(client, BOOKS, "1\ta\t1\n")
    client.execute("CREATE TEMP TABLE mine AS SELECT 1 AS a")
    assert client.execute("TRUNCATE books, mine").statusmessage == "TRUNCATE TABLE"
    assert rows(client, "SELECT count(*) FROM books") == [(0,)]
    assert rows(client, "SELECT count(*) FROM mine") == [(0,)]
    client.execute("SAVEPOINT s; TRUNCATE orders RESTART IDENTITY CASCADE")
    assert rows(client, "SELECT count(*) FROM orders") == [(0,)]
    client.execute("ROLLBACK TO s")
    assert rows(client, "SELECT count(*) FROM orders") == [(30_000,)]


def test_truncate_refuses(client: Connection) -> None:
    client.execute("SAVEPOINT s")
    for sql, code in [
        ("TRUNCATE orders_items", "42809"),
        ("COPY orders_items FROM STDIN", "42809"),
    ]:
        with pytest.raises(psycopg.Error) as caught:
            client.execute(sql)
        assert caught.value.sqlstate == code
        client.execute("ROLLBACK TO s")


def test_vacuum_and_analyze(shop: ServerProcess) -> None:
    with shop.connect() as connection:
        for sql, tag in [
            ("VACUUM orders", "VACUUM"),
            ("VACUUM (ANALYZE, PARALLEL 0, INDEX_CLEANUP auto) orders, books", "VACUUM"),
            ("ANALYZE books (title, price)", "ANALYZE"),
            ("ANALYZE orders (status)", "ANALYZE"),
            ("BEGIN; ANALYZE books; COMMIT", "COMMIT"),
        ]:
            cursor = connection.execute(sql)
            while cursor.nextset():
                pass
            assert cursor.statusmessage == tag
        texts: list[str] = []
        connection.add_notice_handler(lambda r: texts.append(str(r.message_primary)))
        connection.execute("VACUUM VERBOSE books")
        text = " ".join(texts)
        assert 'vacuuming "morph.public.books"' in text
        assert "morph_store" not in text
        with pytest.raises(errors.UndefinedColumn):
            connection.execute("ANALYZE books (nope)")
        connection.execute("BEGIN")
        with pytest.raises(errors.ActiveSqlTransaction, match="cannot run inside"):
            connection.execute("VACUUM books")
        connection.execute("ROLLBACK")
        with pytest.raises(errors.ActiveSqlTransaction):
            connection.execute("SELECT 1; VACUUM books")


def test_vacuum_and_analyze_of_everything(shop: ServerProcess) -> None:
    """Without names they are of all tables: those of the store as well."""
    seen = (
        "SELECT sum(vacuum_count), sum(analyze_count), count(*) FROM pg_stat_all_tables "
        "WHERE schemaname = 'morph_store'"
    )
    with shop.connect() as connection, shop.root() as root:

        def more(sql: str) -> tuple[bool, bool]:
            before = root.execute(seen).fetchone() or (0, 0, 0)
            cursor = connection.execute(sql)
            while cursor.nextset():
                pass
            after = root.execute(seen).fetchone() or (0, 0, 0)
            vacuums, analyzes = after[0] - before[0], after[1] - before[1]
            return vacuums >= after[2], analyzes >= after[2]

        assert more("VACUUM") == (True, False)
        assert more("ANALYZE") == (False, True)
        assert more("VACUUM (ANALYZE, SKIP_LOCKED)") == (True, True)
        assert more("BEGIN; ANALYZE; COMMIT") == (False, True)
        texts: list[str] = []
        connection.add_notice_handler(lambda r: texts.append(str(r.message_primary)))
        connection.execute("VACUUM (VERBOSE, ANALYZE)")
        text = " ".join(texts)
        assert 'vacuuming "morph.public.books"' in text
        assert '"books": scanned' in text
        assert re.search(r'morph_|"t\d+"', text) is None
        connection.execute("VACUUM (ONLY_DATABASE_STATS)")
        with pytest.raises(errors.ActiveSqlTransaction, match="cannot run inside"):
            connection.execute("BEGIN; VACUUM; COMMIT")
        connection.execute("ROLLBACK")
