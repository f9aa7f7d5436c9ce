"""The scans of a SELECT: for each reference to a store table, what has to be fetched.

Pure: the pglast tree, a resolver of names and the parameter types go in. Each RangeVar that names
a store table is a scan of its own, wherever it stands (joins, sub-selects, CTEs, set operations,
LATERAL). The statement still runs in full over what was fetched, so a scan only has to hold enough:

* *columns*: every name that the statement mentions anywhere, all where a star, a whole row, a
  NATURAL join or an alias with column names makes it unclear;
* *predicate*: conjuncts whose rows-not-true could never reach the result. WHERE reduces a table
  that no outer join of the level makes nullable; ON reduces both sides of an inner join and only
  the nullable side of an outer one;
* *may raise*: a conjunct that can raise is taken only in a statement that is one SELECT over one
  table and has all its conjuncts taken, so that PostgreSQL would run it on the same rows;
* *limit*: only for such a statement, too.

Invariants: without the predicate, limit and column list the answer is the same; the names of CTEs
hide tables as they do in PostgreSQL. Targets of writes are no scans.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from pglast import ast, enums

from backends.base import OrderKey, Partner, ScanAsk
from catalog.model import Column, Table
from core.expr import Expr, bind, join_and
from engine.exactness import TABLE, ExactnessTable, judge_for
from engine.lensed_columns import as_stored
from engine.predicates import (
    NameScope,
    PlacedTable,
    Pushable,
    Refused,
    column_of,
    split_conjuncts,
    translate,
)

Resolve = Callable[[str, str], PlacedTable | None]
"""(schema or "", name) → the store table it means under the session's search_path, or None."""

Tree = Any
"""A node of pglast: its stubs call every attribute optional, the parser sets the ones read here."""

JOINS_MAX: Final = 200
"""Levels of a join tree below which nothing is pushed."""

_CHANGES: Final = (ast.UpdateStmt, ast.DeleteStmt)

SYSTEM_COLUMNS: Final = frozenset(("ctid", "tableoid", "xmin", "xmax", "cmin", "cmax"))


@dataclass(frozen=True, slots=True)
class JoinKey:
    """`column = other` of this scan and the one at `location`: rows of this scan that meet none
    of the other's never reach the result.
    """

    column_id: int
    location: int
    other_id: int


@dataclass(frozen=True, slots=True)
class Scan:
    """One reference to a store table.

    `location` is the character (not byte) of the statement where its name starts, `schema` and
    `name` are as written, `alias` is what the statement calls it. `columns` are ids in the table's
    order. `whole` says that the predicate may raise and is taken in full or not at all. `reasons`
    say why conjuncts stay. `system_columns` are names such as ctid that a copy cannot answer.
    """

    location: int
    schema: str
    name: str
    alias: str
    placed: PlacedTable
    columns: tuple[int, ...]
    predicate: Expr | None = None
    limit: int | None = None
    order: tuple[OrderKey, ...] = ()
    whole: bool = False
    reasons: tuple[str, ...] = ()
    system_columns: tuple[str, ...] = ()
    complete: bool = False
    """The predicate is all of the statement's WHERE, and the table all of its FROM."""
    joins: tuple[JoinKey, ...] = ()
    partner: Partner | None = None
    """With it the limit counts rows that have a partner: limited_joins.py."""
    shown: tuple[int, ...] = ()
    """The columns that are wanted, where computed ones are among them: virtual_columns.py."""

    def ask(self, values: Mapping[int, str | None], exactness: ExactnessTable = TABLE) -> ScanAsk:
        """The ask for the backend, with the parameters' values in their text form."""
        return ScanAsk(
            version=self.placed.version,
            columns=self.columns,
            predicate=None if self.predicate is None else bind(self.predicate, values),
            limit=self.limit,
            order=self.order,
            judge=judge_for(self.placed.backend, exactness),
            whole=self.whole,
            partner=self.partner,
        )


