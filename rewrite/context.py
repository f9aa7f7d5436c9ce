"""What a rule sees: one statement, its tokens, its store tables, and which need the whole view."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from catalog.model import Column, DocPath, Lensed, Stored, Table
from catalog.naming import DOC_COLUMN
from rewrite.namespaces import Namespaces
from rewrite.scope import RelationRef, find_relations
from rewrite.tree import Node, Tokens, ast, names_of, walk


@dataclass(frozen=True, slots=True)
class Context:
    """One statement of a text. `whole` holds the ids of RangeVars spliced to the whole view,
    `widths` the column counts of queries that were described on request (see NeedsWidth).
    """

    text: str
    start: int
    end: int
    tokens: Tokens
    statement: Node
    namespaces: Namespaces
    relations: tuple[RelationRef, ...]
    whole: frozenset[int]
    widths: Mapping[int, int]

    def uses_whole(self, ref: RelationRef) -> bool:
        """True when the reference goes to the view that also shows `_doc`."""
        return id(ref.node) in self.whole


def direct(column: Column) -> bool:
    """True when a write to the column needs no rewriting: a plain column of the version view."""
    source = column.source
    return isinstance(source, Stored) and not (source.converts(column.type) or source.raw)


def defaulted(table: Table) -> list[Column]:
    """Columns whose default a version view cannot have: an INSERT that leaves them out says it.

    A view has defaults only for its plain columns; the store's own may be another version's.
    """
    return [
        c
        for c in table.columns
        if (isinstance(c.source, DocPath) and c.default is not None)
        or (isinstance(c.source, Stored) and not direct(c) and not c.identity)
        or isinstance(c.source, Lensed)
    ]


def _res_targets(clauses: object) -> list[str]:
    return [item.name for item in clauses or ()]  # type: ignore[attr-defined]


def _insert_columns(node: Node, table: Table) -> list[str]:
    if node.cols:
        return [c.name for c in node.cols]
    return [c.name for c in table.columns]


def written_columns(node: Node, table: Table) -> list[str]:
    """Names of the columns that a data-modifying statement assigns in its target."""
    names: list[str] = []
    if isinstance(node, ast.InsertStmt):
        names += _insert_columns(node, table) if node.selectStmt is not None else []
        names += [c.name for c in defaulted(table)]
        if node.onConflictClause is not None:
            names += _res_targets(node.onConflictClause.targetList)
    elif isinstance(node, ast.UpdateStmt):
        names += _res_targets(node.targetList)
    elif isinstance(node, ast.MergeStmt):
        for clause in node.mergeWhenClauses:
            if clause.targetList:
                names += _res_targets(clause.targetList)
            elif clause.commandType.name == "CMD_INSERT" and clause.values:
                names += [c.name for c in table.columns]
            if clause.commandType.name == "CMD_INSERT":
                names += [c.name for c in defaulted(table)]
    return names


def needs_document_write(ref: RelationRef) -> bool:
    """True when the statement assigns a column of the target that is no plain store column."""
    table = ref.resolved.table
    if ref.role != "target" or table.kind != "table":
        return False
    for name in written_columns(ref.owner, table):
        column = table.column(name)
        if name == DOC_COLUMN or (column is not None and not direct(column)):
            return True
    return False


def mentions_document(statement: Node) -> bool:
    """True when `_doc` is named: no shape shows it, so such a statement cannot be described."""
    for node in walk(statement):
        if isinstance(node, ast.ColumnRef):
            names = names_of(node)
            if names and names[-1] == DOC_COLUMN:
                return True
        elif isinstance(node, ast.ResTarget) and node.name == DOC_COLUMN:
            return True
    return False


class NeedsWidth(Exception):
    """A rule must know how many columns the query at text[start:end] has: describe `query` (the
    same with what it sees of WITH clauses), try again with `widths[start]` set.
    """

    def __init__(self, start: int, end: int, query: str) -> None:
        super().__init__(start, end, query)
        self.start = start
        self.end = end
        self.query = query


def make_context(
    text: str,
    start: int,
    end: int,
    tokens: Tokens,
    statement: Node,
    namespaces: Namespaces,
    widths: Mapping[int, int],
) -> Context:
    """The context of one statement that lies at text[start:end]."""
    relations = tuple(find_relations(statement, namespaces))
    whole = {id(ref.node) for ref in relations if needs_document_write(ref)}
    if relations and mentions_document(statement):
        whole |= {id(ref.node) for ref in relations if ref.resolved.table.has_doc}
    return Context(
        text, start, end, tokens, statement, namespaces, relations, frozenset(whole), widths
    )
