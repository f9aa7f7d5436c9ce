"""Prepared statements that a store answers alone, asked in one batch (proxy/alone.py): the same
answers as the long way, and PostgreSQL is not asked (issue 4.8).
"""

from __future__ import annotations

import os
import signal
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

from tests.integration.server_process import ServerProcess, eventually
from tests.integration.wire import (
    SYNC,
    Message,
    WireClient,
    bind,
    describe,
    error_of,
    execute,
    kinds,
    parse,
)
from tests.services.federation.judging import Judge, Parameters, outcome_with

pytestmark = [pytest.mark.services, pytest.mark.timeout(600)]
Connection = psycopg.Connection[Any]
BY_ID = "SELECT id, status, note, placed, ref, total, customer FROM orders WHERE id = $1"
PLAIN = "SELECT note, id, status, id FROM orders WHERE id = $1"
KEYS = (1, 2, 7, 299, 300, 301, -5, 2**40)


@pytest.fixture
def wire(morphgres: ServerProcess, client: Connection) -> Iterator[WireClient]:
    """A raw session over the placed tables."""
    del client
    with WireClient(morphgres.host, morphgres.port) as raw:
        raw.log_in()
        yield raw


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """A backend that does not answer meanwhile."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def rows(answer: list[Message]) -> list[tuple[bytes | None, ...]]:
    """The rows of an answer."""
    return [tuple(m.values) for m in answer if m.kind == "D"]


def backend_pid(wire: WireClient) -> int:
    """The process behind the session."""
    [[pid]] = wire.values("SELECT pg_backend_pid()")
    return int(pid or b"0")


def prepared(wire: WireClient, text: str, *values: bytes | None) -> None:
    """Prepared as `s`, and answered once the long way."""
    wire.ask(parse(text, name="s"), describe("S", "s"), SYNC)
    wire.ask(bind(values, statement="s"), execute(), SYNC)


@pytest.mark.parametrize("form", [0, 1])
@pytest.mark.parametrize("described", [False, True])
@pytest.mark.parametrize(
    "columns", [BY_ID.split(" FROM", maxsplit=1)[0], PLAIN.split(" FROM", maxsplit=1)[0]]
)
def test_the_same_answers(
    wire: WireClient, judge: Judge, columns: str, described: bool, form: int
) -> None:
    text = f"{columns} FROM orders WHERE id = $1"
    prepared(wire, text, b"1")
    for key in (*KEYS, None):
        value = None if key is None else str(key).encode()
        more = [describe("P")] if described else []
        answer = wire.ask(bind((value,), statement="s", results=(form,)), *more, execute(), SYNC)
        expected = outcome_with(judge.connection, text, Parameters([value], [], [], form))
        assert rows(answer) == list(expected.rows), key
        assert kinds(answer) == "2" + "T" * described + "D" * len(expected.rows) + "CZ"
        assert answer[-2].body == b"SELECT %d\0" % len(expected.rows)
        if described:
            assert [(c[0], c[1]) for c in answer[1].columns] == [
                (c[0], c[1]) for c in expected.columns
            ]


def test_postgresql_is_not_asked(wire: WireClient, judge: Judge) -> None:
    prepared(wire, PLAIN, b"1")
    pid = backend_pid(wire)
    wire.ask(bind((b"1",), statement="s"), describe("P"), execute(), SYNC)  # it describes once
    with stopped(pid):
        for key in KEYS:
            value = str(key).encode()
            answer = wire.ask(bind((value,), statement="s"), describe("P"), execute(), SYNC)
            expected = outcome_with(judge.connection, PLAIN, Parameters([value])).rows
            assert rows(answer) == list(expected)
    assert wire.values("SELECT 1") == [[b"1"]]


def test_a_row_limit(wire: WireClient) -> None:
    """asyncpg's fetchrow asks for one row (PostgreSQL manual, 54.2.3)."""
    prepared(wire, PLAIN, b"1")
    for limit, end in ((1, "sZ"), (2, "CZ"), (-1, "CZ")):
        answer = wire.ask(bind((b"7",), statement="s"), execute(limit=limit & 0xFFFFFFFF), SYNC)
        assert kinds(answer) == "2D" + end
    many = "SELECT id FROM orders WHERE id > $1 ORDER BY id"
    wire.ask(parse(many, name="m"), SYNC)
    for _ in range(3):
        answer = wire.ask(bind((b"10",), statement="m"), execute(limit=3), SYNC)
        assert kinds(answer) == "2DDDsZ"
        assert rows(answer) == [(b"11",), (b"12",), (b"13",)]


def test_values_that_postgresql_refuses(wire: WireClient) -> None:
    prepared(wire, PLAIN, b"1")
    for value, code in ((b"seven", "22P02"), (b"9" * 30, "22003"), (b"\xff", "22021")):
        answer = wire.ask(bind((value,), statement="s"), execute(), SYNC)
        assert error_of(answer)["C"] == code
        assert kinds(answer) == "EZ"
    answer = wire.ask(bind((b" 7 ",), statement="s"), execute(), SYNC)
    assert kinds(answer) == "2DCZ"
    answer = wire.ask(bind((), statement="s"), execute(), SYNC)
    assert error_of(answer)["C"] == "08P01"


