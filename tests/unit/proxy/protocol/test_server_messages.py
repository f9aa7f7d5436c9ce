"""The server's messages against bytes written down by hand."""

from __future__ import annotations

import pytest

from core.errors import ConnectionFailure, MorphError, QueryProtocolError, UndefinedTable
from proxy.protocol import server
from proxy.protocol.descriptions import (
    FieldDescription,
    decode_parameter_description,
    decode_row_description,
    parameter_description,
    patch_table_oids,
    row_description,
)
from proxy.protocol.reports import (
    decode_report,
    encode_error,
    encode_notice,
    error_response,
    notice_response,
)


@pytest.mark.parametrize(
    ("built", "raw"),
    [
        (server.AUTHENTICATION_OK, b"R\0\0\0\x08\0\0\0\0"),
        (server.authentication_sasl(["A", "B"]), b"R\0\0\0\x0d\0\0\0\x0aA\0B\0\0"),
        (server.authentication_sasl_continue(b"r=1"), b"R\0\0\0\x0b\0\0\0\x0br=1"),
        (server.authentication_sasl_final(b"v=1"), b"R\0\0\0\x0b\0\0\0\x0cv=1"),
        (server.parameter_status("TimeZone", "UTC"), b"S\0\0\0\x11TimeZone\0UTC\0"),
        (server.backend_key_data(7, b"abcd"), b"K\0\0\0\x0c\0\0\0\7abcd"),
        (server.ready_for_query("T"), b"Z\0\0\0\5T"),
        (server.READY[ord("E")], b"Z\0\0\0\5E"),
        (server.data_row([b"1", None, b""]), b"D\0\0\0\x13\0\3\0\0\0\x011\xff\xff\xff\xff\0\0\0\0"),
        (server.command_complete("SELECT 3"), b"C\0\0\0\x0dSELECT 3\0"),
        (server.PARSE_COMPLETE + server.BIND_COMPLETE, b"1\0\0\0\x042\0\0\0\4"),
        (server.CLOSE_COMPLETE + server.NO_DATA, b"3\0\0\0\4n\0\0\0\4"),
        (server.PORTAL_SUSPENDED + server.EMPTY_QUERY_RESPONSE, b"s\0\0\0\4I\0\0\0\4"),
        (server.COPY_DONE, b"c\0\0\0\4"),
        (parameter_description((20, 25)), b"t\0\0\0\x0e\0\2\0\0\0\x14\0\0\0\x19"),
    ],
)
def test_wire_form(built: bytes, raw: bytes) -> None:  # R0.1
    assert built == raw


def test_answers_of_the_private_postgresql_are_read() -> None:  # R0.1
    assert server.decode_parameter_status(b"TimeZone\0UTC\0") == ("TimeZone", "UTC")
    assert server.decode_backend_key_data(b"\0\0\0\7abcd") == (7, b"abcd")
    assert server.decode_command_complete(b"SELECT 3\0") == "SELECT 3"
    assert decode_parameter_description(b"\0\1\0\0\0\x14") == (20,)
    with pytest.raises(ConnectionFailure):
        server.decode_backend_key_data(b"\0\0\0")
    with pytest.raises(ConnectionFailure):
        server.decode_parameter_status(b"TimeZone")


ORDERS = [
    FieldDescription("id", 16_400, 1, 20, 8, -1, 1),
    FieldDescription("sum", 0, 0, 1700, -1, 655_366),
    FieldDescription("tableoid", 16_401, -6, 26, 4),
]


def test_row_descriptions() -> None:  # R0.1
    raw = row_description(ORDERS[:1])
    assert raw == (
        b"T\0\0\0\x1b\0\1id\0" + (16_400).to_bytes(4) + b"\0\1\0\0\0\x14\0\x08\xff\xff\xff\xff\0\1"
    )
    assert decode_row_description(row_description(ORDERS)[5:]) == ORDERS


def test_table_oids_are_patched_in_place() -> None:  # R0.2
    raw = row_description(ORDERS)
    assert patch_table_oids(raw, {1: 2}) is raw
    patched = patch_table_oids(raw, {16_400: 30_000})
    assert decode_row_description(patched[5:]) == [
        ORDERS[0]._replace(table_oid=30_000),
        *ORDERS[1:],
    ]


@pytest.mark.parametrize("cut", [5, 6, 7, 9, 20, 27])
def test_a_cut_description_is_refused(cut: int) -> None:  # R0.1
    raw = row_description(ORDERS[:1])[:cut]
    with pytest.raises(QueryProtocolError):
        patch_table_oids(raw, {})
    with pytest.raises(QueryProtocolError):
        decode_row_description(raw[5:])


def test_an_error_has_the_fields_of_postgresql() -> None:  # R0.1
    error = UndefinedTable(
        'relation "x" does not exist',
        detail="D.",
        hint="H.",
        position=15,
        fields={"t": "x", "W": "context"},
    )
    fields = decode_report(error_response(error)[5:])
    assert fields == {
        "S": "ERROR",
        "V": "ERROR",
        "C": "42P01",
        "M": 'relation "x" does not exist',
        "D": "D.",
        "H": "H.",
        "P": "15",
        "t": "x",
        "W": "context",
    }
    assert list(fields)[:4] == ["S", "V", "C", "M"]


def test_a_plain_error_has_no_empty_fields() -> None:  # R0.1
    assert error_response(MorphError("no")) == b"E\0\0\0\x1eSERROR\0VERROR\0CXX000\0Mno\0\0"


def test_a_report_always_gets_out() -> None:  # R0.1
    raw = error_response(MorphError("a\0b \udc80 ä"), codec="ascii")
    assert decode_report(raw[5:])["M"] == "ab ? ?"
    assert int.from_bytes(raw[1:5]) == len(raw) - 1


def test_notices() -> None:  # R0.1
    raw = notice_response("WARNING", "01000", "m", "D.", "H.")
    assert raw[:1] == b"N"
    expected = {"S": "WARNING", "V": "WARNING", "C": "01000", "M": "m", "D": "D.", "H": "H."}
    assert decode_report(raw[5:]) == expected
    assert encode_notice(expected) == raw
    assert encode_error(expected) == b"E" + raw[1:]
