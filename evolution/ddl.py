"""DDL on store tables: which module handles a statement."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace

from core.errors import FeatureNotSupported
from evolution.alter_table import alter_table, rename_column, rename_table
from evolution.comments import comment_on
from evolution.create_table import create_table
from evolution.drop import drop_indexes, drop_tables
from evolution.indexes import create_index
from evolution.lifecycle import promote
from evolution.publish import first_version
from evolution.request import DIRECT, DdlRequest, Outcome
from evolution.views import create_view

LOCK_CATALOG = "LOCK TABLE morph_catalog.state IN EXCLUSIVE MODE"


async def _rename(request: DdlRequest) -> Outcome:
    kind = request.node.renameType.name
    if kind in ("OBJECT_COLUMN", "OBJECT_TABCONSTRAINT"):
        return await rename_column(request)
    if kind in ("OBJECT_TABLE", "OBJECT_VIEW"):
        return await rename_table(request)
    raise FeatureNotSupported(f"renaming {kind.removeprefix('OBJECT_').lower()} is not supported")


async def _drop(request: DdlRequest) -> Outcome:
    kind = request.node.removeType.name
    if kind == "OBJECT_INDEX":
        return await drop_indexes(request)
    return await drop_tables(request)


_BY_KIND: dict[str, Callable[[DdlRequest], Awaitable[Outcome]]] = {
    "AlterTableStmt": alter_table,
    "RenameStmt": _rename,
    "CreateStmt": create_table,
    "DropStmt": _drop,
    "IndexStmt": create_index,
    "ViewStmt": create_view,
    "CommentStmt": comment_on,
}


async def run_ddl(request: DdlRequest) -> Outcome:
    """Run one DDL statement in its transaction, which must hold LOCK_CATALOG."""
    kind = type(request.node).__name__
    handler = _BY_KIND.get(kind)
    if handler is None:
        name = kind.removesuffix("Stmt")
        raise FeatureNotSupported(f"{name} is not supported on store tables")
    if not request.snapshot.versions:
        request = replace(request, snapshot=await first_version(request.tx, request.snapshot))
    before = request.snapshot
    outcome = await handler(request)
    made = outcome.snapshot.head
    if request.mode == DIRECT and made not in (outcome.snapshot.current, before.current):
        return replace(outcome, snapshot=await promote(request.tx, outcome.snapshot, made))
    return outcome
