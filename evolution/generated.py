"""GENERATED ALWAYS AS (…) of new columns: the client's expressions, and the edits that let the
scratch table hold them.
"""

from __future__ import annotations

from catalog.model import Column, Seed, Stored, Table, Version
from catalog.sqltext import quote_ident
from core.errors import FeatureNotSupported
from evolution.request import DdlRequest
from evolution.seeds.expressions import parse_expression, substitute
from evolution.seeds.foreign import over_fetched_rows
from evolution.seeds.macros import macro_calls
from evolution.seeds.shape import shape_expression
from evolution.seeds.validate import check_expression
from rewrite.edits import Edit, replace_text
from rewrite.tree import OPEN_PAREN, Node

_STORED_HINT = "Virtual columns are computed on reading; leave STORED out."


class GeneratedColumns:
    """New virtual columns of a statement, by name."""

    def __init__(self, request: DdlRequest, version: Version, table: Table) -> None:
        self._request = request
        self._version = version
        self._table = table
        self.expressions: dict[str, str] = {}
        self.stored: set[str] = set()
        self.edits: list[Edit] = []

    def collect(self, commands: tuple[Node, ...]) -> None:
        """Look through the ADD COLUMN commands of an ALTER TABLE."""
        for command in commands:
            if command.subtype.name == "AT_AddColumn":
                self.definition(command.def_)

    def definition(self, column: Node) -> None:
        """Look at one column definition."""
        for constraint in getattr(column, "constraints", None) or ():
            if constraint.contype.name == "CONSTR_GENERATED":
                self._add(column.colname, constraint)

    def _add(self, name: str, constraint: Node) -> None:
        tokens = self._request.tokens
        index = tokens.index_at(constraint.location)
        while tokens.name(index) != OPEN_PAREN:
            index += 1
        close = tokens.matching_close(index)
        start, end = tokens.items[index].end, tokens.items[close].start
        written = self._request.text[start:end]
        expression = written.strip()
        at = start + len(written) - len(written.lstrip())
        if self._table.kind == "foreign":
            expression = over_fetched_rows(expression, at=at)
        check_expression(expression, self._version, self._table, name, at=at)
        shaped = shape_expression(expression, self._version, self._table)
        self.expressions[name] = expression
        after = tokens.name(close + 1)
        if after == "STORED":
            self._keep(name, macros=bool(list(macro_calls(parse_expression(expression)))))
        if shaped.strip("() \n") != expression.strip("() \n"):
            self.edits.append(replace_text(start, end, shaped))
        stop = (
            tokens.items[close + 1].end
            if after in ("VIRTUAL", "STORED")
            else tokens.items[close].end
        )
        # STORED: VIRTUAL refuses user-defined functions (PostgreSQL 18), and generators are such.
        self.edits.append(replace_text(tokens.items[close].end, stop, " STORED"))

    def _keep(self, name: str, *, macros: bool) -> None:
        """A STORED column; FeatureNotSupported where the store cannot compute it on writing."""
        if self._table.kind != "table" or macros:
            raise FeatureNotSupported(
                f'generated column "{name}" cannot be STORED: it is computed from more than '
                "the row of a table",
                hint=_STORED_HINT,
            )
        self.stored.add(name)


def stored_definition(table: Table, column: Column) -> str:
    """The store's definition of a STORED generated column; the columns that it reads must be the
    store's own as they are (FeatureNotSupported, 0A000).
    """
    source = column.source
    assert isinstance(source, Seed)
    replacements = {}
    for read in table.columns:
        if isinstance(read.source, Stored) and not read.source.converts(read.type):
            replacements[read.name] = quote_ident(read.source.column)
        elif read.id in source.depends:
            raise FeatureNotSupported(
                f'generated column "{column.name}" cannot be STORED: it reads "{read.name}", '
                "which is no column of the store",
                hint=_STORED_HINT,
            )
    expression = substitute(source.expression, replacements)
    return f"{quote_ident(source.column)} {column.type} GENERATED ALWAYS AS ({expression}) STORED"