def test_in_a_transaction_and_after_it(wire: WireClient) -> None:
    prepared(wire, PLAIN, b"1")
    wire.simple("BEGIN")
    answer = wire.ask(bind((b"7",), statement="s"), execute(), SYNC)
    assert kinds(answer) == "2DCZ"
    assert answer[-1].body == b"T"
    assert error_of(wire.simple("SELECT 1/0"))["C"] == "22012"
    answer = wire.ask(bind((b"7",), statement="s"), execute(), SYNC)
    assert error_of(answer)["C"] == "25P02"
    wire.simple("ROLLBACK")
    answer = wire.ask(bind((b"7",), statement="s"), execute(), SYNC)
    assert kinds(answer) == "2DCZ"
    assert answer[-1].body == b"I"


def test_names_that_mean_something_else_now(wire: WireClient) -> None:
    prepared(wire, PLAIN, b"1")
    wire.ask(bind((b"7",), statement="s"), execute(), SYNC)
    wire.simple("SET DateStyle = 'German'")
    wire.simple("SET morph.pushdown = off")
    assert kinds(wire.ask(bind((b"7",), statement="s"), execute(), SYNC)) == "2DCZ"
    wire.simple("SET morph.pushdown = on")
    wire.simple("CREATE TABLE beside (id int)")
    answer = wire.ask(bind((b"7",), statement="s"), execute(), SYNC)
    assert kinds(answer) == "2DCZ"
    wire.simple("DROP TABLE beside")


def test_texts_follow_the_settings(wire: WireClient, judge: Judge) -> None:
    text = "SELECT placed, id FROM orders WHERE id = $1"
    prepared(wire, text, b"7")
    wire.ask(bind((b"7",), statement="s"), execute(), SYNC)
    for setting in ("SET DateStyle = 'SQL, DMY'", "SET TimeZone = 'Asia/Tokyo'"):
        wire.simple("RESET ALL")
        wire.simple(setting)
        judge.connection.execute(setting.encode())
        try:
            expected = outcome_with(judge.connection, text, Parameters([b"7"])).rows
        finally:
            judge.connection.execute("RESET ALL")
            judge.connection.execute("SET TimeZone = 'UTC'")
        answer = wire.ask(bind((b"7",), statement="s"), execute(), SYNC)
        assert rows(answer) == list(expected), setting


def test_long_answers_are_streamed(wire: WireClient, judge: Judge) -> None:
    text = "SELECT o.id, o.note, o.ref, o.status FROM orders o WHERE o.id > $1"
    prepared(wire, text, b"0")
    expected = outcome_with(judge.connection, text, Parameters([b"5"])).sorted().rows
    answer = wire.ask(bind((b"5",), statement="s"), execute(), SYNC)
    assert sorted(rows(answer)) == sorted(expected)


def test_statistics_count_it(wire: WireClient, client: Connection) -> None:
    def counted() -> tuple[int, int]:
        query = "SELECT calls, errors FROM morph.statements WHERE query LIKE 'SELECT status%-77%'"
        found = [row for row in client.execute(query).fetchall() if row[0]]
        return sum(row[0] for row in found), sum(row[1] for row in found)

    before = counted()
    prepared(wire, "SELECT status FROM orders WHERE id = $1 AND id > -77", b"1")
    for _ in range(4):
        wire.ask(bind((b"7",), statement="s"), execute(), SYNC)
    eventually(lambda: counted() == (before[0] + 5, before[1]), timeout_s=60)


def test_pipelines_and_other_portals(wire: WireClient) -> None:
    prepared(wire, PLAIN, b"1")
    both = [bind((b"7",), statement="s"), execute(), SYNC]
    wire.send(*both, *both)
    first, second = wire.read_until(), wire.read_until()
    assert kinds(first) == kinds(second) == "2DCZ"
    answer = wire.ask(bind((b"7",), portal="p", statement="s"), execute("p"), SYNC)
    assert kinds(answer) == "2DCZ"


def test_a_binary_parameter_of_another_length(wire: WireClient) -> None:
    wire.ask(parse(PLAIN, name="s", oids=(20,)), SYNC)
    for raw, kind in ((struct.pack(">q", 7), "2DCZ"), (b"\0\7", "EZ")) * 2:
        answer = wire.ask(bind((raw,), statement="s", formats=(1,)), execute(), SYNC)
        assert kinds(answer) == kind


def test_many_sessions_at_a_time(morphgres: ServerProcess, client: Connection) -> None:
    del client
    faults: list[object] = []

    def work(first: int) -> None:
        with WireClient(morphgres.host, morphgres.port) as raw:
            raw.log_in()
            prepared(raw, PLAIN, b"1")
            end = time.monotonic() + 1
            key = first
            while time.monotonic() < end:
                key = key % 299 + 1
                answer = raw.ask(bind((b"%d" % key,), statement="s"), execute(), SYNC)
                if [row[1] for row in rows(answer)] != [b"%d" % key]:
                    faults.append((key, answer))

    threads = [threading.Thread(target=work, args=(n * 37,)) for n in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert not faults
