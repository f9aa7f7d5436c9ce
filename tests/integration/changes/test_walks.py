"""The real layouts go every way that the model goes (issue 5, point 8b; EVOLUTION 7)."""

from __future__ import annotations

import itertools
import os
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import pytest

from evolution.layouts.embedded import backfill, store
from evolution.layouts.embedded.applier import Applied
from evolution.layouts.embedded.feeds import Feed
from tests.integration.changes.walks import Real, walk, walks_of
from tests.integration.fresh_catalog import empty_catalog
from tests.integration.layouts.bed import open_bed
from tests.integration.server_process import ServerProcess
from tests.model.protocol import Model, World, Write
from tests.model.schedules import Schedules

WALKS = 8
FOUR = (Write(0), Write(0), Write(1), Write(0, delete=True))
"""Three writes and a deletion."""
FRESH_EVERY = 400
"""Then the catalog is emptied, with what all these changes left in PostgreSQL's own."""
AFTER = "a write between flip and flip back"
NEEDED = {
    "chunk: snapshot", "chunk: commit", "apply: snapshot", "apply: commit", "lock", "flip",
    "flip back", "controller dies", "claim", AFTER,
}  # fmt: skip


def seen(model: Model, seed: int) -> set[str]:
    """The actions of a walk."""
    labels = [label for label, _ in walk(model, random.Random(seed))]
    after = labels[labels.index("flip") :] if "flip" in labels else []
    written = any(label.startswith("commit") for label in after) and "flip back" in after
    return {*labels, *([AFTER] if written else [])}


def chosen(model: Model, count: int) -> list[int]:
    """Seeds of walks: those that reach the way back first, then until every action is there."""
    seeds: list[int] = []
    missing = set(NEEDED)
    for seed in itertools.count():
        labels = seen(model, seed)
        if missing & labels and (seeds or "flip back" in labels):
            seeds.append(seed)
            missing -= labels
        if not missing:
            break
    more = (s for s in itertools.count(1000) if "flip" in seen(model, s))
    return [*seeds, *itertools.islice(more, max(count - len(seeds), 0))]


Walk = list[tuple[str, World]]


@asynccontextmanager
async def stage(server: ServerProcess, model: Model) -> AsyncIterator[Real]:
    """A table for walks, one after the other."""
    empty_catalog(server)
    bed = open_bed(server)
    try:
        real = await Real.on(bed, model)
        try:
            yield real
        finally:
            await real.close()
    finally:
        await bed.close()


async def go(real: Real, steps: Walk, name: str) -> None:
    """One walk. The failure says how to take it again."""
    await real.anew()
    try:
        for label, world in steps:
            await real.take(label, world)
    except Exception as error:
        raise AssertionError(f"{name}: {', '.join(real.done)}") from error


async def go_chosen(server: ServerProcess, count: int) -> None:
    """A seeded sample of all schedules."""
    model = Model()
    async with stage(server, model) as real:
        for seed in chosen(model, count):
            await go(real, walk(model, random.Random(seed)), f"seed {seed}")


@pytest.mark.timeout(300)
async def test_the_real_layouts_go_the_ways_of_the_model(
    server: ServerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backfill, "CHUNK_ROWS", (1, 1))
    await go_chosen(server, WALKS)


async def _forgetful(db: asyncpg.Connection, feed: Feed, *_: object) -> Applied:
    """An applier that says it brought the log in and did not."""
    feed.checkpoint = await db.fetchval("SELECT pg_current_snapshot()::text")
    return Applied(0, True)


@pytest.mark.timeout(300)
async def test_the_walks_find_an_applier_that_forgets(
    server: ServerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backfill, "CHUNK_ROWS", (1, 1))
    monkeypatch.setattr(store, "apply_log", _forgetful)
    with pytest.raises(AssertionError, match="seed"):
        await go_chosen(server, WALKS)


@pytest.mark.slow
@pytest.mark.timeout(4 * 3600)
async def test_all_interleavings_of_three_writes_a_deletion_and_any_deaths(
    server: ServerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every edge of the graph of all schedules is taken (tests/model/schedules says why that covers
    them). MORPH_WALK takes one walk again.
    """
    monkeypatch.setattr(backfill, "CHUNK_ROWS", (1, 1))
    schedules = Schedules.of(Model(writes=FOUR))
    walks = walks_of(schedules)
    only = os.environ.get("MORPH_WALK")
    for first in range(0, len(walks), FRESH_EVERY):
        async with stage(server, schedules.model) as real:
            for number in range(first, min(first + FRESH_EVERY, len(walks))):
                if only in (None, str(number)):
                    await go(real, walks[number], f"MORPH_WALK={number}")
    told = f"{len(walks)} walks, {sum(map(len, walks))} actions, {schedules.size} edges"
    print(f"{told}, of {Schedules.of(schedules.model, forget_deaths=False).count()} schedules")
