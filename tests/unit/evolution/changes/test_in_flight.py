"""DDL beside a change in flight: which statements alter what a shadow was made for (issue 5)."""

from __future__ import annotations

import pytest

from core.errors import ObjectNotInPrerequisiteState
from evolution.changes import events as ev
from evolution.changes.in_flight import beside_changes, changed_table
from evolution.changes.records import Note, load_record, move, register_statement
from evolution.changes.states import Phase
from evolution.layouts.base import ShadowTable
from evolution.transaction import Transaction
from tests.unit.evolution.changes.conftest import Catalog

P = Phase
STORE = 'CREATE TABLE IF NOT EXISTS morph_store."t5" (c1 int)'
ALTER = 'ALTER TABLE morph_store."t5" ALTER COLUMN "c1" DROP DEFAULT'
ADD = 'ALTER TABLE morph_store."t5" ADD COLUMN IF NOT EXISTS "c9" int'
LOOK = 'CREATE OR REPLACE VIEW public.seen AS SELECT c1 FROM morph_store."t5"'


@pytest.mark.parametrize(
    ("statement", "table"),
    [
        (ALTER, 5),
        ("ALTER TABLE morph_store.t12 DROP CONSTRAINT k", 12),
        ('ALTER TABLE morph_store."t5s7" ALTER COLUMN "c1" DROP NOT NULL', 5),
        ('ALTER TABLE morph_store."t5" DROP COLUMN "c1"', 5),
        ('DROP INDEX morph_store."i5_a"', 5),
        ('ALTER TABLE morph_store."t5" ADD COLUMN IF NOT EXISTS "c9" int', 0),
        ('ALTER TABLE morph_store."t5" ADD CONSTRAINT "k5_a" CHECK (c1 > 0)', 0),
        ('ALTER TABLE morph_store."t5s7" ALTER COLUMN c1 TYPE bigint', 0),
        ('ALTER TABLE morph_store."t5" ALTER COLUMN "c1" SET NOT NULL', 0),
        ('CREATE UNIQUE INDEX "i5_a" ON morph_store."t5" (c1)', 0),
        ('UPDATE morph_store."t5" t SET c1 = 2', 0),
        ('TRUNCATE morph_store."t5"', 0),
        (LOOK, 0),
        ('CREATE TABLE morph_store."t5" (c1 int)', 0),
        ('DROP VIEW morph_v7."t5"', 0),
        ('ALTER TABLE v7."orders" DISABLE TRIGGER ALL', 0),
        ("COMMENT ON TABLE v7.orders IS 'morph_store.t5'", 0),
    ],
)
def test_statements_that_alter_a_store_table(statement: str, table: int) -> None:
    assert changed_table(statement) == table


async def in_phase(catalog: Catalog, *path: ev.Event) -> None:
    async with catalog.transaction() as tx:
        tables = [ShadowTable(5, "orders", "t5", "t5s7", (12,))]
        await tx.apply([STORE, register_statement(7, 6, tables)])
        for event in path:
            await move(tx, await load_record(tx, 7), event, Note())


async def run(catalog: Catalog, statement: str) -> Phase:
    async def work(tx: Transaction) -> None:
        await tx.apply([statement])

    async with catalog.transaction() as tx:
        await beside_changes(tx, work)
    async with catalog.transaction() as tx:
        return (await load_record(tx, 7)).phase


COPYING = (ev.Started(), ev.Begun())
READY = (*COPYING, ev.Copied(), ev.CaughtUp(0.0), ev.Validated(1, 0))
FENCED = (*READY, ev.Fence((0.0, 0.0), follows=True))
PROMOTED = (*FENCED, ev.Flipped(1, follows=True))


@pytest.mark.parametrize("path", [COPYING, READY])
async def test_a_change_begins_anew_when_its_table_is_altered(
    catalog: Catalog, path: tuple[ev.Event, ...]
) -> None:
    await in_phase(catalog, *path)
    assert await run(catalog, ALTER) is P.ANALYZED


async def test_what_the_shadow_follows_leaves_it_alone(catalog: Catalog) -> None:
    await in_phase(catalog, *COPYING)
    assert await run(catalog, LOOK) is P.BACKFILLING
    assert await run(catalog, ADD) is P.BACKFILLING
    assert await run(catalog, 'CREATE TABLE IF NOT EXISTS morph_store."t6" (c1 int)') is (
        P.BACKFILLING
    )


@pytest.mark.parametrize(("path", "hint"), [(PROMOTED, "morph.contract(7)"), (FENCED, "Try again")])
async def test_what_keeps_an_old_layout_refuses_it_by_name(
    catalog: Catalog, path: tuple[ev.Event, ...], hint: str
) -> None:
    await in_phase(catalog, *path)
    with pytest.raises(ObjectNotInPrerequisiteState) as caught:
        await run(catalog, ALTER)
    assert caught.value.primary == 'change 7 keeps two layouts of table "orders"'
    assert hint in caught.value.hint


async def test_a_change_that_has_not_begun_is_in_nobodys_way(catalog: Catalog) -> None:
    await in_phase(catalog)
    assert await run(catalog, ALTER) is P.ANALYZED
