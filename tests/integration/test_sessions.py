"""Many sessions over few backends, and the limits of a session (DESIGN 4)."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest
from psycopg import errors

from tests.integration.fresh_catalog import empty_catalog
from tests.integration.server_process import ServerProcess, eventually, running
from tests.integration.wire import (
    FLUSH,
    SYNC,
    WireClient,
    bind,
    error_of,
    execute,
    kinds,
    parse,
    query,
    startup,
)

CLIENTS = 20
CONNECTIONS = 40
CROWDED = f"""
[server]
max_connections = {CONNECTIONS}
[private_pg]
max_backends = 4
attach_timeout = "0.5s"
"""
TIMED = """
[server]
statement_timeout = "400ms"
lock_timeout = "200ms"
idle_in_transaction_timeout = "600ms"
idle_timeout = "2s"
[private_pg]
statement_timeout_max = "1s"
"""


@pytest.fixture(scope="module")
def crowded(open_directory: Path) -> Iterator[ServerProcess]:
    with running(open_directory / "crowded", CROWDED) as server:
        yield server


@pytest.fixture(scope="module")
def timed(open_directory: Path) -> Iterator[ServerProcess]:
    with running(open_directory / "timed", TIMED) as server:
        yield server


def backends(server: ServerProcess) -> int:
    with server.root() as root:
        row = root.execute("SELECT count(*) FROM pg_stat_activity WHERE usename = 'morph'")
        (count,) = row.fetchone() or (0,)
        return int(count)


# ---------------------------------------------------------------------- attach and release


def test_many_clients_share_few_backends(crowded: ServerProcess) -> None:  # R0.1
    with ExitStack() as stack:
        clients = [stack.enter_context(crowded.connect()) for _ in range(CLIENTS)]
        for round_number in range(3):
            for number, client in enumerate(clients):
                row = client.execute("SELECT %s::int, %s::text", (number, f"r{round_number}"))
                assert row.fetchone() == (number, f"r{round_number}")
        assert backends(crowded) <= 4


def test_prepared_statements_survive_release(crowded: ServerProcess) -> None:  # R0.1
    with ExitStack() as stack:
        clients = [
            stack.enter_context(WireClient(crowded.host, crowded.port)) for _ in range(CLIENTS)
        ]
        for number, client in enumerate(clients):
            client.log_in()
            assert kinds(client.ask(parse(f"SELECT {number} + $1::int", "mine"), SYNC)) == "1Z"
        for client in clients:
            client.ask(parse("SELECT 1", f"more {client.process_id}"), SYNC)
        for number, client in enumerate(clients):
            answers = client.ask(bind((b"100",), statement="mine"), execute(), SYNC)
            assert kinds(answers) == "2DCZ"
            assert answers[1].values == [str(number + 100).encode()]


def test_settings_survive_the_crowd(crowded: ServerProcess) -> None:  # R0.1
    with ExitStack() as stack:
        clients = [stack.enter_context(crowded.connect()) for _ in range(3)]
        for number, client in enumerate(clients):
            client.execute(f"SET work_mem = {1000 + number}")
        others = [stack.enter_context(crowded.connect()) for _ in range(8)]
        for _ in range(3):
            for other in others:
                assert other.execute("SHOW work_mem").fetchone() == ("16MB",)
            for number, client in enumerate(clients):
                assert client.execute("SHOW work_mem").fetchone() == (f"{1000 + number}kB",)


@pytest.mark.parametrize(
    ("make", "look", "answer"),
    [
        ("CREATE TEMP TABLE t AS SELECT 7 AS a", "SELECT a FROM t", 7),
        ("PREPARE p AS SELECT 8", "EXECUTE p", 8),
        ("BEGIN; DECLARE c CURSOR WITH HOLD FOR SELECT 9; COMMIT", "FETCH c", 9),
        ("SELECT pg_advisory_lock(4711)", "SELECT pg_advisory_unlock(4711)", True),
        ("LISTEN there", "SELECT count(*) FROM pg_listening_channels()", 1),
        ("SELECT set_config('work_mem', '77kB', false)", "SHOW work_mem", "77kB"),
        ("DO $$BEGIN CREATE TEMP TABLE u AS SELECT 5 AS a; END$$", "SELECT a FROM u", 5),
        ("BEGIN; SET LOCAL work_mem = 99", "SHOW work_mem", "99kB"),
        ("CREATE TEMP SEQUENCE s; SELECT nextval('s')", "SELECT currval('s')", 1),
        ("SELECT setseed(0.5)", "SELECT round(random() * 0)", 0.0),
        ("SET application_name = 'kept'", "SELECT current_setting('application_name')", "kept"),
    ],
)
def test_state_keeps_the_backend(
    crowded: ServerProcess, make: str, look: str, answer: object
) -> None:  # R0.1
    with ExitStack() as stack:
        keeper = stack.enter_context(crowded.connect())
        for statement in make.split(";") if "DO" not in make else [make]:
            keeper.execute(statement)
        for _ in range(6):
            stack.enter_context(crowded.connect()).execute("SELECT 1")
        row = keeper.execute(look).fetchone()
        assert row == (answer,)


def test_nothing_is_left_for_the_next_session(crowded: ServerProcess) -> None:
    with crowded.connect() as client:
        client.execute("CREATE TEMP TABLE left_over (a int)")
        client.execute("SET work_mem = '1MB'")
        client.execute("LISTEN left_over")
        client.execute("SELECT pg_advisory_lock(99)")
        client.execute("PREPARE left_over AS SELECT 1")
    for _ in range(8):
        with crowded.connect() as client:
            row = client.execute(
                "SELECT to_regclass('left_over') IS NULL, current_setting('work_mem'), "
                "(SELECT count(*) FROM pg_listening_channels()), "
                "(SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'), "
                "(SELECT count(*) FROM pg_prepared_statements)"
            ).fetchone()
            assert row == (True, "16MB", 0, 0, 0)


def test_an_abandoned_transaction_is_rolled_back(crowded: ServerProcess) -> None:
    for _ in range(6):
        client = crowded.connect(autocommit=False)
        client.execute("SELECT pg_advisory_xact_lock(5)")
        client.close()
    with crowded.connect() as client:
        assert eventually(
            lambda: client.execute("SELECT pg_try_advisory_xact_lock(5)").fetchone() == (True,)
        )


def test_no_backend_comes_free(crowded: ServerProcess) -> None:  # R0.1
    with ExitStack() as stack:
        for _ in range(4):
            stack.enter_context(crowded.connect(autocommit=False)).execute("SELECT 1")
        with pytest.raises(psycopg.OperationalError, match="no backend"):
            crowded.connect()
    with crowded.connect() as client:
        assert client.execute("SELECT 1").fetchone() == (1,)


def test_a_session_waits_for_a_backend(crowded: ServerProcess) -> None:
    with ExitStack() as stack:
        waiting = stack.enter_context(crowded.connect())
        holders = [stack.enter_context(crowded.connect(autocommit=False)) for _ in range(3)]
        for holder in holders:
            holder.execute("SELECT 1")
        last = stack.enter_context(crowded.connect(autocommit=False))
        last.execute("SELECT pg_sleep(0)")
        answer: list[object] = []
        thread = threading.Thread(
            target=lambda: answer.append(waiting.execute("SELECT 42").fetchone())
        )
        thread.start()
        last.rollback()
        thread.join()
        assert answer == [(42,)]


def test_too_many_clients(crowded: ServerProcess) -> None:  # R0.1
    with ExitStack() as stack:
        for _ in range(CONNECTIONS):
            client = stack.enter_context(WireClient(crowded.host, crowded.port))
            client.log_in()
        last = stack.enter_context(WireClient(crowded.host, crowded.port))
        last.send(startup())
        (error,) = last.read_all()
        assert (error.code, error.fields["M"]) == ("53300", "sorry, too many clients already")
        with WireClient(crowded.host, crowded.port) as canceller:  # a cancel is still let in
            canceller.cancel(client.process_id, client.key)
    eventually(lambda: _can_connect(crowded))


def _can_connect(server: ServerProcess) -> bool:
    try:
        server.connect().close()
    except psycopg.OperationalError:
        return False
    return True


# ---------------------------------------------------------------------- roles


def test_search_path_of_a_role(crowded: ServerProcess) -> None:  # R1.5
    with crowded.connect() as client:
        before = client.execute("SHOW search_path").fetchone()
        client.execute("ALTER ROLE morph SET search_path = v1, public")
        assert client.execute("SHOW search_path").fetchone() == before
    try:
        for _ in range(5):
            with crowded.connect() as client:
                assert client.execute("SHOW search_path").fetchone() == ("v1, public",)
    finally:
        with crowded.connect() as client:
            client.execute("ALTER ROLE morph RESET search_path")


# ---------------------------------------------------------------------- timeouts


def test_statement_timeout_of_the_settings(timed: ServerProcess) -> None:  # R0.1
    with timed.connect() as client:
        assert client.execute("SHOW statement_timeout").fetchone() == ("400ms",)
        with pytest.raises(errors.QueryCanceled, match="statement timeout"):
            client.execute("SELECT pg_sleep(10)")
        client.execute("SET statement_timeout = 0")
        client.execute("SELECT pg_sleep(0.5)")
        client.execute("RESET statement_timeout")
        assert client.execute("SHOW statement_timeout").fetchone() == ("400ms",)


def test_the_longest_time_of_a_statement(timed: ServerProcess) -> None:  # R6.3
    with timed.connect() as client:
        client.execute("SET statement_timeout = 0")
        with pytest.raises(errors.QueryCanceled):
            client.execute("SELECT pg_sleep(20)")
        assert client.execute("SELECT 1").fetchone() == (1,)


def test_lock_timeout_of_the_settings(timed: ServerProcess) -> None:  # R0.1
    with timed.connect() as holder, timed.connect() as client:
        holder.execute("SELECT pg_advisory_lock(1)")
        with pytest.raises(errors.LockNotAvailable):
            client.execute("SELECT pg_advisory_lock(1)")


def test_idle_in_transaction_timeout_of_the_settings(timed: ServerProcess) -> None:  # R0.1
    with WireClient(timed.host, timed.port) as client:
        client.log_in()
        client.simple("BEGIN")
        answers = client.read_all()
        assert [a.code for a in answers] == ["25P03"]
        assert answers[0].fields["S"] == "FATAL"


def test_idle_timeout(timed: ServerProcess) -> None:  # R0.1
    with WireClient(timed.host, timed.port) as client:
        client.log_in()
        (error,) = client.read_all()
        assert (error.code, error.fields["S"]) == ("57P05", "FATAL")


def test_timeouts_do_not_touch_the_control_plane(timed: ServerProcess) -> None:
    with timed.root() as root:
        names = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")
        assert [root.execute(f"SHOW {n}").fetchone() for n in names] == [("0",)] * 3


# ---------------------------------------------------------------------- abandoned work


def test_a_client_that_leaves_stops_its_statement(server: ServerProcess) -> None:
    client = WireClient(server.host, server.port)
    client.log_in()
    client.send(query("SELECT pg_sleep(600) AS abandoned"))
    with server.root() as root:
        sleeping = (
            "SELECT count(*) FROM pg_stat_activity "
            "WHERE query LIKE '%600) AS abandoned' AND state = 'active' AND usename = 'morph'"
        )
        eventually(lambda: root.execute(sleeping).fetchone() == (1,))
        client.close()
        eventually(lambda: root.execute(sleeping).fetchone() == (0,))


@pytest.mark.parametrize(
    "unfinished",
    [
        parse("SELEC") + FLUSH,  # the backend skips to a Sync that never comes
        parse("SELECT 1") + bind() + execute() + FLUSH,
        parse("SELECT 1") + FLUSH,
        parse("SELEC") + query("SELECT 1"),  # skipped too
    ],
    ids=["failed", "executed", "parsed", "skipped"],
)
def test_a_batch_without_its_end_is_not_handed_on(
    crowded: ServerProcess, unfinished: bytes
) -> None:
    """Neither when the client leaves, nor when others wait for its backend."""
    with ExitStack() as stack:
        for number in range(12):
            client = stack.enter_context(WireClient(crowded.host, crowded.port))
            client.log_in()
            client.send(unfinished)
            assert client.read().kind in "1E"
            if number % 4 != 3:
                client.close()
        with crowded.connect() as other:
            assert other.execute("SELECT 1").fetchone() == (1,)


def test_work_of_an_open_batch_is_not_committed_by_others(crowded: ServerProcess) -> None:
    with crowded.connect() as client:
        client.execute("CREATE TABLE batched (a int)")
    with WireClient(crowded.host, crowded.port) as client, ExitStack() as stack:
        client.log_in()
        client.send(parse("INSERT INTO batched VALUES (1)"), bind(), execute(), FLUSH)
        assert [client.read().kind for _ in range(3)] == ["1", "2", "C"]
        for _ in range(6):  # more than there are backends
            stack.enter_context(crowded.connect()).execute("SELECT 1")
    with crowded.connect() as other:
        assert other.execute("SELECT count(*) FROM batched").fetchone() == (0,)


def test_a_pipelining_client_that_leaves_harms_nobody(server: ServerProcess) -> None:
    for _ in range(5):
        client = WireClient(server.host, server.port)
        client.log_in()
        client.send(query("BEGIN"), *[query("SELECT repeat('x', 100000)")] * 50)
        client.close()
    with server.connect() as other:
        assert other.execute("SELECT 1").fetchone() == (1,)


def test_errors_of_one_session_stay_there(server: ServerProcess) -> None:
    with WireClient(server.host, server.port) as bad, WireClient(server.host, server.port) as good:
        bad.log_in()
        good.log_in()
        good.simple("BEGIN")
        assert error_of(bad.simple("SELECT 1/0"))["C"] == "22012"
        assert good.simple("SELECT 1")[-1].text == "T"


# what Morphgres says itself follows client_min_messages as what PostgreSQL says
@pytest.mark.parametrize(
    ("start", "text", "heard"),
    [
        ("", "", ["NOTICE", "WARNING"]),
        ("", "SET client_min_messages = warning", ["WARNING"]),
        ("", "SET client_min_messages TO 'error'", []),
        ("-c client_min_messages=error", "", []),
        ("-c client_min_messages=error", "RESET ALL", []),
        ("-c client_min_messages=error", "SET client_min_messages = debug1", ["NOTICE", "WARNING"]),
        ("", "SELECT set_config('client_min_messages', 'warning', false)", ["WARNING"]),
    ],
)
def test_messages_are_as_loud_as_the_session_wants(
    server: ServerProcess, start: str, text: str, heard: list[str]
) -> None:
    empty_catalog(server)
    with server.connect(options=start) as connection:
        told: list[str | None] = []
        if text:
            connection.execute(text)
        connection.add_notice_handler(lambda found: told.append(found.severity))
        connection.execute("DROP TABLE IF EXISTS nowhere")
        connection.execute("CREATE TABLE loud (a int)")
        connection.execute("CREATE VIEW quiet AS SELECT * FROM loud")
        connection.execute("VACUUM quiet")
    empty_catalog(server)
    wanted = {"NOTICE", "WARNING"} & set(heard)
    assert {name for name in told if name in ("NOTICE", "WARNING")} == wanted
