"""The data of the benchmarks is the same on every machine, in all its forms."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from pathlib import Path

from bench.documents import FIELDS, as_csv, as_document, as_jsonb, rows, write_files

GOLDEN = "a43245044e0c489bc42fd470e4252a7123c34bf636d678965d1967ef4f2d2ce8"


def test_golden_bytes() -> None:
    text = "".join(as_document(row) + "\n" for row in rows(1000))
    assert hashlib.sha256(text.encode()).hexdigest() == GOLDEN


def test_a_document_depends_on_its_key_only() -> None:
    assert list(rows(5, first=3)) == list(rows(7))[2:]


def test_thirteen_fields_and_about_330_bytes() -> None:
    found = [as_document(row) for row in rows(1000)]
    assert all(list(json.loads(text)) == list(FIELDS) for text in found)
    assert len(FIELDS) == 13
    assert 300 <= sum(map(len, found)) / len(found) <= 360


def test_the_three_forms_say_the_same() -> None:
    for row in rows(200):
        key, document = as_jsonb(row).split("\t")
        assert "\\" not in document  # COPY text would unescape it
        assert {"_id": int(key), **json.loads(document)} == row
        values = dict(zip(FIELDS, next(csv.reader(io.StringIO(as_csv(row)))), strict=True))
        assert values["name"] == row["name"]
        assert float(values["price"]) == row["price"]
        assert values["active"] == ("true" if row["active"] else "false")
        assert json.loads(values["address"]) == row["address"]
        assert json.loads(as_document(row))["created"] == {"$date": row["created"]}


def test_files_are_written_once(tmp_path: Path) -> None:
    files = write_files(tmp_path, "few", 10)
    assert len(files.ndjson.read_text().splitlines()) == 10
    files.ndjson.write_text("kept")
    assert write_files(tmp_path, "few", 10) == files
    assert files.ndjson.read_text() == "kept"