@dataclass(slots=True)
class _Reference:
    """A RangeVar found in a FROM clause; `plain` is False where nothing may be pushed."""

    node: Tree
    alias: str
    placed: PlacedTable
    plain: bool
    conjuncts: list[Pushable] = field(default_factory=list)
    joins: list[JoinKey] = field(default_factory=list)


@dataclass(slots=True)
class _Level:
    """One SELECT: its references, and what of its names is not simple."""

    node: Tree
    references: list[_Reference] = field(default_factory=list)
    items: int = 0
    star: bool = False
    natural: bool = False
    merged: set[str] = field(default_factory=set)
    reasons: list[str] = field(default_factory=list)
    kept: int = 0


@dataclass(slots=True)
class _Mentions:
    """Names of columns and rows over the whole statement."""

    names: set[str] = field(default_factory=set)
    rows: set[str] = field(default_factory=set)
    qualified: set[tuple[str, str]] = field(default_factory=set)
    bare: set[str] = field(default_factory=set)

    def column(self, alias: str, name: str) -> bool:
        """Whether a column is meant somewhere: by its name alone, or behind its table's alias."""
        return name in self.bare or (alias, name) in self.qualified


def list_scans(
    statement: ast.Node,
    resolve: Resolve,
    parameters: Mapping[int, str] | None = None,
    *,
    shadowed: frozenset[str] = frozenset(),
    exactness: ExactnessTable = TABLE,
    targets: bool = False,
) -> tuple[Scan, ...]:
    """All scans of a statement in the order of the text.

    `shadowed`: names of functions, operators and types that the session's search_path finds
    outside pg_catalog. With `targets` UPDATE and DELETE are levels like SELECT: what they change
    and what they read beside it are scans, reduced by their WHERE.

    >>> list_scans(parse_sql("SELECT id FROM orders WHERE total > 5")[0], resolve)
    (Scan(location=15, schema='', name='orders', …),)
    """
    levels, mentions = _collect(statement, resolve, targets=targets)
    root = _root(statement)
    scans: list[Scan] = []
    for level in levels:
        base = NameScope({}, parameters or {}, frozenset(level.merged), level.natural, shadowed)
        scope = _scope_of(level, base, exactness)
        _push_level(level, scope)
        alone = level.node is root and _alone(level)
        scans.extend(_finish(level, reference, mentions, alone) for reference in level.references)
    return tuple(sorted(scans, key=lambda scan: scan.location))


# Finding levels, references and mentions; without recursion over the tree.


def _collect(
    statement: ast.Node, resolve: Resolve, *, targets: bool
) -> tuple[list[_Level], _Mentions]:
    kinds = (ast.SelectStmt, *_CHANGES) if targets else ast.SelectStmt
    levels: list[_Level] = []
    mentions = _Mentions()
    stack: list[tuple[Tree, frozenset[str], _Level | None]] = [(statement, frozenset(), None)]
    while stack:
        node, hidden, level = stack.pop()
        if isinstance(node, tuple | list):
            stack.extend((part, hidden, level) for part in node)
            continue
        if not isinstance(node, ast.Node):
            continue
        if isinstance(node, ast.ColumnRef):
            _mention(node, mentions, level)
            continue
        with_clause = getattr(node, "withClause", None)
        if with_clause is not None:
            hidden, parts = _common_tables(with_clause, hidden)
            stack.extend((query, inner, None) for query, inner in parts)
        if isinstance(node, kinds):
            level = _Level(node)
            levels.append(level)
            _references(level, hidden, resolve, mentions)
        stack.extend(
            (value, hidden, level)
            for name in node
            if name != "withClause" and (value := getattr(node, name)) is not None
        )
    return levels, mentions


def _common_tables(
    clause: Tree, hidden: frozenset[str]
) -> tuple[frozenset[str], list[tuple[Tree, frozenset[str]]]]:
    """The names hidden in the body, and each query with the names hidden in it.

    WITH RECURSIVE shows every name to every query, plain WITH only the ones before.
    """
    every = hidden | {query.ctename for query in clause.ctes}
    parts = []
    for query in clause.ctes:
        parts.append((query, every if clause.recursive else hidden))
        hidden |= {query.ctename}
    return every, parts


