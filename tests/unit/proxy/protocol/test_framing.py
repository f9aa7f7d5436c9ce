"""Framer and BackendWalker: limits, cuts, runs, and how much is held."""

from __future__ import annotations

import tracemalloc

import pytest

from core.errors import ConnectionFailure, OutOfMemory, ProtocolViolation
from proxy.protocol.framing import (
    SMALL_CLIENT_TYPES,
    SMALL_MESSAGE_BYTES_MAX,
    BackendWalker,
    Framer,
    message,
)

LIMIT = 100_000
SYNC = b"S\0\0\0\4"
D, Z, T = ord("D"), ord("Z"), ord("T")


def test_a_whole_buffer_gives_its_messages_in_order() -> None:  # R0.1
    framer = Framer(LIMIT)
    assert framer.feed(message(ord("Q"), b"x\0") + SYNC) == [(ord("Q"), b"x\0"), (ord("S"), b"")]
    assert framer.feed(b"") == []


def test_bytes_arrive_one_by_one() -> None:  # R0.1
    framer = Framer(LIMIT)
    stream = message(ord("P"), b"abc") + SYNC
    out = [item for byte in stream for item in framer.feed(bytes([byte]))]
    assert out == [(ord("P"), b"abc"), (ord("S"), b"")]
    assert framer.held_bytes == 0


@pytest.mark.parametrize("length", [0, 3, LIMIT + 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF])
@pytest.mark.parametrize("cut", [0, 1, 4, 5])
def test_a_bad_length_is_refused_before_anything_is_held(length: int, cut: int) -> None:  # R0.1
    framer = Framer(LIMIT)
    stream = b"Q" + length.to_bytes(4)
    framer.feed(stream[:cut]) if cut < 5 else None
    with pytest.raises(ProtocolViolation, match="invalid message length") as caught:
        framer.feed(stream[cut:] if cut < 5 else stream)
    assert (caught.value.sqlstate, caught.value.severity) == ("08P01", "FATAL")
    assert framer.held_bytes == 0
    with pytest.raises(ProtocolViolation):
        framer.feed(SYNC)


def test_the_limit_itself_is_allowed() -> None:  # R0.1
    body = bytes(LIMIT - 4)
    assert Framer(LIMIT).feed(message(ord("d"), body)) == [(ord("d"), body)]


@pytest.mark.parametrize("kind", sorted(SMALL_CLIENT_TYPES))
def test_messages_that_carry_a_name_have_a_small_limit(kind: int) -> None:  # R0.1
    assert Framer(LIMIT).feed(message(kind, bytes(SMALL_MESSAGE_BYTES_MAX - 4)))
    with pytest.raises(ProtocolViolation, match="invalid message length"):
        Framer(LIMIT).feed(message(kind, bytes(SMALL_MESSAGE_BYTES_MAX - 3)))


def test_a_limit_below_the_small_one_holds() -> None:  # R0.1
    with pytest.raises(ProtocolViolation):
        Framer(100).feed(message(ord("Q"), bytes(97)))


def test_the_limit_grows_after_the_login() -> None:  # R0.1 R6.3
    framer = Framer(1_024)
    assert framer.feed(b"p\0\0\0\5x") == [(ord("p"), b"x")]
    framer.limit(LIMIT)
    assert framer.feed(message(ord("Q"), bytes(20_000))) == [(ord("Q"), bytes(20_000))]


def test_messages_before_a_violation_are_not_lost() -> None:  # R0.1
    framer = Framer(LIMIT)
    assert framer.feed(SYNC + b"Q\0\0\0\0") == [(ord("S"), b"")]
    assert framer.violation is not None
    with pytest.raises(ProtocolViolation):
        framer.feed(b"")


def test_a_violation_right_after_a_held_message_is_not_lost() -> None:  # R0.1
    framer = Framer(LIMIT)
    assert framer.feed(SYNC[:3]) == []
    assert framer.feed(SYNC[3:] + b"Q\0\0\0\0") == [(ord("S"), b"")]
    assert framer.violation is not None


def test_an_unknown_type_is_refused_without_waiting_for_its_body() -> None:  # R0.1
    for head, rest in ((b"!\0\0", b"\0\x63"), (b"", b"!\0\0\0\x63"), (SYNC, b"!\0\0\0\x63")):
        framer = Framer(LIMIT)
        framer.feed(head)
        with pytest.raises(ProtocolViolation, match="invalid frontend message type 33"):
            framer.feed(rest)
    framer = Framer(LIMIT)
    assert len(framer.feed(SYNC + b"!\0\0\0\x63")) == 1
    assert framer.violation is not None


