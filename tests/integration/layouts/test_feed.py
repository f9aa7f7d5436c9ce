"""Log and backfill together keep a shadow exact (EVOLUTION 4; invariants I2, I5, I10)."""

from __future__ import annotations

import asyncio
import threading
import time
from dataclasses import replace

import psycopg
import pytest

from core.errors import SerializationFailure
from evolution.layouts.base import Pace
from evolution.layouts.embedded import store
from evolution.layouts.embedded.backfill import next_chunk
from evolution.layouts.embedded.log import RECORDS_KEPT
from tests.integration.layouts.bed import Bed

SMALL = Pace(chunk_s=0.0001, step_s=60.0)
"""Chunks of 20 rows: many steps for few rows."""


async def test_an_empty_table_needs_no_backfill(bed: Bed) -> None:
    bed.make("fed", "id int PRIMARY KEY, x text")
    await bed.begin("fed")
    progress = await bed.layouts.advance(bed.work)
    assert progress.copied
    assert (progress.rows, progress.pending, progress.errors) == (0, 0, ())
    bed.ddl("INSERT INTO fed VALUES (1, 'a')")
    await bed.layouts.catch_up(bed.work)
    assert bed.differences() == []
    assert bed.rows(bed.work.tables[0].shadow) == [(1, "a")]


async def test_all_rows_are_copied_in_chunks(bed: Bed) -> None:
    bed.make("fed", "id int PRIMARY KEY, x text")
    bed.ddl("INSERT INTO fed SELECT g, 'x' || g FROM generate_series(1, 3000) g")
    await bed.begin("fed", pace=SMALL)
    steps = 0
    while not (progress := await bed.layouts.advance(bed.work)).copied:
        steps += 1
    assert steps > 5
    assert (progress.rows, progress.total) == (3000, 3000)
    assert progress.bytes > 100_000
    assert bed.differences() == []


@pytest.mark.parametrize(
    ("columns", "values"),
    [
        ("a text, b int, PRIMARY KEY (b, a)", "SELECT chr(97 + g % 26) || '''\\', g % 7 FROM q"),
        ("a bytea PRIMARY KEY", "SELECT int4send(g * 7919) FROM q"),
        ("a text PRIMARY KEY", "SELECT E'\\t\\n' || g || repeat('ä', g % 5) FROM q"),
        ("a uuid PRIMARY KEY", "SELECT md5(g::text)::uuid FROM q"),
        ("a timestamptz PRIMARY KEY", "SELECT now() + g * interval '1 us' FROM q"),
        ("a float8 PRIMARY KEY", "SELECT g / 3.0::float8 FROM q"),
        ("a numeric(10, 2), b date, PRIMARY KEY (a, b)", "SELECT g / 7, '2026-1-1' FROM q"),
    ],
)
async def test_keys_of_many_types(bed: Bed, columns: str, values: str) -> None:
    bed.make("fed", columns)
    bed.ddl(
        f"WITH q (g) AS (SELECT generate_series(1, 700)) INSERT INTO fed {values} "
        "ON CONFLICT DO NOTHING"
    )
    await bed.begin("fed", pace=SMALL)
    await bed.layouts.advance(bed.work)
    progress = await bed.copy()
    assert progress.rows > 100
    assert bed.differences() == []


async def test_rows_deleted_during_the_backfill_stay_deleted(bed: Bed) -> None:
    bed.make("fed", "id int PRIMARY KEY, x text")
    bed.ddl("INSERT INTO fed SELECT g, 'x' FROM generate_series(1, 1000) g")
    await bed.begin("fed", pace=SMALL)
    await bed.layouts.advance(bed.work)
    bed.ddl("DELETE FROM fed WHERE id % 3 = 0")  # before and behind the cursor
    bed.ddl("UPDATE fed SET x = 'y' WHERE id % 5 = 0")
    bed.ddl("INSERT INTO fed VALUES (0, 'first'), (3, 'again'), (5000, 'last')")
    await bed.copy()
    assert bed.differences() == []


