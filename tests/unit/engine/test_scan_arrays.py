"""The scans of a statement as one row of arrays, and the row read again (R1.8)."""

from __future__ import annotations

import struct

import pytest

from core.encoding.rows import COPY_HEADER, COPY_TRAILER
from core.errors import InternalError
from engine.scan_arrays import arrays_text, read_arrays
from engine.scan_copy import ScanColumns

ONE = ScanColumns("SELECT a", ("x", "y"), ("integer", "text"))
TWO = ScanColumns("SELECT FROM b", (), ())


def answer(*values: bytes | None) -> bytes:
    cells = [struct.pack(">i", -1) if v is None else struct.pack(">i", len(v)) + v for v in values]
    return COPY_HEADER + struct.pack(">h", len(values)) + b"".join(cells) + COPY_TRAILER


def test_all_scans_are_one_row() -> None:
    assert arrays_text([ONE, TWO]) == (
        "COPY (SELECT pg_catalog.current_setting('enable_mergejoin'), * FROM "
        '(SELECT pg_catalog.count(*), pg_catalog.array_agg(a."x"), pg_catalog.array_agg(a."y") '
        "FROM (SELECT a) AS a) AS s0, "
        "(SELECT pg_catalog.count(*), pg_catalog.array_agg(NULL::integer) "
        "FROM (SELECT FROM b) AS a) AS s1) TO STDOUT (FORMAT binary)"
    )


def test_arrays_come_back_as_they_are_and_none_is_an_empty_one() -> None:
    three, none = struct.pack(">q", 3), struct.pack(">q", 0)
    found = read_arrays(answer(b"on", three, b"xs", b"ys", none, None), [ONE, TWO])
    assert found.joins_by_merge
    first, second = found.scans
    assert (first.rows, first.arrays(), first.large) == (3, [b"xs", b"ys"], False)
    assert (second.rows, second.arrays()) == (0, [struct.pack(">iii", 0, 0, 23)])


def test_the_setting_of_the_session_is_told() -> None:
    found = read_arrays(answer(b"off", struct.pack(">q", 1), b"x", b"y"), [ONE])
    assert not found.joins_by_merge


@pytest.mark.parametrize("data", [b"", COPY_HEADER[:-1], b"x" * 40])
def test_another_header_is_an_error(data: bytes) -> None:
    with pytest.raises(InternalError):
        read_arrays(data, [ONE])
