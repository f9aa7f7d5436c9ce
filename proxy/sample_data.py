"""The sample data set, loaded into an empty store before the first client comes.

One transaction for all of it: a kill leaves an empty store, and the next start loads again. A store
that has a version already is left alone.
"""

from __future__ import annotations

import asyncpg

import sample.shop
from catalog.store import load_snapshot
from engine.loading.jobs import Input, Job
from engine.loading.process import ReadingProcess
from evolution.loading import Loader
from private_pg.cluster import DATABASE, SUPERUSER
from proxy.commands.progress import ShownProgress

SAMPLES = {"shop": sample.shop}


async def load_sample(name: str, socket_directory: str) -> bool:
    """Load the sample into the store if it is empty; whether it was."""
    connection = await asyncpg.connect(
        host=socket_directory, user=SUPERUSER, database=DATABASE, timeout=30
    )
    try:
        if (await load_snapshot(connection)).versions:
            return False
        shown = ShownProgress(
            f"loading the {name} sample", total=sum(SAMPLES[name].COUNTS.values())
        )
        tables = SAMPLES[name].TABLES
        jobs = [Job((Input(sample=table),)) for table in tables]
        async with ReadingProcess(jobs) as process, connection.transaction():
            for table in tables:
                await Loader(connection, table, shown).load(process.frames())
        shown.finish()
    finally:
        await connection.close()
    return True
