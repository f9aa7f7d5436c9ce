"""Child tables are read only: their rows are the elements of an array in the parent's documents."""

from __future__ import annotations

from collections.abc import Iterable

from core.errors import MorphError, ObjectNotInPrerequisiteState
from rewrite.context import Context
from rewrite.edits import Edit
from rewrite.scope import RelationRef
from rewrite.tree import ast

_VERBS = {
    ast.InsertStmt: "insert into",
    ast.UpdateStmt: "update",
    ast.DeleteStmt: "delete from",
    ast.MergeStmt: "merge into",
}


def _refusal(ref: RelationRef) -> MorphError:
    table = ref.resolved.table
    parent = ref.resolved.version.table_by_id(table.parent_id)
    where = f'table "{parent.name}"' if parent is not None else "the parent table"
    return ObjectNotInPrerequisiteState(
        f'cannot {_VERBS[type(ref.owner)]} child table "{table.name}"',
        detail=f"Its rows are the elements of an array in the documents of {where}.",
        hint=f'Update the column "{".".join(table.parent_path)}" of {where}.',
    )


def refuse_child_writes(context: Context) -> Iterable[Edit]:
    """No edits; 55000 when a statement writes to a child table."""
    for ref in context.relations:
        if ref.role == "target" and ref.resolved.table.kind == "child":
            raise _refusal(ref)
    return ()