async def test_keys_that_move_across_the_cursor(bed: Bed) -> None:
    bed.make("fed", "id int PRIMARY KEY, x text")
    bed.ddl("INSERT INTO fed SELECT g, 'x' || g FROM generate_series(1, 1000) g")
    await bed.begin("fed", pace=SMALL)
    await bed.layouts.advance(bed.work)
    bed.ddl("UPDATE fed SET id = id + 5000 WHERE id <= 100")
    bed.ddl("UPDATE fed SET id = id - 900 WHERE id BETWEEN 901 AND 1000")
    await bed.layouts.advance(bed.work)
    bed.ddl("UPDATE fed SET id = -id WHERE id > 5050")
    await bed.copy()
    assert bed.differences() == []


async def test_a_truncate_during_the_backfill(bed: Bed) -> None:
    bed.make("fed", "id int PRIMARY KEY, x text")
    bed.ddl("INSERT INTO fed SELECT g, 'x' FROM generate_series(1, 1000) g")
    await bed.begin("fed", pace=SMALL)
    await bed.layouts.advance(bed.work)
    with bed.client.transaction():
        bed.ddl("INSERT INTO fed VALUES (2000, 'gone')")
        bed.ddl("TRUNCATE fed")
        bed.ddl("INSERT INTO fed VALUES (1, 'new'), (999, 'new')")
    bed.ddl("INSERT INTO fed VALUES (500, 'newer')")
    await bed.copy()
    assert bed.differences() == []
    assert len(bed.rows(bed.work.tables[0].shadow)) == 3


async def test_late_commits_and_long_transactions(bed: Bed) -> None:
    """A transaction that commits late has a low position; it is neither missed nor waited for."""
    bed.make("fed", "id int PRIMARY KEY, x text")
    bed.ddl("INSERT INTO fed SELECT g, 'x' FROM generate_series(1, 100) g")
    await bed.begin("fed")
    with psycopg.connect(bed.server.dsn) as late:
        late.execute("UPDATE fed SET x = 'late' WHERE id = 1")
        bed.ddl("UPDATE fed SET x = 'early' WHERE id = 2")
        await bed.copy()
        bed.ddl("UPDATE fed SET x = 'more' WHERE id = 3")
        progress = await bed.layouts.catch_up(bed.work)
        assert progress.pending == 0
        assert bed.differences() == []
        late.commit()
    progress = await bed.layouts.catch_up(bed.work)
    assert bed.differences() == []
    assert bed.rows(bed.work.tables[0].shadow)[0] == (1, "late")


async def test_the_log_is_kept_only_while_it_is_needed(bed: Bed) -> None:
    bed.make("fed", "id int PRIMARY KEY, x text")
    await bed.begin("fed")
    for n in range(1, 6):
        bed.ddl(f"INSERT INTO fed SELECT g, 'x' FROM generate_series({n} * 100, {n} * 100 + 99) g")
        await bed.layouts.catch_up(bed.work)
    bed.ddl("INSERT INTO fed VALUES (1, 'x')")
    await bed.layouts.catch_up(bed.work)
    assert RECORDS_KEPT <= len(bed.log("op")) <= RECORDS_KEPT + 2


async def test_keys_of_any_type_come_over(bed: Bed) -> None:
    """Keys whose type has a length are not cut to one character; arrays have no arrays."""
    bed.make("fed", "a char(5), b bit(3), c int[], d varchar(4), x int, PRIMARY KEY (a, b, c, d)")
    bed.ddl(
        "INSERT INTO fed SELECT 'ab' || g, '101', ARRAY[g, NULL], 'é', g "
        "FROM generate_series(10, 40) g"
    )
    await bed.begin("fed")
    await bed.copy()
    bed.ddl(
        "INSERT INTO fed VALUES ('abcde', '110', '{}', 'wxyz', 1), ('abcdf', '110', '{1}', '', 2)"
    )
    bed.ddl("UPDATE fed SET x = x + 1 WHERE x < 20")
    bed.ddl("UPDATE fed SET c = c || 7, x = x + 1 WHERE x > 30")
    bed.ddl("DELETE FROM fed WHERE x BETWEEN 20 AND 24")
    await bed.copy()
    assert bed.differences() == []
    assert len(bed.rows(bed.work.tables[0].shadow)) == 31 + 2 - 6


