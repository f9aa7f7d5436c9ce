"""A transaction's savepoints and its work in stores (issue 4.10)."""

from __future__ import annotations

from typing import cast

import pyarrow as pa
import pytest

from backends.base import RowChanges, StoreBackend
from core.errors import OutOfMemory
from engine.waiting_writes import Waiting
from proxy.store_block import Block, StoreWork
from tests.unit.engine.foreign_tables import ORDERS

NOBODY = cast("StoreBackend", None)


def waiting(key: int) -> Waiting:
    rows = pa.RecordBatch.from_arrays([pa.array([key])], ["c21"])
    return Waiting(ORDERS, RowChanges(inserted=rows))


def write(work: StoreWork, *keys: int) -> None:
    work.writes += 1
    for key in keys:
        work.keep(waiting(key), 0, 1)


def keys(work: StoreWork) -> list[int]:
    found = [each.changes.inserted for each in work.waiting]
    return [batch["c21"][0].as_py() for batch in found if batch is not None]


def test_a_savepoint_hides_an_older_one_of_its_name() -> None:
    block = Block()
    first, second, other = block.push("a"), block.push("a"), block.push("b")
    assert block.find("a") == second
    block.forget(second, itself=False)
    assert block.savepoints == [first, second]
    assert other not in block.savepoints
    block.forget(second, itself=True)
    assert block.find("a") == first
    assert block.find("b") is None
    assert block.push("c").number == 4


def test_what_was_written_since_a_savepoint_is_forgotten() -> None:
    block = Block()
    old = block.push("old")
    work = StoreWork(NOBODY, None, since=block.numbers)
    write(work, 1)
    mark = block.push("mark")
    work.marks[mark.number] = work.writes
    write(work, 2, 3)
    assert (work.at(old), work.at(mark), work.writes) == (0, 1, 2)
    work.undo_to(mark)
    assert keys(work) == [1]
    assert work.wrote
    work.undo_to(old)
    assert keys(work) == []
    assert not work.wrote


def test_what_waits_is_bounded() -> None:
    with pytest.raises(OutOfMemory):
        StoreWork(NOBODY, None).keep(waiting(1), 2, 1)


def test_the_next_transaction_of_a_chain_reads_the_settings_again() -> None:
    block = Block(settled=True)
    work = block.works["s"] = StoreWork(NOBODY, None, writes=1)
    assert block.wrote == ["s"]
    assert block.take() == [work]
    assert not block.settled
    assert block.works == {}
