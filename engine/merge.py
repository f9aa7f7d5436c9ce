"""The merge tier's plan of a SELECT: its scans, and the statement over what they fetched (pure).

Each reference to a store table is spliced to a staged relation that holds the scan's rows: arrays
in parameters for few rows, a temporary table for many. The rest of the text is what tier 1 runs,
other rewrite rules included. What cannot be staged exactly stays in tier 1, and `refusal` says why:
locks and writes, system columns, the whole document, sampling, types outside the type table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from backends.base import ScanAsk, judge_nothing
from catalog.naming import DOC_COLUMN
from catalog.sqltext import quote_ident
from core.errors import UndefinedObject
from core.types import type_by_name
from engine.federate import splice, unqualified
from engine.predicates import PlacedTable
from engine.scan_copy import ScanColumns
from engine.scans import Scan, list_scans
from rewrite.analysis import Analysis, StatementPlan
from rewrite.context import Context, make_context
from rewrite.edits import Edit, render
from rewrite.namespaces import Namespaces
from rewrite.rules.dotted_paths import quote_dotted_paths
from rewrite.rules.group_by_key import complete_group_by
from rewrite.tree import Node, Tokens, ast, names_of, walk

DUMMY_COLUMN = "_morph_n"
STATISTICS = 10
"""Statistics target of a staged column: a sample of 3,000 rows tells what a join needs."""


@dataclass(frozen=True, slots=True)
class MergePlan:
    """A statement to be merged. `refusal` is a phrase when it stays in tier 1."""

    scans: tuple[Scan, ...]
    refusal: str
    uses_parameters: bool
    context: Context
    _texts: dict[tuple[str, ...], str] = field(default_factory=dict, compare=False, repr=False)

    def small_text(self, relations: tuple[str, ...]) -> str:
        """The text with relations that are the same each time: all of them arrays. Remembered."""
        text = self._texts.get(relations)
        if text is None:
            text = self._texts[relations] = self.text(relations.__getitem__)
        return text

    def text(self, relation: Callable[[int], str]) -> str:
        """The statement's text with `relation(number of the scan)` for each reference."""
        context = self.context
        edits = [*_splices(self, relation), *quote_dotted_paths(context)]
        edits += [*complete_group_by(context), *unqualified(context, context.relations)]
        padded = " " * context.start + context.text[context.start : context.end]
        return render(padded, tuple(dict.fromkeys(edits))).text[context.start :]


def plan_merge(
    analysis: Analysis,
    statement: StatementPlan,
    namespaces: Namespaces,
    parameters: Mapping[int, str],
) -> MergePlan:
    """The plan; `parameters` are the types of $n as far as they are known."""

    def resolve(schema: str, name: str) -> PlacedTable | None:
        found = namespaces.resolve(schema or None, name)
        return PlacedTable(found.table, found.version.number) if found else None

    context = make_context(
        analysis.text,
        statement.start,
        statement.end,
        Tokens(analysis.text),
        statement.node,
        namespaces,
        analysis.widths,
    )
    scans = _with_dotted(list_scans(statement.node, resolve, parameters), context)
    nodes = list(walk(statement.node))
    uses = any(isinstance(node, ast.ParamRef) for node in nodes)
    return MergePlan(scans, _refusal(statement, scans, nodes), uses, context)


def _with_dotted(scans: Sequence[Scan], context: Context) -> tuple[Scan, ...]:
    """The scans with the columns that the statement names by a path without quotes."""
    dotted = {edit.parts[0] for edit in quote_dotted_paths(context)}
    if not dotted:
        return tuple(scans)
    return tuple(
        replace(
            scan,
            columns=tuple(
                column.id
                for column in scan.placed.table.columns
                if column.id in scan.columns or quote_ident(column.name) in dotted
            ),
        )
        for scan in scans
    )


