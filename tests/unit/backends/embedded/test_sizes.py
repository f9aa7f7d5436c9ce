"""What of stored tables may be held at once (R1.8)."""

from __future__ import annotations

from backends.embedded.sizes import fits_text
from catalog.model import Table


def test_each_table_counts_once_and_none_may_have_values_kept_apart() -> None:
    first, second = Table(1, "a", "table", (), store="t1"), Table(2, "b", "table", (), store="t2")
    text = fits_text([second, first, second], 4096)
    assert "<= 4096 AND" in text
    assert "c.relname IN ('t1', 't2')" in text
    assert "pg_relation_size(nullif(c.reltoastrelid, 0))), 0) = 0" in text
