"""R4.5: a scrub finds each row and column on which two layouts differ, and nothing else."""

from __future__ import annotations

import asyncpg
import pytest

from evolution.layouts.base import Discrepancy
from evolution.validation.report import Report
from private_pg.cluster import Cluster
from tests.validation.bed import Bed, select

COLUMNS = [
    ("id", "integer", "t.id"),
    ("name", "text", "t.name"),
    ("price", "numeric(10,2)", "t.price"),
    ("ratio", "double precision", "t.ratio"),
    ("at", "timestamp with time zone", "t.at"),
    ("doc", "jsonb", "t.doc"),
    ("raw", "bytea", "t.raw"),
]
MAKE = """
CREATE TABLE morph_store.{0} (id int, name text, price numeric(10,2), ratio float8, at timestamptz,
  doc jsonb, raw bytea, _l bigint NOT NULL DEFAULT 2);
CREATE INDEX ON morph_store.{0} (id);
INSERT INTO morph_store.{0} SELECT n, CASE WHEN n % 11 = 0 THEN NULL ELSE E'a\\t\\\\b\\n' || n END,
  n * 1.25, n / 7.0, '2024-03-31 00:59:59.5+00'::timestamptz + n * interval '1 hour',
  jsonb_build_object('n', n, 'a', jsonb_build_array(1.50, NULL)), int4send(n)
  FROM generate_series(1, {1}) n;
ALTER TABLE morph_store.{0} OWNER TO morph_owner;
"""


async def make(root: asyncpg.Connection, rows: int = 500) -> None:
    await root.execute(MAKE.format("live", rows) + MAKE.format("shadow", rows))


def bed(cluster: Cluster, **more: str) -> Bed:
    more = {"lsn": "t._l", **more}
    return Bed(cluster, select("live", COLUMNS, **more), select("shadow", COLUMNS, **more))


def details(report: Report) -> list[Discrepancy]:
    return [found.discrepancy for found in report.findings.details]


async def test_equal_tables_are_equal(
    validation_cluster: Cluster, root: asyncpg.Connection
) -> None:
    await make(root)
    report = await bed(validation_cluster).scrub()
    assert (report.state, report.verdict, report.rows_compared) == ("done", "equal", 500)
    assert (report.from_key, report.to_key) == ("1", "500")
    assert not report.findings.counts


async def test_empty_tables_are_equal(
    validation_cluster: Cluster, root: asyncpg.Connection
) -> None:
    await make(root, 0)
    report = await bed(validation_cluster).scrub()
    assert (report.verdict, report.rows_compared, report.to_key) == ("equal", 0, "")


