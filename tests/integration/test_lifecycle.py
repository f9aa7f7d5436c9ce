"""Starting, stopping, crashing: the private PostgreSQL and Morphgres itself (DESIGN 7.1, 7.9)."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from tests.integration.server_process import (
    ServerProcess,
    descendants,
    eventually,
    eventually_gone,
    running,
)
from tests.integration.wire import WireClient, error_of, query

CRASH_CODES = ("57P01", "57P02", "57P03", "08006")


@pytest.fixture(scope="module")
def mortal(open_directory: Path) -> Iterator[ServerProcess]:
    """A server whose private PostgreSQL is killed again and again."""
    with running(open_directory / "mortal", durable=True) as server:
        yield server


def served(server: ServerProcess) -> bool:
    try:
        with server.connect() as client:
            return client.execute("SELECT 1").fetchone() == (1,)
    except psycopg.OperationalError:
        return False


def backend_of(server: ServerProcess, mark: str) -> int:
    with server.root() as root:
        find = "SELECT pid FROM pg_stat_activity WHERE query LIKE %s AND usename = 'morph'"
        (pid,) = eventually(lambda: root.execute(find, (f"%{mark}",)).fetchone()) or (0,)
        return int(pid)


# ---------------------------------------------------------------------- orderly


def test_serves_and_stops_cleanly(server: ServerProcess) -> None:  # R0.1
    with server.connect() as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_stops_cleanly_with_clients_inside(fresh_directory: Path) -> None:  # R0.7
    with running(fresh_directory, '[server]\nshutdown_drain = "0s"\n') as server:
        idle, busy = WireClient(server.host, server.port), WireClient(server.host, server.port)
        idle.log_in()
        busy.log_in()
        busy.simple("BEGIN; CREATE TEMP TABLE t (a int)")
    for session in (idle, busy):
        assert [a.code for a in session.read_all()] == ["57P01"]
        session.close()


def test_open_transactions_may_end_before_it_stops(fresh_directory: Path) -> None:  # R0.7
    with running(fresh_directory, '[server]\nshutdown_drain = "20s"\n') as server:
        with server.connect() as client:
            client.execute("CREATE TABLE kept (a int)")
        with server.connect(autocommit=False) as client:
            client.execute("INSERT INTO kept VALUES (1)")
            os.kill(server.pid, signal.SIGTERM)
            eventually(lambda: not _accepts(server))
            client.execute("INSERT INTO kept VALUES (2)")
            client.commit()
        assert server.wait() == 0
        server.start()
        with server.connect() as client:
            assert client.execute("SELECT count(*) FROM kept").fetchone() == (2,)


def _accepts(server: ServerProcess) -> bool:
    try:
        with WireClient(server.host, server.port) as probe:
            return probe.log_in()[-1].kind == "Z"
    except OSError:
        return False


# ---------------------------------------------------------------------- crashes


def test_one_backend_is_killed(mortal: ServerProcess) -> None:  # R0.1
    """PostgreSQL restarts all of its backends then; sessions that kept nothing live on."""
    with WireClient(mortal.host, mortal.port) as idle, WireClient(mortal.host, mortal.port) as busy:
        idle.log_in()
        busy.log_in()
        busy.send(query("SELECT pg_sleep(60) -- victim"))
        os.kill(backend_of(mortal, "victim"), signal.SIGKILL)
        answers = busy.read_all()
        assert answers[-1].kind == "E", answers
        assert answers[-1].code in CRASH_CODES
        assert answers[-1].fields["S"] == "FATAL"
        eventually(lambda: served(mortal))
        assert idle.values("SELECT 2") == [[b"2"]]


def test_the_private_postgresql_is_killed(mortal: ServerProcess) -> None:  # R0.1
    with mortal.connect() as client:
        client.execute("CREATE TABLE IF NOT EXISTS survivors (a int)")
        client.execute("INSERT INTO survivors VALUES (1)")
    with (
        WireClient(mortal.host, mortal.port) as idle,
        WireClient(mortal.host, mortal.port) as inside,
        WireClient(mortal.host, mortal.port) as running_one,
    ):
        for session in (idle, inside, running_one):
            session.log_in()
        inside.simple("BEGIN; INSERT INTO survivors VALUES (2)")
        running_one.send(query("SELECT pg_sleep(60) -- running"))
        backend_of(mortal, "running")
        before = mortal.postmaster_pid
        os.kill(before, signal.SIGKILL)
        for session in (inside, running_one):
            answers = session.read_all()
            assert all(a.code in CRASH_CODES for a in answers if a.kind == "E")
        eventually(lambda: served(mortal))
        assert idle.values("SELECT count(*) FROM survivors") == [[b"1"]]
    assert mortal.postmaster_pid != before


def test_the_catalog_is_followed_again_after_a_crash(mortal: ServerProcess) -> None:  # R1.5
    """LISTEN of the control plane is re-established: DDL of others is seen."""
    os.kill(mortal.postmaster_pid, signal.SIGKILL)
    eventually(lambda: served(mortal))
    listening = (
        "SELECT count(*) FROM pg_stat_activity WHERE usename = 'morph_root' "
        "AND query LIKE '%LISTEN%' OR query LIKE '%morph_catalog.state%'"
    )
    with mortal.root() as root:
        eventually(lambda: root.execute(listening).fetchone() != (0,))
        with mortal.connect() as client:
            client.execute("CREATE TABLE IF NOT EXISTS after_crash (a int)")
            client.execute("DROP TABLE IF EXISTS announced")
            client.execute("CREATE TABLE announced (a int)")
        with mortal.connect() as client:
            assert client.execute("SELECT count(*) FROM announced").fetchone() == (0,)


def test_a_session_that_kept_state_is_told(mortal: ServerProcess) -> None:
    with WireClient(mortal.host, mortal.port) as client:
        client.log_in()
        client.simple("CREATE TEMP TABLE mine (a int)")
        os.kill(mortal.postmaster_pid, signal.SIGKILL)
        answers = client.read_all()
        assert [a.fields["S"] for a in answers if a.kind == "E"] == ["FATAL"]
    eventually(lambda: served(mortal))


def test_statements_during_a_restart_wait_or_fail(mortal: ServerProcess) -> None:
    clients = [WireClient(mortal.host, mortal.port) for _ in range(8)]
    for client in clients:
        client.log_in()
    os.kill(mortal.postmaster_pid, signal.SIGKILL)
    for client in clients:
        client.send(query("SELECT 1"))
    for client in clients:
        try:
            answers = client.read_until("ZE")
        except OSError:
            continue
        assert answers[-1].kind == "Z" or answers[-1].code in CRASH_CODES
        client.close()
    eventually(lambda: served(mortal))


def test_morphgres_is_killed(fresh_directory: Path) -> None:  # DESIGN 7.1
    server = ServerProcess(fresh_directory, durable=True).start()
    family = descendants(server.pid)
    with server.connect() as client:
        client.execute("CREATE TABLE acknowledged (a int)")
        for number in range(20):
            client.execute("INSERT INTO acknowledged VALUES (%s)", (number,))
        server.kill()
    assert family
    assert eventually_gone(family) == set()
    began = time.monotonic()
    server.start()
    assert time.monotonic() - began < 10
    with server.connect() as client:
        assert client.execute("SELECT count(*) FROM acknowledged").fetchone() == (20,)
    server.stop()


def test_a_second_start_while_the_first_one_dies(fresh_directory: Path) -> None:
    """kill -9 and start at once: the leftover PostgreSQL is ended first."""
    server = ServerProcess(fresh_directory).start()
    with server.connect() as client:
        client.execute("CREATE TABLE t (a int)")
    server.kill()
    server.start()
    with server.connect() as client:
        assert client.execute("SELECT count(*) FROM t").fetchone() == (0,)
    server.stop()


# ---------------------------------------------------------------------- refusing to start


def refusal(server: ServerProcess) -> str:
    """What a server that must not start says; its exit status is 1."""
    server.launch()
    assert server.wait() == 1
    assert "Traceback" not in server.output, server.output
    return server.output


def test_the_directory_is_in_use(server: ServerProcess) -> None:
    second = ServerProcess(server.data)
    output = refusal(second)
    assert f"data directory {server.data} is in use by another Morphgres" in output
    assert f"Its process is {server.pid}." in output
    assert served(server)


def test_the_port_is_in_use(server: ServerProcess, fresh_directory: Path) -> None:
    output = refusal(ServerProcess(fresh_directory, port=server.port))
    assert f"port {server.port} on 127.0.0.1 is in use" in output
    assert not fresh_directory.exists()


def test_the_directory_is_of_another_version(fresh_directory: Path) -> None:
    fresh_directory.mkdir()
    (fresh_directory / "FORMAT").write_text("morphgres 99 postgresql 42\n")
    output = refusal(ServerProcess(fresh_directory))
    assert "was made by another version" in output
    assert "morphgres 99 postgresql 42" in output


def test_the_directory_holds_something_else(fresh_directory: Path) -> None:
    fresh_directory.mkdir()
    (fresh_directory / "thesis.txt").write_text("precious")
    output = refusal(ServerProcess(fresh_directory))
    assert "not a Morphgres data directory and not empty" in output
    assert (fresh_directory / "thesis.txt").read_text() == "precious"


def test_the_directory_cannot_be_made(fresh_directory: Path) -> None:
    fresh_directory.parent.mkdir(exist_ok=True)
    blocker = fresh_directory.with_name("file")
    blocker.write_text("")
    server = ServerProcess(blocker / "data", config_path=blocker.with_name("c.toml"))
    assert "could not make directory" in refusal(server)


def _without_privilege() -> None:
    """In the child: root may write everywhere, unless it has no CAP_DAC_OVERRIDE."""
    for capability in (1, 2):
        ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP


def test_the_directory_is_read_only(fresh_directory: Path) -> None:
    fresh_directory.mkdir()
    fresh_directory.chmod(0o555)
    output = refusal(ServerProcess(fresh_directory, preexec=_without_privilege))
    fresh_directory.chmod(0o755)
    assert "Permission denied" in output
    assert "must be writable by the user who runs Morphgres" in output


def test_a_broken_cluster_does_not_start(fresh_directory: Path) -> None:
    server = ServerProcess(fresh_directory).start()
    server.stop()
    (fresh_directory / "pg" / "global" / "pg_control").unlink()
    output = refusal(server)
    assert "the private PostgreSQL did not start" in output


def test_a_bad_configuration_is_refused_with_its_line(fresh_directory: Path) -> None:
    fresh_directory.parent.mkdir(exist_ok=True)
    output = refusal(ServerProcess(fresh_directory, "[server]\nprot = 1\n", durable=True))
    assert "line 2" in output
    assert not fresh_directory.exists()


@pytest.mark.slow
def test_an_interrupted_first_start_is_taken_up(fresh_directory: Path) -> None:
    """kill -9 at any moment of the first start leaves something that starts."""
    server = ServerProcess(fresh_directory)
    for delay_s in (0.2, 0.5, 0.8, 1.1):
        server.launch()
        time.sleep(delay_s)
        server.kill()
    server.start()
    assert served(server)
    server.stop()


def test_nothing_listens_on_tcp_but_morphgres(server: ServerProcess) -> None:  # R6.3
    """The private PostgreSQL has its Unix socket in a 0700 directory, and nothing else."""
    mode = server.socket_directory.stat().st_mode & 0o777
    assert mode == 0o700
    inodes = set()
    for pid in descendants(server.pid):
        for link in Path(f"/proc/{pid}/fd").iterdir():
            try:
                inodes.add(str(link.readlink()))
            except OSError:
                continue
    table = Path("/proc/net/tcp").read_text() + Path("/proc/net/tcp6").read_text()
    listening = {
        f"socket:[{fields[9]}]"
        for fields in (line.split() for line in table.splitlines())
        if len(fields) > 9 and fields[3] == "0A"
    }
    assert not inodes & listening
    with (
        pytest.raises(ConnectionRefusedError),
        socket.create_connection(("127.0.0.1", 5432), timeout=0.2),
    ):
        pass


def _small_files() -> None:
    """In the child: the stand-in for a full disk where nothing may be mounted."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (48 << 20, 48 << 20))


