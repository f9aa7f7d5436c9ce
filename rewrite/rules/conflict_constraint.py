"""ON CONFLICT ON CONSTRAINT name: a view has no constraints, so the arbiter's columns are named."""

from __future__ import annotations

from collections.abc import Iterable

from catalog.sqltext import quote_ident
from rewrite.context import Context
from rewrite.edits import Edit, replace_text
from rewrite.scope import RelationRef
from rewrite.tree import ast


def _columns(ref: RelationRef, name: str) -> list[str]:
    table = ref.resolved.table
    for constraint in table.constraints:
        if constraint.name == name and constraint.kind in ("p", "u"):
            return [c.name for c in table.columns if c.id in constraint.columns]
    return []


def name_conflict_columns(context: Context) -> Iterable[Edit]:
    """Replace `ON CONSTRAINT c` by its columns; an unknown name stays for PostgreSQL's error."""
    for ref in context.relations:
        owner = ref.owner
        if ref.role != "target" or not isinstance(owner, ast.InsertStmt):
            continue
        clause = owner.onConflictClause
        if clause is None or clause.infer is None or not clause.infer.conname:
            continue
        columns = _columns(ref, clause.infer.conname)
        if not columns:
            continue
        tokens = context.tokens
        index = tokens.index_at(clause.infer.location)
        while tokens.name(index) not in ("CONSTRAINT", ""):
            index += 1
        start = tokens.items[index - 1].start
        end = tokens.items[index + 1].end
        yield replace_text(start, end, f"({', '.join(quote_ident(c) for c in columns)})")
