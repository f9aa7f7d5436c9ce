"""How columns and documents are read (R0.3)."""

from __future__ import annotations

import re

from catalog.model import Column, Stored, Table
from catalog.readers import whole_document


def test_a_document_of_more_columns_than_a_function_has_arguments() -> None:
    columns = tuple(Column(n, f"c{n}", "int", Stored(f"c{n}", "int")) for n in range(120))
    text = whole_document(Table(1, "wide", "table", columns, store="t1", has_doc=True))
    calls = re.findall(r"jsonb_build_object\(([^()]*)\)", text)
    arguments = [call.split(", ") for call in calls]
    assert max(map(len, arguments)) <= 100  # FUNC_MAX_ARGS
    assert [a for call in arguments for a in call[::2]] == [f"'c{n}'" for n in range(120)]
