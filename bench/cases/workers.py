"""10. Two workers against one, point reads."""

from __future__ import annotations

import os

from bench.bed import Bed
from bench.cases.point import OWN
from bench.pgbench import Run, pgbench, write_script
from bench.results import Figures, ratios

CORES_FREE = 6  # two workers, their backends, the load


def run(bed: Bed, figures: Figures) -> None:
    """The server is started anew for each number of workers; the target holds on free cores."""
    script = write_script(bed.directory, "workers", OWN.format(count=bed.files.count))

    def with_workers(count: int) -> Run:
        bed.morphgres.stop()
        bed.morphgres.start(workers=count)
        pgbench(bed.morphgres, script, bed.options, mode="prepared", clients=16)
        return pgbench(bed.morphgres, script, bed.options, mode="prepared", clients=16)

    repeats = min(3, bed.options.repeats)
    try:
        two, one = bed.race(
            lambda: with_workers(2), lambda: with_workers(1), repeats=repeats, warm_up=False
        )
    finally:
        bed.morphgres.stop()
        bed.morphgres.start()
    factor = ratios([r.tps for r in two], [r.tps for r in one])
    cores = len(os.sched_getaffinity(0))
    if cores >= CORES_FREE:
        figures.add("QPS of 2 ÷ 1", "×", factor)
    else:
        figures.missing("QPS of 2 ÷ 1", "×", f"{cores} cores, load and backends need theirs")
        figures.add("QPS of 2 ÷ 1, cores not free", "×", factor)
    figures.add("proxy CPU, one", "µs", [r.proxy_us for r in one])
    figures.add("proxy CPU, two", "µs", [r.proxy_us for r in two])
