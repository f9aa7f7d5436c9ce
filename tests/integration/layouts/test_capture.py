"""Every write that commits is in the log, however it is written (EVOLUTION 3, invariant I1)."""

from __future__ import annotations

import psycopg
import pytest

from core.errors import ObjectNotInPrerequisiteState
from evolution.layouts.embedded.reader import START
from tests.integration.fresh_catalog import empty_catalog
from tests.integration.layouts.bed import Bed, read


async def begun(bed: Bed, columns: str = "id int PRIMARY KEY, x text") -> str:
    bed.make("captured", columns)
    await bed.begin("captured")
    return f"c{bed.work.tables[0].table_id + 1}"


async def test_insert_update_delete(bed: Bed) -> None:
    key = await begun(bed)
    bed.ddl("INSERT INTO captured VALUES (1, 'a'), (2, 'b')")
    bed.ddl("UPDATE captured SET x = 'c' WHERE id = 2")
    bed.ddl("DELETE FROM captured WHERE id = 1")
    found = bed.log(f"op, {key}")
    assert found == [("p", 1), ("p", 2), ("p", 2), ("d", 1)]
    positions = [row[0] for row in bed.log("lsn")]
    assert positions == sorted(set(positions))
    assert all(p % 2 == 0 and 2**50 < p < 2**53 for p in positions)


async def test_an_image_is_the_row_and_touched_what_changed(bed: Bed) -> None:
    key = await begun(bed, "id int PRIMARY KEY DEFERRABLE, x text, n numeric")
    bed.ddl("INSERT INTO captured VALUES (1, 'a', 1.50)")
    bed.ddl("UPDATE captured SET n = 1.5")
    number = int(key[1:])
    first, second = bed.log("image::text, touched")
    assert first == (f'{{"c{number}": 1, "c{number + 1}": "a", "c{number + 2}": 1.50}}', None)
    assert second[1] == [number + 2], "1.50 and 1.5 are equal, and not the same"


async def test_statements_of_many_rows_make_runs(bed: Bed) -> None:
    """A run has up to 256 records; each has a position of its own, and what one row would have."""
    key = await begun(bed, "id int PRIMARY KEY DEFERRABLE, x text, n numeric")
    number = int(key[1:])
    bed.ddl("INSERT INTO captured SELECT g, 'x' || g, g / 2.0 FROM generate_series(1, 1000) g")
    bed.ddl("UPDATE captured SET x = CASE WHEN id % 2 = 0 THEN x ELSE 'y' END, n = n WHERE id > 9")
    bed.ddl("UPDATE captured SET id = id + 5 WHERE id > 980")
    bed.ddl("DELETE FROM captured WHERE id < 100")
    found = bed.log(f"op, {key}, lsn, image ->> 'c{number + 1}', touched::text")
    assert [r[:2] for r in found[:1000]] == [("p", n) for n in range(1, 1001)]
    assert [r[3] for r in found[:1000]] == [f"x{n}" for n in range(1, 1001)]
    changed = {r[1]: r[3:] for r in found[1000:1991]}
    assert changed[10] == ("x10", "[]")
    assert changed[11] == ("y", f"[{number + 1}]")
    moved = found[1991:2016]
    assert sorted(r[1] for r in moved if r[0] == "d") == [981, 982, 983, 984, 985]
    assert sorted(r[1] for r in moved if r[0] == "p") == list(range(986, 1006))
    assert sorted(r[:2] for r in found[2016:]) == [("d", n) for n in range(1, 100)]
    positions = [r[2] for r in found]
    assert positions == sorted(set(positions))
    runs = bed.root.execute(f'SELECT rows FROM morph_log."t{number - 1}" ORDER BY lsn').fetchall()
    assert [r[0] for r in runs[:4]] == [256, 256, 256, 232]


async def test_a_run_of_large_values_ends_early(bed: Bed) -> None:
    """No image comes near the 1 GB that a value may have."""
    key = await begun(bed)
    table = bed.work.tables[0].live
    bed.root.execute(
        f'ALTER TABLE morph_store."{table}" ALTER COLUMN c{int(key[1:]) + 1} SET STORAGE EXTERNAL'
    )
    bed.ddl("INSERT INTO captured SELECT g, repeat('ä', 50000) FROM generate_series(1, 10) g")
    runs = bed.root.execute(
        f'SELECT rows, length(image::text) FROM morph_log."t{int(key[1:]) - 1}" ORDER BY lsn'
    ).fetchall()
    assert sum(rows for rows, _ in runs) == 10
    assert len(runs) >= 4
    assert max(length for _, length in runs) < 200_000


async def test_wide_tables_have_whole_images(bed: Bed) -> None:
    """A function of PostgreSQL takes 100 arguments, a table has up to 1,600 columns."""
    names = [f"v{n}" for n in range(120)]
    key = await begun(bed, f"id int PRIMARY KEY, {', '.join(f'{n} int' for n in names)}")
    values = ", ".join(str(n) for n in range(120))
    bed.ddl(
        f"INSERT INTO captured (id, {', '.join(names)}) SELECT g, {values} "
        "FROM generate_series(1, 9) g"
    )
    batches, _ = await read(bed, START)
    images = [record.image for record in batches[0].records]
    number = int(key[1:])
    assert len(images) == 9
    assert images[8] == {number: 9} | {number + 1 + n: n for n in range(120)}


