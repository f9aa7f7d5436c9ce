"""The two sides: a server with the documents loaded, and a database of the same PostgreSQL."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import psycopg

from engine.loading.jobs import Input, Job, Rows
from engine.loading.process import ReadingProcess
from evolution.loading import Loader
from tests.integration.server_process import ServerProcess, eventually, running
from tests.slt import oracle
from tests.slt.engines import Engine
from tests.slt.runner import Sides

ORACLE = "slt_oracle"
MERGE_PROBE = "SELECT count(*) FROM people a JOIN people b USING (_id)"


class _Sink:
    """Nothing may be rejected."""

    def read(self, rows: Rows) -> None:
        assert not rows.rejects, rows.rejects

    def reject(self, source: int, line: int, reason: str, excerpt: str) -> None:
        raise AssertionError(f"line {line}: {reason}: {excerpt}")


async def _load(host: str, files: list[Path]) -> None:
    connection = await asyncpg.connect(host=host, user="morph_root", database="morph")
    try:
        jobs = [Job((Input(path=str(path)),)) for path in files]
        async with ReadingProcess(jobs) as process:
            for path in files:
                await Loader(connection, path.stem, _Sink()).load(process.frames())
    finally:
        await connection.close()


def _make_oracle(server: ServerProcess) -> None:
    with server.root() as root:
        root.execute(f"CREATE DATABASE {ORACLE} TEMPLATE template0")
    with psycopg.connect(
        host=str(server.socket_directory), user="morph_root", dbname=ORACLE, autocommit=True
    ) as root:
        root.execute("GRANT CREATE ON SCHEMA public TO morph")
        root.execute(f"GRANT TEMPORARY ON DATABASE {ORACLE} TO morph")
        for definition in oracle.definitions():
            oracle.load_table(root, definition)
        root.execute("ANALYZE")


class _Names:
    """Names of user types and tables by oid, asked of one database and kept."""

    def __init__(self, conninfo: str) -> None:
        self._connection = psycopg.connect(conninfo, autocommit=True)
        self._names: dict[tuple[str, int], str] = {}

    def __call__(self, catalog: str, oid: int) -> str:
        key = (catalog, oid)
        if key not in self._names:
            column = {"pg_type": "typname", "pg_class": "relname"}[catalog]
            row = self._connection.execute(
                f"SELECT {column} FROM {catalog} WHERE oid = {oid}"  # type: ignore[arg-type]
            ).fetchone()
            if row is None:
                return f"{catalog} {oid}"
            self._names[key] = row[0]
        return self._names[key]

    def close(self) -> None:
        self._connection.close()


def _merge_works(server: ServerProcess) -> bool:
    with server.connect() as connection:
        connection.execute("SET morph.pushdown = off")
        try:
            connection.execute(MERGE_PROBE)  # type: ignore[arg-type]
        except psycopg.errors.FeatureNotSupported:
            return False
    return True


def _documents_seen(server: ServerProcess) -> bool:
    with server.connect() as connection:
        found = connection.execute("SELECT to_regclass('people')").fetchone()
        try:
            connection.execute("SELECT FROM people LIMIT 0")
        except psycopg.Error:
            return False
        return found is not None


@contextlib.contextmanager
def serving(directory: Path) -> Iterator[Sides]:
    """Both sides, filled, for the length of a with block."""
    directory.chmod(0o755)
    with running(directory / "slt") as server:
        files = [d.with_suffix(".ndjson") for d in oracle.definitions()]
        asyncio.run(_load(str(server.socket_directory), files))
        _make_oracle(server)
        eventually(lambda: _documents_seen(server), what="the loaded tables are seen")
        inside = f"host={server.socket_directory} port=5432 user=morph_root dbname="
        names = (_Names(inside + "morph"), _Names(inside + ORACLE))

        def theirs() -> Engine:
            engine = Engine(inside + ORACLE, names[1])
            engine.command("SET SESSION AUTHORIZATION morph")
            return engine

        try:
            yield Sides(lambda: Engine(server.dsn, names[0]), theirs, merge=_merge_works(server))
        finally:
            for name in names:
                name.close()
