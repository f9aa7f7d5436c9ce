"""What a discarded change does not do, as it is documented (issue 5).
A test here that fails is good news: then the page is wrong.
"""

from __future__ import annotations

from tests.integration.layouts.bed import Bed


async def test_a_discarded_version_stays_readable_and_its_column_empty(bed: Bed) -> None:
    """No row is touched: the columns that its lens added to the live table are NULL, and stay."""
    bed.make("price", "id int PRIMARY KEY, x text")
    bed.ddl("INSERT INTO price VALUES (1, '1'), (2, '2')")
    live = (await bed.aim("price")).tables[0].live
    names = _columns(bed, live)
    before = bed.rows(live, f"{names}, ctid, xmin")
    bed.ddl("SET morph.ddl_mode = virtual")
    bed.ddl("ALTER TABLE price ALTER COLUMN x TYPE int USING x::int")
    added = _columns(bed, live).removeprefix(f"{names}, ")
    await bed.begin("price")
    await bed.copy()
    await bed.layouts.discard(bed.work)
    assert bed.rows(live, f"{names}, ctid, xmin") == before
    assert _columns(bed, live) == f"{names}, {added}"
    kept = bed.rows(live, f"to_jsonb((SELECT r FROM (SELECT {added}) r)) - '_l'")
    assert {value for (row,) in kept for value in row.values()} == {None}
    assert bed.client.execute("SELECT x FROM v2.price ORDER BY id").fetchall() == [(1,), (2,)]
    assert bed.client.execute("SELECT x FROM v1.price ORDER BY id").fetchall() == [("1",), ("2",)]


def _columns(bed: Bed, table: str) -> str:
    return str(
        bed.root.execute(
            "SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) FROM pg_attribute "
            "WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped",
            (f'morph_store."{table}"',),
        ).fetchall()[0][0]
    )
