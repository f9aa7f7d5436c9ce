"""Formats are found from the content first."""

from __future__ import annotations

import pytest

from backends.files.detect import detect_format, table_name_of
from backends.files.reader import parse_format
from core.errors import BadCopyFormat, InvalidParameterValue


# R0.4
@pytest.mark.parametrize(
    ("path", "head", "expected"),
    [
        ("x", b"PAR1\x15", "parquet"),
        ("x.csv", b"PAR1\x15", "parquet"),
        ("x", b'{"a":1}\n{"a":2}\n', "ndjson"),
        ("x", b'{"a":1}', "ndjson"),
        ("x.json", b'{"a":1}\n{"a":2}\n', "ndjson"),
        ("x.json", b'{"a":broken}\n{"a":2}\n', "ndjson"),
        ("x.json", b'{\n  "a": 1\n}\n', "json"),
        ("x", b' \n[{"a":1}]', "json"),
        ("x.ndjson", b'[{"a":1}]', "json"),
        ("x", b"a,b\n1,2\n", "csv"),
        ("x.CSV.gz", b'{"a":1},b\n', "csv"),
        ("x.tsv", b"a\tb\n", "csv"),
        ("x.jsonl", b"oops\n{}\n", "ndjson"),
        ("x", b"", "ndjson"),
        ("x.csv.zst", b"", "csv"),
        ("x", b'\xef\xbb\xbf{"a":1}', "ndjson"),
        ("x", b'{"' + b"a" * 70_000, "ndjson"),
    ],
)
def test_detect_format(path: str, head: bytes, expected: str) -> None:
    assert detect_format(path, head) == expected


def test_utf16_is_refused() -> None:
    with pytest.raises(BadCopyFormat, match="UTF-16"):
        detect_format("x", "{}".encode("utf-16"))


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/a/orders.json.gz", "orders"),
        ("orders.ndjson", "orders"),
        ("my.shop.csv", "my.shop"),
        ("orders", "orders"),
        (".json", ".json"),
    ],
)
def test_table_name_of(path: str, name: str) -> None:
    assert table_name_of(path) == name


def test_parse_format() -> None:
    assert parse_format("NDJSON") == "ndjson"
    with pytest.raises(InvalidParameterValue, match="xml"):
        parse_format("xml")
