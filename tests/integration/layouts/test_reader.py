"""The log as records, and as Avro when it leaves (EVOLUTION 3)."""

from __future__ import annotations

import json

from evolution.layouts.embedded.reader import START
from evolution.layouts.records import Json
from tests.integration.layouts.bed import Bed, read

COLUMNS = (
    "id bigint, part text, f float8, n numeric, b bytea, d date, at timestamptz, j jsonb, "
    "a int[], t boolean, PRIMARY KEY (id, part)"
)
ROW = (
    "(1, 'ä''\\', 'NaN', 1.500, '\\x00ff', '2026-01-31', '2026-01-31 12:00:00.123456+02', "
    "'{\"k\": [1.10, null, 12345678901234567890]}', '{1,NULL,3}', true)"
)


async def test_a_transaction_is_a_batch_and_values_are_exact(bed: Bed) -> None:
    bed.make("events", COLUMNS)
    await bed.begin("events")
    with bed.client.transaction():
        bed.ddl(f"INSERT INTO events VALUES {ROW}")
        bed.ddl("UPDATE events SET f = 0.1, n = NULL")
    bed.ddl("DELETE FROM events")
    bed.ddl("TRUNCATE events")
    batches, _ = await read(bed, START)
    first = bed.work.tables[0].table_id + 1
    assert [[r.op for r in b.records] for b in batches] == [["put", "put"], ["del"], ["truncate"]]
    put = batches[0].records[0]
    assert put.key == {first: 1, first + 1: "ä'\\"}
    image = put.image
    assert image is not None
    assert str(image.pop(first + 2)) == "nan"
    document = image.pop(first + 7)
    assert isinstance(document, Json)
    assert json.loads(document.text) == {"k": [1.1, None, 12345678901234567890]}
    assert "1.10" in document.text
    assert image == {
        first: 1,
        first + 1: "ä'\\",
        first + 3: "1.500",
        first + 4: b"\x00\xff",
        first + 5: "2026-01-31",
        first + 6: "2026-01-31T10:00:00.123456+00:00",
        first + 8: Json("[1, null, 3]"),
        first + 9: True,
    }
    changed = batches[0].records[1]
    assert changed.touched == (first + 2, first + 3)
    assert changed.image is not None
    assert (changed.image[first + 2], changed.image[first + 3]) == (0.1, None)
    assert changed.session_unit == "morph"
    assert changed.shadow_ids == (bed.work.change_id,)
    assert batches[2].records[0].key == {}


async def test_a_reader_gets_each_transaction_once(bed: Bed) -> None:
    bed.make("events", "id int PRIMARY KEY")
    await bed.begin("events")
    bed.ddl("INSERT INTO events VALUES (1)")
    batches, checkpoint = await read(bed, START)
    assert len(batches) == 1
    assert (await read(bed, checkpoint))[0] == []
    bed.ddl("INSERT INTO events VALUES (2)")
    again, _ = await read(bed, checkpoint)
    assert [r.key for b in again for r in b.records] == [{bed.work.tables[0].table_id + 1: 2}]
