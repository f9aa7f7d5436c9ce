"""Laws of the wire decoders: any split of a stream is the same stream; encode and decode agree."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.protocol.bind import Bind, bind_names
from proxy.protocol.copy import CopyData, CopyDone, CopyFail
from proxy.protocol.describe_close import Close, Describe
from proxy.protocol.descriptions import (
    FieldDescription,
    decode_parameter_description,
    decode_row_description,
    parameter_description,
    patch_table_oids,
    row_description,
)
from proxy.protocol.execute import Execute
from proxy.protocol.framing import BackendWalker, Framer, message
from proxy.protocol.function_call import FunctionCall
from proxy.protocol.message_types import CLIENT_TYPES, SERVER_TYPES, ServerType
from proxy.protocol.parse import Parse
from proxy.protocol.password import PasswordMessage, SaslInitialResponse, SaslResponse
from proxy.protocol.query import Query
from proxy.protocol.reports import decode_report, encode_error
from proxy.protocol.startup import (
    CancelRequest,
    GssRequest,
    SslRequest,
    StartupMessage,
    StartupReader,
)

LIMIT = 1 << 20

bodies = st.binary(max_size=80)
client_streams = st.lists(st.tuples(st.sampled_from(sorted(CLIENT_TYPES)), bodies), max_size=12)
# Weighted towards rows, so that runs occur.
server_types = st.one_of(
    st.just(ServerType.DATA_ROW),
    st.just(ServerType.COPY_DATA),
    st.sampled_from(sorted(SERVER_TYPES)),
)
server_streams = st.lists(st.tuples(server_types, bodies), max_size=20)
cuts = st.lists(st.integers(0, 2_000), max_size=30)

names = st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=12)
shorts = st.integers(0, 0xFFFF)
oids = st.integers(0, 0xFFFFFFFF)
ints = st.integers(-(2**31), 2**31 - 1)
values = st.lists(st.none() | st.binary(max_size=20), max_size=6).map(tuple)
targets = st.sampled_from(["S", "P"])


def split(stream: bytes, at: list[int]) -> list[bytes]:
    borders = [0, *sorted(min(cut, len(stream)) for cut in at), len(stream)]
    return [stream[a:b] for a, b in pairwise(borders)]


@given(client_streams, cuts)
def test_any_split_of_client_bytes_gives_the_same_messages(
    messages: list[tuple[int, bytes]], at: list[int]
) -> None:  # R0.1
    framer = Framer(LIMIT)
    stream = b"".join(message(kind, body) for kind, body in messages)
    out = [item for chunk in split(stream, at) for item in framer.feed(chunk)]
    assert out == messages
    assert framer.held_bytes == 0


@given(server_streams, cuts)
def test_any_split_of_server_bytes_is_passed_on_unchanged(
    messages: list[tuple[int, bytes]], at: list[int]
) -> None:  # R0.1
    walker = BackendWalker(LIMIT)
    raws = [message(kind, body) for kind, body in messages]
    pieces = []
    for chunk in split(b"".join(raws), at):
        given_ = walker.feed(chunk)
        assert walker.held_bytes < 5 or not walker.open
        pieces += given_
    assert b"".join(raw for _, raw, _ in pieces) == b"".join(raws)
    assert not walker.open
    assert walker.held_bytes == 0
    streamed = {ServerType.DATA_ROW, ServerType.COPY_DATA}
    whole = [(kind, raw) for kind, raw, _ in pieces if kind not in streamed]
    assert whole == [(raw[0], raw) for raw in raws if raw[0] not in streamed]
    for row_kind in streamed:
        counts = sum(count for kind, _, count in pieces if kind == row_kind)
        assert counts == sum(kind == row_kind for kind, _ in messages)


@given(server_streams, cuts)
def test_a_piece_is_of_one_type_and_counts_the_messages_that_begin_in_it(
    messages: list[tuple[int, bytes]], at: list[int]
) -> None:  # R0.1
    walker = BackendWalker(LIMIT, frozenset({ServerType.READY_FOR_QUERY}))
    stream = b"".join(message(kind, body) for kind, body in messages)
    pieces = [piece for chunk in split(stream, at) for piece in walker.feed(chunk)]
    begun = [kind for kind, _, count in pieces for _ in range(count)]
    assert begun == [kind for kind, _ in messages]
    assert all(raw for _, raw, _ in pieces)
    assert all(raw[0] == kind for kind, raw, count in pieces if count)


client_messages = st.one_of(
    st.builds(Query, names),
    st.builds(Parse, names, names, st.lists(oids, max_size=5).map(tuple)),
    st.builds(Describe, targets, names),
    st.builds(Close, targets, names),
    st.builds(Execute, names, ints),
    st.builds(CopyData, bodies),
    st.just(CopyDone()),
    st.builds(CopyFail, names),
    st.builds(PasswordMessage, st.binary(max_size=9).map(lambda raw: raw.replace(b"\0", b""))),
    st.builds(SaslInitialResponse, st.just("SCRAM-SHA-256"), st.none() | bodies),
    st.builds(SaslResponse, bodies),
    st.builds(Bind, names, names, st.sampled_from([(), (0,), (1,)]), values, st.tuples(shorts)),
    st.builds(FunctionCall, oids, st.sampled_from([(), (1,)]), values, shorts),
)


@given(client_messages)
def test_decoding_an_encoded_client_message_gives_it_back(sent: Query) -> None:  # R0.1
    ((_, body),) = Framer(LIMIT).feed(sent.encode())
    assert type(sent).decode(body) == sent


@given(st.builds(Bind, names, names, st.just((1,)), values))
def test_the_names_of_a_bind_are_those_of_all_of_it(bind: Bind) -> None:  # R0.1
    assert bind_names(bind.encode()[5:])[:2] == (bind.portal, bind.statement)


fields = st.builds(
    FieldDescription,
    names,
    oids,
    st.integers(-7, 1600),
    oids,
    st.integers(-2, 999),
    ints,
    st.integers(0, 1),
)


@given(st.lists(fields, max_size=6), st.dictionaries(oids, oids, max_size=3), st.data())
def test_row_descriptions_survive_and_are_patched_in_place(
    columns: list[FieldDescription], mapping: dict[int, int], data: st.DataObject
) -> None:  # R0.1
    if columns:
        mapping[data.draw(st.sampled_from(columns)).table_oid] = 4711
    raw = row_description(columns)
    assert decode_row_description(raw[5:]) == columns
    expected = [c._replace(table_oid=mapping.get(c.table_oid, c.table_oid)) for c in columns]
    assert patch_table_oids(raw, mapping) == row_description(expected)


@given(st.lists(oids, max_size=9).map(tuple))
def test_parameter_descriptions_survive(types: tuple[int, ...]) -> None:  # R0.1
    assert decode_parameter_description(parameter_description(types)[5:]) == types


@given(st.dictionaries(st.sampled_from("SVCMDHPpqWstcdnFLR"), names))
def test_reports_survive(report: dict[str, str]) -> None:  # R0.1
    assert decode_report(encode_error(report)[5:]) == report


startup_names = names.filter(lambda name: name and not name.startswith("_pq_."))
startup_packets = st.one_of(
    st.just(SslRequest()),
    st.just(GssRequest()),
    st.builds(CancelRequest, ints, st.binary(min_size=1, max_size=256)),
    st.builds(
        StartupMessage,
        st.integers(0, 9999),
        st.dictionaries(startup_names, names, max_size=5).map(lambda d: {**d, "user": "ann"}),
        st.sampled_from([(), ("_pq_.x",)]),
    ),
)


@pytest.mark.parametrize("ssl_first", [False, True])
@given(startup_packets, cuts)
def test_any_split_of_startup_bytes_gives_the_same_packet(
    ssl_first: bool, packet: StartupMessage, at: list[int]
) -> None:  # R0.1
    reader = StartupReader()
    if ssl_first:
        assert reader.feed(SslRequest().encode()) == SslRequest()
    found = None
    for chunk in split(packet.encode(), at):
        assert found is None or not chunk
        found = reader.feed(chunk) if found is None else found
    assert found == packet
    assert reader.rest == b""
