"""The shortcut gives what framing, inbox and planning give, and is taken where it may be."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.settings import Settings
from proxy.backend import BackendConnection
from proxy.client import ClientConnection
from proxy.protocol.framing import Framer, message
from proxy.protocol.startup import StartupMessage
from proxy.session import Session
from proxy.shortcut import SessionPlans
from proxy.worker import Worker
from tests.unit.rewrite.shop_model import SNAPSHOT, namespaces

ROW = message(68, b"\0\1\0\0\0\1x")
DESCRIPTION = message(84, b"\0\1" + b"x\0" + bytes(18))
COMPLETE = message(67, b"SELECT 1\0")
ERROR = message(69, b"SERROR\0VERROR\0C22012\0Mdivision by zero\0\0")
SYNC, DESCRIBE, EXECUTE = message(83), message(68, b"P\0"), message(69, b"\0\0\0\0\0")


def q(sql: str) -> bytes:
    return message(81, sql.encode() + b"\0")


def parse(name: str, sql: str) -> bytes:
    return message(80, f"{name}\0{sql}\0".encode() + b"\0\0")


def bind(name: str, portal: str = "") -> bytes:
    return message(66, f"{portal}\0{name}\0".encode() + bytes(6))


class _Wire:
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        self.written = b""

    def write(self, data: bytes) -> None:
        self.written += data

    def is_closing(self) -> bool:
        return False

    def close(self) -> None:
        self.written += b"(closed)"

    def pause_reading(self) -> None:
        return

    def resume_reading(self) -> None:
        return


class _Postgres(_Wire):
    """Answers as PostgreSQL would, for texts it need not understand."""

    def __init__(self) -> None:
        super().__init__()
        self._framer = Framer(1 << 20)
        self._answers = b""
        self._skipping = False
        self._status = b"I"
        self._rows = True
        self._returns: dict[bytes, bool] = {}  # by statement: does it return rows?

    def write(self, data: bytes) -> None:
        super().write(data)
        for kind, body in self._framer.feed(data):
            self._answers += self._answer(kind, body)

    def take(self) -> bytes:
        answers, self._answers = self._answers, b""
        return answers

    def _answer(self, kind: int, body: bytes) -> bytes:
        if kind == ord("S"):
            self._skipping = False
            return message(90, self._status)
        if self._skipping:
            return b""
        fails = b"1/0" in body or b"morphgres" in body
        if kind == ord("Q"):
            if body in (b"BEGIN\0", b"COMMIT\0"):
                self._status = b"T" if body == b"BEGIN\0" else b"I"
                return message(67, body) + message(90, self._status)
            return (ERROR if fails else DESCRIPTION + ROW + COMPLETE) + message(90, self._status)
        if fails:
            self._skipping = True
            return ERROR
        if kind == ord("P"):
            self._returns[body.partition(b"\0")[0]] = b"INSERT" not in body
        if kind == ord("B"):
            self._rows = self._returns.get(body.split(b"\0")[1], True)
        done = {"D": DESCRIPTION, "E": ROW + COMPLETE}
        if not self._rows:
            done = {"D": message(110), "E": message(67, b"INSERT 0 1\0")}
        return {"P": message(49), "B": message(50), **done}.get(chr(kind), b"")


class _Bed:
    """A session between a client and a backend that are not there."""

    def __init__(self, settings: Settings | None = None, codec: str = "utf-8") -> None:
        self.worker = Worker(settings or Settings(), socket_directory="/nowhere")
        self.worker.snapshot = SNAPSHOT
        self.client_wire, self.postgres = _Wire(), _Postgres()
        self.join(codec)

    def join(self, codec: str = "utf-8") -> None:
        """One more session, the one that is used from now on."""
        self.client = ClientConnection(self.worker)
        self.client.transport = self.client_wire  # type: ignore[assignment]
        self.client._reader = None
        self.client._framer.limit(1 << 20)
        self.client.codec = codec
        self.session = self.client.session = self.worker.make_session(self.client)
        self.backend = BackendConnection("/nowhere", StartupMessage(0, {}))
        self.backend.transport = self.postgres  # type: ignore[assignment]
        self.session.adopt(self.backend)

    def answer(self, cut: int = 0) -> None:
        data = self.postgres.take()
        place = min(cut, len(data))
        for part in (data[:place], data[place:]):
            if part:
                self.backend.data_received(part)

    def ask(self, data: bytes) -> bytes:
        """Send it in one piece; what goes to the backend for it."""
        before = len(self.postgres.written)
        self.client.data_received(data)
        self.answer()
        return self.postgres.written[before:]

    def seen(self) -> dict[str, object]:
        """All that must not depend on the path."""
        session = self.session
        return {
            "to the backend": self.postgres.written,
            "to the client": self.client_wire.written,
            "statements": [row[:6] for row in self.worker.statements.rows()],
            "statements run": session.statements_run,
            "last query": session.last_query,
            "progress": session.progress,
            "status": session.status,
            "pinned": session.pinned,
            "pushdown": session.pushdown,
            "portals": sorted(session.portals),
            "prepared": sorted(session.statements),
            "in step": session.relay.in_step,
            "received": self.worker.metrics.received_bytes.value,
            "counted": [cell.value for cell in self.worker.metrics.statements.cells.values()],
        }


CHUNKS = [
    q("SELECT 1"),
    q("SELECT 2;"),
    q("SELECT 'it''s', '\"--$'"),
    q("SELECT id FROM orders WHERE id = 7"),
    q("SELECT id FROM orders WHERE id = 8"),
    q("SELECT 1/0"),
    q("SELECT nonsense FROM ("),
    q("BEGIN"),
    q("COMMIT"),
    q(""),
    q("SELECT 'é'"),
    message(81, b"SELECT '\xff'\0"),
    message(81, b"SELECT 1\0 \0"),
    message(81, b"SELECT 1"),
    message(81),
    q("SELECT 1") + q("SELECT 2"),
    parse("one", "SELECT 1") + SYNC,
    parse("fails", "SELECT 1/0") + SYNC,
    parse("store", "SELECT id FROM orders") + SYNC,
    parse("put", "INSERT INTO plain (id) VALUES (1)") + SYNC,
    parse("", "SELECT id FROM orders") + bind("") + EXECUTE + SYNC,
    parse("document", "INSERT INTO customers (id, name) VALUES (1, 'x')") + SYNC,
    bind("document") + DESCRIBE + EXECUTE + SYNC,
    bind("put") + DESCRIBE + EXECUTE + SYNC,
    bind("one") + EXECUTE + SYNC,
    bind("one") + DESCRIBE + EXECUTE + SYNC,
    bind("store") + DESCRIBE + EXECUTE + SYNC,
    bind("") + EXECUTE + SYNC,
    bind("nobody") + EXECUTE + SYNC,
    bind("one", "portal") + message(69, b"portal\0\0\0\0\0") + SYNC,
    bind("one") + message(69, b"\0\0\0\0\1") + SYNC,
    bind("one") + EXECUTE,
    message(66, b"\0one") + EXECUTE + SYNC,
    message(66, b"\0\xff\0" + bytes(6)) + EXECUTE + SYNC,
    message(67, b"Sone\0") + SYNC,
    SYNC,
]


# Chunk, where it is cut (if it is), whether it is answered at once, and where the answer is cut.
Step = tuple[bytes, int, bool, int]


async def _drive(script: list[Step], *, whole: bool) -> dict[str, object]:
    bed = _Bed()
    for chunk, cut, answered, answer_cut in script:
        if whole:
            bed.client.data_received(chunk)
        else:
            place = 1 + cut % (len(chunk) - 1)
            bed.client.data_received(chunk[:place])
            bed.client.data_received(chunk[place:])
        if answered:
            bed.answer(answer_cut)
    while bed.postgres._answers:
        bed.answer()
    return bed.seen()


def _compare(script: list[Step]) -> None:
    # a message in two parts is framed, so the second run never takes the shortcut
    assert asyncio.run(_drive(script, whole=True)) == asyncio.run(_drive(script, whole=False))


@given(
    st.lists(
        st.tuples(
            st.sampled_from(CHUNKS),
            st.integers(0, 200),
            st.sampled_from([True, True, False]),
            st.sampled_from([0, 0, 5, 7, 30]),
        ),
        max_size=14,
    )
)
def test_both_paths_give_the_same(script: list[Step]) -> None:  # R0.1
    _compare(script)


@pytest.mark.parametrize(
    "chunks",
    [
        [q("SELECT 1"), parse("", "SELECT 2") + SYNC, q("SELECT 1"), bind("") + EXECUTE + SYNC],
        [q("SELECT 1"), parse("f", "SELECT 1/0"), q("SELECT 1"), SYNC, q("SELECT 1")],
        [q("SELECT 1"), message(81, b"SELECT 12")],
        [q("SELECT 1"), b"Q\0\0\0\x12SELECT 1\0", b"abcd\0", q("SELECT 1")],
        [q("SELECT 1"), b"Q\0\0\0\x03SELECT 1\0"],
        [q(f"SET morph.pushdown = {value}") for value in ("off", "on", "off")],
        [parse("put", "INSERT INTO plain (id) VALUES (1)") + SYNC]
        + [bind("put") + DESCRIBE + EXECUTE + SYNC] * 2
        + [bind("put") + EXECUTE + SYNC, SYNC],
    ],
    ids=range(7),
)
def test_both_paths_give_the_same_after(chunks: list[bytes]) -> None:  # R0.1
    _compare([(chunk, 2, True, 7) for chunk in chunks])


@pytest.fixture
def framed(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What went the long way since the test cleared it."""
    seen: list[Any] = []
    handle = Session.handle

    def spy(self: Session, messages: list[tuple[int, bytes]]) -> None:
        seen.extend(message(*m) for m in messages)
        handle(self, messages)

    monkeypatch.setattr(Session, "handle", spy)
    return seen


