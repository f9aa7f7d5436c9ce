"""8. Virtual columns against a stored field in the same scan."""

from __future__ import annotations

from bench.bed import Bed
from bench.cases.scan import Scan, scan
from bench.results import Figures, ratios

TABLE = "virtuals"
COLUMNS = {
    "hash_int": ("lucky", "morph.hash_int(_id, 0, 1000000)"),
    "arithmetic": ("total", "price * quantity"),
}
SQL = "SELECT _id, customer, status, name, {column} FROM {schema}.{table}"


def run(bed: Bed, figures: Figures) -> None:
    """The fifth column is a stored field, hash_int or an expression."""
    bed.document_table(TABLE, bed.files)
    schema = _with_columns(bed)
    tag = f"SELECT {bed.files.count}"

    def one(column: str) -> Scan:
        sql = SQL.format(column=column, schema=schema, table=TABLE)
        return scan(bed.morphgres, sql, tag)

    stored, hashed, computed = bed.race(
        lambda: one("score"), lambda: one("lucky"), lambda: one("total")
    )
    base = [s.total_s for s in stored]
    figures.add("hash_int ÷ stored", "×", ratios([s.total_s for s in hashed], base))
    figures.add("arithmetic ÷ stored", "×", ratios([s.total_s for s in computed], base))
    count = bed.files.count
    for name, found in (("stored", stored), ("hash_int", hashed), ("arithmetic", computed)):
        figures.add(f"{name}, backend CPU a row", "µs", [s.postgres_us / count for s in found])


def _with_columns(bed: Bed) -> str:
    """Add the columns unless they are there; the schema of the version that has them."""
    with bed.morphgres.connect() as connection:
        head = "SELECT 'v' || version FROM morph.versions ORDER BY head DESC, version DESC LIMIT 1"
        row = connection.execute(head).fetchone()
        assert row is not None
        columns = connection.execute(
            "SELECT column_name FROM information_schema.columns "
            "WHERE table_schema = %s AND table_name = %s",
            [row[0], TABLE],
        ).fetchall()
        for name, expression in COLUMNS.values():
            if (name,) in columns:
                continue
            kind = "bigint" if name == "lucky" else "double precision"
            connection.execute(
                f"ALTER TABLE {TABLE} ADD COLUMN {name} {kind} "  # type: ignore[arg-type]
                f"GENERATED ALWAYS AS ({expression}) VIRTUAL"
            )
        row = connection.execute(head).fetchone()
        assert row is not None
        return str(row[0])
