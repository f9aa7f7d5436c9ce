"""Versions over collections: virtual, renamed and dropped columns, read and written through the old
version and the new one (R2, issue 4.1). PostgreSQL's own generated columns are the judge.
"""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from tests.services.clients import Shop

pytestmark = [pytest.mark.services, pytest.mark.timeout(300)]
TABLE = """CREATE FOREIGN TABLE people (
  id bigint OPTIONS (path '_id'), name text, qty bigint, city text OPTIONS (path 'addr.city')
) SERVER s OPTIONS (collection 'people', key 'id')"""
GENERATED = {
    "doubled": "people.qty * 2",
    "score": "morph.hash_int(name, 0, 9) -- of the name",
    "label": "coalesce(name, '?') || ':' || doubled",
}
TYPES = {"doubled": "bigint", "score": "int", "label": "text"}


def fill(shop: Shop) -> None:
    """Twelve people."""
    shop.documents.people.insert_many(
        {
            "_id": n,
            "name": f"n{n}",
            **({} if n == 5 else {"qty": n % 4}),
            **({"addr": {"city": ("Rome", "Oslo")[n % 2]}} if n % 3 else {}),
        }
        for n in range(1, 13)
    )


@pytest.fixture
def virtual(shop: Shop) -> Shop:
    """The session sees a version with virtual columns; `judge` is a table of PostgreSQL's with the
    same rows and columns.
    """
    fill(shop)
    shop.run(TABLE)
    for name, expression in GENERATED.items():
        shop.run(
            f"ALTER FOREIGN TABLE people ADD COLUMN {name} {TYPES[name]} "
            f"GENERATED ALWAYS AS ({expression}\n) VIRTUAL"
        )
    shop.run("SET search_path = v4")
    make_judge(shop)
    return shop


def make_judge(shop: Shop) -> None:
    """The same rows as the store's, with PostgreSQL's stored generated columns."""
    inlined = {
        "doubled": "qty * 2",
        "score": GENERATED["score"],
        "label": "coalesce(name, '?') || ':' || (qty * 2)",
    }
    columns = ", ".join(
        f"{name} {TYPES[name]} GENERATED ALWAYS AS ({expression}\n) STORED"
        for name, expression in inlined.items()
    )
    shop.run(
        "DROP TABLE IF EXISTS pg_temp.judge",
        "CREATE TEMP TABLE judge (id bigint PRIMARY KEY, name text, "
        f"qty bigint, city text, {columns})",
        "INSERT INTO judge SELECT id, name, qty, city FROM people",
    )


READS = (
    "SELECT * FROM {t} ORDER BY id",
    "SELECT label FROM {t} ORDER BY id LIMIT 3 OFFSET 1",
    "SELECT doubled FROM {t} ORDER BY doubled DESC NULLS LAST, id LIMIT 4",
    "SELECT id, label FROM {t} AS p WHERE p.doubled > 2 AND qty > 1 ORDER BY 1",
    "SELECT name FROM {t} WHERE label = 'n3:6' OR label IS NULL ORDER BY name",
    "SELECT doubled, count(*), max(label) FROM {t} GROUP BY doubled ORDER BY 1",
    "SELECT count(score), sum(doubled), min(label) FROM {t} WHERE qty < 3",
    "SELECT a.label, b.id FROM {t} a JOIN {t} b ON a.doubled = b.doubled AND a.id < b.id "
    "ORDER BY 1, 2",
    "SELECT a.id, b.label FROM {t} a LEFT JOIN {t} b ON b.id = a.doubled ORDER BY 1",
    "SELECT x.* FROM (TABLE {t}) x WHERE x.score % 2 = 0 ORDER BY id",
    "SELECT row_to_json(p) FROM {t} p ORDER BY id",
    "SELECT id FROM {t} WHERE EXISTS (SELECT 1 FROM {t} o WHERE o.doubled = {t}.id) ORDER BY 1",
    "WITH w AS (SELECT *, rank() OVER (ORDER BY score, id) r FROM {t}) "
    "SELECT r, label FROM w ORDER BY r",
    "SELECT DISTINCT doubled FROM {t} ORDER BY 1",
    "SELECT id FROM {t} WHERE qty = 1 ORDER BY id",
)