def test_a_query_that_was_seen_is_not_worked_off_again(framed: list[bytes]) -> None:  # R5.1
    async def run() -> None:
        bed = _Bed()
        sent = {bed.ask(q("SELECT id FROM orders")) for _ in range(3)}
        assert sent == {q('SELECT id FROM "morph_v1".orders')}
        bed.join()  # the plans are the worker's: another session finds them too
        bed.ask(SYNC)
        assert bed.ask(q("SELECT id FROM orders")) in sent

    asyncio.run(run())
    assert framed == [q("SELECT id FROM orders"), SYNC]


def test_another_literal_of_a_known_text_is_not_worked_off(framed: list[bytes]) -> None:  # R5.1
    async def run() -> None:
        bed = _Bed()
        for number in range(5):
            sent = bed.ask(q(f"SELECT id FROM orders WHERE id = {number}"))
            assert sent == q(f'SELECT id FROM "morph_v1".orders WHERE id = {number}')
        assert bed.session.last_query.endswith("= 4")
        assert bed.worker.statements.rows()[0][4] == 5

    asyncio.run(run())
    assert framed == [q("SELECT id FROM orders WHERE id = 0")]


@pytest.mark.parametrize("described", [b"", DESCRIBE])
@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1",
        "INSERT INTO customers (id, name) VALUES (1, 'x')",  # described first, when it is parsed
        "UPDATE customers SET name = 'x'",
    ],
)
def test_a_batch_is_not_worked_off(framed: list[bytes], sql: str, described: bytes) -> None:  # R5.1
    async def run() -> None:
        bed = _Bed()
        bed.ask(parse("one", sql) + SYNC)
        framed.clear()
        data = bind("one") + described + EXECUTE + SYNC
        assert [bed.ask(data) for _ in range(2)] == [data, data]
        assert bed.session.relay.in_step

    asyncio.run(run())
    assert framed == []


