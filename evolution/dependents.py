"""Client views that read a table: they keep it from being dropped or renamed."""

from __future__ import annotations

from catalog.model import Table, Version
from catalog.sqltext import shape_schema
from core.errors import DependentObjectsStillExist
from evolution.request import DdlRequest
from rewrite.namespaces import Namespaces
from rewrite.parsing import parse_statements
from rewrite.scope import find_relations


def dependent_views(request: DdlRequest, version: Version, table: Table) -> list[Table]:
    """The views of a version that read `table` or one of its child tables."""
    ids = {table.id} | {t.id for t in version.tables if t.parent_id == table.id}
    namespaces = Namespaces(request.snapshot, (shape_schema(version.number),))
    found = []
    for view in version.tables:
        if view.kind != "view":
            continue
        statement = parse_statements(view.definition)[0].stmt
        if any(r.resolved.table.id in ids for r in find_relations(statement, namespaces)):
            found.append(view)
    return found


def require_no_dependents(request: DdlRequest, table: Table, verb: str) -> None:
    """DependentObjectsStillExist (2BP01) when views read the table."""
    views = dependent_views(request, request.head, table)
    if views:
        raise DependentObjectsStillExist(
            f"cannot {verb} table {table.name} because other objects depend on it",
            detail="\n".join(f"view {v.name} depends on table {table.name}" for v in views),
            hint="Use DROP ... CASCADE to drop the dependent objects too."
            if verb == "drop"
            else "Drop the views first.",
        )
