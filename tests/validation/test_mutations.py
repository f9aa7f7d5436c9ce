"""R4.5, issue 5 (8d): a scrub finds every row that a wrong transform made wrong, and no other."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import asyncpg
import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from evolution.validation.report import Report
from private_pg.cluster import Cluster
from tests.validation.bed import Bed, connect, select
from tests.validation.mutations import MUTATIONS, RIGHT, Mutation

Rows = Sequence[tuple[int, Any]]
AT = datetime.fromisoformat("2024-07-01 20:05:06.123456")
TEXT = st.one_of(
    st.none(), st.sampled_from(["", " a ", "Ab", "é", "\t\\N\n", "a" * 30]),
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8),
)  # fmt: skip
ROW = st.tuples(
    TEXT,
    TEXT.map(lambda text: text and text[:40]),
    st.none() | st.decimals(-9999, 9999, places=4) | st.just(Decimal("2.125")),
    st.none() | st.integers(-(2**31), 2**31 - 1) | st.just(16777217),
    st.none() | st.floats(width=32) | st.sampled_from([0.1, -0.0, 0.0]),
    st.none() | st.timedeltas(timedelta(-40_000), timedelta(40_000)).map(lambda age: AT + age),
    st.none() | st.booleans(),
    st.none()
    | st.sampled_from(['{"a": 1, "b": [1.50]}', "null", '"a"', "[]", '{"a": {"a": 1e3}}']),
    st.none() | st.lists(TEXT, max_size=3),
    st.none() | st.binary(max_size=6),
    st.none() | st.uuids().map(lambda value: UUID(bytes=value.bytes)),
    st.none() | st.timedeltas(timedelta(-40), timedelta(40)),
)
ROWS = st.lists(st.tuples(st.integers(-60, 60), ROW), max_size=12, unique_by=lambda row: row[0])
INSERT = (
    "INSERT INTO morph_store.old VALUES "
    "($1, $2, $3, $4, $5, $6, $7, $8, $9::text::jsonb, $10, $11, $12, $13)"
)
SETUP = """
CREATE TABLE IF NOT EXISTS morph_store.old (id int PRIMARY KEY, name text, city text, price numeric,
  quantity int, ratio float8, at timestamp, flag bool, doc jsonb, tags text[], raw bytea, code uuid,
  span interval);
CREATE TABLE IF NOT EXISTS morph_store.new ({columns}, _l bigint DEFAULT 0);
ALTER TABLE morph_store.old OWNER TO morph_owner; ALTER TABLE morph_store.new OWNER TO morph_owner;
DELETE FROM morph_store.old; DELETE FROM morph_store.new
"""


async def fill(db: asyncpg.Connection, rows: Rows, mutation: Mutation) -> None:
    columns = ", ".join(f'"{name}" {kind}' for name, (kind, _) in RIGHT.items())
    await db.execute(SETUP.format(columns=columns))
    await db.executemany(INSERT, [(key, *row) for key, row in rows])
    wrong = dict(mutation.columns)
    made = ", ".join(f"({wrong.get(name, up)})" for name, (_, up) in RIGHT.items())
    await db.execute(f"INSERT INTO morph_store.new SELECT {made} FROM morph_store.old t")
    if mutation.rows:
        await db.execute(mutation.rows.format("morph_store.new"))


async def wrong_by_postgresql(db: asyncpg.Connection) -> set[tuple[str, str]]:
    """(key, column) of everything that differs, by PostgreSQL's own comparison of the texts."""
    found: set[tuple[str, str]] = set()
    for name, (kind, up) in RIGHT.items():
        differs = f'({up})::{kind}::text IS DISTINCT FROM n."{name}"::text'
        query = (
            f"SELECT t.id FROM morph_store.old t JOIN morph_store.new n USING (id) WHERE {differs}"
        )
        found |= {(str(row[0]), name) for row in await db.fetch(query)}
    alone = await db.fetch(
        "SELECT coalesce(t.id, n.id) FROM morph_store.old t FULL JOIN morph_store.new n USING (id) "
        "WHERE t.id IS NULL OR n.id IS NULL "
        "UNION ALL SELECT id FROM morph_store.new GROUP BY id HAVING count(*) > 1"
    )
    return found | {(str(row[0]), "") for row in alone}