def test_what_waits_for_an_answer_goes_the_long_way(framed: list[bytes]) -> None:  # R0.1
    async def run() -> None:
        bed = _Bed()
        bed.ask(q("SELECT 1"))
        framed.clear()
        bed.client.data_received(q("SELECT 1"))
        bed.client.data_received(q("SELECT 1"))
        bed.answer()
        assert bed.client_wire.written.count(COMPLETE) == 3

    asyncio.run(run())
    assert framed == [q("SELECT 1")]


def test_a_statement_is_prepared_in_the_backend_that_runs_it() -> None:  # R0.3
    async def run() -> None:
        bed = _Bed()
        bed.ask(parse("one", "SELECT 1") + SYNC)
        batch = bind("one") + EXECUTE + SYNC
        assert bed.ask(batch) == batch
        bed.backend = BackendConnection("/nowhere", StartupMessage(0, {}))
        bed.backend.transport = bed.postgres  # type: ignore[assignment]
        bed.session.adopt(bed.backend)
        assert bed.ask(batch) == parse("one", "SELECT 1") + batch
        assert bed.ask(batch) == batch

    asyncio.run(run())


def test_names_are_looked_up_in_the_catalog_of_now() -> None:  # R0.3
    async def run() -> None:
        bed = _Bed()
        text = q("SELECT id FROM orders")
        assert [bed.ask(text) for _ in range(2)] == [q('SELECT id FROM "morph_v1".orders')] * 2
        bed.worker.snapshot = replace(SNAPSHOT, epoch=SNAPSHOT.epoch + 1, current=2)
        assert bed.ask(text) == q('SELECT id FROM "morph_v2".orders')
        bed.ask(parse("p", "SELECT id FROM orders") + SYNC)
        batch = bind("p") + EXECUTE + SYNC
        assert bed.ask(batch) == batch
        bed.worker.snapshot = replace(SNAPSHOT, epoch=SNAPSHOT.epoch + 2, current=1)
        assert bed.ask(batch) != batch

    asyncio.run(run())


def test_the_same_bytes_in_another_encoding_are_another_text() -> None:  # R0.3
    async def run() -> None:
        bed = _Bed()
        data = q("SELECT 'é' FROM plain")
        bed.ask(data)
        bed.ask(data)
        bed.join("iso8859-1")
        bed.ask(SYNC)
        bed.ask(data)
        assert bed.session.last_query == "SELECT 'Ã©' FROM plain"

    asyncio.run(run())


def test_messages_are_kept_within_a_bound() -> None:  # R6.3
    plans = SessionPlans(namespaces(), pushdown=True, entries_max=4, text_max=100)
    plan = plans.lookup("SELECT 1")
    for number in range(50):
        plans.keep(b"%d" % number, (b"", plan))
    assert list(plans.messages) == [b"46", b"47", b"48", b"49"]


def test_without_a_plan_cache_nothing_is_kept(framed: list[bytes]) -> None:  # R6.3
    async def run() -> None:
        settings = Settings()
        bed = _Bed(replace(settings, plan=replace(settings.plan, cache_entries=0)))
        for _ in range(3):
            bed.ask(q("SELECT 1"))
        assert not bed.session.current_plans().messages

    asyncio.run(run())
    assert framed == [q("SELECT 1")] * 3
