"""Random sessions of statements against PostgreSQL's own answers (R0.1, R0.2).

SQLSTATE, command tag, rows and the transaction's state after every message, over blocks,
savepoints, implicit blocks, settings, DDL in `ddl_mode = direct`, temporary tables and prepared
statements. Known to differ and left out: DDL while the client has an open cursor of the table
(PostgreSQL: 55006), DDL and EXECUTE under a search_path that hides the tables (here they belong to
a version).
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg.pq import DiagnosticField, TransactionStatus

from tests.integration.fresh_catalog import empty_catalog
from tests.integration.server_process import ServerProcess, running

Link = psycopg.Connection[Any]
Outcome = tuple[str | None, bytes | None, list[list[bytes | None]], str]

QUICK = settings(
    max_examples=20,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
THOROUGH = settings(QUICK, max_examples=600, derandomize=False)

BLOCKS = (
    "BEGIN", "COMMIT", "ROLLBACK", "SAVEPOINT a", "ROLLBACK TO a", "RELEASE a", "SAVEPOINT b",
    "ROLLBACK TO b", "COMMIT AND CHAIN", "START TRANSACTION READ ONLY",
)  # fmt: skip
ROWS = (
    "INSERT INTO t VALUES (2, 'x')", "INSERT INTO t VALUES (1, 'dup')", "SELECT count(*) FROM t",
    "SELECT * FROM t WHERE id = 1", "UPDATE t SET v = 'y' WHERE id = 1", "SELECT 1/0", "SELEC",
    "SET work_mem = '5MB'", "SHOW work_mem", "RESET ALL", "DO $$ BEGIN PERFORM 1; END $$",
)  # fmt: skip
PATHS = (
    "SET LOCAL search_path = pg_catalog", "SET search_path = pg_catalog", "RESET search_path",
    "SET search_path = public", "SELECT set_config('search_path', 'pg_catalog', true)",
)  # fmt: skip
DDL = (
    "ALTER TABLE t ADD COLUMN c int", "ALTER TABLE t DROP COLUMN c", "CREATE TABLE x (a int)",
    "ALTER TABLE t RENAME COLUMN c TO d", "DROP TABLE x", "INSERT INTO x VALUES (1)",
    "SELECT * FROM x", "TRUNCATE x", "CREATE INDEX i ON t (v)", "DROP INDEX i",
    "CREATE VIEW w AS SELECT id FROM t", "SELECT count(*) FROM w", "DROP VIEW w",
    "ALTER TABLE t ALTER COLUMN v SET DEFAULT 'q'", "CREATE TEMP TABLE tt (a int)",
    "SELECT * FROM tt", "DISCARD TEMP", "PREPARE p AS SELECT count(*) FROM t", "EXECUTE p",
    "DEALLOCATE p",
)  # fmt: skip


@dataclass(frozen=True)
class Step:
    """One message: a text of one or several statements, or one statement by Parse/Bind/Execute."""

    statements: tuple[str, ...]
    extended: bool


def steps(alphabet: tuple[str, ...]) -> st.SearchStrategy[list[Step]]:
    one = st.builds(Step, st.tuples(st.sampled_from(alphabet)), st.booleans())
    several = st.builds(
        Step, st.lists(st.sampled_from(alphabet), min_size=2, max_size=4).map(tuple), st.just(False)
    )
    return st.lists(st.one_of(one, one, one, several), min_size=4, max_size=14)


sessions = st.one_of(steps(BLOCKS + ROWS + PATHS), steps(BLOCKS + ROWS + DDL))


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    """With another database in its private PostgreSQL, which is the oracle."""
    with tempfile.TemporaryDirectory(prefix="morph-fuzz-", dir="/tmp") as name:
        Path(name).chmod(0o755)  # the private PostgreSQL has a user of its own
        with running(Path(name) / "sessions") as process:
            with process.root() as root:
                root.execute("CREATE DATABASE oracle")
            yield process


def answer(link: Link, step: Step) -> Outcome:
    text = "; ".join(step.statements).encode()
    result = link.pgconn.exec_params(text, None) if step.extended else link.pgconn.exec_(text)
    state = TransactionStatus(link.pgconn.transaction_status).name
    code = result.error_field(DiagnosticField.SQLSTATE)
    if code is not None:
        return code.decode(), None, [], state
    rows = [
        [result.get_value(row, column) for column in range(result.nfields)]
        for row in range(result.ntuples)
    ]
    return None, result.command_status, rows, state


def compare(server: ServerProcess, session: list[Step]) -> None:
    empty_catalog(server)
    oracle = psycopg.connect(
        host=str(server.socket_directory), user="morph_root", dbname="oracle", autocommit=True
    )
    with oracle, server.connect() as client:
        oracle.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
        client.execute("SET morph.ddl_mode = direct")
        for link in (oracle, client):
            link.execute("CREATE TABLE t (id int PRIMARY KEY, v text)")
            link.execute("INSERT INTO t VALUES (1, 'one')")
        told = []
        for step in session:
            ours, theirs = answer(client, step), answer(oracle, step)
            told.append(f"{step}: {ours}")
            assert ours == theirs, "\n".join(told)


@QUICK
@given(sessions)
def test_sessions_as_in_postgresql(server: ServerProcess, session: list[Step]) -> None:  # R0.1
    compare(server, session)


@pytest.mark.slow
@pytest.mark.timeout(3_000)
@THOROUGH
@given(sessions)
def test_many_sessions(server: ServerProcess, session: list[Step]) -> None:  # R0.1
    compare(server, session)