@pytest.mark.parametrize(
    ("change", "category", "record", "column", "message"),
    [
        ("DELETE FROM {} WHERE id = 77", "MISSING_IN_SHADOW", "77", "", "the row is not"),
        ("DELETE FROM {} WHERE id = 500", "MISSING_IN_SHADOW", "500", "", "the row is not"),
        ("INSERT INTO {} (id) VALUES (0)", "EXTRA_IN_SHADOW", "0", "", "the row is not"),
        ("INSERT INTO {} (id) VALUES (501)", "EXTRA_IN_SHADOW", "501", "", "the row is not"),
        ("INSERT INTO {0} SELECT * FROM {0} WHERE id = 9", "EXTRA_IN_SHADOW", "9", "", "or there"),
        ("UPDATE {} SET id = -4 WHERE id = 4", "EXTRA_IN_SHADOW", "-4", "", "the row is not"),
        ("UPDATE {} SET name = NULL WHERE id = 5", "VALUE_MISMATCH", "5", "name", "NULL in"),
        ("UPDATE {} SET name = '' WHERE id = 11", "VALUE_MISMATCH", "11", "name", "NULL in"),
        ("UPDATE {} SET name = left(name, 3) WHERE id = 5", "VALUE_MISMATCH", "5", "name", "cut"),
        ("UPDATE {} SET name = upper(name) WHERE id = 5", "VALUE_MISMATCH", "5", "name", "case"),
        (
            "UPDATE {} SET price = round(price) WHERE id = 5",
            "PRECISION_LOSS",
            "5",
            "price",
            "0 dig",
        ),
        ("UPDATE {} SET price = price + 1 WHERE id = 5", "VALUE_MISMATCH", "5", "price", "numbers"),
        ("UPDATE {} SET price = -price WHERE id = 5", "VALUE_MISMATCH", "5", "price", "sign"),
        (
            "UPDATE {} SET ratio = ratio::float4 WHERE id = 5",
            "PRECISION_LOSS",
            "5",
            "ratio",
            "single",
        ),
        ("UPDATE {} SET ratio = 'NaN' WHERE id = 5", "VALUE_MISMATCH", "5", "ratio", "numbers"),
        (
            "UPDATE {} SET at = at + '2h'::interval WHERE id = 5",
            "VALUE_MISMATCH",
            "5",
            "at",
            "120 min",
        ),
        (
            "UPDATE {} SET at = date_trunc('day', at) WHERE id = 5",
            "PRECISION_LOSS",
            "5",
            "at",
            "days",
        ),
        (
            "UPDATE {} SET doc = doc - 'n' WHERE id = 5",
            "VALUE_MISMATCH",
            "5",
            "doc",
            "values differ",
        ),
        ("UPDATE {} SET raw = raw || '\\x00' WHERE id = 5", "VALUE_MISMATCH", "5", "raw", "values"),
    ],
)
@pytest.mark.parametrize("method", ["checksum", "full"])
async def test_a_difference_is_located(
    validation_cluster: Cluster,
    root: asyncpg.Connection,
    change: str,
    category: str,
    record: str,
    column: str,
    message: str,
    method: str,
) -> None:
    await make(root)
    await root.execute(change.format("morph_store.shadow"))
    report = await bed(validation_cluster).scrub(method)  # type: ignore[arg-type]
    assert report.verdict == "different"
    found = next(d for d in details(report) if d.record_id == record)
    assert (found.type, found.column, found.table_id) == (category, column, 5)
    assert message in found.message
    assert len(details(report)) == (2 if "id = -4" in change else 1)
    assert bool(found.primary_value_hash) == bool(column)
    assert found.primary_value_hash != found.shadow_value_hash or not column


@pytest.mark.parametrize(
    "change",
    [
        'UPDATE {} SET doc = \'{{"a": [1.5, null], "n": 5.0}}\' WHERE id = 5',
        "UPDATE {} SET _l = 4 WHERE id = 5",
    ],
)
async def test_the_same_value_in_another_text_is_no_difference(
    validation_cluster: Cluster, root: asyncpg.Connection, change: str
) -> None:
    await make(root)
    await root.execute(change.format("morph_store.shadow"))
    report = await bed(validation_cluster).scrub()
    assert (report.verdict, details(report)) == ("equal", [])


async def test_minus_zero_is_apart_from_zero(
    validation_cluster: Cluster, root: asyncpg.Connection
) -> None:
    await make(root)
    await root.execute(
        "UPDATE morph_store.live SET ratio = 0 WHERE id = 5;"
        "UPDATE morph_store.shadow SET ratio = '-0' WHERE id = 5"
    )
    report = await bed(validation_cluster).scrub()
    assert [(d.type, d.column) for d in details(report)] == [("VALUE_MISMATCH", "ratio")]


async def test_swapped_columns_are_two_findings(
    validation_cluster: Cluster, root: asyncpg.Connection
) -> None:
    await make(root)
    swapped = [*COLUMNS]
    swapped[2] = ("price", "numeric(10,2)", "t.ratio::numeric(10,2)")
    swapped[3] = ("ratio", "double precision", "t.price::float8")
    both = bed(validation_cluster)
    both.shadow = select("shadow", swapped, lsn="t._l")
    report = await both.scrub()
    assert {d.column for d in details(report)} == {"price", "ratio"}
    assert report.findings.total == 1000 == len(details(report))