def _mention(node: Tree, mentions: _Mentions, level: _Level | None) -> None:
    fields: tuple[Tree, ...] = node.fields
    names = [str(part.sval) for part in fields if isinstance(part, ast.String)]
    if len(names) < len(fields):
        if names:
            mentions.rows.add(names[-1])
        elif level is not None:
            level.star = True
        return
    mentions.names.update(names)
    if len(names) == 1:
        mentions.rows.add(names[0])
        mentions.bare.add(names[0])
    else:
        mentions.qualified.add((names[-2], names[-1]))


def _from_items(clause: Tree) -> Iterator[tuple[Tree, bool]]:
    """Every item of the join trees of a FROM clause; True under a join with an alias."""
    stack = [(item, False) for item in reversed(clause or ())]
    while stack:
        node, covered = stack.pop()
        yield node, covered
        if isinstance(node, ast.JoinExpr):
            covered = covered or node.alias is not None
            stack += [(node.rarg, covered), (node.larg, covered)]
        elif isinstance(node, ast.RangeTableSample):
            stack.append((node.relation, True))


def _items(node: Tree) -> tuple[Tree, ...]:
    """What a level reads; the target of a change comes first."""
    if isinstance(node, ast.UpdateStmt):
        return (node.relation, *(node.fromClause or ()))
    if isinstance(node, ast.DeleteStmt):
        return (node.relation, *(node.usingClause or ()))
    return node.fromClause or ()


def _references(
    level: _Level, hidden: frozenset[str], resolve: Resolve, mentions: _Mentions
) -> None:
    for node, covered in _from_items(_items(level.node)):
        if isinstance(node, ast.JoinExpr):
            level.natural |= bool(node.isNatural)
            using = {part.sval for part in node.usingClause or ()}
            level.merged |= using
            mentions.names |= using
            mentions.bare |= using
            if node.alias is not None:
                # Its row and its columns are under a name of their own: fetch them all.
                level.star = True
            continue
        level.items += not isinstance(node, ast.RangeTableSample)
        if not isinstance(node, ast.RangeVar) or node.catalogname:
            continue
        name = str(node.relname)
        target = isinstance(level.node, _CHANGES) and node is level.node.relation
        if not node.schemaname and name in hidden and not target:
            continue  # a target is never a CTE
        placed = resolve(node.schemaname or "", name)
        if placed is not None:
            plain = not covered and not _renamed(node)
            level.references.append(_Reference(node, _alias(node), placed, plain))


def _alias(node: Tree) -> str:
    return str(node.relname if node.alias is None else node.alias.aliasname)


def _renamed(node: Tree) -> bool:
    """AS o(a, b): the columns go by other names."""
    return node.alias is not None and bool(node.alias.colnames)


# Pushing conjuncts


def _scope_of(level: _Level, base: NameScope, exactness: ExactnessTable) -> NameScope:
    """The names of the level; two tables under one name (in two schemas) are in neither."""
    uses = Counter(reference.alias for reference in level.references)
    for reference in level.references:
        reference.plain = reference.plain and uses[reference.alias] == 1
    tables = {r.alias: r.placed for r in level.references if r.plain}
    return NameScope(tables, base.parameters, base.merged, base.natural, base.shadowed, exactness)


def _push_level(level: _Level, scope: NameScope) -> None:
    reachable = frozenset[str]()
    for item in _items(level.node):
        reachable |= _push_join(item, level, scope)
    _push_condition(level.node.whereClause, reachable, level, scope)