@pytest.fixture
def small_disk(fresh_directory: Path) -> Iterator[tuple[Path, Callable[[], None] | None, str]]:
    """(data directory, set-up of the child, SQLSTATE): 120 MB of tmpfs if we may mount it."""
    home = fresh_directory.parent
    home.mkdir(exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", "size=120m,mode=0755", "tmpfs", str(home)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        yield fresh_directory, _small_files, "XX000"
        return
    try:
        yield fresh_directory, None, "53100"
    finally:
        subprocess.run(["umount", str(home)], check=True)


def test_a_full_disk_fails_the_statement_alone(
    small_disk: tuple[Path, Callable[[], None] | None, str],
) -> None:  # R6.3
    directory, preexec, code = small_disk
    with running(directory, preexec=preexec) as server:
        with WireClient(server.host, server.port) as raw, server.connect() as other:
            raw.log_in()
            other.execute("CREATE TABLE survivor (a int)")
            other.execute("INSERT INTO survivor VALUES (7)")
            raw.simple("CREATE TEMP TABLE big (a text STORAGE EXTERNAL)")
            fill = (
                "INSERT INTO big SELECT repeat(md5(n::text), 99) FROM generate_series(1, 60000) n"
            )
            error = error_of(raw.simple(fill))
            assert error["C"] == code, error
            assert raw.values("SELECT count(*) FROM big") == [[b"0"]]
            assert other.execute("SELECT a FROM survivor").fetchone() == (7,)
        with server.connect() as later:
            assert later.execute("SELECT a FROM survivor").fetchone() == (7,)
