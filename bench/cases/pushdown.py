"""5. Queries that the store answers, against the same on a native table of jsonb."""

from __future__ import annotations

from bench.bed import Bed, seconds_of
from bench.results import Figures, ratios

LIMIT_FACTOR = 1.3
LIMIT_SECONDS = 0.002
# name: (Morphgres, native jsonb)
QUERIES = {
    "group by": (
        "SELECT region, count(*), sum(quantity) FROM documents WHERE status = 'shipped' "
        "GROUP BY region ORDER BY region",
        "SELECT doc->>'region', count(*), sum((doc->>'quantity')::bigint) FROM native_jsonb "
        "WHERE doc->>'status' = 'shipped' GROUP BY 1 ORDER BY 1",
    ),
    "top-N": (
        "SELECT _id, score, name FROM documents ORDER BY score DESC, _id LIMIT 20",
        "SELECT _id, (doc->>'score')::bigint AS score, doc->>'name' FROM native_jsonb "
        "ORDER BY (doc->>'score')::bigint DESC, _id LIMIT 20",
    ),
    "IN": (
        "SELECT _id, name, price FROM documents "
        "WHERE customer IN (11, 222, 3333, 4444, 15555, 16666, 17777, 18888) ORDER BY _id",
        "SELECT _id, doc->>'name', (doc->>'price')::double precision FROM native_jsonb "
        "WHERE (doc->>'customer')::bigint IN (11, 222, 3333, 4444, 15555, 16666, 17777, 18888) "
        "ORDER BY _id",
    ),
    "LIKE prefix": (
        "SELECT _id, name FROM documents WHERE name LIKE 'birch ember 1%' ORDER BY _id",
        "SELECT _id, doc->>'name' FROM native_jsonb WHERE doc->>'name' LIKE 'birch ember 1%' "
        "ORDER BY _id",
    ),
    "nested field": (
        "SELECT count(*), max(score) FROM documents WHERE \"address.city\" = 'Oslo'",
        "SELECT count(*), max((doc->>'score')::bigint) FROM native_jsonb "
        "WHERE doc->'address'->>'city' = 'Oslo'",
    ),
    "count": ("SELECT count(*) FROM documents", "SELECT count(*) FROM native_jsonb"),
}
TIMED_S = 0.25  # a sample repeats its statement for about so long


def run(bed: Bed, figures: Figures) -> None:
    """Each query on both, rows compared."""
    with bed.morphgres.connect() as own, bed.native.connect() as native:
        for name, (mine, theirs) in QUERIES.items():
            left = own.execute(mine).fetchall()  # type: ignore[arg-type]
            right = native.execute(theirs).fetchall()  # type: ignore[arg-type]
            assert left == right, f"{name}: the answers differ"
            once = seconds_of(native, [theirs])
            times = max(1, min(200, round(TIMED_S / once)))
            a, b = bed.race(
                lambda m=mine, n=times: seconds_of(own, [m] * n) / n,  # type: ignore[misc]
                lambda t=theirs, n=times: seconds_of(native, [t] * n) / n,  # type: ignore[misc]
            )
            limit = [LIMIT_FACTOR * s + LIMIT_SECONDS for s in b]
            figures.add(f"{name}, wall ÷ (1.3 native + 2 ms)", "×", ratios(a, limit))
            figures.add(f"{name}, wall ÷ native", "×", ratios(a, b))
            figures.add(f"{name}, wall", "ms", [1000 * s for s in a], f"{len(left)} rows")
            figures.add(f"{name}, native wall", "ms", [1000 * s for s in b])