# Virtual columns are computed over what was fetched, whatever the store was asked for
@pytest.mark.parametrize("mode", ["on", "scan", "off"])
def test_virtual_columns_read(virtual: Shop, mode: str) -> None:
    virtual.run(f"SET morph.pushdown = {mode}")
    for text in READS:
        assert virtual.rows(text.format(t="people")) == virtual.rows(text.format(t="judge")), text
    with (
        virtual.client.cursor() as cursor,
        cursor.copy("COPY people (id, label) TO STDOUT") as copy,
    ):
        assert sorted(copy.rows())[:2] == [("1", "n1:2"), ("10", "n10:4")]


def test_virtual_columns_with_parameters(virtual: Shop) -> None:
    found = virtual.client.execute(
        "SELECT label FROM people WHERE doubled = %s AND qty < %s ORDER BY id", (4, 3), binary=True
    )
    assert found.fetchall() == [("n2:4",), ("n6:4",), ("n10:4",)]


WRITES = (
    "INSERT INTO {t} (id, name, qty) VALUES (20, 'new', 7), (21, NULL, NULL) RETURNING *",
    "INSERT INTO {t} (id, doubled) VALUES (22, 1)",
    "INSERT INTO {t} (id, qty, doubled) VALUES (22, 1, DEFAULT) RETURNING label",
    "INSERT INTO {t} (id, name) VALUES (3, 'up') ON CONFLICT (id) DO UPDATE "
    "SET name = excluded.name || {t}.doubled RETURNING label",
    "UPDATE {t} SET qty = doubled + 1 WHERE doubled > 2 RETURNING id, qty, doubled, label",
    "UPDATE {t} SET doubled = 1",
    "UPDATE {t} AS p SET name = o.label FROM {t} o WHERE o.id = p.id - 1 AND p.score < 5 "
    "RETURNING p.label",
    "DELETE FROM {t} WHERE label LIKE 'n4:%' RETURNING *",
    "MERGE INTO {t} p USING (VALUES (2::bigint), (40)) v(k) ON p.id = v.k WHEN MATCHED THEN "
    "UPDATE SET qty = p.doubled WHEN NOT MATCHED THEN INSERT (id, qty) VALUES (v.k, 5) "
    "RETURNING merge_action(), p.id, p.doubled",
    "WITH made AS (INSERT INTO {t} (id, qty) VALUES (50, 2) RETURNING *) SELECT doubled FROM made",
)


def answer(shop: Shop, text: str) -> Any:
    """The rows in an order of their own, or the error."""
    try:
        found = shop.client.execute(text.encode())
        return sorted(found.fetchall(), key=repr) if found.description else found.statusmessage
    except psycopg.Error as error:
        return error.sqlstate, error.diag.message_primary, error.diag.message_detail


def test_writes_beside_virtual_columns(virtual: Shop) -> None:
    for text in WRITES:
        theirs, ours = (answer(virtual, text.format(t=name)) for name in ("judge", "people"))
        assert ours == theirs, text
        whole = "SELECT * FROM {t} ORDER BY id"
        assert virtual.rows(whole.format(t="people")) == virtual.rows(whole.format(t="judge"))
    with virtual.client.cursor() as cursor, cursor.copy("COPY people FROM STDIN") as copy:
        copy.write("60\tcopied\t8\tBern\n")
    assert virtual.rows("SELECT label, city FROM people WHERE id = 60") == [("copied:16", "Bern")]
    assert virtual.documents.people.find_one({"_id": 60}) == {
        "_id": 60,
        "name": "copied",
        "qty": 8,
        "addr": {"city": "Bern"},
    }