async def test_columns_of_other_types_are_told_once(
    validation_cluster: Cluster, root: asyncpg.Connection
) -> None:
    await make(root)
    other = [*COLUMNS]
    other[2] = ("price", "numeric(8,2)", "t.price::numeric(8,2)")
    both = bed(validation_cluster)
    both.shadow = select("shadow", other, lsn="t._l")
    report = await both.scrub(chunk_s=0.0001)
    assert [(d.type, d.column) for d in details(report)] == [("TYPE_MISMATCH", "price")]
    both.shadow = select("shadow", COLUMNS[:-1], lsn="t._l")
    report = await both.scrub()
    assert [d.type for d in details(report)] == ["TYPE_MISMATCH"]
    assert report.verdict == "different"


async def test_details_stop_and_counts_go_on(
    validation_cluster: Cluster, root: asyncpg.Connection
) -> None:
    await make(root)
    await root.execute("UPDATE morph_store.shadow SET price = price + 1, name = 'x'")
    report = Report(1, 5, 7, "checksum")
    report.findings.details_max = 30
    await bed(validation_cluster).scrub(report=report)
    assert report.findings.counts == {"VALUE_MISMATCH": 1000}
    assert len(report.findings.details) == 30


@pytest.mark.parametrize("bytes_max", [1, 3_000, 40_000])
async def test_memory_is_bounded_whatever_is_in_the_way(
    validation_cluster: Cluster, root: asyncpg.Connection, bytes_max: int
) -> None:
    """Chunks end at the limit of bytes, wherever missing and extra rows lie."""
    await make(root)
    await root.execute(
        "DELETE FROM morph_store.shadow WHERE id BETWEEN 100 AND 180 OR id > 490;"
        "DELETE FROM morph_store.live WHERE id BETWEEN 220 AND 400;"
        "UPDATE morph_store.shadow SET name = repeat('long', 1000) WHERE id = 50"
    )
    both = bed(validation_cluster)
    both.bytes_max = bytes_max
    report = await both.scrub(chunk_s=30)
    assert report.findings.counts == {
        "MISSING_IN_SHADOW": 91, "EXTRA_IN_SHADOW": 181, "VALUE_MISMATCH": 1,
    }  # fmt: skip


async def test_a_run_that_was_cut_off_goes_on(
    validation_cluster: Cluster, root: asyncpg.Connection
) -> None:
    await make(root)
    await root.execute("DELETE FROM morph_store.shadow WHERE id IN (3, 400)")
    first = Report(1, 5, 7, "checksum", from_key="1", cursor=b"250", rows_compared=250)
    report = await bed(validation_cluster).scrub(report=first)
    assert [d.record_id for d in details(report)] == ["400"]
    assert (report.rows_compared, report.from_key, report.to_key) == (500, "1", "500")


async def test_a_bound_leaves_the_rest_out(
    validation_cluster: Cluster, root: asyncpg.Connection
) -> None:
    await make(root)
    await root.execute("DELETE FROM morph_store.shadow WHERE id > 300")
    report = await bed(validation_cluster, condition="t.id <= 300").scrub()
    assert (report.verdict, report.rows_compared) == ("equal", 300)