def _refusal(statement: StatementPlan, scans: Sequence[Scan], nodes: Sequence[Node]) -> str:
    if any(ref.role == "target" for ref in statement.relations):
        return "it writes"
    if any(isinstance(node, ast.LockingClause) for node in nodes):
        return "it locks rows"
    if any(isinstance(node, ast.RangeTableSample) for node in nodes):
        return "it samples rows"
    found = sorted(ref.node.location for ref in statement.relations)
    if found != [scan.location for scan in scans]:
        return "it refers to a table outside FROM"
    for scan in scans:
        if scan.system_columns:
            return f"it reads the system column {scan.system_columns[0]}"
        for column in scan.placed.table.columns:
            if column.id in scan.columns and not _known(column.type):
                return f"type {column.type} is not in the type table"
    for node in nodes:
        if isinstance(node, ast.ColumnRef) and (names_of(node) or [""])[-1] == DOC_COLUMN:
            return "it reads whole documents"
    return ""


def _known(sql: str) -> bool:
    try:
        type_by_name(sql)
    except UndefinedObject:
        return False
    return True


def _splices(plan: MergePlan, relation: Callable[[int], str]) -> Iterable[Edit]:
    refs = {ref.node.location: ref for ref in plan.context.relations}
    for number, scan in enumerate(plan.scans):
        yield splice(plan.context, refs[scan.location], relation(number))


def ask_of(scan: Scan, values: Mapping[int, str | None], *, push: bool) -> ScanAsk:
    """The scan's ask; without `push` all rows of the columns are fetched."""
    if push:
        return scan.ask(values)
    ask = replace(scan.ask({}), judge=judge_nothing, predicate=None, limit=None, order=())
    return replace(ask, partner=None)


def columns_of(scan: Scan, native: str) -> ScanColumns:
    """The scan as a part of the one COPY."""
    chosen = [c for c in scan.placed.table.columns if c.id in scan.columns]
    by_id = {c.id: c for c in chosen}
    ordered = [by_id[each] for each in scan.columns]
    return ScanColumns(native, tuple(c.name for c in ordered), tuple(c.type for c in ordered))


def staged_columns(scan: ScanColumns) -> tuple[tuple[str, str], ...]:
    """(name, type) of the staged relation; a scan without columns still has rows."""
    pairs = tuple(zip(scan.names, scan.types, strict=True))
    return pairs or ((DUMMY_COLUMN, "integer"),)


def create_text(name: str, scan: ScanColumns) -> str:
    """The temporary table for a large scan."""
    columns = ", ".join(f"{quote_ident(n)} {sql}" for n, sql in staged_columns(scan))
    return f"CREATE TEMPORARY TABLE {quote_ident(name)} ({columns}) ON COMMIT DROP"


def analyze_texts(relation: str, columns: Iterable[str]) -> tuple[str, str]:
    """What makes the planner know a filled table: `relation` and `columns` as statements call them.

    PostgreSQL's own target looks at 30,000 rows, which takes longer than the COPY did.
    """
    names = list(columns)
    targets = ", ".join(f"ALTER {name} SET STATISTICS {STATISTICS}" for name in names)
    return f"ALTER TABLE {relation} {targets}", f"ANALYZE {relation} ({', '.join(names)})"


def unnest_text(scan: ScanColumns, first: int) -> str:
    """The staged relation of a small scan: parameters from `first` on hold its columns as arrays.

    Arrays of arrays are no type, so a column of arrays comes as their texts. In a SELECT list the
    arrays are read side by side and row by row; in FROM each would first be written to a store of
    its own.
    """
    columns = staged_columns(scan)
    values = ", ".join(
        f"pg_catalog.unnest(${first + n}::{'pg_catalog.text' if sql.endswith('[]') else sql}[]) "
        f"AS {quote_ident(name)}"
        for n, (name, sql) in enumerate(columns)
    )
    staged = f"(SELECT {values})"
    if not any(sql.endswith("[]") for _, sql in columns):
        return staged
    casts = ", ".join(
        f"{quote_ident(name)}::{sql} AS {quote_ident(name)}" if sql.endswith("[]")
        else quote_ident(name)
        for name, sql in columns
    )  # fmt: skip
    return f'(SELECT {casts} FROM {staged} AS "_m")'
