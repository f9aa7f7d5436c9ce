"""Whatever a client sends: an ErrorResponse or a closed connection, and nobody else is harmed
(DESIGN 7.10).
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.integration.server_process import ServerProcess, eventually, rss_bytes, running
from tests.integration.wire import (
    SSL_REQUEST,
    SYNC,
    Closed,
    WireClient,
    bind,
    error_of,
    execute,
    kinds,
    message,
    parse,
    query,
    startup,
)

MB = 1 << 20
LIMITED = """
[server]
max_message_bytes = "1MB"
max_statement_bytes = "256kB"
max_prepared_statements = 5
max_portals = 3
authentication_timeout = "1s"
"""


@pytest.fixture(scope="module")
def limited(open_directory: Path) -> Iterator[ServerProcess]:
    with running(open_directory / "limited", LIMITED) as server:
        yield server


@pytest.fixture(autouse=True)
def others_unharmed(server: ServerProcess) -> Iterator[None]:
    """A session that was there before is served after, by the same process."""
    with WireClient(server.host, server.port) as witness:
        witness.log_in()
        pid = server.pid
        yield
        assert witness.values("SELECT 'well'") == [[b"well"]]
        assert server.pid == pid


# ---------------------------------------------------------------------- bytes


@pytest.mark.parametrize(
    "packet",
    [
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 100,  # TLS without asking
        b"\0\0\0\0",
        b"\0\0\0\7\0\3\0",
        b"\xff\xff\xff\xff",
        struct.pack(">II", 1 << 30, 196608),
        struct.pack(">II", 8, 196608),
        struct.pack(">II", 12, 196608) + b"user",
        startup()[:-1] + b"x",
        startup(user=""),
        SSL_REQUEST + SSL_REQUEST,
        SSL_REQUEST + startup(),
    ],
    ids=range(12),
)
def test_bytes_that_are_no_startup(server: ServerProcess, packet: bytes) -> None:
    with WireClient(server.host, server.port) as client:
        client.send(packet)
        try:
            while client.take(1) == b"N":
                pass
        except Closed:
            return
        client._held = b"E" + client._held
        assert client.read_all()[-1].fields["S"] == "FATAL"


@pytest.mark.parametrize(
    "data",
    [
        b"\0\0\0\0\4",
        b"!\0\0\0\4",
        b"Q\0\0\0\3",
        b"Q\xff\xff\xff\xff",
        b"Q\x7f\xff\xff\xff",
        b"S" + struct.pack(">I", 20_000),
        message("p", b"password\0"),
        bytes(range(256)),
    ],
    ids=range(8),
)
def test_bytes_that_are_no_message(server: ServerProcess, data: bytes) -> None:
    with WireClient(server.host, server.port) as client:
        client.log_in()
        client.send(data)
        error = client.read_all()[-1]
        assert (error.code, error.fields["S"]) == ("08P01", "FATAL")


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (message("Q", b"SELECT 1"), "08P01"),  # no NUL
        (message("Q", b""), "08P01"),
        (query(b"SELECT '\xff\xfe'"), "22021"),
        (query(b"SELECT 1\0; SELECT 2"), "08P01"),
        (message("P", b"") + SYNC, "08P01"),
        (message("P", b"\0SELECT 1\0\0\5") + SYNC, "08P01"),
        (parse(b"SELECT '\xc3'") + SYNC, "22021"),
        (parse(b"SELECT 1", "\udcff".encode("utf-8", "surrogateescape").decode("latin-1")), ""),
        (message("B", b"\0") + SYNC, "08P01"),
        (message("B", b"\0nothing\0\0\0\0\0\0\0") + SYNC, "26000"),
        (parse("SELECT $1") + message("B", b"\0\0\0\0\0\1\0\0\xff\xff\0\0") + SYNC, "08P01"),
        (message("D", b"") + SYNC, "08P01"),
        (message("D", b"X\0") + SYNC, "08P01"),
        (message("D", b"Snothing\0") + SYNC, "26000"),
        (message("D", b"Pnothing\0") + SYNC, "34000"),
        (message("E", b"\0") + SYNC, "08P01"),
        (message("E", b"nothing\0\0\0\0\0") + SYNC, "34000"),
        (message("C", b"Q\0") + SYNC, "08P01"),
        (message("F", b"\0\0\0\1") + SYNC, "0A000"),
    ],
    ids=range(19),
)
def test_malformed_bodies_fail_the_statement_only(
    server: ServerProcess, data: bytes, code: str
) -> None:
    with WireClient(server.host, server.port) as client:
        client.log_in()
        if not code:
            client.send(data, SYNC)
            assert kinds(client.read_until()) == "1Z"
            return
        client.send(data)
        answers = client.read_until()
        assert error_of(answers)["C"] == code
        while not client.quiet(0.05):  # some are followed by a Sync of their own
            client.read_until()
        assert client.values("SELECT 1") == [[b"1"]]


def test_messages_cut_at_every_byte(server: ServerProcess) -> None:
    """A client that dies in the middle of a message."""
    whole = parse("SELECT $1::int", "x") + bind((b"1",), statement="x") + execute() + SYNC
    with ExitStack() as stack:
        for size in range(0, len(whole), 3):
            client = stack.enter_context(WireClient(server.host, server.port))
            client.log_in()
            client.send(whole[:size])
            if size % 2:
                client.close()


def test_messages_one_byte_at_a_time(server: ServerProcess) -> None:
    with WireClient(server.host, server.port) as client:
        client.socket.setsockopt(6, 1, 1)  # TCP_NODELAY
        for byte in startup():
            client.send(bytes([byte]))
        client.read_until()
        for byte in query("SELECT 'slow'"):
            client.send(bytes([byte]))
        assert kinds(client.read_until()) == "TDCZ"


def test_a_client_that_never_logs_in_is_closed(limited: ServerProcess) -> None:
    with WireClient(limited.host, limited.port) as silent:
        with WireClient(limited.host, limited.port) as slow:
            slow.send(startup()[:10])
            assert slow.closed()
        assert silent.closed()


# ---------------------------------------------------------------------- size


def test_a_message_above_the_limit(limited: ServerProcess) -> None:
    with WireClient(limited.host, limited.port) as client:
        client.log_in()
        client.send(b"Q" + struct.pack(">I", 2 * MB))
        error = client.read_all()[-1]
        assert (error.code, error.fields["S"]) == ("08P01", "FATAL")


@pytest.mark.parametrize("extended", [False, True])
def test_a_statement_above_the_limit(limited: ServerProcess, extended: bool) -> None:
    sql = "SELECT '" + "x" * 300_000 + "'"
    with WireClient(limited.host, limited.port) as client:
        client.log_in()
        answers = client.ask(parse(sql), SYNC) if extended else client.simple(sql)
        error = error_of(answers)
        assert error["C"] == "54000"
        assert "server.max_statement_bytes" in error["H"]
        assert client.values("SELECT 1") == [[b"1"]]


def test_too_many_prepared_statements(limited: ServerProcess) -> None:
    with WireClient(limited.host, limited.port) as client:
        client.log_in()
        for number in range(5):
            assert kinds(client.ask(parse("SELECT 1", f"s{number}"), SYNC)) == "1Z"
        assert error_of(client.ask(parse("SELECT 1", "one more"), SYNC))["C"] == "54000"
        assert kinds(client.ask(parse("SELECT 1"), message("C", b"Ss0\0"), SYNC)) == "13Z"
        assert kinds(client.ask(parse("SELECT 1", "one more"), SYNC)) == "1Z"


def test_too_many_portals(limited: ServerProcess) -> None:
    with WireClient(limited.host, limited.port) as client:
        client.log_in()
        client.simple("BEGIN")
        client.ask(parse("SELECT 1", "s"), SYNC)
        for number in range(3):
            assert kinds(client.ask(bind(portal=f"p{number}", statement="s"), SYNC)) == "2Z"
        error = error_of(client.ask(bind(portal="one more", statement="s"), SYNC))
        assert error["C"] == "54000"
        client.simple("ROLLBACK")
        assert client.values("SELECT 1") == [[b"1"]]


def test_a_statement_of_ten_megabytes(server: ServerProcess) -> None:
    with WireClient(server.host, server.port) as client:
        client.log_in()
        answers = client.simple("SELECT length('" + "x" * (10 * MB) + "')")
        assert answers[1].values == [b"10485760"]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT " + "(" * 100_000 + "1" + ")" * 100_000,
        "SELECT " + "+".join(["1"] * 50_000),
        "SELECT " + " AND ".join(["true"] * 50_000),
        "SELECT " + "- " * 50_000 + "1",
        "SELECT " + "NOT " * 50_000 + "true",
        "SELECT " + "ARRAY[" * 20_000 + "1" + "]" * 20_000,
        "SELECT " + "abs(" * 20_000 + "1" + ")" * 20_000,
        "SELECT " + "(SELECT " * 10_000 + "1" + ")" * 10_000,
        "SELECT 1" + " UNION ALL SELECT 1" * 10_000,
        "SELECT * FROM " + "(SELECT * FROM " * 5_000 + "t" + ") x" * 5_000,
        "SELECT 1" + "::int" * 30_000,
        "SELECT a" + "[1]" * 30_000,
        "SELECT CASE " + "WHEN true THEN 1 " * 30_000 + "END",
        "(" * 200_000,
        "SELECT 1 WHERE 1 IN (" + ",".join(["1"] * 100_000) + ")",
    ],
    ids=range(15),
)
@pytest.mark.slow
def test_deep_and_long_expressions(server: ServerProcess, sql: str) -> None:
    """pglast can overrun the stack of its process: answered or 54001, and never a crash."""
    with WireClient(server.host, server.port, timeout_s=60) as client:
        client.log_in()
        for answers in (client.simple(sql), client.ask(parse(sql), SYNC)):
            codes = {a.code for a in answers if a.kind == "E"}
            assert codes <= {"54001", "54000", "42601", "42703", "42P01", "53200"}
        assert client.values("SELECT 1") == [[b"1"]]


def test_a_stack_overrun_is_an_error(server: ServerProcess) -> None:
    """The main path of the test above, for every run."""
    with WireClient(server.host, server.port, timeout_s=60) as client:
        client.log_in()
        for sql in ("(" * 100_000 + "1" + ")" * 100_000, "+".join(["1"] * 20_000)):
            codes = [a.code for a in client.simple(f"SELECT {sql}") if a.kind == "E"]
            assert codes in ([], ["54001"], ["42601"])
            assert client.values("SELECT 1") == [[b"1"]]


def test_deep_statements_over_store_tables(server: ServerProcess) -> None:
    with server.connect() as client:
        client.execute("CREATE TABLE IF NOT EXISTS deep (a int)")
    with WireClient(server.host, server.port, timeout_s=60) as client:
        client.log_in()
        for expression in (
            "+".join(["a"] * 20_000),
            "(" * 3_000 + "a" + ")" * 3_000,
            "abs(" * 5_000 + "a" + ")" * 5_000,
        ):
            answers = client.simple(f"SELECT {expression} FROM deep")
            errors = [a.code for a in answers if a.kind == "E"]
            # 42601 is the grammar's "memory exhausted".
            assert errors in ([], ["54001"], ["54000"], ["42601"])
            assert client.values("SELECT count(*) FROM deep") == [[b"0"]]


# ---------------------------------------------------------------------- memory


def test_a_client_that_does_not_read(server: ServerProcess) -> None:  # R0.5
    """200,000 rows to a client that stopped reading: they stay in the private PostgreSQL."""
    with WireClient(server.host, server.port) as warm:
        warm.log_in()
        warm.values("SELECT repeat('x', 200) FROM generate_series(1, 20000)")
    before = rss_bytes(server.pid)
    with WireClient(server.host, server.port) as client:
        client.socket.setsockopt(1, 8, 65536)  # SO_RCVBUF
        client.log_in()
        client.send(query("SELECT n, repeat('x', 1000) FROM generate_series(1, 200000) n"))
        with server.root() as root:
            waiting = (
                "SELECT count(*) FROM pg_stat_activity "
                "WHERE wait_event = 'ClientWrite' AND query LIKE '%200000) n'"
            )
            eventually(lambda: root.execute(waiting).fetchone() == (1,))
        assert rss_bytes(server.pid) - before < 64 * MB
        rows = 0
        while (answer := client.read()).kind != "Z":
            rows += answer.kind == "D"
        assert rows == 200_000
    assert rss_bytes(server.pid) - before < 64 * MB


def test_a_client_that_sends_and_does_not_read(server: ServerProcess) -> None:
    """Pipelined questions whose answers are not taken: reading pauses."""
    before = rss_bytes(server.pid)
    with WireClient(server.host, server.port) as client:
        client.log_in()
        client.socket.settimeout(2)
        question = query("SELECT repeat('x', 100000)")
        sent = 0
        try:
            while sent < 200 * MB:
                client.socket.sendall(question * 1000)
                sent += len(question) * 1000
        except TimeoutError:
            pass
        assert rss_bytes(server.pid) - before < 64 * MB
        assert sent < 200 * MB


def test_pipelined_copy_into_a_slow_server_is_bounded(server: ServerProcess) -> None:
    before = rss_bytes(server.pid)
    with WireClient(server.host, server.port) as client:
        client.log_in()
        client.simple("CREATE TEMP TABLE sink (a text)")
        client.send(query("COPY sink FROM STDIN"))
        assert client.read().kind == "G"
        chunk = message("d", b"x" * 65535 + b"\n")
        for _ in range(1200):
            client.send(chunk)
        client.send(message("c"))
        assert client.read_until()[0].text == "COPY 1200"
        assert rss_bytes(server.pid) - before < 64 * MB


@pytest.mark.slow
def test_a_big_row_passes_through(server: ServerProcess) -> None:
    before = rss_bytes(server.pid)
    with WireClient(server.host, server.port) as client:
        client.log_in()
        client.send(query("SELECT repeat('x', 100000000)"))
        answers = client.read_until()
        assert len(answers[1].body) > 100_000_000
    assert rss_bytes(server.pid) - before < 64 * MB


def test_five_hundred_idle_clients(server: ServerProcess) -> None:  # R0.1
    before = rss_bytes(server.pid)
    with ExitStack() as stack:
        clients = [stack.enter_context(WireClient(server.host, server.port)) for _ in range(500)]

        refused: list[dict[str, str]] = []

        def log_in(some: list[WireClient]) -> None:
            for client in some:
                refused.extend(a.fields for a in client.log_in() if a.kind == "E")

        threads = [threading.Thread(target=log_in, args=(clients[n::4],)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert refused == []
        assert rss_bytes(server.pid) - before < 64 * MB
        for client in clients[::50]:
            assert client.values("SELECT 1") == [[b"1"]]


def test_nothing_is_kept_of_clients_that_left(server: ServerProcess) -> None:
    def visit(number: int) -> None:
        with WireClient(server.host, server.port) as client:
            client.log_in()
            if number % 3 == 0:
                client.simple("CREATE TEMP TABLE t (a int)")
            elif number % 3 == 1:
                client.send(query("SELECT 1")[:-2])

    for number in range(60):
        visit(number)
    before = rss_bytes(server.pid)
    for number in range(240):
        visit(number)
    assert rss_bytes(server.pid) - before < 8 * MB
    with server.root() as root:
        count = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'morph'"

        def few() -> bool:
            (number,) = root.execute(count).fetchone() or (0,)
            return int(number) <= 32

        eventually(few)
