"""How columns and documents are read (R0.3)."""

from __future__ import annotations

import re
from dataclasses import replace

from catalog.lenses import mirror, swap, with_raw
from catalog.model import Column, Lens, Lensed, Stored, Table, Version
from catalog.readers import whole_document
from catalog.shapes import view_statements


def test_a_document_of_more_columns_than_a_function_has_arguments() -> None:
    columns = tuple(Column(n, f"c{n}", "int", Stored(f"c{n}", "int")) for n in range(120))
    text = whole_document(Table(1, "wide", "table", columns, store="t1", has_doc=True))
    calls = re.findall(r"jsonb_build_object\(([^()]*)\)", text)
    arguments = [call.split(", ") for call in calls]
    assert max(map(len, arguments)) <= 100  # FUNC_MAX_ARGS
    assert [a for call in arguments for a in call[::2]] == [f"'c{n}'" for n in range(120)]


def test_writes_have_one_form_before_and_after_columns_change_roles() -> None:  # R4.6
    below = Column(1, "x", "integer", Stored("c1", "integer"))
    over = Column(3, "x", "numeric(9,2)", Stored("c3", "numeric(9,2)"))
    lens = Lens(2, (below,), (over,), ('("$1")::numeric(9,2)',), ('("$1")::integer',))
    old = with_raw(Table(9, "t", "table", (below,), "t9"), [lens])
    shown = replace(over, source=Lensed(2))
    new = Table(9, "t", "table", (shown,), "t9", lenses=(lens,))
    for table in (old, new):
        (statement,) = _whole_view(table)
        (flipped,) = _whole_view(swap(table, (lens,)))
        (back,) = _whole_view(swap(swap(table, (lens,)), (mirror(lens),)))
        names = [re.findall(r' AS "([^"]*)"', text) for text in (statement, flipped, back)]
        assert names[0] == names[1] == names[2]
        assert names[0] == ["x", f"_store_c{table.columns[0].id}", "_store_wrote"]
        assert statement == back


def _whole_view(table: Table) -> list[str]:
    statements = view_statements(Version(1, 0, (table,)), lambda *_: "", lambda *_: "")
    return [s for s in statements if s.startswith('CREATE VIEW "morph_w1"')]
