"""EVOLUTION 6.4, I5: the cut-over has compared every row written since the validation."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence

import pytest

from evolution.layouts.base import Discrepancy, ShadowTable, Sides
from evolution.layouts.embedded import looks, store
from evolution.validation.categories import SeverityPolicy
from evolution.validation.localise import Comparison
from evolution.validation.validator import look_at
from tests.integration.layouts.bed import Bed

WRITTEN = 1_500
"""More than the newest records that the log keeps anyway, and more than one run of it."""


async def verify(table: ShadowTable, sides: Sides, keys: Sequence[bytes]) -> list[Discrepancy]:
    """These rows and no others, as the validator does."""
    comparison = Comparison(table.table_id, SeverityPolicy())
    return [found.discrepancy for found in await look_at(sides, keys, comparison)]


async def written_since(bed: Bed) -> None:
    """A shadow that is ready; then rows are written, the first of them wrong in the shadow."""
    bed.make("fed", "id int PRIMARY KEY, n int")
    bed.ddl("INSERT INTO fed SELECT g, g FROM generate_series(1, 2000) g")
    await bed.ready("fed")
    for number in range(0, WRITTEN, 50):
        bed.ddl(f"UPDATE fed SET n = -n WHERE id > {number} AND id <= {number + 50}")
    await bed.layouts.catch_up(bed.work)


def spoil(bed: Bed, statement: str) -> None:
    """Something happens to the shadow that no log tells of."""
    shadow = f'morph_store."{bed.work.tables[0].shadow}"'
    query = "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum IN (1, 2)"
    (key,), (value,) = bed.root.execute(f"{query} ORDER BY attnum", (shadow,)).fetchall()
    with bed.root.transaction():
        bed.root.execute("SET LOCAL morph.applying = 'on'")
        bed.root.execute(statement.format(shadow, key, value))


def kept(bed: Bed) -> int:
    """Records in the log."""
    name = f'morph_log."t{bed.work.tables[0].table_id}"'
    row = bed.root.execute(f"SELECT coalesce(sum(rows), 0)::int FROM {name}").fetchone()
    assert row is not None
    return int(row[0])


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("UPDATE {0} SET {2} = 7 WHERE {1} = 3", "VALUE_MISMATCH"),
        ("DELETE FROM {0} WHERE {1} = 3", "MISSING_IN_SHADOW"),
    ],
)
async def test_a_row_written_long_before_the_cut_over_is_looked_at(
    bed: Bed, statement: str, expected: str
) -> None:
    await written_since(bed)
    spoil(bed, statement)
    result = await bed.cut_over(verify=verify)
    assert not result.done
    assert result.waited_s == 0.0  # nobody was held for it
    assert [(d.type, d.record_id) for d in result.discrepancies] == [(expected, "3")]


async def test_a_deleted_row_that_stays_in_the_shadow_is_found(bed: Bed) -> None:
    await written_since(bed)
    bed.ddl("DELETE FROM fed WHERE id = 4")
    bed.ddl("UPDATE fed SET n = n WHERE id > 1000")
    await bed.layouts.catch_up(bed.work)
    spoil(bed, "INSERT INTO {0} ({1}, {2}) VALUES (4, -4)")
    result = await bed.cut_over(verify=verify)
    assert [(d.type, d.record_id) for d in result.discrepancies] == [("EXTRA_IN_SHADOW", "4")]


async def test_what_was_looked_at_leaves_the_log(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    """The log is kept since the validation, but not for ever."""
    await written_since(bed)
    assert kept(bed) >= WRITTEN
    monkeypatch.setattr(store, "LOOK_RECORDS", 1_000)
    bed.layouts.look_with(verify)
    bed.ddl("UPDATE fed SET n = n + 1 WHERE id <= 1200")
    progress = await bed.layouts.catch_up(bed.work)
    assert progress.differing == ()
    bed.ddl("UPDATE fed SET n = 0 WHERE id = 1")
    await bed.layouts.catch_up(bed.work)
    assert kept(bed) < WRITTEN
    spoil(bed, "UPDATE {0} SET {2} = 7 WHERE {1} = 9")
    bed.ddl("UPDATE fed SET n = n + 1 WHERE id > 10")
    progress = await bed.layouts.catch_up(bed.work)
    assert progress.differing == ()  # a row that nobody wrote is the scrub's business
    bed.ddl("UPDATE fed SET n = n + 1 WHERE id BETWEEN 10 AND 1500")
    await bed.layouts.catch_up(bed.work)
    assert (await bed.cut_over(verify=verify)).done


async def test_a_look_finds_what_differs_while_nobody_cuts_over(
    bed: Bed, monkeypatch: pytest.MonkeyPatch
) -> None:
    await written_since(bed)
    spoil(bed, "UPDATE {0} SET {2} = 7 WHERE {1} = 3")
    monkeypatch.setattr(store, "LOOK_RECORDS", 100)
    bed.layouts.look_with(verify)
    bed.ddl("UPDATE fed SET n = n + 1 WHERE id > 1000")
    progress = await bed.layouts.catch_up(bed.work)
    assert [(d.type, d.record_id) for d in progress.differing] == [("VALUE_MISMATCH", "3")]


async def test_what_comes_too_fast_to_be_looked_at_waits_for_another_try(
    bed: Bed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The budget of the fence: writers are not held for thousands of comparisons."""
    await written_since(bed)
    monkeypatch.setattr("evolution.layouts.embedded.looks.FENCE_KEYS", 10)
    monkeypatch.setattr("evolution.layouts.embedded.cut_over.FENCE_KEYS", 10)

    async def blind(*_: object) -> looks.Looked:
        return looks.Looked([])

    monkeypatch.setattr(store, "look", blind)
    result = await bed.cut_over(verify=verify)
    assert not result.done
    assert result.reason == "more than 10 rows were written since they were compared last"
    monkeypatch.setattr(store, "look", looks.look)
    assert (await bed.through()).done


