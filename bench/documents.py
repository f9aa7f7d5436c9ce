"""The data of the benchmarks: documents of 13 fields and about 330 bytes, everywhere the same.

Made by splitmix64 and integer arithmetic, as the shop sample. Each document is written in three
forms: the NDJSON that Morphgres loads, `key TAB document` for a native jsonb table, and CSV for a
native table of columns.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sample.shop import splitmix64

DOCUMENTS = 200_000
STATUSES = ("new", "paid", "packed", "shipped", "returned")
REGIONS = ("north", "south", "east", "west")
CITIES = ("Oslo", "Porto", "Lyon", "Turin", "Gdansk", "Bergen", "Malmo", "Ghent", "Graz", "Brno")
WORDS = (
    "amber",
    "birch",
    "cedar",
    "delta",
    "ember",
    "fjord",
    "grove",
    "harbor",
    "indigo",
    "juniper",
)
_FIRST = datetime(2023, 1, 1, tzinfo=UTC)

# The 13 fields; the type is that of the column in the native table.
FIELDS = {
    "_id": "bigint", "customer": "bigint", "status": "text", "region": "text",
    "price": "double precision", "quantity": "bigint", "score": "bigint", "active": "boolean",
    "name": "text", "email": "text", "note": "text", "created": "timestamptz", "address": "jsonb",
}  # fmt: skip


def rows(count: int, first: int = 1) -> Iterator[dict[str, Any]]:
    """The fields of `count` documents from key `first` on; a document depends on its key only."""
    for key in range(first, first + count):
        draw = splitmix64(key * 1_000_003)
        r, s = draw(), draw()
        word, other = WORDS[r % 10], WORDS[r // 10 % 10]
        created = _FIRST + timedelta(seconds=(s & 0xFFFFFF) * 4)
        yield {
            "_id": key,
            "customer": 1 + (r >> 16) % 20_000,
            "status": STATUSES[(r >> 8) % 5],
            "region": REGIONS[r >> 60 & 3],
            "price": (100 + (s >> 24) % 50_000) / 4,
            "quantity": 1 + (s >> 40) % 12,
            "score": (s >> 20) % 1_000_000,
            "active": bool(r >> 63),
            "name": f"{word} {other} {r >> 44 & 0xFFFF:05d}",
            "email": f"{word}.{other}{key}@example.org",
            "note": " ".join(WORDS[s >> shift & 7] for shift in range(0, 27, 3)),
            "created": created.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "address": {
                "city": CITIES[(r >> 32) % 10],
                "zip": f"{(r >> 24) % 90_000 + 10_000}",
                "country": "EU",
            },
        }


def as_document(row: dict[str, Any]) -> str:
    """The NDJSON line that Morphgres loads: `created` as an instant."""
    return json.dumps({**row, "created": {"$date": row["created"]}}, separators=(",", ":"))


def as_jsonb(row: dict[str, Any], *, typed: bool = False) -> str:
    """A line of COPY text for (_id, doc); the documents hold nothing that COPY would escape.

    `typed`: `created` as an instant, as Morphgres has it.
    """
    rest = {k: v for k, v in row.items() if k != "_id"}
    if typed:
        rest["created"] = {"$date": rest["created"]}
    return f"{row['_id']}\t{json.dumps(rest, separators=(',', ':'))}"


def as_csv(row: dict[str, Any]) -> str:
    """A line of COPY CSV for a table of columns."""
    address = json.dumps(row["address"], separators=(",", ":")).replace('"', '""')
    values = [str(v).lower() if isinstance(v, bool) else str(v) for v in row.values()]
    return ",".join([*values[:-1], f'"{address}"'])


@dataclass(frozen=True, slots=True)
class DataFiles:
    """The same documents in four forms."""

    ndjson: Path
    jsonb: Path
    typed: Path
    csv: Path
    count: int


def write_files(directory: Path, stem: str, count: int, first: int = 1) -> DataFiles:
    """Write the files, unless they are there."""
    files = DataFiles(
        directory / f"{stem}-{count}.ndjson",
        directory / f"{stem}-{count}.jsonb",
        directory / f"{stem}-{count}.typed.jsonb",
        directory / f"{stem}-{count}.csv",
        count,
    )
    if files.csv.exists():
        return files
    scratch = files.csv.with_suffix(".new")
    with (
        files.ndjson.open("w") as a,
        files.jsonb.open("w") as b,
        files.typed.open("w") as c,
        scratch.open("w") as d,
    ):
        for row in rows(count, first):
            a.write(as_document(row) + "\n")
            b.write(as_jsonb(row) + "\n")
            c.write(as_jsonb(row, typed=True) + "\n")
            d.write(as_csv(row) + "\n")
    scratch.rename(files.csv)
    return files
