"""The scans of a statement as one COPY BINARY, and its messages apart again (R1.8)."""

from __future__ import annotations

import struct

import pytest

from core.encoding.rows import COPY_HEADER, COPY_TRAILER
from core.errors import InternalError
from engine.scan_copy import ScanColumns
from engine.scan_relay import RelaySplitter, array_of, read_cells, relay_layout

ONE = ScanColumns("SELECT a", ("x", "y"), ("integer", "text"))
TWO = ScanColumns("SELECT FROM b", (), ())
THREE = ScanColumns("SELECT c", ("z", "w"), ("text", "text"))
TOKEN = bytes(range(16))
LAYOUT = relay_layout([ONE, TWO, THREE], TOKEN)
ALONE = relay_layout([ONE], TOKEN)


def message(body: bytes) -> bytes:
    return b"d" + struct.pack(">I", len(body) + 4) + body


def row(*values: bytes | None) -> bytes:
    cells = [struct.pack(">i", -1) if v is None else struct.pack(">i", len(v)) + v for v in values]
    return struct.pack(">h", len(values)) + b"".join(cells)


def test_columns_of_one_type_share_a_place() -> None:
    assert LAYOUT.types == ("integer", "text", "text")
    assert LAYOUT.places == ((0, 1), (0,), (1, 2))
    assert LAYOUT.copy_text() == (
        'COPY ((SELECT NULL::pg_catalog.uuid, a."x", a."y", NULL::text FROM (SELECT a) AS a '
        "LIMIT 9223372036854775807) UNION ALL "
        "SELECT '000102030405060708090a0b0c0d0e0f'::pg_catalog.uuid, NULL::integer, NULL::text, "
        "NULL::text UNION ALL "
        "(SELECT NULL::pg_catalog.uuid, NULL::integer, NULL::text, NULL::text "
        "FROM (SELECT FROM b) AS a LIMIT 9223372036854775807) UNION ALL "
        "SELECT '000102030405060708090a0b0c0d0e0f'::pg_catalog.uuid, NULL::integer, NULL::text, "
        "NULL::text UNION ALL "
        '(SELECT NULL::pg_catalog.uuid, NULL::integer, a."z", a."w" FROM (SELECT c) AS a '
        "LIMIT 9223372036854775807)) TO STDOUT (FORMAT binary)"
    )
    assert LAYOUT.create_text("t") == (
        'CREATE TEMPORARY TABLE "t" (m pg_catalog.uuid, c0 integer, c1 text, c2 text) '
        "ON COMMIT DROP"
    )
    assert LAYOUT.relation_text("r", 2) == '(SELECT c1 AS "z", c2 AS "w" FROM r)'
    assert LAYOUT.relation_text("r", 1) == "(SELECT c0 FROM r)"
    assert LAYOUT.analyze_texts("r", 2)[1] == "ANALYZE r (c1, c2)"


def test_one_scan_has_no_marker() -> None:
    assert ALONE.copy_text() == (
        'COPY (SELECT a."x", a."y" FROM (SELECT a) AS a) TO STDOUT (FORMAT binary)'
    )


BETWEEN = message(row(TOKEN, None, None, None))
FIRST = [row(None, b"0001", b"a" * 300, None), row(None, None, b"", None)]
LAST = [row(None, None, TOKEN, None), row(None, None, b"d", b"\xff\xff")]


@pytest.mark.parametrize("step", [1, 7, 24, 10_000])
@pytest.mark.parametrize("first", [FIRST, []])
@pytest.mark.parametrize("last", [LAST, []])
def test_the_messages_come_apart_again(step: int, first: list[bytes], last: list[bytes]) -> None:
    parts = [b"".join(map(message, rows)) for rows in (first, [], last)]
    plain = BETWEEN.join(parts) + message(COPY_TRAILER)
    (length,) = struct.unpack(">I", plain[1:5])
    head = b"d" + struct.pack(">I", length + len(COPY_HEADER)) + COPY_HEADER
    data = head + plain[5:]
    splitter = RelaySplitter(LAYOUT)
    found = [b"", b"", b""]
    for start in range(0, len(data), step):
        for number, part in splitter.feed(data[start : start + step]):
            found[number] += part
    for number, part in splitter.finish():
        found[number] += part
    assert found == parts


def test_nothing_at_all() -> None:
    splitter = RelaySplitter(ALONE)
    assert not list(splitter.feed(message(COPY_HEADER + COPY_TRAILER)))
    assert not list(splitter.finish())


def test_what_is_no_copy_is_refused() -> None:
    with pytest.raises(InternalError):
        list(RelaySplitter(ALONE).feed(message(bytes(40))))
    splitter = RelaySplitter(ALONE)
    list(splitter.feed(message(COPY_HEADER + row(None, b"x"))))
    with pytest.raises(InternalError):
        list(splitter.finish())


def test_cells_and_arrays() -> None:
    data = b"".join(message(each) for each in FIRST)
    assert read_cells(data, [1, 3], 1) is None
    found = read_cells(data, [1, 3], 2)
    assert found is not None
    rows, (ints, texts) = found
    assert rows == 2
    null = b"\xff" * 4
    assert array_of(ints, "integer") == (
        struct.pack(">5i", 1, 1, 23, 2, 1) + b"\0\0\0\x040001" + null
    )
    assert array_of(texts, "text") == struct.pack(">5i", 1, 1, 25, 2, 1) + null * 2
    assert array_of([], "text") == struct.pack(">3i", 0, 0, 25)
