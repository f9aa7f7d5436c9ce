"""One column becomes several in a shadow of MongoDB, and the old collection serves again with every
write (R4.2, R4.6).
"""

from __future__ import annotations

import pytest

from tests.integration.changes.prices import state
from tests.services.changes.conftest import ROWS, Prices

pytestmark = [pytest.mark.services, pytest.mark.timeout(300)]
SPLIT = (
    "CALL morph.split_column('price', 'name', "
    '\'{"letter": "left(name, 1)", "digits": "substr(name, 2)::int"}\', \'letter || digits\')'
)


def test_a_split_column_is_promoted_written_and_rolled_back(prices: Prices) -> None:
    prices.run(SPLIT)
    prices.reaches("ready")
    prices.run("UPDATE v2.price SET digits = 30 WHERE id = 3")
    assert prices.rows("SELECT name FROM price WHERE id = 3") == [("n30",)]
    prices.run("CALL morph.promote(2)")
    shown = "SELECT letter, digits FROM price WHERE id IN (3, 4) ORDER BY id"
    assert prices.rows(shown) == [("n", 30), ("n", 4)]
    prices.run("UPDATE price SET letter = 'm' WHERE id = 4")
    prices.run("UPDATE v1.price SET name = 'x77' WHERE id = 5")
    prices.run("INSERT INTO price (id, total, letter, digits) VALUES (1001, 1, 'q', 8)")
    assert prices.rows("SELECT letter, digits FROM price WHERE id = 5") == [("x", 77)]
    assert prices.rows("SELECT name FROM v1.price WHERE id IN (4, 1001) ORDER BY id") == [
        ("m4",),
        ("q8",),
    ]
    prices.run("CALL morph.rollback(2)")
    assert state(prices.client) == "rolled back"
    names = {each["_id"]: each["name"] for each in prices.documents.price.find({})}
    changed = {3: "n30", 4: "m4", 5: "x77", 1001: "q8"}
    assert names == {n: f"n{n}" for n in range(1, ROWS + 1)} | changed
    every = {key for each in prices.documents.price.find({}) for key in each}
    assert every == {"_id", "name", "total", "more"}
