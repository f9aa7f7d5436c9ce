"""The plan of a statement over foreign tables: its scans, and the statement over what they fetched.

Pure. Each reference to a foreign table is spliced to a staged relation that holds its scan's rows;
references to embedded tables go to their version views by the rules of tier 1, in the same text. So
every statement that PostgreSQL has works over foreign tables, and store tables of several kinds
meet in one statement. A foreign table that the statement changes is staged with all its columns,
and what became of the rows is written back (see engine/changes.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from catalog.model import Column, Native, Table
from catalog.naming import DOC_COLUMN
from catalog.sqltext import quote_ident
from core.errors import FeatureNotSupported
from core.expr import Expr
from engine.lensed_columns import with_unders
from engine.limited_joins import limited
from engine.partitions import parts_of, pruned
from engine.predicates import PlacedTable
from engine.scans import SYSTEM_COLUMNS, Resolve, Scan, list_scans
from engine.virtual_columns import fetched, shown_relation, stored_columns
from rewrite.analysis import Analysis, StatementPlan
from rewrite.context import Context, make_context
from rewrite.copying import copy_columns
from rewrite.edits import Edit, render, replace_text
from rewrite.namespaces import Namespaces
from rewrite.rules import RULES
from rewrite.rules.dotted_paths import quote_dotted_paths, quote_dotted_targets
from rewrite.rules.expand_stars import expand_stars
from rewrite.rules.group_by_key import complete_group_by
from rewrite.rules.whole_rows import rebuild_whole_rows
from rewrite.scope import RelationRef, is_foreign
from rewrite.tree import OPEN_PAREN, STAR, Node, Tokens, ast, names_of, walk

KindOf = Callable[[str], str]
"""Name of an instance → the kind of its store; raises UndefinedObject for an unknown one."""

PARTITIONED = "partitioned"
"""The kind of a partitioned table itself: no store has it, so nothing of it is exact."""

DOC_ID = 0
"""The id of the whole document in scans: no column of any version has it."""

_UTILITY = (ast.DeclareCursorStmt, ast.CreateTableAsStmt, ast.CopyStmt)
_SERVED = (
    ast.SelectStmt,
    ast.InsertStmt,
    ast.UpdateStmt,
    ast.DeleteStmt,
    ast.MergeStmt,
    ast.ExplainStmt,
    *_UTILITY,
)


@dataclass(frozen=True, slots=True)
class PartScan:
    """A scan of one store; `bound` holds for the rows of a partition."""

    scan: Scan
    bound: Expr | None = None

    def needed(self, values: Mapping[int, str | None]) -> bool:
        """Whether the rows of the partition can be of use."""
        return not pruned(self.scan, self.bound, values)


@dataclass(frozen=True, slots=True)
class FederatedPlan:
    """A statement over foreign tables. `scans` are those to read, in the order of the text;
    `target` is the number of the scan whose rows the statement changes, None when it reads only.

    `parts` are the scans that bring the rows of each: itself, or those of its partitions.
    `beside` are the embedded tables at the same levels: their keys can reduce a scan.
    `takes_parameters` is False for utility statements: rows cannot come as parameters then.
    """

    scans: tuple[Scan, ...]
    parts: tuple[tuple[PartScan, ...], ...]
    refs: tuple[RelationRef, ...]
    beside: tuple[Scan, ...]
    target: int | None
    takes_parameters: bool
    uses_parameters: bool
    context: Context
    _texts: dict[tuple[str, ...], str] = field(default_factory=dict, compare=False, repr=False)
    readings: dict[str, object] = field(default_factory=dict, compare=False, repr=False)
    """What other modules have read off the plan once."""

    @property
    def query(self) -> Node:
        """The statement, or what is to be explained."""
        node = self.context.statement
        return node.query if isinstance(node, ast.ExplainStmt) else node

    def text(self, relations: Sequence[str]) -> str:
        """The statement's text with `relations[n]` for the reference of scan n. Remembered."""
        key = tuple(relations)
        text = self._texts.get(key)
        if text is None:
            text = self._render(key)
            if len(self._texts) < _TEXTS_MAX:
                self._texts[key] = text
        return text

    def _render(self, relations: tuple[str, ...]) -> str:
        return self._part(relations, self.context.start, self.context.end)

    def split_text(self, relations: Sequence[str], at: int) -> tuple[str, str]:
        """The text in two parts, cut at a character of the source that no edit covers."""
        key = tuple(relations)
        return self._part(key, self.context.start, at), self._part(key, at, self.context.end)

    def replaced_text(self, relations: Sequence[str], start: int, end: int, text: str) -> str:
        """The statement's text with other words for a piece of the source."""
        edits = [e for e in self._edits(tuple(relations)) if e.end <= start or e.start >= end]
        whole = self.context
        padded = " " * whole.start + whole.text[whole.start : whole.end]
        replaced = render(padded, [*edits, replace_text(start, end, text)])
        return replaced.text[whole.start :]

    def _part(self, relations: tuple[str, ...], start: int, end: int) -> str:
        inside = [e for e in self._edits(relations) if start <= e.start and e.end <= end]
        padded = " " * start + self.context.text[start:end]
        return render(padded, inside).text[start:]

    def _edits(self, relations: tuple[str, ...]) -> list[Edit]:
        context = self.context
        edits = [*_splices(self, relations), *quote_dotted_paths(context)]
        # Where what is staged shows more than the table does, stars and rows are written out.
        more = [n for n, scan in enumerate(self.scans) if DOC_ID in scan.columns]
        if self.target is not None:
            more.append(self.target)
            edits += quote_dotted_targets(context)
        if more:
            whole = replace(context, whole=frozenset(id(self.refs[n].node) for n in more))
            edits += [*expand_stars(whole), *rebuild_whole_rows(whole)]
        edits += [*complete_group_by(context), *unqualified(context, self.refs)]
        foreign = {id(ref.node) for ref in self.refs}
        rest = tuple(ref for ref in context.relations if id(ref.node) not in foreign)
        beside = replace(context, relations=rest)
        edits += [edit for rule in RULES for edit in rule(beside)]
        return list(dict.fromkeys(edits))


