"""docs/compatibility.md: every statement of its tables gives the SQLSTATE beside it (R6.4)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.integration.server_process import ServerProcess

PAGE = Path(__file__).parents[2] / "docs" / "compatibility.md"
ROW = re.compile(r"^\| `(?P<sql>[^`]+)` \| (?P<state>ok|[0-9A-Z]{5}) \|", re.MULTILINE)
CLAIMS = [(m["sql"], m["state"]) for m in ROW.finditer(PAGE.read_text("utf-8"))]


@pytest.fixture(scope="module")
def shop(fresh_shop: ServerProcess) -> ServerProcess:
    """The sample and a declared table."""
    with psycopg.connect(fresh_shop.dsn, autocommit=True) as connection:
        connection.execute("CREATE TABLE book (id int PRIMARY KEY, title text)")
    return fresh_shop


@pytest.fixture(scope="module")
def session(shop: ServerProcess) -> Iterator[psycopg.Connection]:
    """One session for all claims: each leaves it as it was."""
    with psycopg.connect(shop.dsn, autocommit=True) as connection:
        yield connection


def _state(session: psycopg.Connection, sql: str) -> str:
    session.execute("BEGIN")
    try:
        if re.search(r"\bcur\b", sql):
            session.execute("DECLARE cur CURSOR FOR SELECT _id, name FROM customers ORDER BY _id")
            session.execute("FETCH 1 FROM cur")
        session.execute(sql.encode(), prepare=False)
    except psycopg.Error as error:
        return error.sqlstate or "none"
    finally:
        session.execute("ROLLBACK")
    return "ok"


def test_the_page_makes_claims() -> None:
    assert len(CLAIMS) > 60


@pytest.mark.parametrize(("sql", "state"), CLAIMS, ids=[sql[:60] for sql, _ in CLAIMS])
def test_claim(session: psycopg.Connection, sql: str, state: str) -> None:
    assert _state(session, sql) == state


def test_the_document_is_not_in_the_star(session: psycopg.Connection) -> None:
    columns = session.execute("SELECT * FROM customers LIMIT 0").description
    assert columns is not None
    assert "_doc" not in [c.name for c in columns]


def test_row_description_has_the_oid_of_the_shape(session: psycopg.Connection) -> None:
    for name in ("customers", "v1.customers"):
        result = session.execute(f"SELECT _id, name FROM {name} LIMIT 0".encode()).pgresult
        assert result is not None
        row = session.execute("SELECT %s::regclass::oid", (name,)).fetchone()
        assert row == (result.ftable(0),)
        assert [result.ftablecol(0), result.ftablecol(1)] == [1, 2]


def test_what_the_page_says_of_the_server(session: psycopg.Connection) -> None:
    row = session.execute(
        "SELECT current_setting('search_path'), current_setting('server_encoding'), "
        "current_setting('server_version'), current_setting('server_version_num')::int / 10000, "
        "current_setting('is_superuser'), 'b' > 'A', datlocale, datlocprovider::text "
        "FROM pg_database WHERE datname = current_database()"
    ).fetchone()
    assert row is not None
    assert row[:2] == ("public", "UTF8")
    assert row[3:] == (18, "off", True, "C.UTF-8", "b")
    assert row[2].startswith("18.")
    assert session.execute("SELECT has_table_privilege('customers', 'SELECT')").fetchone() == (
        False,
    )
    sizes = session.execute("SELECT pg_relation_size('customers')").fetchone()
    assert sizes == (0,)


def test_a_constraint_holds_for_all_versions(shop: ServerProcess) -> None:
    with psycopg.connect(shop.dsn, autocommit=True) as connection:
        connection.execute("BEGIN")
        connection.execute("ALTER TABLE book ADD CONSTRAINT book_title_key UNIQUE (title)")
        connection.execute("INSERT INTO v1.book VALUES (1, 'same')")
        with pytest.raises(psycopg.errors.UniqueViolation):
            connection.execute("INSERT INTO v1.book VALUES (2, 'same')")
        connection.execute("ROLLBACK")


def test_another_database_is_refused(shop: ServerProcess) -> None:
    with pytest.raises(psycopg.OperationalError, match="does not exist"):
        psycopg.connect(shop.dsn.replace("dbname=morph", "dbname=other"))
