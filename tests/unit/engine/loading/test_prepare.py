"""Reading in several processes gives what reading in one gives (R1.4)."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from backends.files.records import ReadOptions
from catalog.inference.infer import infer_table
from core.errors import BadCopyFormat
from engine.loading import prepare
from engine.loading.jobs import Failed, Finished, Frame, Input, Job, Rows


@pytest.fixture(autouse=True)
def parallel_from_the_first_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepare, "PARALLEL_FROM_BYTES", 0)


def _write(path: Path, lines: int, seed: int) -> Path:
    """A file of documents with some bad, empty and odd lines among them."""
    random_ = random.Random(seed)
    odd = ["{bad", "", "[]", "\ufeff{}", "\x1f\x8b{}", '{"_id": {"$date": "2024-01-01T00:00:00Z"}}']
    with path.open("w", encoding="utf-8") as file:
        for number in range(lines):
            if random_.random() < 0.01:
                file.write(random_.choice(odd) + "\n")
            else:
                value = random_.choice(["1", "1.5", '"x"', "null", f'"{"y" * 300}"'])
                file.write(f'{{"_id":{number},"v":{value},"w":[{number}],"pad":"{"z" * 90}"}}\n')
    return path


def _summary(frames: list[Frame]) -> tuple[int, list[Any], str]:
    rows = [f for f in frames if isinstance(f, Rows)]
    assert isinstance(frames[-1], Finished)
    inferred = infer_table("t", frames[-1].stats)
    shape = repr([(c.path, c.pg_type, c.counts, c.missing, c.nulls) for c in inferred.columns])
    rejects = [(r.source, x.line_number, x.reason, x.excerpt) for r in rows for x in r.rejects]
    return sum(r.documents for r in rows), rejects, shape


def _places(frames: list[Frame]) -> list[tuple[int, int, int]]:
    """(ordinal, source, line) of every row."""
    places = []
    for rows in frames:
        if not isinstance(rows, Rows):
            continue
        data, at = rows.copy, 0
        while at < len(data):
            ordinal = int.from_bytes(data[at + 6 : at + 14], "big")
            source = int.from_bytes(data[at + 18 : at + 22], "big")
            line = int.from_bytes(data[at + 26 : at + 34], "big")
            at += 34
            for _ in range(2):
                length = int.from_bytes(data[at : at + 4], "big", signed=True)
                at += 4 + max(length, 0)
            places.append((ordinal, source, line))
    return places


def test_several_processes_give_what_one_gives(tmp_path: Path) -> None:  # R1.4
    files = [_write(tmp_path / f"{n}.ndjson", 9_000 + n, n) for n in range(2)]
    job = Job(tuple(Input(str(path)) for path in files))
    alone = list(prepare.frames(job))
    together = list(prepare.frames(job, parsers=3))
    assert _summary(alone) == _summary(together)
    ours, theirs = _places(alone), _places(together)
    assert [p[1:] for p in ours] == [p[1:] for p in theirs]
    ordinals = [p[0] for p in theirs]
    assert ordinals == sorted(set(ordinals))
    assert sum(isinstance(f, Rows) for f in together) > 2


def test_a_line_beyond_the_limit_is_one_reject(tmp_path: Path) -> None:  # R1.4
    path = tmp_path / "long.ndjson"
    long = '{"_id":1,"v":"' + "x" * 3_000_000 + '"}'
    path.write_text("\n".join(['{"_id":0}', long, '{"_id":2}', long]))
    job = Job((Input(str(path)),), options=ReadOptions(line_bytes_max=100_000))
    for parsers in (1, 2):
        documents, rejects, _ = _summary(list(prepare.frames(job, parsers=parsers)))
        assert documents == 2
        assert [(line, reason) for _, line, reason, _ in rejects] == [
            (2, "longer than 100000 bytes"),
            (4, "longer than 100000 bytes"),
        ]


def test_a_rejected_line_is_kept_whole(tmp_path: Path) -> None:  # R1.4
    bad = '{"_id":1,"v":"' + "x" * 5_000
    path = tmp_path / "bad.ndjson"
    path.write_text("\n".join(['{"_id":0}', bad, "{}"]))
    for parsers in (1, 2):
        _, rejects, _ = _summary(list(prepare.frames(Job((Input(str(path)),)), parsers=parsers)))
        assert [(line, record) for _, line, _, record in rejects] == [(2, bad)]


def test_a_fault_is_the_last_frame(tmp_path: Path) -> None:  # R1.4
    good = _write(tmp_path / "a.ndjson", 10, 1)
    job = Job((Input(str(good)), Input(str(tmp_path / "none"))))
    *_, last = prepare.frames(job)
    assert isinstance(last, Failed)
    assert (last.sqlstate, "none" in last.primary) == ("58030", True)
    broken = tmp_path / "b.parquet"
    broken.write_bytes(b"PAR1 is how it begins")
    *_, last = prepare.frames(Job((Input(str(broken)),)))
    assert isinstance(last, Failed)
    assert last.sqlstate == BadCopyFormat.sqlstate


def test_progress_counts_bytes_over_all_files(tmp_path: Path) -> None:  # R1.4
    files = [_write(tmp_path / f"{n}.ndjson", 3_000, n) for n in range(2)]
    job = Job(tuple(Input(str(path)) for path in files))
    size = sum(path.stat().st_size for path in files)
    rows = [f for f in prepare.frames(job) if isinstance(f, Rows)]
    assert {r.size for r in rows} == {size}
    assert [r.stored for r in rows] == sorted(r.stored for r in rows)
    assert rows[-1].stored == size


def test_the_sample_is_an_input() -> None:  # R1.2
    frames = list(prepare.frames(Job((Input(sample="products"),)), parsers=2))
    assert _summary(frames)[0] == 1_500