async def test_unique_values_change_hands(bed: Bed) -> None:
    bed.make("fed", "id int PRIMARY KEY, u int UNIQUE DEFERRABLE INITIALLY DEFERRED")
    bed.ddl("INSERT INTO fed VALUES (1, 1), (2, 2), (3, 3)")
    await bed.begin("fed")
    await bed.copy()
    assert await bed.layouts.finish(bed.work) == []
    bed.ddl("UPDATE fed SET u = u % 3 + 1")
    bed.ddl("DELETE FROM fed WHERE id = 1")
    bed.ddl("INSERT INTO fed VALUES (0, 2)")
    progress = await bed.layouts.catch_up(bed.work)
    assert progress.left_out == 0
    assert bed.differences() == []


async def test_it_ends_under_sustained_inserts(bed: Bed) -> None:
    """gh-ost's and others' hard lesson: the bound is frozen at the start."""
    bed.make("fed", "id bigint PRIMARY KEY, x text")
    bed.ddl("INSERT INTO fed SELECT g, 'x' FROM generate_series(1, 2000) g")
    await bed.begin("fed", pace=SMALL)
    stop = threading.Event()
    made = 0

    def insert() -> None:
        nonlocal made
        with psycopg.connect(bed.server.dsn, autocommit=True) as writer:
            while not stop.is_set():
                made += 50
                writer.execute(
                    "INSERT INTO fed SELECT g, 'y' FROM generate_series(%s::int, %s) g",
                    (2000 + made - 49, 2000 + made),
                )

    thread = threading.Thread(target=insert)
    thread.start()
    try:
        until = time.monotonic() + 60
        while not (progress := await bed.layouts.advance(bed.work)).copied:
            assert time.monotonic() < until, "the backfill runs after the inserts"
    finally:
        stop.set()
        await asyncio.to_thread(thread.join)
    assert made > 0
    assert progress.rows == 2000
    await bed.layouts.catch_up(bed.work)
    assert bed.differences() == []


async def test_another_owner_goes_on_where_the_last_one_died(bed: Bed) -> None:
    bed.make("fed", "id int PRIMARY KEY, x text")
    bed.ddl("INSERT INTO fed SELECT g, 'x' FROM generate_series(1, 1500) g")
    await bed.begin("fed", pace=SMALL)
    before = await bed.layouts.advance(bed.work)
    await bed.layouts.close()
    await bed.layouts.begin(bed.work)
    after = await bed.layouts.advance(bed.work)
    assert before.rows < after.rows < 1500
    await bed.copy()
    assert bed.differences() == []


async def test_an_older_owner_is_refused(bed: Bed) -> None:
    bed.make("fed", "id int PRIMARY KEY")
    bed.ddl("INSERT INTO fed VALUES (1)")
    await bed.begin("fed")
    newer = replace(bed.work, epoch=bed.work.epoch + 1)
    await bed.layouts.advance(newer)
    with pytest.raises(SerializationFailure, match="newer owner"):
        await bed.layouts.advance(bed.work)
    bed.work = newer


async def test_columns_added_while_it_is_fed(bed: Bed) -> None:
    bed.make("fed", "id int PRIMARY KEY, x varchar(5)")
    bed.ddl("INSERT INTO fed SELECT g, 'x' FROM generate_series(1, 1500) g")
    await bed.begin("fed", pace=SMALL)
    await bed.layouts.advance(bed.work)
    bed.ddl("SET morph.ddl_mode = direct")
    bed.ddl("ALTER TABLE fed ADD COLUMN plain int, ADD COLUMN filled text DEFAULT 'f'")
    bed.ddl("ALTER TABLE fed ADD COLUMN moment timestamptz DEFAULT clock_timestamp()")
    bed.ddl("ALTER TABLE fed ALTER COLUMN x TYPE varchar(20)")
    bed.ddl("UPDATE fed SET plain = id, x = 'much longer' WHERE id % 2 = 0")
    progress = await bed.copy()
    assert progress.left_out == 0
    assert bed.differences() == []