def test_an_announced_length_allocates_nothing() -> None:  # R0.1
    framer = Framer(1 << 30)
    tracemalloc.start()
    framer.feed(b"Q" + (1 << 30).to_bytes(4) + b"select")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10_000


def test_a_huge_message_does_not_keep_its_buffer() -> None:  # R0.1
    framer = Framer(1 << 24)
    body = bytes(1 << 20)
    raw = message(ord("d"), body)
    assert framer.feed(raw[:100]) == []
    assert framer.feed(raw[100:] + SYNC[:2]) == [(ord("d"), body)]
    assert framer.held_bytes == 2


# --- BackendWalker ------------------------------------------------------------------------------


def test_rows_come_as_one_run_and_the_rest_one_by_one() -> None:  # R0.1
    rows = message(D, b"1") + message(D, b"22") + message(D, b"")
    stream = message(T, b"t") + rows + message(ord("C"), b"SELECT 3\0") + message(Z, b"I")
    assert BackendWalker(LIMIT).feed(stream) == [
        (T, message(T, b"t"), 1),
        (D, rows, 3),
        (ord("C"), message(ord("C"), b"SELECT 3\0"), 1),
        (Z, message(Z, b"I"), 1),
    ]


def test_a_buffer_of_rows_is_passed_on_without_a_copy() -> None:  # R0.1
    rows = message(D, b"row") * 100
    ((kind, raw, count),) = BackendWalker(LIMIT).feed(rows)
    assert (kind, count) == (D, 100)
    assert raw is rows


def test_a_row_larger_than_the_buffer_is_passed_on_in_parts_and_never_held() -> None:  # R0.1
    walker = BackendWalker(LIMIT)
    raw = message(D, bytes(1_000_000))
    row = message(D, b"x")
    assert walker.feed(row + raw[:100]) == [(D, row + raw[:100], 2)]
    assert walker.open
    assert walker.held_bytes == 0
    assert walker.feed(raw[100:900_000]) == [(D, raw[100:900_000], 0)]
    assert walker.feed(b"") == []
    assert walker.open
    end = walker.feed(raw[900_000:] + row + message(Z, b"I"))
    assert end == [(D, raw[900_000:], 0), (D, row, 1), (Z, message(Z, b"I"), 1)]
    assert not walker.open


@pytest.mark.parametrize("cut", [1, 2, 3, 4])
def test_a_cut_header_of_a_row_waits_for_its_rest(cut: int) -> None:  # R0.1
    walker = BackendWalker(LIMIT)
    row = message(D, b"value")
    assert walker.feed(row + row[:cut]) == [(D, row, 1)]
    assert not walker.open
    assert walker.feed(row[cut:] + row) == [(D, row + row, 2)]


def test_a_message_to_look_into_is_held_until_it_is_whole() -> None:  # R0.1
    walker = BackendWalker(LIMIT)
    raw = message(T, bytes(50))
    assert walker.feed(raw[:7]) == []
    assert walker.feed(raw[7:20]) == []
    assert walker.held_bytes == 20
    assert walker.feed(raw[20:] + raw) == [(T, raw, 1), (T, raw, 1)]


def test_only_chosen_types_are_whole() -> None:  # R0.1
    walker = BackendWalker(LIMIT, frozenset({Z}))
    parse_complete, note = message(ord("1")), message(ord("N"), bytes(40))
    ready = message(Z, b"I")
    out = walker.feed(parse_complete * 2 + note[:9]) + walker.feed(note[9:] + ready)
    kinds = [(chr(kind), count) for kind, _, count in out]
    assert kinds == [("1", 2), ("N", 1), ("N", 0), ("Z", 1)]


def test_a_whole_message_above_the_limit_is_out_of_memory() -> None:  # R0.1
    with pytest.raises(OutOfMemory, match="too large"):
        BackendWalker(1000).feed(b"T" + (1001).to_bytes(4))


@pytest.mark.parametrize(
    "stream", [b"T\0\0\0\3", b"D\0\0\0\0", b"\0\0\0\0\4", b"D\0\0\0\4D\0\0\0\1"]
)
def test_a_broken_server_stream_is_a_connection_failure(stream: bytes) -> None:  # R0.1
    with pytest.raises(ConnectionFailure, match="lost synchronization"):
        BackendWalker(LIMIT).feed(stream)
