"""1. A statement that touches no store table: the cost of being in between."""

from __future__ import annotations

from bench import pgbouncer
from bench.bed import Bed, Contender
from bench.pgbench import Run, pgbench, write_script
from bench.results import Figures, ratios

CATALOG = "SELECT relname, relkind FROM pg_catalog.pg_class WHERE oid = 'pg_class'::regclass;\n"
STATEMENTS = {"SELECT 1": "SELECT 1;\n", "catalog query": CATALOG}
MODES = ("simple", "prepared")
AGAINST_POOLER = "proxy CPU ÷ PgBouncer's"


def run(bed: Bed, figures: Figures) -> None:
    """SELECT 1 and a catalog query; the target holds for the dearer of the two protocols."""
    for name, text in STATEMENTS.items():
        worst: list[float] = []
        for mode in MODES:
            own, native = _measure(bed, text, mode, bed.morphgres, bed.native)
            cpu = [r.proxy_us for r in own]
            worst = [max(pair) for pair in zip(worst, cpu, strict=True)] if worst else cpu
            qps = [r.tps for r in own]
            figures.add(f"{name}, {mode}, proxy CPU", "µs", cpu)
            figures.add(f"{name}, {mode}, backend CPU", "µs", [r.postgres_us for r in own])
            figures.add(f"{name}, {mode}, native CPU", "µs", [r.postgres_us for r in native])
            figures.add(f"{name}, {mode}, QPS", "/s", qps)
            figures.add(f"{name}, {mode}, QPS ÷ native", "×", ratios(qps, [r.tps for r in native]))
        figures.add(f"{name}, proxy CPU", "µs", worst, "simple or prepared, the dearer")
    _pooler(bed, figures)


def _pooler(bed: Bed, figures: Figures) -> None:
    if pgbouncer.program() is None:
        figures.missing(AGAINST_POOLER, "×", "pgbouncer is not installed")
        return
    with pgbouncer.running(bed.directory, bed.native) as pooler:
        text = STATEMENTS["SELECT 1"]
        worst: list[float] = []
        for mode in MODES:
            own, other = _measure(bed, text, mode, bed.morphgres, pooler)
            found = ratios([r.proxy_us for r in own], [r.proxy_us for r in other])
            worst = [max(pair) for pair in zip(worst, found, strict=True)] if worst else found
            figures.add(f"SELECT 1, {mode}, PgBouncer CPU", "µs", [r.proxy_us for r in other])
            figures.add(f"SELECT 1, {mode}, PgBouncer QPS", "/s", [r.tps for r in other])
        figures.add(AGAINST_POOLER, "×", worst, "simple or prepared, the dearer")


def _measure(bed: Bed, text: str, mode: str, *servers: Contender) -> list[list[Run]]:
    script = write_script(bed.directory, "relay", text)
    return bed.race(
        *(lambda s=server: pgbench(s, script, bed.options, mode=mode) for server in servers)
    )
