"""What may be held of stored tables at once, as SQL (pure).

`pg_table_size` asks the file system, so the answer is that of now and needs no ANALYZE. Values that
went to the TOAST table may be compressed many times, so a table that has some does not fit.
"""

from __future__ import annotations

from collections.abc import Sequence

from catalog.model import Table
from catalog.sqltext import STORE_SCHEMA, quote_literal


def fits_text(tables: Sequence[Table], bytes_max: int) -> str:
    """A boolean subquery: all rows of these tables take at most so many bytes."""
    names = ", ".join(sorted({quote_literal(table.store) for table in tables}))
    return (
        "(SELECT coalesce(pg_catalog.sum(pg_catalog.pg_table_size(c.oid)), 0) "
        f"<= {bytes_max} AND coalesce(pg_catalog.sum(pg_catalog.pg_relation_size("
        "nullif(c.reltoastrelid, 0))), 0) = 0 FROM pg_catalog.pg_class AS c "
        f"WHERE c.relnamespace = '{STORE_SCHEMA}'::pg_catalog.regnamespace "
        f"AND c.relname IN ({names}))"
    )
