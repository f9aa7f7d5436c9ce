"""How the documents that a write means are looked up (R3.2)."""

from __future__ import annotations

from bson.decimal128 import Decimal128

from backends.mongodb import writes
from catalog.model import Column, Native, Table


def _table(path: str, store_type: str = "") -> Table:
    column = Column(1, "id", "bigint", Native((path,), store_type=store_type))
    return Table(7, "price", "foreign", (column,), key=(1,), native=("shop", "price"))


# A guard beside $in makes servers walk the whole collection: 90 ms for one of 5,000 documents
def test_a_key_is_looked_up_by_nothing_but_its_values() -> None:
    table = _table("_id")
    assert writes.key_filter(table, table.columns[0], ["78", "79", "78"]) == {
        "_id": {"$in": [78, 79]}
    }


# Another field may be an array, or not unique
def test_another_field_keeps_its_guards() -> None:
    table = _table("sku")
    assert writes.key_filter(table, table.columns[0], ["78"]).keys() == {"sku"}
    assert "$not" in writes.key_filter(table, table.columns[0], ["78"])["sku"]


# 78 as a Decimal128 is the same _id for the store, and no row of the table
def test_a_document_that_the_table_does_not_show_is_not_taken() -> None:
    found = writes.found_by_key(_table("_id"), [{"_id": Decimal128("78")}, {"_id": 79}])
    assert found.by_key == {"79": {"_id": 79}}
