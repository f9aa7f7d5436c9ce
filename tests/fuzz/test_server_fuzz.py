"""Random bytes and random conversations against a real server (DESIGN 7.10).

Whatever comes in: an ErrorResponse or a closed connection; never a hang, a crash, or a session of
somebody else out of step.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.integration.server_process import ServerProcess, running
from tests.integration.wire import (
    FLUSH,
    SYNC,
    Closed,
    WireClient,
    bind,
    close,
    describe,
    execute,
    message,
    parse,
    query,
    startup,
)

EXAMPLES = 60
RELAXED = settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
THOROUGH = settings(RELAXED, max_examples=3000)

names = st.sampled_from(["", "a", "b", "ä"])
texts = st.sampled_from(
    [
        "SELECT 1",
        "SELECT $1::int",
        "SELECT generate_series(1, 5)",
        "SELECT * FROM fuzzed",
        "SELECT * FROM fuzzed WHERE a = $1",
        "INSERT INTO fuzzed VALUES (1, 'x')",
        "UPDATE fuzzed SET b = 'ü' WHERE a < 3 RETURNING *",
        "CREATE TEMP TABLE IF NOT EXISTS fuzzed (z int)",
        "DROP TABLE IF EXISTS pg_temp.fuzzed",
        "COPY fuzzed TO STDOUT",
        "COPY fuzzed FROM STDIN",
        "COPY (SELECT 1) TO STDOUT",
        "BEGIN",
        "COMMIT",
        "ROLLBACK",
        "SAVEPOINT s",
        "ROLLBACK TO s",
        "SELECT 1/0",
        "SELEC",
        "",
        ";",
        "DISCARD ALL",
        "SET search_path = v1",
        "RESET ALL",
        "EXPLAIN SELECT * FROM fuzzed",
        "SELECT 1; SELECT 2; SELECT nonsense",
        "CREATE TABLE IF NOT EXISTS fuzzed2 (a int)",
        "SELECT morph.nothing()",
        "PREPARE a AS SELECT 1",
        "EXECUTE a",
        "DECLARE b CURSOR FOR SELECT * FROM fuzzed",
        "FETCH ALL FROM b",
        "LISTEN l",
        "NOTIFY l",
    ]
)
values = st.lists(st.one_of(st.none(), st.binary(max_size=6)), max_size=2).map(tuple)
messages = st.one_of(
    st.builds(query, texts),
    st.builds(parse, texts, names),
    st.builds(lambda v, p, s: bind(v, portal=p, statement=s), values, names, names),
    st.builds(describe, st.sampled_from("SP"), names),
    st.builds(execute, names, st.integers(0, 3)),
    st.builds(close, st.sampled_from("SP"), names),
    st.sampled_from([SYNC, SYNC, FLUSH, message("c"), message("f", b"no\0"), message("d", b"1\n")]),
)
wild = st.builds(message, st.sampled_from("BCDEFHPQSXcdfpz?\0"), st.binary(max_size=40))


@pytest.fixture(scope="module")
def target() -> Iterator[ServerProcess]:
    with tempfile.TemporaryDirectory(prefix="morph-fuzz-", dir="/tmp") as name:
        Path(name).chmod(0o755)
        with running(Path(name) / "data") as server:
            with server.connect() as client:
                client.execute("CREATE TABLE fuzzed (a int, b text)")
            yield server


@pytest.fixture(scope="module")
def witness(target: ServerProcess) -> Iterator[WireClient]:
    """A session that sees that nobody else is disturbed."""
    with WireClient(target.host, target.port) as client:
        client.log_in()
        yield client


def drain(client: WireClient) -> None:
    """Read to the end of what the server has to say; Closed and resets are fine."""
    try:
        client.send(message("c"), SYNC, SYNC, query("SELECT 'the end'"), message("X"))
        client.read_all()
    except (Closed, ConnectionError):
        return


def converse(target: ServerProcess, witness: WireClient, conversation: list[bytes]) -> None:
    with WireClient(target.host, target.port) as client:
        client.log_in()
        try:
            client.send(*conversation)
        except ConnectionError:
            pass
        drain(client)
    assert witness.values("SELECT 'well'") == [[b"well"]]


def start_with(target: ServerProcess, witness: WireClient, data: bytes) -> None:
    with WireClient(target.host, target.port) as client:
        try:
            client.send(data)
            client.socket.shutdown(1)
            client.read_all()
        except (Closed, ConnectionError):
            pass
    assert witness.values("SELECT 'well'") == [[b"well"]]


first_bytes = st.one_of(
    st.binary(max_size=64),
    st.binary(max_size=40).map(lambda rest: startup()[:8] + rest),
    st.binary(max_size=40).map(lambda rest: startup() + rest),
)


@RELAXED
@given(data=first_bytes)
def test_random_first_bytes(target: ServerProcess, witness: WireClient, data: bytes) -> None:
    start_with(target, witness, data)


@RELAXED
@given(conversation=st.lists(messages, max_size=12))
def test_random_conversations(
    target: ServerProcess, witness: WireClient, conversation: list[bytes]
) -> None:
    converse(target, witness, conversation)


@RELAXED
@given(conversation=st.lists(st.one_of(messages, wild), max_size=8))
def test_malformed_conversations(
    target: ServerProcess, witness: WireClient, conversation: list[bytes]
) -> None:
    converse(target, witness, conversation)


@RELAXED
@given(conversation=st.lists(messages, min_size=1, max_size=6), cut=st.integers(1, 400))
def test_clients_that_leave_in_the_middle(
    target: ServerProcess, witness: WireClient, conversation: list[bytes], cut: int
) -> None:
    with WireClient(target.host, target.port) as client:
        client.log_in()
        client.send(b"".join(conversation)[:cut])
    assert witness.values("SELECT 'well'") == [[b"well"]]


@pytest.mark.slow
@pytest.mark.timeout(1200)
@THOROUGH
@given(conversation=st.lists(st.one_of(messages, wild), max_size=20))
def test_many_conversations(
    target: ServerProcess, witness: WireClient, conversation: list[bytes]
) -> None:
    converse(target, witness, conversation)