async def test_copy_merge_and_on_conflict(bed: Bed) -> None:
    key = await begun(bed)
    with bed.client.cursor() as cursor, cursor.copy("COPY captured FROM STDIN") as copy:
        copy.write("1\ta\n2\tb\n")
    bed.ddl("INSERT INTO captured VALUES (2, 'z'), (3, 'c') ON CONFLICT (id) DO UPDATE SET x = 'u'")
    bed.ddl(
        "MERGE INTO captured c USING (VALUES (1), (4)) v (id) ON c.id = v.id "
        "WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN INSERT VALUES (v.id, 'm')"
    )
    found = bed.log(f"op, {key}")
    assert found[:2] == [("p", 1), ("p", 2)]
    assert sorted(found[2:]) == [("d", 1), ("p", 2), ("p", 3), ("p", 4)]


async def test_truncate_and_a_changed_key(bed: Bed) -> None:
    key = await begun(bed)
    bed.ddl("INSERT INTO captured VALUES (1, 'a')")
    bed.ddl("UPDATE captured SET id = 7")
    bed.ddl("TRUNCATE captured")
    put, *changed, emptied = bed.log(f"op, {key}")
    assert (put, sorted(changed), emptied) == (("p", 1), [("d", 1), ("p", 7)], ("t", None))


async def test_cascades(bed: Bed) -> None:
    bed.make("captured_parent", "id int PRIMARY KEY")
    bed.make(
        "captured_child",
        "id int PRIMARY KEY, p int REFERENCES captured_parent ON UPDATE CASCADE ON DELETE CASCADE",
    )
    bed.ddl("INSERT INTO captured_parent VALUES (1), (2)")
    bed.ddl("INSERT INTO captured_child VALUES (10, 1), (20, 2)")
    await bed.begin("captured_child")
    bed.ddl("UPDATE captured_parent SET id = 5 WHERE id = 1")
    bed.ddl("DELETE FROM captured_parent WHERE id = 2")
    key = f"c{bed.work.tables[0].table_id + 1}"
    assert bed.log(f"op, {key}") == [("p", 10), ("d", 20)]


async def test_what_is_rolled_back_is_not_in_the_log(bed: Bed) -> None:
    key = await begun(bed)
    with bed.client.transaction(force_rollback=True):
        bed.ddl("INSERT INTO captured VALUES (1, 'a')")
    with bed.client.transaction():
        bed.ddl("INSERT INTO captured VALUES (2, 'b')")
        with bed.client.transaction(force_rollback=True):
            bed.ddl("INSERT INTO captured VALUES (3, 'c')")
        with bed.client.transaction():
            bed.ddl("INSERT INTO captured VALUES (4, 'd')")
    assert bed.log(f"op, {key}") == [("p", 2), ("p", 4)]
    assert len(set(bed.log("xid::text"))) == 1, "savepoints are of one transaction"


async def test_a_failed_statement_leaves_nothing(bed: Bed) -> None:
    await begun(bed)
    with pytest.raises(psycopg.errors.UniqueViolation):
        bed.ddl("INSERT INTO captured VALUES (1, 'a'), (1, 'b')")
    assert bed.log("op") == []


async def test_values_of_a_clients_types_run_none_of_its_code(bed: Bed) -> None:
    """Invariant 9: a cast to json of a client is not called with the control plane's rights."""
    bed.ddl("CREATE TYPE public.captured_pair AS (a int, b int)")
    try:
        bed.ddl(
            "CREATE FUNCTION public.captured_spy(public.captured_pair) RETURNS json LANGUAGE sql "
            "AS $$ SELECT to_json(current_user::text) $$"
        )
        bed.ddl(
            "CREATE CAST (public.captured_pair AS json) "
            "WITH FUNCTION public.captured_spy(public.captured_pair)"
        )
        key = await begun(bed, "id int PRIMARY KEY, x public.captured_pair")
        bed.ddl("INSERT INTO captured VALUES (1, (2, 3)), (2, NULL)")
        name = f"c{int(key[1:]) + 1}"
        assert bed.log(f"image ->> '{name}'") == [("(2,3)",), (None,)]
    finally:
        await bed.layouts.discard(bed.work)
        empty_catalog(bed.server)
        bed.root.execute("DROP TYPE public.captured_pair CASCADE")


async def test_a_table_without_a_key_is_refused(bed: Bed) -> None:
    bed.make("captured", "x text")
    await bed.aim("captured")
    with pytest.raises(ObjectNotInPrerequisiteState, match="has no primary key") as caught:
        await bed.layouts.begin(bed.work)
    assert caught.value.sqlstate == "55000"
    assert "ADD PRIMARY KEY" in caught.value.hint


async def test_discard_leaves_no_trace(bed: Bed) -> None:
    """Invariant I11."""
    await begun(bed)
    live = bed.work.tables[0].live
    await bed.layouts.discard(bed.work)
    left = bed.root.execute(
        "SELECT (SELECT count(*) FROM pg_trigger WHERE tgrelid = %s::regclass), "
        "(SELECT count(*) FROM pg_class WHERE relname ~ %s), "
        "(SELECT count(*) FROM pg_proc WHERE proname ~ %s)",
        (f"morph_store.{live}", f"^{live}(s|_lsn|_xid)", f"^{live}_(insert|update|delete|trunc)"),
    ).fetchone()
    assert left == (0, 0, 0)
    bed.ddl("INSERT INTO captured VALUES (1, 'a')")
    await bed.layouts.discard(bed.work)