async def test_the_way_back_has_compared_its_rows_too(bed: Bed) -> None:
    await written_since(bed)
    assert (await bed.through()).done
    for number in range(0, WRITTEN, 50):
        bed.ddl(f"UPDATE fed SET n = n * 3 WHERE id > {number} AND id <= {number + 50}")
    await bed.layouts.catch_up(bed.work)
    spoil(bed, "UPDATE {0} SET {2} = 7 WHERE {1} = 3")
    result = await bed.cut_over(verify=verify)
    assert [(d.type, d.record_id) for d in result.discrepancies] == [("VALUE_MISMATCH", "3")]


async def test_a_large_transaction_is_looked_at_in_parts(
    bed: Bed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many rows it wrote, each try gets further."""
    monkeypatch.setattr(looks, "PART_KEYS", 100)
    bed.make("fed", "id int, k text, n int, PRIMARY KEY (k, id)")
    bed.ddl("INSERT INTO fed SELECT g, 'k' || g % 7, g FROM generate_series(1, 900) g")
    await bed.ready("fed")
    bed.ddl("UPDATE fed SET n = -n")
    await bed.layouts.catch_up(bed.work)
    shadow = f'morph_store."{bed.work.tables[0].shadow}"'
    with bed.root.transaction():
        bed.root.execute("SET LOCAL morph.applying = 'on'")
        query = "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum = 3"
        ((value,),) = bed.root.execute(query, (shadow,)).fetchall()
        bed.root.execute(f"UPDATE {shadow} SET {value} = 1 WHERE {value} IN (-7, -800)")
    seen: list[Discrepancy] = []
    place = None
    parts = 0
    while parts == 0 or place is not None:
        part = await looks.look(
            bed.layouts._sessions.connect, bed.work, bed.work.tables[0], verify, place
        )
        seen += part.found
        place = part.place
        parts += 1
    assert parts == 10
    assert part.snapshot
    assert sorted(d.record_id for d in seen) == ["(k0, 7)", "(k2, 800)"]
    monkeypatch.setattr(store, "_LOOK_PART", 1e9)
    bed.layouts.look_with(verify)
    told = [await bed.layouts.catch_up(bed.work) for _ in range(10)]
    assert sorted(d.record_id for p in told for d in p.differing) == ["(k0, 7)", "(k2, 800)"]


async def test_a_look_that_is_cut_off_says_so(bed: Bed) -> None:
    """The deadline of a step is a TimeoutError, wherever the look is; nothing is left open."""
    await written_since(bed)
    for seconds in (0.0, 0.005, 0.02, 0.05):
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await looks.look(
                    bed.layouts._sessions.connect, bed.work, bed.work.tables[0], verify, None
                )
    assert (await bed.through()).done
