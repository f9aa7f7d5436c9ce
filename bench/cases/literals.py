"""3. The same point read by the simple protocol: a new text each time."""

from __future__ import annotations

from bench.bed import Bed
from bench.cases.point import OWN
from bench.pgbench import pgbench, write_script
from bench.results import Figures, ratios


def run(bed: Bed, figures: Figures) -> None:
    """Against prepared, in the same rounds."""
    script = write_script(bed.directory, "literals", OWN.format(count=bed.files.count))
    simple, prepared = bed.race(
        lambda: pgbench(bed.morphgres, script, bed.options, mode="simple"),
        lambda: pgbench(bed.morphgres, script, bed.options, mode="prepared"),
    )
    cpu, base = [r.proxy_us for r in simple], [r.proxy_us for r in prepared]
    figures.add("proxy CPU ÷ prepared", "×", ratios(cpu, base))
    figures.add("proxy CPU", "µs", cpu)
    figures.add("proxy CPU, prepared", "µs", base)
    figures.add("QPS", "/s", [r.tps for r in simple])
    figures.add("backend CPU", "µs", [r.postgres_us for r in simple])
