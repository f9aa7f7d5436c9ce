"""The life of a change on a table of MongoDB (R4.2, R4.6; issue 5 points 4 to 6)."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal

import psycopg
import pytest
from bson.decimal128 import Decimal128

from tests.integration.changes.prices import STEPS, events, state
from tests.integration.server_process import eventually
from tests.services.changes.conftest import CHANGE, ROWS, Prices

pytestmark = [pytest.mark.services, pytest.mark.timeout(300)]
CENT = Decimal("0.01")
SUM = sum((Decimal(n) / 8).quantize(CENT, ROUND_HALF_UP) for n in range(1, ROWS + 1))


def _old(n: int) -> float:
    return n / 8


def _logs(prices: Prices) -> list[str]:
    """The collections of the database but for the table's own."""
    return sorted(set(prices.documents.list_collection_names()) - {"price"})


def _documents(prices: Prices, collection: str = "price") -> dict[int, dict[str, object]]:
    return {each["_id"]: each for each in prices.documents[collection].find({})}


# A user's story: tried, compared, promoted, written through both versions, rolled back: the old
# collection has every write, and what nobody touched is as it was to the bit (I6)
def test_promoted_written_and_rolled_back(prices: Prices) -> None:
    prices.change()
    assert prices.rows("SELECT total FROM v2.price WHERE id = 3") == [(Decimal("0.38"),)]
    prices.reaches("ready")
    assert events(prices.client) == STEPS[:-2]
    shown = "SELECT rows, total, percent::int, pending, held, tables FROM morph.progress"
    assert prices.rows(shown) == [(ROWS, ROWS, 100, 0, False, ["price"])]
    prices.run("UPDATE price SET name = 'before' WHERE id = 7", "DELETE FROM price WHERE id = 9")
    prices.run("INSERT INTO price VALUES (1001, 'new', 1.239)")
    prices.run("CALL morph.promote(2)")
    assert state(prices.client) == "promoted"
    found = prices.rows("SELECT name, total FROM price WHERE id IN (3, 7, 9, 1001) ORDER BY id")
    assert found == [
        ("n3", Decimal("0.38")),
        ("before", Decimal("0.88")),
        ("new", Decimal("1.24")),
    ]
    roles = "SELECT version, role FROM morph.tables ORDER BY version"
    assert prices.rows(roles) == [(1, "reverse"), (2, "live")]
    prices.run("UPDATE price SET total = 5.25 WHERE id = 1")
    prices.run("UPDATE v1.price SET total = 6.5 WHERE id = 2", "DELETE FROM price WHERE id = 4")
    prices.run("UPDATE price SET name = 'kept' WHERE id = 3")
    prices.run("INSERT INTO price VALUES (1002, 'after', 2.5)")
    assert prices.rows("SELECT total FROM v1.price WHERE id = 1") == [(5.25,)]
    assert prices.rows("SELECT total FROM price WHERE id = 2") == [(Decimal("6.50"),)]
    prices.run("CALL morph.rollback(2)")
    assert state(prices.client) == "rolled back"
    assert events(prices.client)[-2:] == ["FenceBack", "FlippedBack"]
    documents = _documents(prices)
    expected = {
        n: {"_id": n, "name": f"n{n}", "total": _old(n), "more": {"n": [n]}}
        for n in range(1, ROWS + 1)
        if n not in (4, 9)
    }
    expected[1]["total"], expected[2]["total"] = 5.25, 6.5
    expected[3]["name"], expected[7]["name"] = "kept", "before"
    expected[1001] = {"_id": 1001, "name": "new", "total": 1.239}
    expected[1002] = {"_id": 1002, "name": "after", "total": 2.5}
    assert documents == expected
    assert prices.rows("SELECT total FROM price WHERE id = 3") == [(0.375,)]
    prices.run("UPDATE price SET total = 7.75 WHERE id = 5", "CALL morph.promote(2)")
    assert prices.rows("SELECT total FROM price WHERE id = 5") == [(Decimal("7.75"),)]
    assert prices.rows("SELECT total FROM price WHERE id = 1") == [(Decimal("5.25"),)]


# Settled question 12: nothing of ours stays behind, in the old collection and the new one
def test_contracted(prices: Prices) -> None:
    prices.change()
    prices.run("CALL morph.promote(2)", "UPDATE price SET total = 9 WHERE id = 1")
    prices.run("CALL morph.contract(2)")
    eventually(lambda: state(prices.client) == "completed", timeout_s=60, what="completed")
    [collection] = prices.documents.list_collection_names()
    assert collection != "price"
    documents = _documents(prices, collection)
    assert all(set(each) == {"_id", "name", "total", "more"} for each in documents.values())
    assert prices.rows("SELECT count(*), sum(total) FROM price") == [
        (ROWS, SUM - Decimal("0.13") + 9)
    ]
    assert prices.rows("SELECT total FROM v1.price WHERE id = 2") == [(0.25,)]


