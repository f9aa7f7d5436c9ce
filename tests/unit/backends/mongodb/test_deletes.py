"""The condition under which a document that was found is deleted."""

from __future__ import annotations

from backends.mongodb.layouts import POSITION
from backends.mongodb.writes import deletes


# R1.8: as it was found, but for what the contraction of a change takes away under any writer
def test_a_document_is_deleted_as_it_was_found() -> None:
    [statement] = deletes([{"_id": 1, "x": 2, POSITION: 5}])
    [plain] = deletes([{"_id": 1, "x": 2}])
    [other] = deletes([{"_id": 1, "x": 3}])
    assert statement == plain
    assert statement != other
    assert statement["limit"] == 1
