"""GENERATED ALWAYS AS (…) of new columns: the client's expressions, and the edits that let the
scratch table hold them.
"""

from __future__ import annotations

from catalog.model import Table, Version
from core.errors import FeatureNotSupported
from evolution.request import DdlRequest
from evolution.seeds.foreign import over_fetched_rows
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
            raise FeatureNotSupported(
                f'generated column "{name}" cannot be STORED from the start', hint=_STORED_HINT
            )
        if shaped.strip("() \n") != expression.strip("() \n"):
            self.edits.append(replace_text(start, end, shaped))
        stop = tokens.items[close + 1].end if after == "VIRTUAL" else tokens.items[close].end
        # STORED: VIRTUAL refuses user-defined functions (PostgreSQL 18), and generators are such.
        self.edits.append(replace_text(tokens.items[close].end, stop, " STORED"))