# I11: a discarded change leaves the live collection as if it had never been
def test_discarded(prices: Prices) -> None:
    before = _documents(prices)
    prices.change()
    prices.reaches("ready")
    assert _logs(prices)
    prices.run("CALL morph.discard(2)")
    eventually(lambda: not _logs(prices), timeout_s=60, what="the shadow and the log are gone")
    assert _documents(prices) == before
    prices.run("UPDATE price SET total = 1 WHERE id = 1")
    assert not _logs(prices)


# A transaction of the store has its records in it: they are there when it commits, or never
def test_transactions_are_logged_with_what_they_write(prices: Prices) -> None:
    prices.change()
    prices.reaches("ready")
    try:
        with prices.client.transaction():
            prices.run("UPDATE price SET total = 77 WHERE id = 1")
            prices.run("UPDATE price SET total = 78 WHERE id = 2")
    except psycopg.errors.FeatureNotSupported:
        prices.run("SET morph.store_writes = at_commit")
        with prices.client.transaction():
            prices.run("UPDATE price SET total = 77 WHERE id = 1")
            prices.run("UPDATE price SET total = 78 WHERE id = 2")
    with prices.client.transaction(force_rollback=True):
        prices.run("UPDATE price SET total = 79 WHERE id = 3")
    with prices.client.cursor() as cursor, cursor.copy("COPY price FROM STDIN") as copy:
        copy.write_row((2001, "copied", 3.14159))
    assert prices.documents.price.find_one({"_id": 2001}) is not None
    prices.run("CALL morph.promote(2)")
    found = prices.rows("SELECT total FROM price WHERE id IN (1, 2, 3, 2001) ORDER BY id")
    assert [row[0] for row in found] == [77, 78, Decimal("0.38"), Decimal("3.14")]


# A row that the new layout cannot hold fails the review; the table stays as it was
def test_a_row_that_cannot_be_converted_fails_the_review(prices: Prices) -> None:
    prices.documents.price.insert_one({"_id": 3001, "name": "odd", "total": 1e15})
    prices.change()
    prices.reaches("failed review")
    found = prices.rows("SELECT type, record_id FROM morph.discrepancies")
    assert found == [("COERCION_ERROR", "3001")]
    eventually(lambda: not _logs(prices), timeout_s=60, what="the shadow and the log are gone")
    assert prices.rows("SELECT total FROM price WHERE id = 3001") == [(1e15,)]


# The judge has no false alarm and no blind eye: a document that was changed behind is found
@pytest.mark.parametrize("method", ["full", "checksum", "sample"])
def test_a_defect_in_the_shadow_is_found(prices: Prices, method: str) -> None:
    prices.change()
    prices.reaches("ready")
    [shadow] = [name for name in _logs(prices) if "log" not in name]
    prices.documents[shadow].update_one({"_id": 5}, {"$set": {"total": Decimal128("9.99")}})
    prices.documents[shadow].delete_one({"_id": 6})
    prices.run(f"CALL morph.validate({CHANGE}, '{method}')")
    found = prices.rows("SELECT type, record_id, column_name FROM morph.discrepancies ORDER BY 2")
    assert [row[:2] for row in found] == [("VALUE_MISMATCH", "5"), ("MISSING_IN_SHADOW", "6")]


# Where a table with two layouts lies is the change's to say; one change has tables of one store
def test_what_is_refused_beside_a_change(prices: Prices) -> None:
    prices.change()
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState) as refused:
        prices.run("ALTER FOREIGN TABLE price OPTIONS (SET collection 'other')")
    assert "change 2 keeps two layouts" in str(refused.value)
    prices.run("CREATE TABLE here (id int PRIMARY KEY, x int)")
    prices.run("BEGIN", "SET LOCAL morph.back = 'x::int'")
    prices.run("ALTER TABLE here ALTER COLUMN x TYPE numeric(9,2) USING x / 10.0")
    prices.run("SET LOCAL morph.back = 'name'")
    with pytest.raises(psycopg.errors.FeatureNotSupported) as several:
        prices.run("ALTER TABLE price ALTER COLUMN name TYPE varchar(9) USING left(name, 9)")
    prices.run("ROLLBACK")
    assert several.value.diag.message_hint == "Change them in two transactions."


# Other stores keep two layouts of a table at most; whoever asks for a third is told at once
def test_the_next_change_waits_until_the_last_is_contracted(prices: Prices) -> None:
    prices.change()
    prices.run("CALL morph.promote(2)")
    prices.run("SET morph.back = 'name'")
    prices.run("ALTER TABLE price ALTER COLUMN name TYPE varchar(9) USING left(name, 9)")
    prices.run("RESET morph.back")
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState) as refused:
        prices.run("CALL morph.promote(3)")
    assert refused.value.diag.message_hint == "CALL morph.contract(2) gives up its rollback."
    prices.run("CALL morph.contract(2)", "CALL morph.promote(3)")
    assert prices.rows("SELECT name, total FROM price WHERE id = 3") == [("n3", Decimal("0.38"))]
    assert prices.rows("SELECT name, total FROM v1.price WHERE id = 1") == [("n1", 0.13)]