def test_explain_shows_virtual_columns(virtual: Shop) -> None:
    lines = virtual.rows("EXPLAIN (VERBOSE) SELECT label FROM people WHERE doubled = 2 AND qty = 1")
    told = "\n".join(line for (line,) in lines)
    assert "Virtual Column: people.label = coalesce(name, '?') || ':' || doubled" in told
    assert "Reason: doubled is a virtual column" in told
    assert 'Pushed: ("qty" = 1)' in told
    assert '{"name": 1, "qty": 1, "_id": 0}' in told


def test_what_a_virtual_column_cannot_be(shop: Shop) -> None:
    fill(shop)
    shop.run(TABLE)

    def refused(column: str) -> tuple[Any, ...]:
        found: tuple[Any, ...] = answer(shop, f"ALTER FOREIGN TABLE people ADD COLUMN {column}")
        return found[:2]

    assert refused("x timestamptz GENERATED ALWAYS AS (now()) VIRTUAL")[0] == "42P17"
    assert refused("x int GENERATED ALWAYS AS (nothing) VIRTUAL")[0] == "42703"
    assert refused("x int GENERATED ALWAYS AS (qty) STORED")[0] == "0A000"
    assert refused("x int CHECK (x > 0)")[0] == "0A000"
    assert refused(
        "x text GENERATED ALWAYS AS (morph.lookup('people', 'name', 'id', qty)) VIRTUAL"
    ) == ("0A000", "morph.lookup in a virtual column of a foreign table is not supported")


def told(shop: Shop) -> list[tuple[str, str]]:
    """What the catalogs say of the columns of version 4."""
    return shop.rows(
        "SELECT attname, attgenerated::text FROM pg_attribute "
        "WHERE attrelid = 'v4.people'::regclass AND attnum > 0 ORDER BY attnum"
    )


def test_catalogs_show_virtual_columns(virtual: Shop) -> None:
    assert told(virtual)[3:] == [("city", ""), ("doubled", "v"), ("score", "v"), ("label", "v")]


# What a virtual column reads can be renamed, and is not dropped from under it
def test_virtual_columns_follow_a_rename(virtual: Shop) -> None:
    virtual.run("ALTER FOREIGN TABLE people RENAME COLUMN qty TO amount")
    virtual.run("ALTER FOREIGN TABLE people RENAME COLUMN doubled TO twice")
    virtual.run("ALTER FOREIGN TABLE people RENAME TO persons")
    old = virtual.rows("SELECT * FROM v4.people ORDER BY id")
    assert virtual.rows("SELECT * FROM v7.persons ORDER BY id") == old
    text = "UPDATE v7.persons SET amount = twice WHERE id = 3 RETURNING amount, twice, label"
    assert virtual.rows(text) == [(6, 12, "n3:12")]
    assert virtual.rows("SELECT qty, doubled FROM v4.people WHERE id = 3") == [(6, 12)]
    drop = "ALTER FOREIGN TABLE v7.persons DROP COLUMN amount"
    assert answer(virtual, drop)[0] == "2BP01"
    virtual.run(f"{drop} CASCADE")
    assert virtual.rows("SELECT * FROM v8.persons WHERE id = 1")[0][:3] == (1, "n1", "Oslo")


@pytest.fixture
def versions(shop: Shop) -> Shop:
    """v1 as made; v2 calls qty amount; v3 has no city any more."""
    fill(shop)
    shop.run(
        TABLE,
        "ALTER FOREIGN TABLE people RENAME COLUMN qty TO amount",
        "ALTER FOREIGN TABLE people DROP COLUMN city",
    )
    return shop


