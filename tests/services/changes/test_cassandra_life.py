"""The life of a change on a table of Cassandra (R4.2, R4.6; issue 5 points 3 to 6)."""

from __future__ import annotations

import json
import time
from decimal import Decimal

import pytest

from tests.integration.changes.prices import STEPS, events, state
from tests.integration.server_process import eventually
from tests.services.changes.goods import (
    CHANGE,
    PER_SHOP,
    SHOPS,
    Goods,
    total_of,
)

pytestmark = [pytest.mark.services, pytest.mark.timeout(120)]
COUNT = PER_SHOP * len(SHOPS)
EVERYTHING = "SELECT shop, no, name, total, tags, marks, t FROM "


# A user's story: tried, compared, promoted, written through both versions, rolled back: the old
# table has every write, and what nobody touched is as it was to the bit (I6)
def test_promoted_written_and_rolled_back(goods: Goods) -> None:
    before = goods.stored(EVERYTHING + "goods")
    goods.change()
    south = "SELECT total FROM {} WHERE shop = 'south' AND no = {}"
    assert goods.rows(south.format("v2.goods", 3)) == [(Decimal("0.38"),)]
    goods.reaches("ready")
    assert events(goods.client) == STEPS[:-2]
    shown = "SELECT rows, percent::int, pending, held, tables FROM morph.progress"
    assert goods.rows(shown) == [(COUNT, 100, 0, False, ["goods"])]
    goods.run(
        "UPDATE goods SET name = 'before', tags = '{x}' WHERE shop = 'south' AND no = 7",
        "DELETE FROM goods WHERE shop = 'north' AND no = 9",
        "INSERT INTO goods VALUES ('west', 1, 'new', 1.239, '{p,q}')",
        "CALL morph.promote(2)",
    )
    assert state(goods.client) == "promoted"
    assert goods.rows("SELECT count(*) FROM goods") == [(COUNT,)]
    assert goods.rows(south.format("goods", 3)) == [(Decimal("0.38"),)]
    assert goods.rows("SELECT total, tags FROM goods WHERE shop = 'west'") == [
        (Decimal("1.24"), ["p", "q"])
    ]
    goods.run(
        "UPDATE goods SET total = 5.25 WHERE shop = 'south' AND no = 1",
        "UPDATE v1.goods SET total = 6.5 WHERE shop = 'south' AND no = 2",
        "DELETE FROM goods WHERE shop = 'south' AND no = 4",
        "UPDATE goods SET name = 'kept' WHERE shop = 'south' AND no = 3",
        "INSERT INTO goods VALUES ('west', 2, 'after', 2.5)",
    )
    assert goods.rows(south.format("v1.goods", 1)) == [(5.25,)]
    assert goods.rows(south.format("goods", 2)) == [(Decimal("6.50"),)]
    goods.run("CALL morph.rollback(2)")
    assert state(goods.client) == "rolled back"
    assert events(goods.client)[-2:] == ["FenceBack", "FlippedBack"]
    expected = {(row[0], row[1]): list(row) for row in before}
    del expected["north", 9], expected["south", 4]
    expected["south", 1][3], expected["south", 2][3] = 5.25, 6.5
    expected["south", 3][2], expected["south", 7][2] = "kept", "before"
    expected["south", 7][4] = ["x"]
    expected["west", 1] = ["west", 1, "new", 1.239, ["p", "q"], None, None]
    expected["west", 2] = ["west", 2, "after", 2.5, None, None, None]
    found = goods.stored(EVERYTHING + "goods")
    assert found == sorted(tuple(row) for row in expected.values())
    assert goods.rows(south.format("goods", 3)) == [(0.375,)]
    goods.run(
        "UPDATE goods SET total = 7.75 WHERE shop = 'south' AND no = 5", "CALL morph.promote(2)"
    )
    assert goods.rows(south.format("goods", 5)) == [(Decimal("7.75"),)]
    assert goods.rows(south.format("goods", 1)) == [(Decimal("5.25"),)]


# Settled question 12: nothing of ours stays behind, in the old table and the new one
def test_contracted(goods: Goods) -> None:
    before = goods.stored("SELECT shop, no, marks, t FROM goods")
    goods.session.execute("CREATE INDEX ON goods (name)", timeout=60)
    goods.change()
    goods.run("CALL morph.promote(2)", "UPDATE goods SET total = 9 WHERE shop = 'south' AND no = 1")
    goods.run("CALL morph.contract(2)")
    eventually(lambda: state(goods.client) == "completed", timeout_s=60, what="completed")
    eventually(lambda: len(goods.tables()) == 1, timeout_s=60, what="one table is left")
    [table] = goods.tables()
    assert table != "goods"
    text = (
        "SELECT column_name FROM system_schema.columns "
        f"WHERE keyspace_name = '{goods.keyspace}' AND table_name = '{table}'"
    )
    names = {name for (name,) in goods.stored(text)}
    assert names == {"shop", "no", "name", "total", "tags", "marks", "t"}
    assert goods.stored(f"SELECT shop, no, marks, t FROM {table}") == before
    assert len(goods.stored(f"SELECT no FROM {table} WHERE name = 'n7'")) == len(SHOPS)
    total = sum(round(Decimal(total_of(no)), 2) for no in range(1, PER_SHOP + 1)) * len(SHOPS)
    rounded = goods.rows("SELECT sum(round((no / 8.0)::numeric, 2)) FROM goods")[0][0]
    assert goods.rows("SELECT sum(total) FROM goods") == [(rounded - Decimal("0.13") + 9,)]
    assert abs(total - rounded) < COUNT
    goods.run("UPDATE goods SET total = 3 WHERE shop = 'south' AND no = 2")
    assert goods.rows("SELECT total FROM v1.goods WHERE shop = 'south' AND no = 2") == [(3.0,)]


