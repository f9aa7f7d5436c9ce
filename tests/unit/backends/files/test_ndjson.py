"""NDJSON: good lines load, bad lines are told, memory is bounded."""

from __future__ import annotations

import io

from backends.files.ndjson import read_lines
from backends.files.reader import read_batches
from backends.files.records import ReadOptions
from backends.files.source import ByteSource
from tests.unit.backends.files.reading import read

MIXED = b"""\xef\xbb\xbf{"a":1}\r

  {"a": 1.0}
{"a":
[1]
{"a":"\xff"}
{"a":"\xc3\xa9"}
{"a":"\\u0000"}"""


# R0.4: a bad line does not stop the good ones.
def test_bad_lines_are_rejects_and_the_rest_goes_on() -> None:
    documents, rejects = read(MIXED, "ndjson")
    assert [(d.ordinal, d.line_number, d.text) for d in documents] == [
        (1, 1, '{"a":1}'),
        (2, 3, '{"a": 1.0}'),
        (3, 7, '{"a":"é"}'),
    ]
    assert [(r.line_number, r.reason.split(":")[0].split(" at ")[0]) for r in rejects] == [
        (4, "invalid JSON"),
        (5, "not a JSON object but an array"),
        (6, "invalid UTF-8"),
        (8, "the character U+0000 cannot be stored in jsonb"),
    ]
    assert rejects[2].excerpt == '{"a":"\ufffd"}'


# R0.4: any split into chunks gives the same.
def test_chunks_do_not_matter() -> None:
    whole = read(MIXED, "ndjson")
    for size in range(1, 30):
        assert read(MIXED, "ndjson", ReadOptions(chunk_bytes=size)) == whole


# R6.3: of a line beyond the limit only its beginning is kept.
def test_long_lines() -> None:
    data = b'{"a":1}\n{"a":"' + b"x" * 5_000 + b'"}\n{"a":2}\n' + b"y" * 500
    for size in (7, 64, 10_000):
        options = ReadOptions(line_bytes_max=100, chunk_bytes=size)
        documents, rejects = read(data, "ndjson", options)
        assert [d.value for d in documents] == [{"a": 1}, {"a": 2}]
        assert [(r.line_number, r.reason) for r in rejects] == [
            (2, "longer than 100 bytes"),
            (4, "longer than 100 bytes"),
        ]
        source = ByteSource(io.BytesIO(data))
        source._ahead = b""
        held = [len(line) for _, line, _ in read_lines(ByteSource(io.BytesIO(data)), options)]
        assert size > 100 or max(held) <= 100 + size


# R0.5: batches are bounded, and say how far the file was read.
def test_batches() -> None:
    data = b'{"a":"xxxxxxxx"}\n' * 100
    source = ByteSource(io.BytesIO(data))
    batches = list(read_batches(source, "ndjson", ReadOptions(batch_rows_max=30)))
    assert [len(batch.documents) for batch in batches] == [30, 30, 30, 10]
    assert batches[-1].bytes_read == len(data)
    source = ByteSource(io.BytesIO(data))
    batches = list(read_batches(source, "ndjson", ReadOptions(batch_chars_max=160)))
    assert [len(batch.documents) for batch in batches] == [10] * 10 + [0]
    assert batches[-2].documents[-1].ordinal == 100


def test_nothing() -> None:
    assert read(b"", "ndjson") == ([], [])
    assert read(b"\n \n", "ndjson") == ([], [])
