"""The endpoint for Prometheus and probes, scraped as they do it (R6.2)."""

from __future__ import annotations

import os
import signal
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.integration.server_process import ServerProcess, eventually, running


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


PORT = _free_port()


@pytest.fixture(scope="module")
def measured(open_directory: Path) -> Iterator[ServerProcess]:
    config = f'[metrics]\nlisten = "127.0.0.1:{PORT}"\n'
    with running(open_directory / "measured", config=config) as process:
        yield process


def _get(path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{PORT}{path}", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def _samples() -> dict[str, float]:
    status, text = _get("/metrics")
    assert status == 200
    return {
        ",".join([sample.name, *sample.labels.values()]): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_what_clients_do_is_counted(measured: ServerProcess) -> None:
    before = _samples()
    with psycopg.connect(measured.dsn, autocommit=True) as connection:
        connection.execute("CREATE TEMPORARY TABLE counted (n int)")
        for _ in range(3):
            connection.execute("SELECT n FROM counted WHERE n = 1")
        with pytest.raises(psycopg.errors.UndefinedTable):
            connection.execute("SELECT * FROM nowhere")
        with pytest.raises(psycopg.errors.DivisionByZero):
            connection.execute("SELECT 1 / 0")
        now = _samples()
        assert now["morphgres_connections"] == 1
        assert now["morphgres_backends_attached"] == 1
    with pytest.raises(psycopg.OperationalError, match="does not exist"):
        psycopg.connect(measured.dsn.replace("dbname=morph", "dbname=elsewhere"))
    now = _samples()

    def grown(name: str) -> float:
        return now[name] - before.get(name, 0)

    assert grown("morphgres_connections_opened_total") == 2
    assert grown("morphgres_connections_rejected_total,3D000") == 1
    assert grown("morphgres_errors_total,42P01") == 1
    assert grown("morphgres_errors_total,22012") == 1
    assert grown("morphgres_statements_total,Select,1") >= 3
    assert grown("morphgres_statement_duration_seconds_count,1") >= 4
    assert grown("morphgres_plan_cache_hits_total") >= 1
    assert grown("morphgres_plan_cache_misses_total") >= 2
    assert grown("morphgres_received_bytes_total") > 100
    assert grown("morphgres_sent_bytes_total") > 100
    assert now["process_resident_memory_bytes"] > 0


def test_a_restart_of_the_private_postgresql_shows(measured: ServerProcess) -> None:
    assert _get("/healthz") == (200, "ok\n")
    before = _samples()["morphgres_private_pg_restarts_total"]
    os.kill(measured.postmaster_pid, signal.SIGKILL)
    eventually(
        lambda: _samples()["morphgres_private_pg_restarts_total"] == before + 1, timeout_s=30
    )
    eventually(lambda: _get("/healthz") == (200, "ok\n"))  # once the catalog is read again


def test_other_requests_are_refused(measured: ServerProcess) -> None:
    assert _get("/")[0] == 404
    with socket.create_connection(("127.0.0.1", PORT), 10) as sock:
        sock.sendall(b"POST /metrics HTTP/1.1\r\n\r\n")
        assert sock.recv(100).startswith(b"HTTP/1.1 405")
    with socket.create_connection(("127.0.0.1", PORT), 10) as sock:
        sock.sendall(b"x" * 20000)
        assert not _rest(sock)
    assert _get("/metrics?name=all")[0] == 200


def _rest(sock: socket.socket) -> bytes:
    try:
        return sock.recv(100)
    except ConnectionResetError:
        return b""


def test_an_address_in_use_ends_the_start(measured: ServerProcess, fresh_directory: Path) -> None:
    config = f'[metrics]\nlisten = "127.0.0.1:{PORT}"\n'
    other = ServerProcess(fresh_directory, config=config)
    other.launch()
    assert other.wait() != 0
    assert "for metrics" in other.output