_TEXTS_MAX = 8


def scanned_table(table: Table) -> Table:
    """The table as scans see it: a hidden whole document has a column there."""
    if not table.has_doc or table.column(DOC_COLUMN) is not None:
        return table
    return replace(table, columns=(*table.columns, Column(DOC_ID, DOC_COLUMN, "jsonb", Native(()))))


def plan_federated(
    analysis: Analysis,
    statement: StatementPlan,
    namespaces: Namespaces,
    parameters: Mapping[int, str],
    kind_of: KindOf,
) -> FederatedPlan:
    """The plan; `parameters` are the types of $n as far as they are known.

    Raises FeatureNotSupported (0A000) for what cannot run over a copy of the rows.
    """
    context = make_context(
        analysis.text,
        statement.start,
        statement.end,
        Tokens(analysis.text),
        statement.node,
        namespaces,
        analysis.widths,
    )
    refs = sorted(filter(is_foreign, context.relations), key=lambda ref: ref.node.location)
    nodes = list(walk(statement.node))
    _refuse(statement.node, nodes, refs)
    planner = _Planner(context, parameters, kind_of)
    found = [planner.scans_of(ref) for ref in refs]
    targets = [n for n, ref in enumerate(refs) if ref.role == "target"]
    own = {ref.node.location for ref in refs}
    if len(context.relations) == len(refs):
        found = _limited(statement.node, refs, found, parameters)
    return FederatedPlan(
        tuple(scan for scan, _ in found),
        tuple(parts for _, parts in found),
        tuple(refs),
        tuple(scan for scan in planner.listed.values() if scan.location not in own),
        targets[0] if targets else None,
        not isinstance(statement.node, _UTILITY),
        any(isinstance(node, ast.ParamRef) for node in nodes),
        context,
    )


def _limited(
    statement: Node,
    refs: Sequence[RelationRef],
    found: Sequence[tuple[Scan, tuple[PartScan, ...]]],
    parameters: Mapping[int, str],
) -> list[tuple[Scan, tuple[PartScan, ...]]]:
    """The scans with a limit that goes through a join (engine/limited_joins.py)."""
    scans = limited(statement, refs, [scan for scan, _ in found], parameters)
    return [
        (scan, parts if scan is old else (PartScan(scan),))
        for scan, (old, parts) in zip(scans, found, strict=True)
    ]