@pytest.mark.parametrize("mode", ["on", "off"])
def test_renamed_and_dropped_columns_read(versions: Shop, mode: str) -> None:
    versions.run(f"SET morph.pushdown = {mode}")
    rows = versions.rows
    whole = rows("SELECT * FROM v1.people ORDER BY id")
    assert whole[4] == (5, "n5", None, "Oslo")
    assert rows("SELECT * FROM v2.people ORDER BY id") == whole
    assert rows("SELECT * FROM v3.people ORDER BY id") == [row[:3] for row in whole]
    for old, new in (
        ("SELECT id FROM v1.people WHERE qty = 2", "SELECT id FROM v2.people WHERE amount = 2"),
        (
            "SELECT qty, count(*) FROM v1.people GROUP BY qty ORDER BY 1",
            "SELECT amount, count(*) FROM v3.people GROUP BY amount ORDER BY 1",
        ),
        (
            "SELECT name FROM v1.people ORDER BY qty DESC, id LIMIT 3",
            "SELECT name FROM v2.people ORDER BY amount DESC, id LIMIT 3",
        ),
        (
            "SELECT a.id FROM v1.people a JOIN v1.people b ON a.qty = b.id ORDER BY 1",
            "SELECT a.id FROM v2.people a JOIN v1.people b ON a.amount = b.id ORDER BY 1",
        ),
    ):
        assert rows(old) == rows(new)
        assert rows(old)
    assert answer(versions, "SELECT qty FROM v2.people")[0] == "42703"
    assert answer(versions, "SELECT city FROM v3.people")[0] == "42703"


def test_writes_through_both_versions(versions: Shop) -> None:
    rows, people = versions.rows, versions.documents.people
    new = rows("INSERT INTO v3.people (id, name, amount) VALUES (20, 'x', 1) RETURNING *")
    assert new == [(20, "x", 1)]
    assert rows("SELECT * FROM v1.people WHERE id = 20") == [(20, "x", 1, None)]
    changed = rows("UPDATE v1.people SET qty = qty + 1, city = 'Bern' WHERE id = 20 RETURNING qty")
    assert changed == [(2,)]
    assert rows("UPDATE v2.people SET amount = amount * 5 WHERE amount = 2 AND id = 20 "
                "RETURNING amount, city") == [(10, "Bern")]  # fmt: skip
    assert people.find_one({"_id": 20}) == {
        "_id": 20,
        "name": "x",
        "qty": 10,
        "addr": {"city": "Bern"},
    }
    # A version that does not show a field leaves it as it is
    assert rows("UPDATE v3.people SET name = 'y' WHERE id = 20 RETURNING *") == [(20, "y", 10)]
    assert rows("SELECT city FROM v1.people WHERE id = 20") == [("Bern",)]
    text = "INSERT INTO v3.people VALUES (20, 'z', 3) ON CONFLICT (id) DO UPDATE SET amount = 99"
    versions.run(text)
    assert rows("DELETE FROM v3.people WHERE amount = 99 RETURNING id") == [(20,)]
    assert people.find_one({"_id": 20}) is None


def test_explain_names_the_stores_fields(versions: Shop) -> None:
    lines = versions.rows("EXPLAIN (VERBOSE) SELECT name FROM v3.people WHERE amount > 2")
    found = "\n".join(line for (line,) in lines)
    assert 'find({"qty": {"$gt": 2}}, {"name": 1, "qty": 1, "_id": 0})' in found
    assert 'Pushed: ("amount" > 2)' in found
    assert "Table: v3.people, version 3, instance s (mongodb)" in found


def test_promotion_and_rollback(versions: Shop) -> None:
    def columns() -> list[str]:
        found = versions.client.execute("SELECT * FROM people LIMIT 0").description
        return [each.name for each in found or ()]

    assert columns() == ["id", "name", "qty", "city"]
    versions.run("CALL morph.promote(3)")
    assert columns() == ["id", "name", "amount"]
    versions.run("UPDATE people SET amount = 70 WHERE id = 1", "CALL morph.rollback(3)")
    assert columns() == ["id", "name", "amount", "city"]
    assert versions.rows("SELECT amount, city FROM people WHERE id = 1") == [(70, "Oslo")]
    assert versions.rows("SELECT qty FROM v1.people WHERE id = 1") == [(70,)]
