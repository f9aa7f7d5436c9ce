"""JSON arrays and documents one after the other, in pieces."""

from __future__ import annotations

import pytest

from backends.files.json_stream import ValueEnd
from backends.files.records import ReadOptions
from tests.unit.backends.files.reading import read

PRETTY = '{\n  "a": 1,\n  "b": "é"\n}\n{\n  "a": 2.0\n}\n'.encode()
ARRAY = b"""[ {"a": 1},
 {"a": {"$numberDecimal": "1.50"}} , {"a": tru, "b": "}]"},
 [1], 7, "x,y", nul,
 {"a": "\xff"}, {"a": "\\u0000"}, {"a": NaN}
 {"a": 8},, {"a": "\\"]["}
]
 trailing"""


# R0.4: documents that go over several lines
def test_documents_one_after_the_other() -> None:
    documents, rejects = read(PRETTY, "json")
    assert [(d.line_number, d.value) for d in documents] == [
        (1, {"a": 1, "b": "é"}),
        (5, {"a": 2.0}),
    ]
    assert rejects == []


# R0.4: a broken document in an array does not stop the others.
def test_array() -> None:
    documents, rejects = read(ARRAY, "json")
    assert [(d.line_number, d.text) for d in documents] == [
        (1, '{"a": 1}'),
        (2, '{"a": 1.50E+00000}'),
        (5, '{"a": "\\"]["}'),
    ]
    assert [(r.line_number, r.reason.split(":")[0].split(" at ")[0]) for r in rejects] == [
        (2, "invalid JSON"),
        (3, "not a JSON object but an array"),
        (3, "not a JSON object but a number"),
        (3, "not a JSON object but a string"),
        (3, "invalid JSON"),
        (4, "invalid UTF-8"),
        (4, "the character U+0000 cannot be stored in jsonb"),
        (4, "NaN is not JSON"),
        (5, "no comma before it"),
        (5, "expected a document"),
        (7, "text after the end of the array"),
    ]


# R0.4
@pytest.mark.parametrize("data", [PRETTY, ARRAY, b"\xef\xbb\xbf[]", b"[1", b"12 34 {}"])
def test_chunks_do_not_matter(data: bytes) -> None:
    def outcome(size: int) -> object:
        documents, rejects = read(data, "json", ReadOptions(chunk_bytes=size))
        return documents, [(reject.line_number, reject.reason) for reject in rejects]

    whole = outcome(1_000)
    for size in range(1, 20):
        assert outcome(size) == whole


# R0.4: what cannot be read on is said.
@pytest.mark.parametrize(
    ("data", "documents", "reasons"),
    [
        (b"[]", 0, []),
        (b"", 0, []),
        (b'[{"a":1}]', 1, []),
        (b'[{"a":1},]', 1, []),
        (b'[{"a":1}', 1, ["the array ends without ]"]),
        (b'[{"a":1},{"b":[{"c":2},', 1, ["the file ends inside of this document"]),
        (b'{"a":1}{"b":2}', 2, []),
        (b'{"a":1}]', 1, ["expected a document"]),
    ],
)
def test_ends(data: bytes, documents: int, reasons: list[str]) -> None:
    found, rejects = read(data, "json")
    assert (len(found), [reject.reason for reject in rejects]) == (documents, reasons)


# R6.3: a document beyond the limit is passed over without being held.
def test_long_documents() -> None:
    long = b'{"a":"' + b'x\\"]}' * 500 + b'","b":[{}]}'
    data = b'[{"a":1},\n' + long + b',\n{"a":2}]'
    for size in (13, 100, 100_000):
        documents, rejects = read(data, "json", ReadOptions(line_bytes_max=300, chunk_bytes=size))
        if size < 1_000:
            assert [d.value for d in documents] == [{"a": 1}, {"a": 2}]
            assert [d.line_number for d in documents] == [1, 3]
            assert [(r.line_number, r.reason) for r in rejects] == [(2, "longer than 300 bytes")]
        else:
            assert len(documents) + len(rejects) == 3
    unfinished = b'[{"a":"' + b"x" * 1_000
    rejects = read(unfinished, "json", ReadOptions(line_bytes_max=300, chunk_bytes=10))[1]
    assert [reject.reason for reject in rejects] == ["longer than 300 bytes"]


@pytest.mark.parametrize("cut", range(1, 24))
def test_value_end_over_pieces(cut: int) -> None:
    text = '{"a\\"}":["]",{}],"b":1} ,'
    scan = ValueEnd()
    end = scan.feed(text[:cut], 0)
    if end < 0:
        end = cut + scan.feed(text[cut:], 0)
    assert end == 23
