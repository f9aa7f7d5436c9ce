"""Hard lessons of others, each with the name of what went wrong there (issue 5, point 8g).

The rest of them: a backfill ends under sustained inserts, an empty table needs none, deleted rows
stay deleted, binary and composite keys (test_feed); duplicates are reported and stay
(test_refusals); writers see no error at the cut-over (test_fence).
"""

from __future__ import annotations

import psycopg
import pytest

from evolution.layouts.base import Pace
from tests.integration.layouts.bed import Bed

SMALL = Pace(chunk_s=0.0001, step_s=60.0)
"""Chunks of 20 rows: many steps for few rows."""


async def test_duplicates_that_arrive_before_the_unique_index_are_reported_never_deleted(
    bed: Bed,
) -> None:
    """pt-online-schema-change and Lhm copy with IGNORE: of two rows one was gone without a word."""
    bed.make("price", "id int PRIMARY KEY, x text UNIQUE")
    bed.ddl("INSERT INTO price SELECT g, g::text FROM generate_series(1, 50) g")
    bed.ddl("ALTER TABLE price ALTER COLUMN x TYPE int USING x::int")
    await bed.begin("price", pace=SMALL)
    await bed.copy()
    bed.ddl("INSERT INTO v1.price VALUES (60, '07'), (61, '008')")
    await bed.layouts.catch_up(bed.work)
    found = await bed.layouts.finish(bed.work)
    assert {(d.type, d.record_id) for d in found} == {
        ("CONSTRAINT_VIOLATION", key) for key in ("7", "60", "8", "61")
    }
    for table in (bed.work.tables[0].live, bed.work.tables[0].shadow):
        assert len(bed.rows(table)) == 52
    assert not (await bed.cut_over()).done
    assert bed.client.execute("SELECT count(*) FROM v1.price").fetchone() == (52,)


async def test_the_last_rows_before_the_cut_over_are_in_the_new_layout(bed: Bed) -> None:
    """spirit found rows missing that were written while the tables were being renamed: here by a
    transaction that is open when the cut-over begins, and ends while it waits.
    """
    bed.make("fed", "id int PRIMARY KEY, x text")
    bed.ddl("INSERT INTO fed SELECT g, 'x' FROM generate_series(1, 100) g")
    await bed.ready("fed")
    with psycopg.connect(bed.server.dsn) as late:
        late.execute("INSERT INTO fed SELECT g, 'late' FROM generate_series(101, 250) g")
        late.execute("DELETE FROM fed WHERE id <= 3")
        assert not (await bed.cut_over(deadline_s=1.0)).done
        late.commit()
    bed.ddl("UPDATE fed SET x = 'last' WHERE id IN (4, 250)")
    assert (await bed.through()).done
    assert bed.client.execute(
        "SELECT count(*), count(*) FILTER (WHERE x = 'late'), string_agg(id::text, ' ') "
        "FILTER (WHERE x = 'last') FROM fed"
    ).fetchone() == (247, 149, "4 250")
    await bed.layouts.catch_up(bed.work)
    assert bed.differences() == []


@pytest.mark.parametrize(
    ("columns", "values"),
    [
        ("a bigint", "SELECT (g - 750) * 12297829382473034 FROM q"),
        ("a int", "SELECT CASE g WHEN 1 THEN -2147483648 ELSE 2147483647 - g END FROM q"),
        ("a text", "SELECT (ARRAY['a','A','ä','_','Z'])[1 + g % 5] || repeat(' ', g) FROM q"),
        ("a bytea, b bytea", "SELECT '\\x00ff5c', int8send(-g) FROM q"),
        (
            "a float8",
            "SELECT CASE g WHEN 1 THEN 'NaN' WHEN 2 THEN '-Infinity' ELSE 0.5 - g END FROM q",
        ),
        ("b interval, a date", "SELECT g * interval '-1 day 1 us', '-infinity' FROM q"),
    ],
)
async def test_keys_at_the_edges_of_their_types_are_all_copied(
    bed: Bed, columns: str, values: str
) -> None:
    """gh-ost and pt-online-schema-change skipped rows at chunk bounds: negative and least keys,
    keys that a collation takes for equal, binary ones.
    """
    names = ", ".join(column.split()[0] for column in columns.split(", "))
    bed.make("fed", f"{columns}, x int, PRIMARY KEY ({names})")
    source = "WITH q AS (SELECT g FROM generate_series(1, 1500) g)"
    bed.ddl(f"{source} INSERT INTO fed ({names}) {values}")
    await bed.begin("fed", pace=SMALL)
    steps = 0
    while not (progress := await bed.layouts.advance(bed.work)).copied:
        steps += 1
    assert (progress.rows, progress.left_out) == (1500, 0)
    assert steps >= 2
    assert bed.differences() == []


async def test_a_table_that_empties_ahead_of_the_backfill_comes_to_its_end(bed: Bed) -> None:
    """The row at the frozen bound is gone, and all between: nothing is waited for, nothing comes
    back.
    """
    bed.make("fed", "id int PRIMARY KEY, x text")
    bed.ddl("INSERT INTO fed SELECT g, 'x' FROM generate_series(1, 2000) g")
    await bed.begin("fed", pace=SMALL)
    await bed.layouts.advance(bed.work)
    bed.ddl("DELETE FROM fed WHERE id > 5; INSERT INTO fed VALUES (1000, 'new')")
    progress = await bed.copy()
    assert progress.copied
    assert bed.differences() == []
    assert len(bed.rows(bed.work.tables[0].shadow)) == 6
