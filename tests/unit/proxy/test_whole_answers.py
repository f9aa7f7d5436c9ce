"""An answer that is passed on whole is what passing it on in pieces gives."""

from __future__ import annotations

from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.protocol.framing import BackendWalker, message, walk_answer
from proxy.relay import BATCH, BIND, DESCRIBE, EXECUTE, QUERY, SYNC, Entry, Relay

BIND_COMPLETE, NO_DATA, COMPLETE = message(50), message(110), message(67, b"SELECT 1\0")
ROW, READY, NOTICE = message(68, b"\0\1\0\0\0\1x"), message(90, b"I"), message(78, b"SNOTICE\0\0")
ERROR, SUSPENDED = message(69, b"SERROR\0C22012\0\0"), message(115)
DESCRIPTION = message(84, b"\0\1" + b"x\0" + bytes(18))


class _Owner:
    def __init__(self) -> None:
        self.seen: list[object] = []
        self.sent = b""

    def __getattr__(self, name: str) -> Any:
        return lambda *args, **_: self.seen.append((name, *args))

    def answered(self, data: bytes, done: int) -> None:
        self.seen += [("command_done", data[done:-6]), ("ready", data[-1])]

    def shown(self, raw: bytes, plan: object) -> bytes:
        return raw.replace(b"x", b"y")

    def translate_error(self, raw: bytes, plan: object) -> bytes:
        return raw

    def send_to_client(self, data: bytes) -> None:
        self.sent += data


def _entries(kind: int, *, describes: bool) -> list[Entry]:
    plan: Any = SimpleNamespace(touches_store=True)
    if kind == QUERY:
        return [Entry(QUERY, plan)]
    kinds = [BIND, DESCRIBE, EXECUTE, SYNC] if describes else [BIND, EXECUTE, SYNC]
    return [Entry(k, plan if k != SYNC else None) for k in kinds]


def _ask(kind: int, *, describes: bool, plain: bool) -> tuple[Relay, _Owner]:
    owner = _Owner()
    relay = Relay(owner)
    if plain:
        entry = Entry(kind, SimpleNamespace(touches_store=True))  # type: ignore[arg-type]
        entry.plain, entry.describes = True, describes
        relay.push(entry)
    else:
        for entry in _entries(kind, describes=describes):
            relay.push(entry)
    relay.answer_locally(b"local")
    return relay, owner


def _feed(relay: Relay, chunks: list[bytes]) -> int:
    walker, whole = BackendWalker(1 << 20), 0
    for chunk in chunks:
        if walker.between and relay.whole(chunk):
            whole += 1
        else:
            relay.pieces(walker.feed(chunk))
    return whole


@given(
    st.sampled_from([QUERY, BATCH]),
    st.booleans(),
    st.lists(st.just(ROW), max_size=4),
    st.sampled_from([COMPLETE, ERROR, SUSPENDED, NOTICE + COMPLETE, COMPLETE + NOTICE]),
    st.lists(st.integers(0, 120), max_size=3),
)
def test_whole_or_in_pieces_the_client_gets_the_same(
    kind: int, describes: bool, rows: list[bytes], end: bytes, cuts: list[int]
) -> None:  # R0.1
    begin = b"" if kind == QUERY else BIND_COMPLETE
    description = DESCRIPTION if kind == QUERY or describes else b""
    stream = begin + description + b"".join(rows) + end + READY
    borders = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    chunks = [stream[a:b] for a, b in pairwise(borders) if a < b]
    relay, owner = _ask(kind, describes=describes, plain=True)
    slow, slow_owner = _ask(kind, describes=describes, plain=False)
    _feed(relay, chunks)
    _feed(slow, chunks)
    assert owner.sent == slow_owner.sent
    assert owner.seen == slow_owner.seen
    assert relay.in_step
    assert slow.in_step
    assert relay.skip == slow.skip


def test_a_plain_answer_is_passed_on_whole() -> None:  # R5.1
    relay, owner = _ask(BATCH, describes=True, plain=True)
    data = BIND_COMPLETE + DESCRIPTION + ROW + COMPLETE + READY
    assert _feed(relay, [data]) == 1
    assert owner.sent == data.replace(b"x\0", b"y\0", 1) + b"local"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        READY,
        BIND_COMPLETE + READY,
        COMPLETE + COMPLETE + READY,
        DESCRIPTION + READY,
        ROW[:-1] + READY,
        b"2\xff\xff\xff\xff" + COMPLETE + READY,
        b"T\0\0\0\0" + READY,
    ],
)
def test_what_is_no_plain_answer_is_not_walked(data: bytes) -> None:  # R0.1
    assert walk_answer(data) is None


@given(st.binary(max_size=60))
def test_any_bytes_are_walked_without_a_fault(noise: bytes) -> None:  # R0.1
    for data in (noise + READY, BIND_COMPLETE + noise + READY, DESCRIPTION + noise + READY):
        found = walk_answer(data)
        assert found is None or data[found[2]] == ord("C")