def _push_join(item: Tree, level: _Level, scope: NameScope, depth: int = 0) -> frozenset[str]:
    """Pushes the ON conditions below `item`; the aliases that it does not make nullable."""
    nobody = frozenset[str]()
    if isinstance(item, ast.RangeVar):
        here = any(r.node is item and r.plain for r in level.references)
        return frozenset((_alias(item),)) if here else nobody
    if not isinstance(item, ast.JoinExpr) or depth > JOINS_MAX:
        return nobody
    left = _push_join(item.larg, level, scope, depth + 1)
    right = _push_join(item.rarg, level, scope, depth + 1)
    kind: Tree = item.jointype
    reduced, result = {
        enums.JoinType.JOIN_INNER: (left | right, left | right),
        enums.JoinType.JOIN_LEFT: (right, left),
        enums.JoinType.JOIN_RIGHT: (left, right),
    }.get(kind, (nobody, nobody))
    _push_condition(item.quals, reduced, level, scope)
    return result


def _push_condition(
    condition: Tree, reachable: frozenset[str], level: _Level, scope: NameScope
) -> None:
    by_alias = {r.alias: r for r in level.references if r.plain}
    for conjunct in split_conjuncts(condition):
        verdict = translate(conjunct, scope)
        if isinstance(verdict, Refused):
            level.kept += 1
            level.reasons.append(verdict.reason)
            _note_join(conjunct, reachable, by_alias, scope)
        elif verdict.alias not in reachable:
            level.kept += 1
            level.reasons.append(f"{verdict.alias} is on the other side of an outer join")
        else:
            by_alias[verdict.alias].conjuncts.append(verdict)


def _note_join(
    conjunct: Tree,
    reachable: frozenset[str],
    by_alias: Mapping[str, _Reference],
    scope: NameScope,
) -> None:
    """A conjunct `a.x = b.y`: what it reduces can be fetched by the keys of the other."""
    if not isinstance(conjunct, ast.A_Expr) or conjunct.kind != enums.A_Expr_Kind.AEXPR_OP:
        return
    if [part.sval for part in conjunct.name or ()] != ["="]:
        return
    sides = [column_of(side, scope) for side in (conjunct.lexpr, conjunct.rexpr)]
    left, right = sides
    if left is None or right is None or left[0] == right[0]:
        return
    for (alias, column), (other_alias, other) in ((left, right), (right, left)):
        if alias in reachable:
            partner = by_alias[other_alias].node.location
            by_alias[alias].joins.append(JoinKey(column.id, partner, other.id))


# From references to scans


def _root(statement: ast.Node) -> Tree:
    """The statement's own SELECT under EXPLAIN and CREATE TABLE AS; a cursor has none."""
    node: Tree = statement
    while isinstance(node, ast.RawStmt | ast.ExplainStmt | ast.CreateTableAsStmt):
        node = node.stmt if isinstance(node, ast.RawStmt) else node.query
    return node


def _alone(level: _Level) -> bool:
    """One SELECT over one table: its conditions run on every row of it, in the order written."""
    node = level.node
    return level.items == 1 and len(level.references) == 1 and node.withClause is None


def _finish(level: _Level, reference: _Reference, mentions: _Mentions, alone: bool) -> Scan:
    node, table = reference.node, reference.placed.table
    complete = alone and level.kept == 0 and reference.plain
    conjuncts, reasons = reference.conjuncts, list(level.reasons)
    limited = getattr(level.node, "limitCount", None) is not None
    raising = [c for c in conjuncts if c.may_raise]
    if raising and (not complete or limited):
        conjuncts = [c for c in conjuncts if not c.may_raise]
        reasons.append("may raise on rows that the statement does not reach")
    order: tuple[OrderKey, ...] = ()
    limit: int | None = None
    if complete and limited and len(conjuncts) == len(reference.conjuncts):
        order, limit = _limit(level.node, reference)
    system = SYSTEM_COLUMNS & mentions.names
    return Scan(
        location=node.location,
        schema=node.schemaname or "",
        name=node.relname,
        alias=reference.alias,
        placed=reference.placed,
        columns=_columns(level, reference, mentions),
        predicate=join_and([c.expr for c in conjuncts]),
        limit=limit,
        order=order,
        whole=any(c.may_raise for c in conjuncts),
        reasons=tuple(dict.fromkeys(reasons)),
        system_columns=tuple(sorted(n for n in system if table.column(n) is None)),
        complete=complete and len(conjuncts) == len(reference.conjuncts),
        joins=tuple(dict.fromkeys(reference.joins)),
    )


