"""ON CONFLICT DO UPDATE into a part of a split table: keys are those of all parts, and the row in
the way may be one of another part, which a statement on this one must not change.
"""

from __future__ import annotations

from collections.abc import Iterable

from core.errors import FeatureNotSupported
from rewrite.context import Context
from rewrite.edits import Edit
from rewrite.tree import ast


def refuse_updates_of_others(context: Context) -> Iterable[Edit]:
    """Raise FeatureNotSupported (0A000) for such an INSERT."""
    for ref in context.relations:
        owner = ref.owner
        if ref.role != "target" or not isinstance(owner, ast.InsertStmt):
            continue
        clause = owner.onConflictClause
        part = ref.resolved.table.part
        if part is None or clause is None:
            continue
        if part.keyed:
            raise FeatureNotSupported(
                f'ON CONFLICT is not supported on "{ref.resolved.table.name}"',
                detail="It shows columns of the rows of a table that was decomposed.",
                hint="Use UPDATE and INSERT, or the table through a version from before.",
            )
        if clause.action.name == "ONCONFLICT_UPDATE":
            raise FeatureNotSupported(
                f'ON CONFLICT DO UPDATE is not supported on "{ref.resolved.table.name}"',
                detail="It shows some of the rows of a table that was split, and the row in the "
                "way may be one of the others.",
                hint="Use MERGE, or the table through a version from before.",
            )
    return ()
