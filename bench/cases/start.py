"""9. Start with existing data, and what an idle server keeps in memory."""

from __future__ import annotations

import time

from bench.bed import Bed
from bench.processes import family, memory
from bench.results import Figures

SETTLE_S = 1.0


def run(bed: Bed, figures: Figures) -> None:
    """Stop and start the server on the loaded data; the time is until the ready line."""
    seconds, pss, rss, proxy = [], [], [], []
    for _ in range(bed.options.repeats):
        bed.morphgres.stop()
        begun = time.perf_counter()
        bed.morphgres.start()
        seconds.append(time.perf_counter() - begun)
        with bed.morphgres.connect() as connection:
            connection.execute("SELECT count(*) FROM documents WHERE _id < 1000").fetchall()
        time.sleep(SETTLE_S)
        found = memory(family(bed.morphgres.pid))
        pss.append(found.pss / 1e6)
        rss.append(found.rss / 1e6)
        proxy.append(memory([bed.morphgres.pid]).rss / 1e6)
    figures.add("start with existing data", "s", seconds)
    figures.add("idle memory, PSS", "MB", pss, "one worker and the private PostgreSQL")
    figures.add("idle memory, RSS", "MB", rss, "shared pages counted once a process")
    figures.add("idle memory of the worker, RSS", "MB", proxy)