class _Planner:
    """The scans of one statement; `listed` are those of its levels, by their place in the text."""

    def __init__(self, context: Context, parameters: Mapping[int, str], kind_of: KindOf) -> None:
        self._context = context
        self._parameters = parameters
        self._kind_of = kind_of
        self.listed = self._list(self._resolve)

    def scans_of(self, ref: RelationRef) -> tuple[Scan, tuple[PartScan, ...]]:
        """The scan of a reference, and the scans that bring its rows."""
        table, version = ref.resolved.table, ref.resolved.version
        scan = self._finish(ref, self._place(table, version.number), self.listed)
        if not table.partitioned:
            return scan, (PartScan(scan),)
        parts = []
        for part in parts_of(table, version, self._kind_of):
            found = self._list(partial(_resolve_as, self._resolve, ref, part.placed))
            parts.append(PartScan(self._finish(ref, part.placed, found), part.bound))
        return scan, tuple(part for part in parts if part.needed({}))

    def _place(self, table: Table, number: int) -> PlacedTable:
        if table.kind != "foreign":
            return PlacedTable(table, number)
        if table.partitioned:
            return PlacedTable(table, number, PARTITIONED)
        return PlacedTable(scanned_table(table), number, self._kind_of(table.instance))

    def _resolve(self, schema: str, name: str) -> PlacedTable | None:
        found = self._context.namespaces.resolve(schema or None, name)
        return self._place(found.table, found.version.number) if found else None

    def _list(self, resolve: Resolve) -> dict[int, Scan]:
        found = list_scans(self._context.statement, resolve, self._parameters, targets=True)
        return {scan.location: scan for scan in found}

    def _finish(self, ref: RelationRef, placed: PlacedTable, found: Mapping[int, Scan]) -> Scan:
        scan = found.get(ref.node.location) or _whole_scan(ref, placed)
        if ref.role == "target":
            return _all_columns(scan)
        scan = _with_names(scan, self._context)
        if not names_doc(self._context.statement, ref):
            scan = _without_doc(scan)
        return fetched(scan)


def _resolve_as(
    resolve: Resolve, ref: RelationRef, placed: PlacedTable, schema: str, name: str
) -> PlacedTable | None:
    """The resolver that knows a partitioned table by one of its partitions."""
    found = resolve(schema, name)
    if found is not None and found.table.id == ref.resolved.table.id:
        return placed
    return found


def _refuse(statement: Node, nodes: Sequence[Node], refs: Sequence[RelationRef]) -> None:
    names = ", ".join(dict.fromkeys(f'"{ref.resolved.table.name}"' for ref in refs))
    if not isinstance(statement, _SERVED):
        kind = type(statement).__name__.removesuffix("Stmt")
        raise FeatureNotSupported(f"{kind} over foreign table {names} is not supported")
    if len([ref for ref in refs if ref.role == "target"]) > 1:
        raise FeatureNotSupported(
            "a statement can change one foreign table only", hint="Use one statement for each."
        )
    aliases = {ref.alias for ref in refs}
    for node in nodes:
        if isinstance(node, ast.RangeTableSample):
            raise FeatureNotSupported(f"TABLESAMPLE over foreign table {names} is not supported")
        if isinstance(node, ast.LockingClause):
            raise FeatureNotSupported(
                f"rows of foreign table {names} cannot be locked",
                hint="A write finds out by itself whether a row was changed meanwhile.",
            )
        if isinstance(node, ast.CurrentOfExpr):
            raise FeatureNotSupported(f"WHERE CURRENT OF foreign table {names} is not supported")
        if isinstance(node, ast.ColumnRef):
            path = names_of(node) or [""]
            qualified = len(path) > 1 and path[-2] in aliases
            if path[-1] in SYSTEM_COLUMNS and (qualified or len(path) == 1):
                raise FeatureNotSupported(
                    f'system column "{path[-1]}" of foreign table {names} is not supported',
                    position=node.location + 1,
                )


