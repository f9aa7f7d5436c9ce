"""CSV: cells, quotes, bad records, and the types that inference gives."""

from __future__ import annotations

import pytest

from backends.files.csv_table import find_delimiter
from backends.files.records import ReadOptions
from catalog.inference.infer import infer_table
from catalog.inference.statistics import Observer
from core.errors import BadCopyFormat
from tests.unit.backends.files.reading import read, values


# R0.4: an empty cell is null, a quoted empty cell the empty string (as in COPY).
def test_cells() -> None:
    data = b'\xef\xbb\xbfid,"na ""me""",note\r\n1,x,\r\n\r\n2,"a, ""b""\nc",""\r\n3,\xc3\xa9,"1"'
    documents, rejects = read(data, "csv")
    assert [(d.line_number, d.text) for d in documents] == [
        (2, '{"id":"1","na \\"me\\"":"x","note":null}'),
        (4, '{"id":"2","na \\"me\\"":"a, \\"b\\"\\nc","note":""}'),
        (6, '{"id":"3","na \\"me\\"":"é","note":"1"}'),
    ]
    assert rejects == []


# R0.4
def test_bad_records_are_rejects() -> None:
    data = b'a,b\n1\n1,2,3\n"x"y,2\n\xff,1\nz\0,1\nu"v,"w"\n1,2\n'
    documents, rejects = read(data, "csv")
    assert [dict(d.value) for d in documents] == [{"a": "1", "b": "2"}]
    assert [(r.line_number, r.reason) for r in rejects] == [
        (2, "1 cells where the header has 2"),
        (3, "3 cells where the header has 2"),
        (4, "stray quote in cell 1"),
        (5, "invalid UTF-8 at byte 1"),
        (6, "the character U+0000 cannot be stored in jsonb"),
        (7, "unclosed quote"),
    ]


# R6.3: a quote that never closes costs one line, not the file.
def test_unclosed_quote() -> None:
    data = b'a,b\n"x,1\n' + b"1,2\n" * 10
    for options in (ReadOptions(record_lines_max=4), ReadOptions(line_bytes_max=20), ReadOptions()):
        documents, rejects = read(data, "csv", options)
        assert len(documents) == 10
        assert [(r.line_number, r.reason) for r in rejects] == [(2, "unclosed quote")]


# R0.4
@pytest.mark.parametrize(
    ("header", "delimiter"),
    [("a,b", ","), ("a;b;c,d", ";"), ("a\tb", "\t"), ("a|b", "|"), ("a", ","), ('"a;b;c",d', ",")],
)
def test_find_delimiter(header: str, delimiter: str) -> None:
    assert find_delimiter(header) == delimiter


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"a,b,a\n1,2,3\n", 'column "a" appears more than once'),
        (b"\xff,b\n", "cannot be read"),
        (b'"a\n', "cannot be read: unclosed quote"),
    ],
)
def test_unusable_headers(data: bytes, message: str) -> None:
    with pytest.raises(BadCopyFormat, match=message):
        read(data, "csv")


def test_no_records() -> None:
    assert read(b"", "csv") == ([], [])
    assert read(b"a,b\n", "csv") == ([], [])


# R1.3: a column has a type only if every cell is canonical text of it.
def test_types_of_columns() -> None:
    data = (
        b"id,zip,price,ratio,on,at,mix,none,empty\n"
        b"1,01234,1.50,1e-05,true,2024-01-01,1,,\n"
        b'2,10000,2,0.5,false,2024-02-29,x,,""\n'
    )
    observer = Observer()
    for ordinal, value in enumerate(values(data, "csv"), 1):
        observer.observe(value, ordinal)
    table = infer_table("t", observer.stats)
    assert {column.name: column.pg_type for column in table.columns} == {
        "id": "bigint",
        "zip": "text",
        "price": "numeric",
        "ratio": "double precision",
        "on": "boolean",
        "at": "date",
        "mix": "text",
        "none": "text",
        "empty": "text",
    }
    assert table.keys[0].path == ("id",)
