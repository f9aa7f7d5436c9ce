"""6. The merge tier: a small merge's overhead, and a large join in the private PostgreSQL."""

from __future__ import annotations

import psycopg

from bench.bed import Bed, seconds_of
from bench.results import Figures, differences, ratios

SMALL = "SELECT _id, customer, status, price, name FROM documents WHERE _id BETWEEN 1 AND 100"
JOIN = (
    "SELECT c.segment, count(*), sum(d.quantity * c.weight) FROM {table} d "
    "JOIN customers c ON c.id = d.customer GROUP BY c.segment ORDER BY c.segment"
)
SMALL_TIMES = 20
UNITS = {
    "100 rows, overhead over tier 1": "ms",
    "100 rows and no predicate pushed": "ms",
    "join 200,000 × 20,000 ÷ native columns": "×",
}


def run(bed: Bed, figures: Figures) -> None:
    """Tier 2 is chosen by `SET morph.pushdown`. `scan` pushes predicates, and tables that are not
    large travel as whole columns; `off` reads all rows and copies them one by one, as it is done
    for large tables, and for three and more.
    """
    with (
        bed.morphgres.connect() as one,
        bed.morphgres.connect() as two,
        bed.native.connect() as native,
    ):
        two.execute("SET morph.pushdown = 'scan'")
        try:
            same = two.execute(SMALL).fetchall() == one.execute(SMALL).fetchall()
        except psycopg.Error as error:
            for name, unit in UNITS.items():
                figures.missing(name, unit, f"the merge tier answers: {error.diag.message_primary}")
        else:
            assert same, "tier 2 answers differently"
            _small(bed, figures, one, two)
            _join(bed, figures, two, native)
        plan = JOIN.format(table="documents")
        plain = JOIN.format(table="native_columns")
        own, other = bed.race(lambda: seconds_of(one, [plan]), lambda: seconds_of(native, [plain]))
        figures.add("the same join in tier 1 ÷ native columns", "×", ratios(own, other))


def _small(bed: Bed, figures: Figures, one: psycopg.Connection, two: psycopg.Connection) -> None:
    a, b = bed.race(
        lambda: seconds_of(two, [SMALL] * SMALL_TIMES) / SMALL_TIMES,
        lambda: seconds_of(one, [SMALL] * SMALL_TIMES) / SMALL_TIMES,
    )
    figures.add("100 rows, overhead over tier 1", "ms", [1000 * s for s in differences(a, b)])
    figures.add("100 rows, tier 1", "ms", [1000 * s for s in b])
    two.execute("SET morph.pushdown = off")
    [all_rows] = bed.race(lambda: seconds_of(two, [SMALL]))
    two.execute("SET morph.pushdown = 'scan'")
    figures.add("100 rows and no predicate pushed", "ms", [1000 * s for s in all_rows])


def _join(bed: Bed, figures: Figures, two: psycopg.Connection, native: psycopg.Connection) -> None:
    plan, plain = JOIN.format(table="documents"), JOIN.format(table="native_columns")
    assert two.execute(plan).fetchall() == native.execute(plain).fetchall()  # type: ignore[arg-type]
    a, b = bed.race(lambda: seconds_of(two, [plan]), lambda: seconds_of(native, [plain]))
    figures.add("join 200,000 × 20,000 ÷ native columns", "×", ratios(a, b))
    figures.add("join 200,000 × 20,000", "ms", [1000 * s for s in a])
    two.execute("SET morph.pushdown = off")
    a, b = bed.race(lambda: seconds_of(two, [plan]), lambda: seconds_of(native, [plain]))
    figures.add("the same join, copied row by row ÷ native columns", "×", ratios(a, b))
    two.execute("SET morph.pushdown = 'scan'")