# I11: a discarded change leaves the live table as if it had never been
def test_discarded(goods: Goods) -> None:
    before = goods.stored(EVERYTHING + "goods")
    goods.change()
    goods.reaches("ready")
    assert len(goods.tables()) == 3
    goods.run("CALL morph.discard(2)")
    eventually(lambda: goods.tables() == {"goods"}, timeout_s=60, what="shadow and log are gone")
    assert goods.stored(EVERYTHING + "goods") == before
    goods.run("UPDATE goods SET total = 1 WHERE shop = 'south' AND no = 1")
    assert goods.tables() == {"goods"}


# A row that the new layout cannot hold fails the review; the table stays as it was
def test_a_row_that_cannot_be_converted_fails_the_review(goods: Goods) -> None:
    goods.session.execute("INSERT INTO goods (shop, no, total) VALUES ('odd', 1, 1e15)", timeout=60)
    goods.change()
    goods.reaches("failed review")
    found = goods.rows("SELECT type, record_id FROM morph.discrepancies")
    assert found == [("COERCION_ERROR", "(odd, 1)")]
    eventually(lambda: goods.tables() == {"goods"}, timeout_s=60, what="shadow and log are gone")
    assert goods.rows("SELECT total FROM goods WHERE shop = 'odd'") == [(1e15,)]


# The judge has no false alarm and no blind eye: what was changed behind is found
@pytest.mark.parametrize("method", ["full", "checksum", "sample"])
def test_a_defect_in_the_shadow_is_found(goods: Goods, method: str) -> None:
    goods.change()
    goods.reaches("ready")
    shadow = goods.shadow()
    for text in (
        f"UPDATE {shadow} SET total = 9.99 WHERE shop = 'south' AND no = 5",
        f"DELETE FROM {shadow} WHERE shop = 'south' AND no = 6",
        f"UPDATE {shadow} SET tags = tags + ['more'] WHERE shop = 'south' AND no = 7",
    ):
        goods.session.execute(text, timeout=60)
    goods.run(f"CALL morph.validate({CHANGE}, '{method}')")
    found = goods.rows("SELECT type, record_id FROM morph.discrepancies ORDER BY 2")
    assert found == [
        ("VALUE_MISMATCH", "(south, 5)"),
        ("MISSING_IN_SHADOW", "(south, 6)"),
        ("VALUE_MISMATCH", "(south, 7)"),
    ]


# Bad input: of a table that no copy can follow the change waits and says why; version 2 is a lens
def test_a_table_that_cannot_change(goods: Goods) -> None:
    goods.session.execute("ALTER TABLE goods ADD fixed int static", timeout=60)
    goods.change()
    shown = f"SELECT reason FROM morph.changes WHERE change_id = {CHANGE}"
    eventually(
        lambda: "has static columns" in str(goods.rows(shown)[0][0]), timeout_s=60, what="a reason"
    )
    goods.run("UPDATE goods SET total = 1.25 WHERE shop = 'south' AND no = 1")
    assert goods.rows("SELECT total FROM v2.goods WHERE shop = 'south' AND no = 1") == [
        (Decimal("1.25"),)
    ]
    goods.run("CALL morph.discard(2)")
    eventually(lambda: goods.tables() == {"goods"}, timeout_s=60, what="the log is gone")


# A row of which one side knows and whose writer's word is still to come is in flight however often
# it is looked at, not wrong (EVOLUTION 8)
def test_a_row_in_flight_on_one_side_is_no_difference(goods: Goods) -> None:
    goods.change()
    goods.reaches("ready")
    with goods.morphgres.root() as root:
        [(writer,)] = root.execute("SELECT incarnation FROM morph_log.workers").fetchall()
    now = time.time_ns() // 2_000 * 2
    payload = [["west", "1"], "put", 1, [CHANGE], now + 600_000_000, [], "morph", 1, now]
    [log] = [name for name in goods.tables() if "morph_log" in name]
    goods.session.execute(
        f"INSERT INTO {log} (bucket, shard, lsn, writer, payload, done) "
        "VALUES (%s, %s, %s, %s, %s, false)",
        (now // 10_000_000, writer % 8, now, writer, json.dumps(payload)),
        timeout=60,
    )
    goods.session.execute("INSERT INTO goods (shop, no) VALUES ('west', 1)", timeout=60)
    goods.run("CALL morph.validate(2)")
    assert goods.rows("SELECT type, severity FROM morph.discrepancies") == [("STALE", "warning")]
    assert state(goods.client) == "ready"