async def test_a_backfill_is_throttled(bed: Bed) -> None:
    bed.make("fed", "id int PRIMARY KEY")
    bed.ddl("INSERT INTO fed SELECT generate_series(1, 400)")
    await bed.begin("fed", pace=Pace(rows_per_s=400, step_s=60))
    begun = time.monotonic()
    await bed.copy()
    assert time.monotonic() - begun > 0.9


def test_chunks_adapt_to_the_time_they_took() -> None:
    assert next_chunk(500, 500, 0.2, 0.2) == 500
    assert next_chunk(500, 500, 0.4, 0.2) == 375
    assert next_chunk(500, 500, 0.0001, 0.2) == 1250, "it grows step by step"
    assert next_chunk(500, 500, 1e9, 0.2) == 250
    assert next_chunk(20, 20, 1e9, 0.2) == 20
    assert next_chunk(500, 0, 1.0, 0.2) == 500


async def test_generated_columns_are_computed_in_both_layouts(bed: Bed) -> None:
    bed.make("fed", "id int PRIMARY KEY, x int, y int GENERATED ALWAYS AS (x * 2) STORED")
    bed.ddl("INSERT INTO fed (id, x) SELECT g, g FROM generate_series(1, 100) g")
    await bed.ready("fed")
    bed.ddl("UPDATE fed SET x = 7 WHERE id = 3")
    bed.ddl("SET morph.ddl_mode = direct")
    bed.ddl("ALTER TABLE fed ADD COLUMN z int GENERATED ALWAYS AS (x + 1) STORED")
    bed.ddl("UPDATE fed SET x = 8 WHERE id = 4")
    await bed.copy()
    assert bed.differences() == []
    assert (await bed.through()).done
    bed.ddl("INSERT INTO fed (id, x) VALUES (200, 5)")
    assert bed.client.execute("SELECT y, z FROM fed WHERE id = 200").fetchone() == (10, 6)
    await bed.layouts.catch_up(bed.work)
    assert bed.differences() == []


async def test_a_long_log_comes_in_by_parts(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    """A shadow that was left behind catches up in steps that end, whatever their transactions."""
    monkeypatch.setattr(store, "BATCH_RECORDS", 30)
    bed.make("fed", "id int PRIMARY KEY, u int UNIQUE DEFERRABLE INITIALLY DEFERRED, x text")
    bed.ddl("INSERT INTO fed SELECT g, g, 'x' FROM generate_series(1, 600) g")
    await bed.begin("fed", pace=SMALL)
    await bed.copy()
    assert await bed.layouts.finish(bed.work) == []
    for n in range(1, 60):
        bed.ddl(f"UPDATE fed SET x = 'y{n}' WHERE id % 60 = {n}")
        bed.ddl(f"UPDATE fed SET u = {2 * n + 1} - u WHERE u IN ({n}, {n + 1})")
        bed.ddl(f"DELETE FROM fed WHERE id = {n + 300}")
    bed.ddl("UPDATE fed SET x = 'many' WHERE id < 200")
    steps = 1
    while (progress := await bed.layouts.catch_up(bed.work)).pending:
        assert progress.left_out == 0
        steps += 1
    assert steps > 5
    assert progress.left_out == 0
    assert bed.differences() == []


async def test_a_transaction_larger_than_a_part_comes_in(
    bed: Bed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A part that ends before it has no record at all: the next one must begin there."""
    monkeypatch.setattr(store, "BATCH_RECORDS", 100)
    bed.make("fed", "id int PRIMARY KEY, n int")
    bed.ddl("INSERT INTO fed SELECT g, g FROM generate_series(1, 50) g")
    await bed.ready("fed")
    for _ in range(5):
        bed.root.execute("SELECT pg_current_xact_id()")
    bed.ddl("INSERT INTO fed SELECT g, g FROM generate_series(51, 1000) g")
    for _ in range(4):
        progress = await bed.layouts.catch_up(bed.work)
    assert progress.pending == 0
    assert bed.differences() == []
