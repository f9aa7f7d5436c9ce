"""The real layouts go every way that the model goes (issue 5, point 8b; EVOLUTION 7)."""

from __future__ import annotations

import itertools
import random

import asyncpg
import pytest

from evolution.layouts.embedded import backfill, store
from evolution.layouts.embedded.applier import Applied
from evolution.layouts.embedded.feeds import Feed
from tests.integration.changes.walks import Real, walk
from tests.integration.fresh_catalog import empty_catalog
from tests.integration.layouts.bed import open_bed
from tests.integration.server_process import ServerProcess
from tests.model.protocol import Model

WALKS = 6
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


async def go(server: ServerProcess, model: Model, seed: int) -> None:
    empty_catalog(server)
    bed = open_bed(server)
    real = Real.on(bed, model)
    try:
        for label, world in walk(model, random.Random(seed)):
            await real.take(label, world)
    except Exception as error:
        raise AssertionError(f"walk {seed}: {', '.join(real.done)}") from error
    finally:
        await real.die()
        real.abandon()
        await bed.close()


@pytest.mark.timeout(300)
async def test_the_real_layouts_go_the_ways_of_the_model(
    server: ServerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backfill, "CHUNK_ROWS", (1, 1))
    model = Model()
    for seed in chosen(model, WALKS):
        await go(server, model, seed)


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
    model = Model()

    async def go_all() -> None:
        for seed in chosen(model, WALKS):
            await go(server, model, seed)

    with pytest.raises(AssertionError):
        await go_all()


@pytest.mark.slow
@pytest.mark.timeout(7200)
async def test_many_walks(server: ServerProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backfill, "CHUNK_ROWS", (1, 1))
    model = Model(crashes_max=2)
    for seed in range(300):
        await go(server, model, seed)