def _whole_scan(ref: RelationRef, placed: PlacedTable) -> Scan:
    """A reference that no level of list_scans has: the target of INSERT, both sides of MERGE."""
    return Scan(
        location=ref.node.location,
        schema=ref.node.schemaname or "",
        name=ref.node.relname,
        alias=ref.alias,
        placed=placed,
        columns=tuple(column.id for column in placed.table.columns),
        reasons=("MERGE and INSERT are not split",),
    )


def _all_columns(scan: Scan) -> Scan:
    """A target's scan; `shown` are the columns that the statement reads."""
    placed = replace(scan.placed, table=with_unders(scan.placed.table))
    columns = tuple(c.id for c in stored_columns(placed.table))
    return replace(scan, placed=placed, columns=columns, shown=scan.columns, limit=None, order=())


def names_doc(statement: Node, ref: RelationRef) -> bool:
    """Whether the whole document of the reference may be meant somewhere."""
    for node in walk(statement):
        if isinstance(node, ast.ColumnRef):
            path = names_of(node) or [""]
            if path[-1] == DOC_COLUMN and path[-2:-1] in ([], [ref.alias]):
                return True
    return False


def _without_doc(scan: Scan) -> Scan:
    """A star and a row do not show the hidden whole document."""
    return replace(scan, columns=tuple(each for each in scan.columns if each != DOC_ID))


def _with_names(scan: Scan, context: Context) -> Scan:
    """With the columns that the statement names by a path without quotes."""
    dotted = {edit.parts[0] for edit in quote_dotted_paths(context)}
    return replace(
        scan,
        columns=tuple(
            column.id
            for column in scan.placed.table.columns
            if column.id in scan.columns or quote_ident(column.name) in dotted
        ),
    )


def _splices(plan: FederatedPlan, relations: Sequence[str]) -> Iterable[Edit]:
    for number, ref in enumerate(plan.refs):
        relation = relations[number]
        if number != plan.target:
            relation = shown_relation(plan.scans[number], relation)
        yield splice(plan.context, ref, relation)


def splice(context: Context, ref: RelationRef, relation: str) -> Edit:
    """The reference replaced; ONLY, a star behind it and TABLE in front of it mean nothing here,
    and a subquery could not follow them.
    """
    tokens = context.tokens
    chain = tokens.name_chain(ref.node.location)
    start, end = chain[0].start, chain[-1].end
    first, after = tokens.index_at(start), tokens.index_at(end)
    statement = context.statement
    if isinstance(statement, ast.CopyStmt) and statement.relation is ref.node:
        if statement.attlist and tokens.name(after) == OPEN_PAREN:
            end = tokens.items[tokens.matching_close(after)].end
        names = ", ".join(quote_ident(name) for name in copy_columns(context))
        return replace_text(start, end, f"(SELECT {names} FROM {relation} AS _m)")
    if tokens.name(after) == STAR:
        end = tokens.items[after].end
    elif tokens.name(first - 1) == "ONLY":
        start = tokens.items[first - 1].start
    elif tokens.name(first - 1) == OPEN_PAREN and tokens.name(first - 2) == "ONLY":
        start, end = tokens.items[first - 2].start, tokens.items[after].end
    text = relation if ref.node.alias is not None else f"{relation} AS {quote_ident(ref.alias)}"
    before = tokens.index_at(start) - 1
    if tokens.name(before) == "TABLE" and ref.role == "read":
        return replace_text(tokens.items[before].start, end, f"SELECT * FROM {text}")
    return replace_text(start, end, text)


def unqualified(context: Context, refs: Sequence[RelationRef]) -> Iterable[Edit]:
    """`public.orders.id` becomes `orders.id`: what is staged has no schema."""
    known = {
        (schema, ref.node.relname)
        for ref in refs
        if ref.node.alias is None
        for schema in (ref.node.schemaname, ref.resolved.schema)
    }
    for node in walk(context.statement):
        if not isinstance(node, ast.ColumnRef) or len(node.fields) < 3:
            continue
        first, second = node.fields[0], node.fields[1]
        if not (isinstance(first, ast.String) and isinstance(second, ast.String)):
            continue
        if (first.sval, second.sval) in known:
            chain = context.tokens.name_chain(node.location)
            yield replace_text(chain[0].start, chain[1].start, "")
