"""What the new layout cannot hold is named, never lost and never removed (EVOLUTION 5, 8)."""

from __future__ import annotations

from dataclasses import replace

import psycopg
import pytest

from evolution.layouts.base import Pace
from tests.integration.layouts.bed import Bed, verify


async def lensed(bed: Bed, values: str, using: str = "x::int", columns: str = "x text") -> None:
    """A table whose new version shows x as int."""
    bed.make("price", f"id int PRIMARY KEY, {columns}")
    bed.ddl(f"INSERT INTO price {values}")
    bed.ddl("SET morph.ddl_mode = virtual")
    bed.ddl("SET morph.back = 'coalesce(x::text, ''none'')'")
    bed.ddl(f"ALTER TABLE price ALTER COLUMN x TYPE int USING {using}")
    await bed.begin("price", pace=Pace(chunk_s=0.0001, step_s=60))


async def test_rows_on_which_up_fails_are_named_and_left_out(bed: Bed) -> None:
    await lensed(
        bed,
        "SELECT g, CASE WHEN g % 100 = 7 THEN 'no' ELSE g::text END FROM generate_series(1, 900) g",
    )
    progress = await bed.copy()
    assert progress.left_out == 9
    assert {e.record_id for e in progress.errors} == {str(n) for n in range(7, 900, 100)}
    assert {(e.type, e.severity) for e in progress.errors} == {("COERCION_ERROR", "critical")}
    assert "22P02" in progress.errors[0].message
    assert progress.rows == 891
    result = await bed.cut_over()
    assert not result.done
    result = await bed.layouts.finish(bed.work)
    assert len(result) == 9
    result = await bed.cut_over()
    assert not result.done


async def test_a_row_that_is_put_right_comes_in(bed: Bed) -> None:
    await lensed(bed, "VALUES (1, '1'), (2, 'two'), (3, 'three')")
    assert (await bed.copy()).left_out == 2
    bed.ddl("UPDATE v1.price SET x = '2' WHERE id = 2")
    bed.ddl("UPDATE v1.price SET x = 'drei' WHERE id = 3")
    bed.ddl("INSERT INTO v1.price VALUES (4, 'four')")
    progress = await bed.layouts.catch_up(bed.work)
    assert {e.record_id for e in progress.errors} == {"3", "4"}
    bed.ddl("DELETE FROM v1.price WHERE id IN (3, 4)")
    assert (await bed.layouts.catch_up(bed.work)).left_out == 0
    assert await bed.layouts.finish(bed.work) == []
    assert (await bed.through()).done


async def test_duplicates_are_reported_and_stay(bed: Bed) -> None:
    """pt-online-schema-change's hard lesson: rows that share a unique value are not removed."""
    bed.make("price", "id int PRIMARY KEY, x text UNIQUE, y int")
    bed.ddl("CREATE UNIQUE INDEX price_y ON price ((y % 100)) WHERE y > 0")
    bed.ddl("INSERT INTO price VALUES (1, 'a', 1), (2, 'b', 2), (3, NULL, 3), (4, NULL, -1)")
    await bed.begin("price")
    await bed.copy()
    shadow = f'morph_store."{bed.work.tables[0].shadow}"'
    key = bed.work.tables[0].table_id + 1
    bed.root.execute(
        f"SET morph.applying = on; UPDATE {shadow} SET c{key + 1} = 'a' WHERE c{key} = 2; "
        f"UPDATE {shadow} SET c{key + 2} = 103 WHERE c{key} = 1"
    )
    found = await bed.layouts.finish(bed.work)
    assert {(d.type, d.record_id) for d in found} == {
        ("CONSTRAINT_VIOLATION", "1"),
        ("CONSTRAINT_VIOLATION", "2"),
        ("CONSTRAINT_VIOLATION", "3"),
    }
    assert len(bed.rows(bed.work.tables[0].shadow)) == 4
    assert not (await bed.cut_over()).done
    await bed.layouts.repair(bed.work, bed.work.tables[0], [b"1", b"2"])
    assert await bed.layouts.finish(bed.work) == []
    assert (await bed.through()).done