async def test_rows_in_flight_are_left_out_and_looked_at_again(
    validation_cluster: Cluster, root: asyncpg.Connection
) -> None:
    await make(root)
    await root.execute(
        "CREATE TABLE morph_store.log (id int); ALTER TABLE morph_store.log OWNER TO morph_owner;"
        "INSERT INTO morph_store.log VALUES (7), (8), (8), (501);"
        "UPDATE morph_store.live SET name = 'new' WHERE id = 7; "
        "DELETE FROM morph_store.live WHERE id = 8; "
        "INSERT INTO morph_store.live (id) VALUES (501)"
    )
    both = bed(validation_cluster, pending="SELECT id FROM morph_store.log")
    report = await both.scrub()
    assert report.findings.counts == {"STALE": 3}
    assert report.verdict == "equal"
    await root.execute("DELETE FROM morph_store.log WHERE id <> 7")
    report = await both.scrub()
    assert report.findings.counts == {"STALE": 1, "MISSING_IN_SHADOW": 1, "EXTRA_IN_SHADOW": 1}


async def test_a_row_that_up_fails_on_is_told_and_the_rest_compared(
    validation_cluster: Cluster, root: asyncpg.Connection
) -> None:
    await make(root)
    await root.execute(
        "UPDATE morph_store.live SET price = 0 WHERE id IN (1, 250, 251, 500);"
        "UPDATE morph_store.shadow SET price = 0 WHERE id = 77"
    )
    inverse = [*COLUMNS]
    inverse[2] = ("price", "numeric", "1 / t.price")
    both = bed(validation_cluster)
    both.live = select("live", inverse, lsn="t._l")
    both.shadow = select("shadow", inverse, lsn="t._l")
    report = await both.scrub()
    found = sorted((d.type, int(d.record_id)) for d in details(report))
    assert found == [
        ("COERCION_ERROR", 1), ("COERCION_ERROR", 250), ("COERCION_ERROR", 251),
        ("COERCION_ERROR", 500), ("DECODE_ERROR", 77),
    ]  # fmt: skip
    assert details(report)[0].message == "22012: division by zero"
    assert report.rows_compared == 496


async def test_too_many_unreadable_rows_end_the_run(
    validation_cluster: Cluster, root: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("evolution.validation.scrub.UNREADABLE_MAX", 3)
    await make(root)
    both = bed(validation_cluster)
    never = [*COLUMNS[:2], ("price", "numeric", "t.price / (t.id - t.id)"), *COLUMNS[3:]]
    both.live = select("live", never, lsn="t._l")
    both.shadow = select("shadow", [*COLUMNS[:2], ("price", "numeric", "t.price"), *COLUMNS[3:]])
    report = await both.scrub()
    assert (report.state, report.verdict) == ("failed", "different")
    assert report.findings.counts == {"COERCION_ERROR": 3}
    assert report.message == "3 rows cannot be read"


async def test_keys_of_two_columns_and_of_bytes(
    validation_cluster: Cluster, root: asyncpg.Connection
) -> None:
    await root.execute(
        'CREATE TABLE morph_store.live (a text COLLATE "C", b bytea, v int, PRIMARY KEY (a, b));'
        "INSERT INTO morph_store.live SELECT E'k\\t''\\\\' || n % 5, int4send(n), n "
        "FROM generate_series(1, 300) n;"
        "CREATE TABLE morph_store.shadow (LIKE morph_store.live INCLUDING ALL);"
        "INSERT INTO morph_store.shadow SELECT * FROM morph_store.live;"
        "DELETE FROM morph_store.shadow WHERE v = 10; UPDATE morph_store.shadow SET v = 0 "
        "WHERE v = 299; ALTER TABLE morph_store.live OWNER TO morph_owner; "
        "ALTER TABLE morph_store.shadow OWNER TO morph_owner"
    )
    columns = [("a", "text", "t.a"), ("b", "bytea", "t.b"), ("v", "integer", "t.v")]
    both = Bed(validation_cluster, select("live", columns, 2), select("shadow", columns, 2))
    both.bytes_max = 500
    report = await both.scrub()
    assert [(d.type, d.record_id) for d in details(report)] == [
        ("MISSING_IN_SHADOW", "(k\t'\\0, \\x0000000a)"),
        ("VALUE_MISMATCH", "(k\t'\\4, \\x0000012b)"),
    ]