def found_by(report: Report) -> set[tuple[str, str]]:
    return {(f.discrepancy.record_id, f.discrepancy.column) for f in report.findings.details}


async def scrubbed(cluster: Cluster, rows_a_chunk: int) -> Report:
    sides = [
        select("old", [(name, kind, f"({up})::{kind}") for name, (kind, up) in RIGHT.items()]),
        select("new", [(name, kind, f't."{name}"') for name, (kind, _) in RIGHT.items()]),
    ]
    return await Bed(cluster, *sides, bytes_max=rows_a_chunk).scrub()


async def check(
    cluster: Cluster, db: asyncpg.Connection, mutation: Mutation, rows: Rows, bytes_max: int
) -> set[tuple[str, str]]:
    """The scrub finds what PostgreSQL says is wrong; that."""
    await fill(db, rows, mutation)
    expected = await wrong_by_postgresql(db)
    report = await scrubbed(cluster, bytes_max)
    assert found_by(report) == expected
    assert report.verdict == ("different" if expected else "equal")
    assert report.rows_compared == len(rows)
    return expected


@pytest_asyncio.fixture(scope="session")
async def db(validation_cluster: Cluster) -> AsyncIterator[asyncpg.Connection]:
    connection = await connect(validation_cluster)
    try:
        yield connection
    finally:
        await connection.close(timeout=5)


PATIENT: dict[str, Any] = {
    "deadline": None,
    "suppress_health_check": [HealthCheck.too_slow],
}
BYTES = st.sampled_from([1, 1000, 1 << 20])
NAMES = st.sampled_from(sorted(MUTATIONS))


@settings(max_examples=60, **PATIENT)
@given(name=NAMES, rows=ROWS, bytes_max=BYTES)
async def test_a_wrong_transform_is_found(
    validation_cluster: Cluster, db: asyncpg.Connection, name: str, rows: Rows, bytes_max: int
) -> None:
    await check(validation_cluster, db, MUTATIONS[name], rows, bytes_max)


@pytest.mark.slow
@pytest.mark.timeout(3000)
@settings(max_examples=5_000, **PATIENT)
@given(name=NAMES, rows=ROWS, bytes_max=BYTES)
async def test_wrong_transforms_are_found(
    validation_cluster: Cluster, db: asyncpg.Connection, name: str, rows: Rows, bytes_max: int
) -> None:
    await check(validation_cluster, db, MUTATIONS[name], rows, bytes_max)


def _showing(n: int) -> tuple[int, Any]:
    at = AT + timedelta(hours=n)
    doc = f'{{"a": {n}, "b": [1.50]}}'
    cells = (f" Name {n}é ", f"City{n}", Decimal(n) + Decimal("0.125"), 16777216 + n, 0.1 * n)
    more = (at, n % 2 == 0, doc, ["x", None, str(n)], bytes([n]) * 5, UUID(int=n))
    return n, (*cells, *more, timedelta(hours=30, minutes=n))


SHOWING: Rows = [
    *(_showing(n) for n in range(1, 15)),
    (0, ("", None, Decimal("-2.555"), None, -0.0, *[None] * 7)),
    (50, (None, "", None, -5, None, AT.replace(hour=23), None, "null", [], b"", None, None)),
]
"""Rows in which each mutation shows."""


@pytest.mark.parametrize("name", MUTATIONS)
async def test_each_mutation_is_found(
    validation_cluster: Cluster, db: asyncpg.Connection, name: str
) -> None:
    assert await check(validation_cluster, db, MUTATIONS[name], SHOWING, 1 << 20)


async def test_the_right_transform_is_found_right(
    validation_cluster: Cluster, db: asyncpg.Connection
) -> None:
    assert not await check(validation_cluster, db, Mutation(), SHOWING, 1 << 20)
