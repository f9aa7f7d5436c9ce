"""GROUP BY and aggregates of one foreign table that its store computes (pure).

`SELECT status, count(*) FROM orders WHERE … GROUP BY status HAVING count(*) > 5 ORDER BY 2` becomes
the grouped scan (status, count) under the same WHERE, and over its rows
`SELECT status, orders."_a1" FROM staged AS orders WHERE orders."_a1" > 5 ORDER BY 2`: whatever is
around the aggregates stays with PostgreSQL. A store takes the grouping whole or not at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from pglast import enums

from backends.base import Aggregate, Grouping, No, ScanAsk
from catalog.model import Column
from catalog.sqltext import quote_ident
from core import expr as ir
from core.expr import base_type
from engine.exactness import TABLE, ExactnessTable, lookup
from engine.federate import FederatedPlan, splice
from engine.lensed_columns import as_stored
from engine.scan_copy import ScanColumns
from engine.scans import Scan
from rewrite.edits import Edit, render, replace_text
from rewrite.tree import OPEN_PAREN, Node, Tokens, ast, children

_LEFT: Final = ("distinctClause", "windowClause", "withClause", "lockingClause", "intoClause")
_TAIL: Final = frozenset(
    {"GROUP_P", "HAVING", "WINDOW", "ORDER", "LIMIT", "OFFSET", "FETCH", "FOR"}
)
_NAMES: Final = frozenset(entry.name for entry in TABLE.entries if entry.kind == "aggregate")
_FUNCTIONS: Final = frozenset(entry.name for entry in TABLE.entries if entry.kind == "function")


@dataclass(frozen=True, slots=True)
class GroupedPlan:
    """The scan whose rows are groups; `keys` are columns, `aggregates` are named _a1, _a2 …"""

    plan: FederatedPlan
    scan: Scan
    keys: tuple[Column, ...]
    aggregates: tuple[Aggregate, ...]
    edits: tuple[Edit, ...]

    def ask(self, values: Mapping[int, str | None]) -> ScanAsk:
        """The ask of the grouped scan."""
        keys = tuple(ir.ColumnRef(column.id, column.type) for column in self.keys)
        return replace(self.scan.ask(values), grouping=Grouping(keys, self.aggregates))

    def columns(self, types: tuple[str, ...]) -> ScanColumns:
        """The staged relation; `types` are those of the plan."""
        names = [column.name for column in self.keys]
        names += [_name(n) for n in range(len(self.aggregates))]
        return ScanColumns("", tuple(names), types)

    def text(self, relation: str) -> str:
        """The statement over the groups."""
        context = self.plan.context
        edits = [splice(context, self.plan.refs[0], relation), *self.edits]
        padded = " " * context.start + context.text[context.start : context.end]
        return render(padded, edits).text[context.start :]


def _name(number: int) -> str:
    return f"_a{number + 1}"


class _NotGrouped(Exception):
    """The statement is of another form."""


def grouped_of(plan: FederatedPlan, table: ExactnessTable = TABLE) -> GroupedPlan | None:
    """How the store could group for the statement, or None. Remembered."""
    if "grouped" not in plan.readings:
        plan.readings["grouped"] = _read(plan, table)
    found = plan.readings["grouped"]
    assert found is None or isinstance(found, GroupedPlan)
    return found


def _read(plan: FederatedPlan, table: ExactnessTable) -> GroupedPlan | None:
    node = plan.query
    if len(plan.parts) != 1 or len(plan.parts[0]) != 1:
        return None
    if plan.target is not None or not isinstance(node, ast.SelectStmt):
        return None
    scan = plan.parts[0][0].scan
    if not scan.complete or scan.limit is not None or len(plan.context.relations) != 1:
        return None
    if node.op != enums.SetOperation.SETOP_NONE or any(getattr(node, name) for name in _LEFT):
        return None
    try:
        return _Reader(plan, scan, table).read(node)
    except _NotGrouped:
        return None


class _Reader:
    """Reads one SELECT; raises _NotGrouped for what is not of the form."""

    def __init__(self, plan: FederatedPlan, scan: Scan, table: ExactnessTable) -> None:
        self._plan = plan
        self._scan = scan
        self._exactness = table
        self._tokens = plan.context.tokens
        self._aggregates: list[Aggregate] = []
        self._edits: list[Edit] = []

    def read(self, node: Node) -> GroupedPlan:
        keys = [self._column(item) for item in node.groupClause or ()]
        if node.groupDistinct or len({key.id for key in keys}) < len(keys):
            raise _NotGrouped
        names = {key.name for key in keys}
        for part in (*(node.targetList or ()), node.havingClause, *(node.sortClause or ())):
            if part is not None:
                self._part(part, names)
        if not (keys or self._aggregates):
            raise _NotGrouped
        self._clauses(node)
        return GroupedPlan(
            self._plan, self._scan, tuple(keys), tuple(self._aggregates), tuple(self._edits)
        )

    def _column(self, node: Node) -> Column:
        if not isinstance(node, ast.ColumnRef):
            raise _NotGrouped
        *qualifiers, last = node.fields
        if not isinstance(last, ast.String) or len(qualifiers) > 1:
            raise _NotGrouped
        if qualifiers and qualifiers[0].sval != self._scan.alias:
            raise _NotGrouped
        column = self._scan.placed.table.column(last.sval)
        if column is None or not as_stored(self._scan.placed.table, column):
            raise _NotGrouped
        return column

    def _part(self, root: Node, keys: set[str]) -> None:
        """Takes the aggregates below; every other column must be a key."""
        stack = [root]
        while stack:
            node = stack.pop()
            if isinstance(node, ast.SubLink | ast.GroupingFunc):
                raise _NotGrouped
            if isinstance(node, ast.FuncCall) and self._is_aggregate(node):
                self._aggregate(node)
                continue
            if isinstance(node, ast.ColumnRef):
                if not self._is_output_name(node, root) and self._column(node).name not in keys:
                    raise _NotGrouped
                continue
            stack.extend(reversed(list(children(node))))

    def _is_output_name(self, node: Node, root: Node) -> bool:
        """ORDER BY alias: a name of the target list."""
        if not isinstance(root, ast.SortBy) or root.node is not node or len(node.fields) != 1:
            return False
        name = getattr(node.fields[0], "sval", None)
        targets = self._plan.query.targetList or ()
        return any(target.name == name for target in targets)

    def _is_aggregate(self, node: Node) -> bool:
        path = [part.sval for part in node.funcname]
        if len(path) > 1 and path[0] != "pg_catalog":
            raise _NotGrouped
        if path[-1] in _NAMES:
            return True
        if path[-1] in _FUNCTIONS and not (node.agg_star or node.over or node.agg_filter):
            return False
        raise _NotGrouped  # it may be an aggregate of a user

    def _aggregate(self, node: Node) -> None:
        others = (node.agg_filter, node.agg_order, node.over, node.agg_within_group)
        if any(others) or node.func_variadic or len(node.args or ()) > 1:
            raise _NotGrouped
        name = node.funcname[-1].sval
        argument = None
        types: tuple[str, ...] = ()
        if not node.agg_star:
            if not node.args:
                raise _NotGrouped
            column = self._column(node.args[0])
            argument = ir.ColumnRef(column.id, column.type)
            types = (base_type(column.type),)
        entry = self._exactness.find("aggregate", name, types)
        kind = self._scan.placed.backend
        if entry is None or isinstance(lookup("aggregate", name, types, kind), No):
            raise _NotGrouped
        self._aggregates.append(
            Aggregate(name, argument, entry.result, distinct=bool(node.agg_distinct))
        )
        start = self._tokens.name_chain(node.location)
        after = self._tokens.index_at(start[-1].end)
        if self._tokens.name(after) != OPEN_PAREN:
            raise _NotGrouped
        end = self._tokens.items[self._tokens.matching_close(after)].end
        alias = quote_ident(self._scan.alias)
        text = f"{alias}.{quote_ident(_name(len(self._aggregates) - 1))}"
        self._edits.append(replace_text(start[0].start, end, text))

    def _clauses(self, node: Node) -> None:
        """WHERE and GROUP BY are the store's now, HAVING filters the groups."""
        tokens, end = self._tokens, self._plan.context.end
        at = tokens.index_at(self._scan.location)
        if node.whereClause is not None:
            first = tokens.find_top(at, frozenset({"WHERE"}), end)
            at = tokens.find_top(first + 1, _TAIL, end)
            self._edits.append(_without(tokens, first, at, end))
        if node.groupClause:
            first = tokens.find_top(at, frozenset({"GROUP_P"}), end)
            at = tokens.find_top(first + 1, _TAIL - {"GROUP_P"}, end)
            self._edits.append(_without(tokens, first, at, end))
        if node.havingClause is not None:
            having = tokens.items[tokens.find_top(at, frozenset({"HAVING"}), end)]
            self._edits.append(replace_text(having.start, having.end, "WHERE"))


def _without(tokens: Tokens, first: int, after: int, end: int) -> Edit:
    start = tokens.items[first].start
    stop = tokens.items[after].start if after < len(tokens.items) else end
    return replace_text(start, min(stop, end), "")
