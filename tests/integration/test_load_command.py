"""`morphgres load` as a user runs it: status, messages, rejects, kills, a running server (R1)."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import asyncpg
import psycopg
import pytest

from catalog.store import load_snapshot
from private_pg.cluster import DATABASE, SUPERUSER
from proxy.commands.store_access import running_socket
from tests.integration.server_process import ServerProcess, descendants, eventually, eventually_gone

BACKENDS_AT_WORK = (
    "SELECT count(*) FROM pg_stat_activity WHERE state <> 'idle' AND query ~ '^(COPY|INSERT|ALTER)'"
)
Run = Callable[..., "subprocess.CompletedProcess[str]"]
LINES = ['{"_id":1,"v":"a"}', "broken", '{"_id":2,"v":"b"}']


def _command(data: Path, *arguments: str) -> list[str]:
    config = data.with_name(data.name + ".toml")
    config.write_text("[private_pg]\ndurable = false\n")
    return [
        *(sys.executable, "-m", "proxy.main", "load", *arguments),
        *("--data", str(data), "--config", str(config)),
    ]


@pytest.fixture
def load(fresh_directory: Path, tmp_path: Path) -> Run:
    """Runs the command in an empty working directory."""

    def run(
        *arguments: str, stdin: str = "", data: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            _command(data or fresh_directory, *arguments),
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": os.getcwd()},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )

    return run


@pytest.fixture
def lines(tmp_path: Path) -> Path:
    """A file with two documents and a bad line."""
    path = tmp_path / "people.ndjson"
    path.write_text("\n".join(LINES))
    return path


def test_a_bad_line_is_named_and_goes_to_the_rejects_file(
    load: Run, lines: Path, tmp_path: Path
) -> None:  # R1.4
    done = load("people.ndjson")
    assert done.returncode == 3, done.stderr
    assert "people: 2 documents loaded, new table" in done.stdout
    assert "people.ndjson:2: invalid JSON" in done.stderr
    assert "documents" in done.stderr
    assert "/s" in done.stderr
    (reject,) = (tmp_path / "people_rejects.ndjson").read_text().splitlines()
    record = json.loads(reject)
    assert (record["file"], record["line"], record["record"]) == ("people.ndjson", 2, "broken")


def test_standard_input_and_a_second_load(load: Run, tmp_path: Path) -> None:  # R1.4
    first = load("-", "--table", "t", stdin='{"_id":1}\n')
    assert (first.returncode, first.stderr.count("Traceback")) == (0, 0), first.stderr
    again = load("-", "--table", "t", "--on-conflict", "skip", stdin='{"_id":1}\n{"_id":2,"x":1}\n')
    assert again.returncode == 0
    assert "1 skipped" in again.stdout
    assert "version 2" in again.stdout
    assert not (tmp_path / "t_rejects.ndjson").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("none.ndjson",), 'could not open file "none.ndjson" for reading: No such file'),
        (("sub", "--table", "t"), "Is a directory"),
        (("people.ndjson", "--format", "xml"), 'unknown file format "xml"'),
        (("people.ndjson", "--table", "morph_x"), "is reserved"),
        (("people.ndjson", "empty.csv"), "--table"),
        (("-",), "--table"),
        (("people.ndjson", "--rejects", "no/such/file"), "could not write rejects file"),
    ],
)
def test_wrong_arguments_are_said_before_anything_starts(
    load: Run, lines: Path, tmp_path: Path, fresh_directory: Path,
    arguments: tuple[str, ...], message: str,
) -> None:  # R1.4, R0.4  # fmt: skip
    (tmp_path / "sub").mkdir()
    done = load(*arguments)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not fresh_directory.exists()


def test_inputs_that_cannot_be_loaded(load: Run, tmp_path: Path) -> None:  # R1.4
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "cut.ndjson.gz").write_bytes(gzip.compress(b'{"_id":1}\n' * 9)[:-12])
    for name, message in (("empty.csv", "no document"), ("cut.ndjson.gz", "ends early")):
        done = load(name)
        assert (done.returncode, message in done.stderr) == (1, True), done.stderr
        assert "Traceback" not in done.stderr


def test_a_directory_that_is_not_a_data_directory(
    load: Run, lines: Path, tmp_path: Path
) -> None:  # R0.4
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("")
    done = load("people.ndjson", data=tmp_path / "full")
    assert done.returncode == 1
    assert "is not a Morphgres data directory" in done.stderr


async def _tables(data: Path) -> set[str]:
    """The tables of the store in a directory whose server runs."""
    connection = await asyncpg.connect(host=running_socket(data), user=SUPERUSER, database=DATABASE)
    try:
        snapshot = await load_snapshot(connection)
        stores = await connection.fetch(
            "SELECT relname FROM pg_class WHERE relnamespace = 'morph_store'::regnamespace"
        )
        names = {t.name for v in snapshot.versions.values() for t in v.tables}
        return names | {row[0] for row in stores}
    finally:
        await connection.close()


class TestRunningServer:
    """Loading while a server runs in the same directory."""

    @pytest.fixture
    def server(self, fresh_directory: Path) -> Iterator[ServerProcess]:
        process = ServerProcess(fresh_directory)
        process.start()
        yield process
        process.stop()

    def test_the_server_sees_the_table_at_once(
        self, server: ServerProcess, load: Run, lines: Path
    ) -> None:  # R1.4, R4
        with server.connect() as connection:
            with pytest.raises(psycopg.errors.UndefinedTable):
                connection.execute("SELECT * FROM people")
            assert load("people.ndjson").returncode == 3
            rows = connection.execute("SELECT * FROM people ORDER BY 1").fetchall()
            assert rows == [(1, "a"), (2, "b")]
            assert load("-", "--table", "people", stdin='{"_id":3,"v":5,"w":1}').returncode == 0
            rows = connection.execute("SELECT v FROM people ORDER BY _id").fetchall()
            assert rows == [("a",), ("b",), (None,)]
            rows = connection.execute("SELECT v, w FROM v2.people ORDER BY _id").fetchall()
            assert rows == [("a", None), ("b", None), (5, 1)]
            whole = connection.execute("SELECT _doc FROM people WHERE _id = 3").fetchone()
            assert whole == ({"_id": 3, "v": 5, "w": 1},)

    def test_rules_of_a_declared_table(
        self, server: ServerProcess, load: Run, tmp_path: Path
    ) -> None:  # R7.3
        with server.connect() as connection:
            connection.execute(
                "CREATE TABLE d (id int PRIMARY KEY, name varchar(3) NOT NULL, "
                "n numeric(6,2) CHECK (n > 0), at date DEFAULT '2024-02-29', "
                "u text UNIQUE, s bigserial)"
            )
            documents = [
                {"id": 1, "name": "a", "n": 1.5, "u": "x"},
                {"id": 2, "name": "long", "n": 1},
                {"id": 3, "n": 1},
                {"id": 4, "name": "b", "n": -1},
                {"id": 5, "name": "c", "u": "x"},
                {"id": 6, "name": "d", "at": "2024-03-01", "n": 2, "more": [1, 2]},
                {"id": 7, "name": "e", "n": 1.234},
                {"id": 8, "name": "f", "at": "now"},
                {"id": 9000000000, "name": "g"},
                {"id": 10, "name": "h", "at": None},
            ]
            text = "\n".join(map(json.dumps, documents))
            done = load("-", "--table", "d", stdin=text)
            assert done.returncode == 3, done.stderr
            rejects = (tmp_path / "d_rejects.ndjson").read_text().splitlines()
            reasons = {r["line"]: r["reason"] for r in map(json.loads, rejects)}
            assert sorted(reasons) == [2, 3, 4, 5, 7, 8, 9]
            assert reasons[4] == 'new row for relation "d" violates check constraint "d_n_check"'
            assert "d_u_key" in reasons[5]
            rows = connection.execute(
                "SELECT id, name, n::text, at::text, u FROM d ORDER BY 1"
            ).fetchall()
            assert rows == [
                (1, "a", "1.50", "2024-02-29", "x"),
                (6, "d", "2.00", "2024-03-01", None),
                (10, "h", None, None, None),
            ]
            assert connection.execute("SELECT count(DISTINCT s) FROM d").fetchone() == (3,)
            more = connection.execute("SELECT more FROM v2.d ORDER BY id").fetchall()
            assert more == [(None,), ([1, 2],), (None,)]

    def test_readers_and_writers_go_on_while_a_load_waits(
        self, server: ServerProcess, load: Run, fresh_directory: Path, tmp_path: Path
    ) -> None:  # R6
        with server.connect() as connection:
            assert load("-", "--table", "t", stdin='{"_id":1,"v":1}').returncode == 0
            process = subprocess.Popen(
                _command(fresh_directory, "-", "--table", "t"),
                cwd=tmp_path,
                env={**os.environ, "PYTHONPATH": os.getcwd()},
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            assert process.stdin is not None
            process.stdin.write(b'{"_id":2,"v":2}\n')
            process.stdin.flush()
            connection.execute("INSERT INTO t (_id, v) VALUES (3, 3)")
            connection.execute("CREATE TABLE other (id int)")
            assert connection.execute("SELECT count(*) FROM t").fetchone() == (2,)
            process.stdin.close()
            assert process.wait(60) == 0
            assert connection.execute("SELECT count(*) FROM t").fetchone() == (3,)

    def test_a_killed_load_leaves_nothing(
        self, server: ServerProcess, fresh_directory: Path, tmp_path: Path
    ) -> None:  # R8.1
        big = tmp_path / "big.ndjson"
        big.write_text("".join(f'{{"_id":{i},"v":"{i:0200d}"}}\n' for i in range(30_000)))
        before = asyncio.run(_tables(fresh_directory))
        watch = server.root()
        for number, marker in enumerate(("COPY", "INSERT INTO morph_store", "ALTER TABLE")):
            family: set[int] = set()
            process = subprocess.Popen(
                _command(fresh_directory, str(big), "--table", f"t{number}"),
                cwd=tmp_path,
                env={**os.environ, "PYTHONPATH": os.getcwd()},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            busy = "SELECT true FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND query ~ %s"
            killer = threading.Event()
            while not killer.is_set():
                if watch.execute(busy, [f"^{marker}"]).fetchone() or process.poll() is not None:
                    family = descendants(process.pid)
                    process.send_signal(signal.SIGKILL)
                    killer.set()
            assert process.wait(30) == -signal.SIGKILL, marker
            assert eventually_gone(family) == set()
            eventually(lambda: watch.execute(BACKENDS_AT_WORK).fetchone() == (0,))
            assert asyncio.run(_tables(fresh_directory)) == before
        watch.close()


def test_a_kill_of_everything_keeps_what_was_acknowledged(
    load: Run, lines: Path, fresh_directory: Path, tmp_path: Path
) -> None:  # R8.1
    assert load("people.ndjson").returncode == 3
    config = fresh_directory.with_name(fresh_directory.name + ".toml")
    slow = subprocess.Popen(
        _command(fresh_directory, "-", "--table", "other"),
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    assert config.exists()
    assert slow.stdin is not None
    slow.stdin.write(b'{"_id":1}\n')
    slow.stdin.flush()
    eventually(lambda: running_socket(fresh_directory), timeout_s=30)
    postmaster = int((fresh_directory / "pg" / "postmaster.pid").read_text().split("\n", 1)[0])
    family = descendants(slow.pid) | {postmaster}
    os.kill(slow.pid, signal.SIGKILL)
    os.kill(postmaster, signal.SIGKILL)
    slow.wait()
    slow.stdin.close()
    assert eventually_gone(family) == set()
    # PostgreSQL takes a process that nobody has waited for yet for a running one.
    eventually(lambda: not Path(f"/proc/{postmaster}").exists())
    server = ServerProcess(fresh_directory)
    server.start()
    with server.connect() as connection:
        assert connection.execute("SELECT count(*) FROM people").fetchone() == (2,)
        with pytest.raises(psycopg.errors.UndefinedTable):
            connection.execute("SELECT * FROM other")
    server.stop()


def test_the_sample_is_loaded_once(fresh_directory: Path) -> None:  # R1.2
    server = ServerProcess(fresh_directory, arguments=("--sample", "shop"))
    server.start()
    assert "57,500 documents" in server.output
    with server.connect() as connection:
        counted = connection.execute(
            "SELECT (SELECT count(*) FROM orders), (SELECT count(*) FROM customers), "
            "(SELECT count(*) FROM events), (SELECT count(*) FROM products)"
        ).fetchone()
        assert counted == (30_000, 6_000, 20_000, 1_500)
        connection.execute("DELETE FROM orders WHERE _id > 10")
    server.stop()
    server.start()
    assert "documents" not in server.output
    with server.connect() as connection:
        assert connection.execute("SELECT count(*) FROM orders").fetchone() == (10,)
    server.stop()
