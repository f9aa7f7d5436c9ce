"""Finds the references to store tables in a statement: scoping of CTE names is PostgreSQL's.

A WITH name hides a table of the same name where it is visible: in the statement that has the WITH
clause and everything below; without RECURSIVE, a CTE sees only those before it. The target of a
data-modifying statement is never a CTE.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from rewrite.namespaces import Namespaces, Resolved
from rewrite.tree import Node, ast, children

Role = Literal["read", "target"]

DATABASE: Final = "morph"  # a name through another database is PostgreSQL's to refuse

_TARGETS = (ast.InsertStmt, ast.UpdateStmt, ast.DeleteStmt, ast.MergeStmt)


@dataclass(frozen=True, slots=True)
class RelationRef:
    """A RangeVar that names a store table; `owner` is the statement node it belongs to."""

    node: Node
    owner: Node
    resolved: Resolved
    role: Role

    @property
    def alias(self) -> str:
        """The name by which the statement refers to its columns."""
        alias: str = self.node.alias.aliasname if self.node.alias else self.node.relname
        return alias


def is_foreign(ref: RelationRef) -> bool:
    """Whether a reference is to a table whose rows lie in another store."""
    return ref.resolved.table.kind == "foreign"


def _hides(node: Node) -> bool:
    return isinstance(node, (ast.LockingClause, ast.IntoClause))


def _with_clause(
    node: Node, hidden: frozenset[str]
) -> tuple[list[tuple[Node, Node, frozenset[str]]], frozenset[str]]:
    """The CTEs' queries with the names that hide tables in each, and those hidden in the rest."""
    clause = node.withClause
    if clause is None:
        return [], hidden
    names = frozenset(cte.ctename for cte in clause.ctes)
    visible = hidden | names if clause.recursive else hidden
    queries = []
    for cte in clause.ctes:
        queries.append((cte.ctequery, cte.ctequery, visible))
        visible |= {cte.ctename}
    return queries, hidden | names


class _Finder:
    def __init__(self, namespaces: Namespaces) -> None:
        self._namespaces = namespaces
        self.found: list[RelationRef] = []

    def visit(self, root: Node) -> None:
        """Look at everything below; with a stack of its own, as an expression may be deep."""
        stack: list[tuple[Node, Node, frozenset[str]]] = [(root, root, frozenset())]
        while stack:
            node, owner, hidden = stack.pop()
            if isinstance(node, ast.RangeVar):
                self._range_var(node, owner, hidden, "read")
                continue
            if _hides(node):
                continue
            below: list[tuple[Node, Node, frozenset[str]]] = []
            if isinstance(node, (ast.SelectStmt, *_TARGETS)):
                owner = node
                below, hidden = _with_clause(node, hidden)
            target = node.relation if isinstance(node, _TARGETS) else None
            if target is not None:
                self._range_var(target, owner, frozenset(), "target")
            below += [
                (child, owner, hidden)
                for child in children(node)
                if child is not target and not isinstance(child, ast.WithClause)
            ]
            stack.extend(reversed(below))

    def _range_var(self, node: Node, owner: Node, hidden: frozenset[str], role: Role) -> None:
        if node.schemaname is None and node.relname in hidden:
            return
        if (node.catalogname or DATABASE) != DATABASE:
            return
        if node.schemaname == "pg_temp" or node.relpersistence == "t":
            return  # the second: the name of a temporary relation that the statement makes
        resolved = self._namespaces.resolve(node.schemaname, node.relname)
        if resolved is not None:
            self.found.append(RelationRef(node, owner, resolved, role))


def find_relations(statement: Node, namespaces: Namespaces) -> list[RelationRef]:
    """All references to store tables, in the order of the tree."""
    finder = _Finder(namespaces)
    finder.visit(statement)
    return finder.found
