"""The shop sample: its bytes, its sizes, its references."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from decimal import Decimal
from functools import cache
from typing import Any

import pytest

from sample.shop import COUNTS, LATE_EVENT, TABLES, documents, price_cents, sku

GOLDEN = "f5637060fe09554de6265489e95d1aa9d4600e6ea33f5a522593364a152debb6"
DIGEST = """
import hashlib
from sample.shop import TABLES, ndjson
digest = hashlib.sha256()
for table in TABLES:
    for line in ndjson(table):
        digest.update(line)
print(digest.hexdigest())
"""


@cache
def parsed(table: str) -> list[dict[str, Any]]:
    return [json.loads(text) for text in documents(table)]


# R6.1: the sample that `make run` loads is the same on every machine.
@pytest.mark.parametrize("hash_seed", ["0", "4711"])
def test_same_bytes_in_every_process(hash_seed: str) -> None:
    env = {**os.environ, "PYTHONHASHSEED": hash_seed}
    done = subprocess.run(
        [sys.executable, "-c", DIGEST], env=env, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == GOLDEN


# R6.1
def test_another_seed_gives_other_documents() -> None:
    assert next(documents("orders", 1)) != next(documents("orders", 2))


def test_unknown_table() -> None:
    with pytest.raises(KeyError):
        documents("nothing")


# R6.1: at least 50,000 documents, unique keys.
@pytest.mark.parametrize("table", TABLES)
def test_counts_and_keys(table: str) -> None:
    found = parsed(table)
    assert len(found) == COUNTS[table]
    assert len({json.dumps(document["_id"]) for document in found}) == COUNTS[table]
    assert sum(COUNTS.values()) >= 50_000


# R6.1
def test_references_hold() -> None:
    products = {document["sku"]: document["price"] for document in parsed("products")}
    customers = COUNTS["customers"]
    for order in parsed("orders"):
        assert 1 <= order["customer_id"] <= customers
        assert order["items"]
        total = Decimal(0)
        for item in order["items"]:
            assert products[item["sku"]] == item["price"]
            total += item["qty"] * Decimal(item["price"]["$numberDecimal"])
        assert Decimal(order["total"]["$numberDecimal"]) == total
    for event in parsed("events"):
        assert event.get("customer_id", 1) <= customers


# R1.1: the traps that drift detection and inference have to see.
def test_events_are_irregular() -> None:
    events = parsed("events")
    assert {type(event["value"]) for event in events} == {str, int, float, bool, dict}
    assert not any("consent" in event for event in events[:LATE_EVENT])
    assert all("consent" in event for event in events[LATE_EVENT:])
    assert any("customer_id" not in event for event in events)
    assert any(not event.get("query", "").isascii() for event in events)


def test_prices_are_positive_and_stable() -> None:
    assert price_cents(1) == 6809
    assert sku(1) == "KIT-00001"
    assert all(price_cents(number) > 0 for number in range(1, COUNTS["products"] + 1))
