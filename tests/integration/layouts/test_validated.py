"""R4.5, issue 5 (8e): validation of a moving table has no false alarms, and misses nothing."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

import pytest

from catalog.model import Stored
from evolution.changes.needs import Verdict
from evolution.layouts.base import Pace
from evolution.validation.embedded.reports import EmbeddedReports
from evolution.validation.pace import ReadingPace
from evolution.validation.validator import ValidationLimits, Validator
from tests.integration.layouts.bed import Bed, connect_root, newest
from tests.integration.layouts.writing import KEYS, writing

METHODS = ("checksum", "full", "sample")


def validator(bed: Bed, reports_kept: int = 1_000_000) -> Validator:
    reports = EmbeddedReports(lambda: connect_root(bed.server), kept=reports_kept)
    return Validator(bed.layouts, reports, ValidationLimits(ReadingPace(0.1), sample_rows=200))


async def with_lens(bed: Bed) -> None:
    bed.make("fed", "id int PRIMARY KEY, n int, x text")
    bed.ddl(f"INSERT INTO fed SELECT g, g * 7, 'x' || g FROM generate_series(1, {KEYS}) g")
    bed.ddl("SET morph.ddl_mode = virtual; SET morph.back = 'round(n * 4)::int'")
    bed.ddl("ALTER TABLE fed ALTER COLUMN n TYPE numeric(12, 1) USING n / 4.0")


async def compare_for(bed: Bed, judge: Validator, seconds: float) -> list[Verdict]:
    """Feed the shadow and compare it over and over."""

    async def feed() -> None:
        while True:
            await bed.layouts.catch_up(bed.work)
            await asyncio.sleep(0.01)

    feeding = asyncio.ensure_future(feed())
    until = time.monotonic() + seconds
    verdicts: list[Verdict] = []
    try:
        while len(verdicts) < len(METHODS) or time.monotonic() < until:
            method = METHODS[len(verdicts) % len(METHODS)]
            verdicts.append(await judge.validate(bed.work, method))
            assert not feeding.done()
    finally:
        feeding.cancel()
        with suppress(asyncio.CancelledError):
            await feeding
    return verdicts


def reported(bed: Bed) -> dict[str, int]:
    """What all reports of the change found, by type."""
    rows = bed.root.execute(
        "SELECT c.key, sum(c.value::bigint)::int FROM morph_catalog.validation_reports r, "
        "jsonb_each_text(r.counts) c WHERE change_id = %s GROUP BY 1",
        (bed.work.change_id,),
    ).fetchall()
    return {str(category): int(count) for category, count in rows}


async def moving(bed: Bed, seconds: float) -> None:
    await with_lens(bed)
    await bed.begin("fed", pace=Pace(chunk_s=0.002, step_s=60.0))
    judge = validator(bed)
    with writing(bed.server) as writers:
        await bed.layouts.advance(bed.work)
        verdicts = [await judge.validate(bed.work, "checksum")]  # a part is copied
        while not (await bed.layouts.advance(bed.work)).copied:
            pass
        verdicts += await compare_for(bed, judge, seconds)
    assert writers.faults == []
    assert writers.written > 20
    assert [v.critical for v in verdicts] == [0] * len(verdicts)
    # A row that is written all the time may not come to rest: that is told and is no difference.
    assert set(reported(bed)) <= {"STALE"}
    while (await bed.layouts.catch_up(bed.work)).pending:
        await asyncio.sleep(0)
    before = reported(bed)
    for method in METHODS:
        assert await judge.validate(bed.work, method) is not None
    assert reported(bed) == before


@pytest.mark.timeout(600)
async def test_writes_of_equal_content_are_no_discrepancies(bed: Bed) -> None:
    await moving(bed, 4.0)


@pytest.mark.slow
@pytest.mark.timeout(2_900)
async def test_half_an_hour_of_writes_of_equal_content(bed: Bed) -> None:
    await moving(bed, 1_800.0)


@pytest.mark.timeout(600)
async def test_a_wrong_row_is_found_while_others_are_written(bed: Bed) -> None:
    await with_lens(bed)
    await bed.ready("fed")
    shadow = f'morph_store."{bed.work.tables[0].shadow}"'
    table = (await newest(bed.server))[0].table("fed")
    assert table is not None
    stored = {c.name: c.source.column for c in table.columns if isinstance(c.source, Stored)}
    key, text = stored["id"], stored["x"]
    bed.root.execute("SET morph.applying = 'on'")
    bed.root.execute(f"DELETE FROM {shadow} WHERE {key} = 1008")
    bed.root.execute(f"INSERT INTO {shadow} ({key}) VALUES (100005)")
    bed.root.execute(f"UPDATE {shadow} SET {text} = 'wrong' WHERE {key} = 2008")
    judge = validator(bed)
    with writing(bed.server) as writers:
        verdicts = await compare_for(bed, judge, 0.0)
    assert writers.faults == []
    assert [v.critical for v in verdicts[:2]] == [3, 3]
    rows = bed.root.execute(
        "SELECT type, record_id, column_name FROM morph.discrepancies WHERE severity = 'critical' "
        "AND report_id = %s ORDER BY 1",
        (verdicts[0].report_id,),
    ).fetchall()
    assert rows == [
        ("EXTRA_IN_SHADOW", "100005", None),
        ("MISSING_IN_SHADOW", "1008", None),
        ("VALUE_MISMATCH", "2008", "x"),
    ]
    assert await judge.repair(bed.work, verdicts[0].report_id) == 3
    while (await bed.layouts.catch_up(bed.work)).pending:
        await asyncio.sleep(0)
    assert (await judge.validate(bed.work, "full")).critical == 0


@pytest.mark.timeout(600)
async def test_a_wrong_row_among_the_last_written_stops_the_cut_over(bed: Bed) -> None:
    await with_lens(bed)
    await bed.ready("fed")
    judge = validator(bed)
    bed.ddl("UPDATE fed SET x = 'last' WHERE id IN (40, 50)")
    while (await bed.layouts.catch_up(bed.work)).pending:
        await asyncio.sleep(0)
    shadow = f'morph_store."{bed.work.tables[0].shadow}"'
    table = (await newest(bed.server))[0].table("fed")
    assert table is not None
    stored = {c.name: c.source.column for c in table.columns if isinstance(c.source, Stored)}
    bed.root.execute("SET morph.applying = 'on'")
    bed.root.execute(f"UPDATE {shadow} SET {stored['x']} = 'lost' WHERE {stored['id']} = 40")
    bed.root.execute(f"DELETE FROM {shadow} WHERE {stored['id']} = 50")
    result = await bed.cut_over(verify=judge.verify)
    assert not result.done
    found = sorted((d.type, d.record_id, d.column) for d in result.discrepancies)
    assert found == [("MISSING_IN_SHADOW", "50", ""), ("VALUE_MISMATCH", "40", "x")]
    assert bed.client.execute("SELECT x FROM fed WHERE id = 40").fetchone() == ("last",)
    verdict = await judge.validate(bed.work, "checksum")
    assert await judge.repair(bed.work, verdict.report_id) == 2
    for _ in range(20):
        if (result := await bed.cut_over(verify=judge.verify)).done:
            break
        await asyncio.sleep(0.2)
    assert result.done
    assert (await judge.validate(bed.work, "full")).critical == 0
