"""DDL on store tables: which module handles a statement."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace

from core.errors import FeatureNotSupported
from evolution.alter_table import alter_table, rename
from evolution.changes.in_flight import beside_changes, register
from evolution.comments import comment_on
from evolution.create_table import create_table
from evolution.create_table_as import create_table_as, select_into
from evolution.drop import drop_indexes, drop_tables
from evolution.foreign_tables import create_foreign_table, import_foreign_schema
from evolution.indexes import create_index, rename_index
from evolution.lifecycle import promote
from evolution.partitions import (
    alter_partitions,
    changes_partitions,
    create_partition,
    create_partitioned,
)
from evolution.publish import first_version
from evolution.request import DIRECT, DdlRequest, Outcome
from evolution.servers import (
    alter_server,
    alter_user_mapping,
    create_server,
    create_user_mapping,
    drop_servers,
    drop_user_mapping,
)
from evolution.table_calls import run_call
from evolution.transaction import Transaction
from evolution.views import create_view

LOCK_CATALOG = "LOCK TABLE morph_catalog.state IN EXCLUSIVE MODE"


_RENAMED = {
    "OBJECT_COLUMN", "OBJECT_TABCONSTRAINT", "OBJECT_TABLE", "OBJECT_VIEW", "OBJECT_FOREIGN_TABLE",
}  # fmt: skip


async def _rename(request: DdlRequest) -> Outcome:
    kind = request.node.renameType.name
    if kind == "OBJECT_INDEX":
        return await rename_index(request)
    if kind in _RENAMED:
        return await rename(request)
    words = kind.removeprefix("OBJECT_").lower().replace("_", " ")
    raise FeatureNotSupported(f"renaming a {words} over store tables is not supported")


async def _drop(request: DdlRequest) -> Outcome:
    kind = request.node.removeType.name
    if kind == "OBJECT_INDEX":
        return await drop_indexes(request)
    if kind == "OBJECT_FOREIGN_SERVER":
        return await drop_servers(request)
    return await drop_tables(request)


async def _alter_table(request: DdlRequest) -> Outcome:
    if changes_partitions(request.node):
        return await alter_partitions(request)
    return await alter_table(request)


async def _create_table(request: DdlRequest) -> Outcome:
    if request.node.partspec is not None:
        return await create_partitioned(request)
    return await create_table(request)


async def _create_foreign_table(request: DdlRequest) -> Outcome:
    if request.node.base.partbound is not None:
        return await create_partition(request)
    return await create_foreign_table(request)


_BY_KIND: dict[str, Callable[[DdlRequest], Awaitable[Outcome]]] = {
    "AlterTableStmt": _alter_table,
    "RenameStmt": _rename,
    "CreateStmt": _create_table,
    "CreateTableAsStmt": create_table_as,
    "SelectStmt": select_into,
    "DropStmt": _drop,
    "IndexStmt": create_index,
    "ViewStmt": create_view,
    "CommentStmt": comment_on,
    "CreateForeignServerStmt": create_server,
    "AlterForeignServerStmt": alter_server,
    "CreateUserMappingStmt": create_user_mapping,
    "AlterUserMappingStmt": alter_user_mapping,
    "DropUserMappingStmt": drop_user_mapping,
    "CreateForeignTableStmt": _create_foreign_table,
    "ImportForeignSchemaStmt": import_foreign_schema,
}


_REFUSED = {
    "GrantStmt": (
        "GRANT or REVOKE",
        "Every role of the configuration reads and writes every store table.",
    ),
    "AlterOwnerStmt": ("OWNER TO", "Roles are in the configuration of Morphgres."),
    "AlterObjectSchemaStmt": (
        "SET SCHEMA",
        "The schemas of store tables are versions; ALTER TABLE makes a new one.",
    ),
    "CreateTrigStmt": ("CREATE TRIGGER", "Triggers would run in one version only."),
    "RuleStmt": ("CREATE RULE", "Use a view."),
    "RefreshMatViewStmt": ("REFRESH MATERIALIZED VIEW", ""),
    "ClusterStmt": ("CLUSTER", "Morphgres keeps the store's files itself."),
    "CreatePolicyStmt": ("CREATE POLICY", "Store tables have no row security."),
    "ReindexStmt": ("REINDEX", "DROP INDEX and CREATE INDEX make an index anew."),
}


async def run_ddl(request: DdlRequest) -> Outcome:
    """Run one DDL statement in its transaction, which must hold LOCK_CATALOG."""
    kind = type(request.node).__name__
    handler = run_call if kind == "CallStmt" else _BY_KIND.get(kind)
    if handler is None:
        what, hint = _REFUSED.get(kind, (kind.removesuffix("Stmt"), ""))
        raise FeatureNotSupported(f"{what} is not supported on store tables", hint=hint)
    if not request.snapshot.versions:
        snapshot = await first_version(request.tx, request.snapshot)
        namespaces = replace(request.namespaces, snapshot=snapshot)
        request = replace(request, snapshot=snapshot, namespaces=namespaces)
    before = request.snapshot
    outcome = await beside_changes(request.tx, lambda tx: handler(_on(request, tx)))
    pending = bool(request.pending)
    await register(request.tx, before, outcome.snapshot, request.mode, pending=pending)
    made = outcome.snapshot.head
    if request.mode == DIRECT and made not in (outcome.snapshot.current, before.current):
        return replace(outcome, snapshot=await promote(request.tx, outcome.snapshot, made))
    return outcome


def _on(request: DdlRequest, tx: Transaction) -> DdlRequest:
    return request if tx is request.tx else replace(request, tx=tx)
