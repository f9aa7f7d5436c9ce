"""Real projects' migrations with morph.ddl_mode = direct, and the same on PostgreSQL (issue 5.2).

What both have afterwards is compared: columns, defaults, constraints, indexes.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.integration.server_process import ServerProcess, running
from tests.services.servers.packages import java, maven_jars, python_environment
from tests.services.servers.process import RunningServer

HERE = Path(__file__).parent
SCRIPTS = HERE.parent / "scripts"
DIRECT = "-c morph.ddl_mode=direct"
RUN_TIMEOUT_S = 300
FLYWAY = (
    "org.flywaydb:flyway-core:10.22.0",
    "org.flywaydb:flyway-database-postgresql:10.22.0",
    "org.postgresql:postgresql:42.7.4",
)
CONDUCTOR = ("com.netflix.conductor:conductor-postgres-persistence:3.15.0",)

pytestmark = [pytest.mark.services, pytest.mark.timeout(900)]

COLUMNS = """
SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity,
  pg_get_expr(d.adbin, d.adrelid)
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND a.attnum > 0
  AND NOT a.attisdropped
ORDER BY 1, 2"""
# The text of a CHECK is another one each time that PostgreSQL reads its own; NOT NULL is above.
CONSTRAINTS = """
SELECT conrelid::regclass::text, conname, contype::text,
  CASE WHEN contype = 'c' THEN '' ELSE pg_get_constraintdef(oid) END
FROM pg_constraint WHERE connamespace = 'public'::regnamespace AND contype <> 'n' AND conrelid <> 0
ORDER BY 1, 2"""
INDEXES = (
    "SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 2"
)


@pytest.fixture
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A Morphgres of one's own."""
    base = Path(tmp_path_factory.mktemp("migrations"))
    for parent in (base, base.parent, base.parent.parent):
        if parent.stat().st_uid == os.getuid():
            parent.chmod(0o755)
    with running(base / "data") as server:
        yield server


@pytest.fixture
def oracle(postgres_store: RunningServer) -> Iterator[str]:
    """A database of one's own on PostgreSQL."""
    with psycopg.connect(postgres_store.uri, autocommit=True) as connection:
        connection.execute("CREATE DATABASE migrated")
        yield "migrated"
        connection.execute("DROP DATABASE migrated WITH (FORCE)")


def run(command: Sequence[str | Path], **environment: str) -> None:
    """Run a tool; what it says is the failure's text."""
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=RUN_TIMEOUT_S,
        check=False,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.strip().endswith("good"), done.stdout + done.stderr


def catalog(connection: psycopg.Connection[Any]) -> dict[str, list[Any]]:
    """What is there, as PostgreSQL's own catalogs say it."""
    queries = {"columns": COLUMNS, "constraints": CONSTRAINTS, "indexes": INDEXES}
    return {name: connection.execute(query).fetchall() for name, query in queries.items()}


def compare(endpoint: ServerProcess, postgres_store: RunningServer, database: str) -> None:
    """Both have the same tables."""
    with endpoint.connect() as ours, psycopg.connect(postgres_store.uri, dbname=database) as theirs:
        found, wanted = catalog(ours), catalog(theirs)
    assert len(wanted["columns"]) > 50
    for name, rows in wanted.items():
        assert found[name] == rows, name


@pytest.mark.parametrize("script", ["django_migrations.py", "alembic_migrations.py"])
def test_python_tools(
    script: str, endpoint: ServerProcess, postgres_store: RunningServer, oracle: str
) -> None:
    python = python_environment(HERE / "migrations.lock") / "bin" / "python"
    run(
        [
            python,
            SCRIPTS / script,
            postgres_store.host,
            str(postgres_store.port),
            oracle,
            "postgres",
        ]
    )
    target = [endpoint.host, str(endpoint.port), "morph", "morph"]
    run([python, SCRIPTS / script, *target], PGOPTIONS=DIRECT)
    compare(endpoint, postgres_store, oracle)


def test_flyway(endpoint: ServerProcess, postgres_store: RunningServer, oracle: str) -> None:
    project = maven_jars("conductor", CONDUCTOR, transitive=False)
    jars = [*maven_jars("flyway", FLYWAY).glob("*.jar"), *project.glob("*.jar")]
    command: list[str | Path] = [java(), "-cp", ":".join(map(str, jars))]
    command.append(SCRIPTS / "FlywayMigrations.java")
    run([*command, postgres_store.host, str(postgres_store.port), oracle, "postgres", ""])
    run([*command, endpoint.host, str(endpoint.port), "morph", "morph", DIRECT.replace(" ", "%20")])
    compare(endpoint, postgres_store, oracle)
