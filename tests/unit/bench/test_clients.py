"""What is read of the load programs: pgbench's report, the ends of a drained stream."""

from __future__ import annotations

import os
import socket
import struct
import threading

import pytest

from bench.drain import DrainClient, ends, rows_begin
from bench.pgbench import parse_output
from bench.processes import cpu_us, family, memory, resident

REPORT = """pgbench (18.6)
number of clients: 8
number of transactions actually processed: 1000
number of failed transactions: 0 (0.000%)
tps = 499.5 (without initial connection time)
"""
READY = b"Z\0\0\0\5I"


def message(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack(">i", len(body) + 4) + body


def test_the_report_of_pgbench() -> None:
    assert parse_output(REPORT) == (499.5, 1000)


@pytest.mark.parametrize(
    "text",
    ["", REPORT.replace("processed: 1000", "processed: 0"), REPORT.replace("ions: 0 ", "ions: 3 ")],
)
def test_a_run_that_failed_is_no_sample(text: str) -> None:
    with pytest.raises(ValueError, match="pgbench"):
        parse_output(text)


def test_only_the_wanted_tag_ends_a_stream() -> None:
    end = message(b"C", b"SELECT 2\0") + READY
    assert ends(b"rows" + end, b"SELECT 2")
    assert not ends(b"rows" + end, b"SELECT 20")
    assert not ends(b"rows" + READY, b"SELECT 2")
    assert not ends(end[:-1], b"SELECT 2")


def test_rows_begin_after_the_description() -> None:
    description = message(b"T", b"\0\1" + b"x" * 20)
    assert not rows_begin(b"")
    assert not rows_begin(description[:10])
    assert not rows_begin(description)
    assert rows_begin(description + b"D")
    with pytest.raises(RuntimeError, match="oops"):
        rows_begin(b"E\0\0\0\1oops")


@pytest.mark.parametrize("piece", [1, 7, 100_000])
def test_a_drain_counts_all_bytes_in_any_pieces(piece: int) -> None:
    answer = (
        message(b"T", b"\0\1" + b"x" * 20)
        + message(b"D", b"\0\1" + b"v" * 50) * 20
        + message(b"C", b"SELECT 20\0")
        + READY
    )
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            peer, _ = listener.accept()
            with peer:
                peer.recv(1000)
                peer.sendall(message(b"R", b"\0\0\0\0") + READY)
                peer.recv(1000)
                for at in range(0, len(answer), piece):
                    peer.sendall(answer[at : at + piece])

        server = threading.Thread(target=serve)
        server.start()
        with DrainClient("127.0.0.1", listener.getsockname()[1]) as client:
            drained = client.run("SELECT", "SELECT 20")
        server.join()
    assert drained.size == len(answer)
    assert 0 < drained.first_row_s <= drained.total_s


def test_facts_of_processes() -> None:
    own = os.getpid()
    assert own in family(own)
    assert cpu_us([own]) > 0
    assert cpu_us([]) == 0
    found = memory([own])
    assert 0 < found.pss <= found.rss
    assert resident(own) > 1 << 20
    assert memory([2**22 + 1]).rss == 0