def _columns(level: _Level, reference: _Reference, mentions: _Mentions) -> tuple[int, ...]:
    table, alias = reference.placed.table, reference.alias
    known = {column.name for column in table.columns} | SYSTEM_COLUMNS
    renamed = _renamed(reference.node)
    # `alias.f` where f is no column is a function of the whole row.
    functional = any(a == alias and name not in known for a, name in mentions.qualified)
    if level.star or level.natural or renamed or functional or alias in mentions.rows:
        return tuple(column.id for column in table.columns)
    return tuple(column.id for column in table.columns if mentions.column(alias, column.name))


def _limit(node: Tree, reference: _Reference) -> tuple[tuple[OrderKey, ...], int | None]:
    """LIMIT (and OFFSET) by constants over plain columns; else nothing."""
    table = reference.placed.table

    def key(names: Sequence[str]) -> Column | None:
        return sortable(table, names[-1]) if names[:-1] in ([], [reference.alias]) else None

    order = order_of(node, key)
    limit = rows_wanted(node, lambda names: table.column(names[-1]) is not None)
    return ((), None) if order is None or limit is None else (order, limit)


def sortable(table: Table, name: str) -> Column | None:
    """The column of this name, if the store of the table has it."""
    column = table.column(name)
    if column is None or table.kind != "foreign" or as_stored(table, column):
        return column
    return None


def rows_wanted(node: Tree, is_column: Callable[[list[str]], bool]) -> int | None:
    """LIMIT and OFFSET together, where they are constants over stars and plain columns."""
    grouped = node.groupClause or node.havingClause or node.distinctClause or node.windowClause
    if grouped or node.lockingClause or node.limitOption != enums.LimitOption.LIMIT_OPTION_COUNT:
        return None
    if not all(_plain_target(target.val, is_column) for target in node.targetList or ()):
        return None
    count, offset = _constant(node.limitCount), _constant(node.limitOffset)
    if count is None or (node.limitOffset is not None and offset is None):
        return None
    return count + (offset or 0)


def _plain_target(node: Tree, is_column: Callable[[list[str]], bool]) -> bool:
    """A star or a column; `alias.f` may be a function that answers no row or many."""
    if not isinstance(node, ast.ColumnRef):
        return False
    *names, last = node.fields or (None,)
    if isinstance(last, ast.A_Star):
        return True
    return is_column([part.sval for part in (*names, last)])


def _constant(node: Tree) -> int | None:
    if isinstance(node, ast.A_Const) and isinstance(node.val, ast.Integer) and not node.isnull:
        return node.val.ival if (node.val.ival or 0) >= 0 else None
    return None


def order_of(node: Tree, key: Callable[[list[str]], Column | None]) -> tuple[OrderKey, ...] | None:
    """The sort keys if all are columns that `key` finds by their names; None if not."""
    keys = []
    outputs = any(target.name is not None for target in node.targetList or ())
    for item in node.sortClause or ():
        fields = item.node.fields if isinstance(item.node, ast.ColumnRef) else ()
        if not fields or not all(isinstance(part, ast.String) for part in fields):
            return None
        names = [part.sval for part in fields]
        column = key(names)
        # A bare name in ORDER BY is first an output name.
        if column is None or item.useOp or (len(names) == 1 and outputs):
            return None
        descending = item.sortby_dir == enums.SortByDir.SORTBY_DESC
        nulls_first = (
            descending
            if item.sortby_nulls == enums.SortByNulls.SORTBY_NULLS_DEFAULT
            else item.sortby_nulls == enums.SortByNulls.SORTBY_NULLS_FIRST
        )
        keys.append(OrderKey(column.id, descending, nulls_first))
    return tuple(keys)