async def test_not_null_of_the_new_layout(bed: Bed) -> None:
    await lensed(
        bed,
        "VALUES (1, '1'), (2, ''), (3, '-3')",
        using="nullif(x, '')::int",
        columns="x text NOT NULL",
    )
    await bed.copy()
    found = await bed.layouts.finish(bed.work)
    assert [(d.type, d.record_id) for d in found] == [("CONSTRAINT_VIOLATION", "2")]
    bed.ddl("DELETE FROM price WHERE id = 2")
    await bed.layouts.catch_up(bed.work)
    assert await bed.layouts.finish(bed.work) == []
    assert (await bed.through()).done


async def test_values_that_become_equal_are_reported(bed: Bed) -> None:
    """'1' and '01' are different texts and one number."""
    await lensed(
        bed, "VALUES (1, '1'), (2, '01'), (3, '2'), (4, NULL), (5, NULL)", columns="x text UNIQUE"
    )
    assert (await bed.copy()).left_out == 0
    found = await bed.layouts.finish(bed.work)
    assert {(d.type, d.record_id) for d in found} == {
        ("CONSTRAINT_VIOLATION", "1"),
        ("CONSTRAINT_VIOLATION", "2"),
    }
    assert bed.client.execute("SELECT count(*) FROM price").fetchone() == (5,)
    bed.ddl("UPDATE v1.price SET x = '7' WHERE id = 2")
    await bed.layouts.catch_up(bed.work)
    assert await bed.layouts.finish(bed.work) == []
    # What comes when the index is there is refused, and reported just so.
    bed.ddl("UPDATE v1.price SET x = '007' WHERE id = 3")
    progress = await bed.layouts.catch_up(bed.work)
    assert [e.type for e in progress.errors] == ["CONSTRAINT_VIOLATION"]
    bed.ddl("UPDATE v1.price SET x = '008' WHERE id = 3")
    assert (await bed.layouts.catch_up(bed.work)).left_out == 0
    assert (await bed.through()).done
    with pytest.raises(psycopg.errors.UniqueViolation, match="price_x_key"):
        bed.ddl("INSERT INTO v2.price VALUES (9, 8)")


async def test_rows_may_be_left_out_of_a_shadow_and_not_of_what_serves(bed: Bed) -> None:
    """`changes.error_limit`: the review goes on without them and compares the others; the cut-over
    waits until they are put right, for no version would show them any more.
    """
    await lensed(
        bed, "SELECT g, CASE g WHEN 7 THEN 'no' ELSE g::text END FROM generate_series(1, 50) g"
    )
    bed.work = replace(bed.work, pace=replace(bed.work.pace, error_limit=1))
    assert (await bed.copy()).left_out == 1
    found = await bed.layouts.finish(bed.work)
    assert [(d.type, d.record_id, d.severity) for d in found] == [
        ("COERCION_ERROR", "7", "warning")
    ]
    table = bed.work.tables[0]
    async with bed.layouts.sides(bed.work, table) as sides:
        assert await verify(table, sides, ()) == []
        assert (await sides[0].chunk(None, None, 0)).rows == 49
    result = await bed.cut_over()
    assert not result.done
    assert result.reason == "1 rows cannot be in the new layout"
    assert {d.severity for d in result.discrepancies} == {"warning"}
    bed.ddl("UPDATE v1.price SET x = '70' WHERE id = 7")
    assert (await bed.through()).done
    assert bed.client.execute("SELECT count(*), sum(x) FROM v2.price").fetchone() == (50, 1338)


async def test_one_row_more_than_may_be_left_out_fails_the_review(bed: Bed) -> None:
    await lensed(bed, "VALUES (1, 'one'), (2, 'two'), (3, '3')")
    bed.work = replace(bed.work, pace=replace(bed.work.pace, error_limit=1))
    await bed.copy()
    assert {d.severity for d in await bed.layouts.finish(bed.work)} == {"critical"}
