"""2. A point read by key, prepared: five fields of a document."""

from __future__ import annotations

from bench.bed import Bed
from bench.pgbench import pgbench, write_script
from bench.results import Figures, ratios

KEY = "\\set key random(1, {count})\n"
OWN = KEY + "SELECT _id, customer, status, price, name FROM documents WHERE _id = :key;\n"
COLUMNS = OWN.replace("documents", "native_columns")
JSONB = KEY + (
    "SELECT _id, (doc->>'customer')::bigint AS customer, doc->>'status' AS status, "
    "(doc->>'price')::double precision AS price, doc->>'name' AS name "
    "FROM native_jsonb WHERE _id = :key;\n"
)


def run(bed: Bed, figures: Figures) -> None:
    """Morphgres, native jsonb, native columns."""
    scripts = {
        name: write_script(bed.directory, f"point-{name}", text.format(count=bed.files.count))
        for name, text in (("own", OWN), ("jsonb", JSONB), ("columns", COLUMNS))
    }
    options = bed.options
    own, jsonb, columns = bed.race(
        lambda: pgbench(bed.morphgres, scripts["own"], options, mode="prepared"),
        lambda: pgbench(bed.native, scripts["jsonb"], options, mode="prepared"),
        lambda: pgbench(bed.native, scripts["columns"], options, mode="prepared"),
    )
    qps = [r.tps for r in own]
    figures.add("proxy CPU", "µs", [r.proxy_us for r in own])
    figures.add("QPS ÷ native jsonb", "×", ratios(qps, [r.tps for r in jsonb]))
    figures.add("QPS ÷ native columns", "×", ratios(qps, [r.tps for r in columns]))
    figures.add("backend CPU", "µs", [r.postgres_us for r in own])
    figures.add("native jsonb CPU", "µs", [r.postgres_us for r in jsonb])
    figures.add("native columns CPU", "µs", [r.postgres_us for r in columns])
    figures.add("QPS", "/s", qps)
    figures.add("native jsonb QPS", "/s", [r.tps for r in jsonb])
    figures.add("native columns QPS", "/s", [r.tps for r in columns])
