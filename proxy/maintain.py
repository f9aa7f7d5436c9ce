"""TRUNCATE, VACUUM and ANALYZE of store tables (PostgreSQL manual, pages of the commands).

TRUNCATE runs in the client's transaction. VACUUM cannot run in one (25001), so it gets a connection
of the control plane for itself; ANALYZE goes the same way outside a block and by `apply` inside,
where it must see the transaction's own rows. Without names they are of all tables of the store; the
system's are vacuumed by themselves.
"""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg

from catalog.model import CatalogSnapshot, DocPath, Lensed, Stored, Table
from catalog.sqltext import PUBLIC, STORE_SCHEMA, quote_ident, quote_literal
from core.errors import (
    ActiveTransaction,
    FeatureNotSupported,
    QueryCanceled,
    ReadOnlyTransaction,
    UndefinedColumn,
    WrongObjectType,
)
from engine.plans import Plan
from private_pg.cluster import SUPERUSER
from proxy.internal_errors import restate
from proxy.notices import notice
from proxy.prepared import Portal
from proxy.protocol.reports import encode_notice
from proxy.protocol.server import command_complete
from proxy.relay import BackendError
from rewrite.analysis import StatementPlan
from rewrite.scope import RelationRef, is_foreign
from rewrite.tree import Node, ast

if TYPE_CHECKING:
    from proxy.operations import Operations
    from proxy.session import Session

CONNECT_TIMEOUT_S = 30.0
DOCUMENT = "_doc"
_STORE_TABLE = re.compile(rf'\b{STORE_SCHEMA}\.(t\d+(?:s\d+)*)\b|^"(t\d+(?:s\d+)*)"(?=:)')


def store_name(table: Table) -> str:
    """The physical table, qualified."""
    return f"{STORE_SCHEMA}.{quote_ident(table.store)}"


def truncate_statements(statement: StatementPlan) -> tuple[list[str], list[str]]:
    """(statements on store tables, statements on the client's own tables)."""
    node = statement.node
    by_node = {id(ref.node): ref for ref in statement.relations}
    tail = " RESTART IDENTITY" if node.restart_seqs else ""
    tail += " CASCADE" if node.behavior.name == "DROP_CASCADE" else ""
    stores: dict[str, None] = {}
    others: list[str] = []
    for item in node.relations:
        ref = by_node.get(id(item))
        if ref is None:
            parts = (item.schemaname, item.relname)
            others.append(".".join(quote_ident(p) for p in parts if p))
        else:
            stores[_truncatable(ref, cascade=node.behavior.name == "DROP_CASCADE")] = None
    return (
        [f"TRUNCATE {', '.join(stores)}{tail}"],
        [f"TRUNCATE {', '.join(others)}{tail}"] if others else [],
    )


def _truncatable(ref: RelationRef, *, cascade: bool) -> str:
    table = ref.resolved.table
    if table.kind == "view":
        raise WrongObjectType(f'"{table.name}" is not a table')
    if table.kind == "child":
        parent = ref.resolved.version.table_by_id(table.parent_id)
        owner = parent.name if parent is not None else "its parent"
        raise WrongObjectType(
            f'cannot truncate child table "{table.name}"',
            detail=f"It shows the elements of an array inside the documents of {owner}.",
            hint=f"Truncate {owner}, or remove the field with UPDATE.",
        )
    if is_foreign(ref):
        kind = "partitioned" if table.partitioned else "foreign"
        place = "its partitions" if table.partitioned else f'server "{table.instance}"'
        raise WrongObjectType(
            f'cannot truncate {kind} table "{table.name}"',
            detail=f"Its rows lie in {place}.",
            hint="Use DELETE.",
        )
    if table.part is not None:
        raise FeatureNotSupported(
            f'cannot truncate "{table.name}": it shows some of the rows of a table that was split',
            hint="Use DELETE, or truncate the table through a version from before.",
        )
    parts = [t for t in ref.resolved.version.tables if t.part and t.part.of == table.id]
    if parts and not cascade:
        raise FeatureNotSupported(
            "cannot truncate a table referenced in a foreign key constraint",
            detail=f'Table "{parts[0].name}" references "{table.name}".',
            hint=f'Truncate table "{parts[0].name}" at the same time, or use TRUNCATE ... CASCADE.',
        )
    return store_name(table)


def vacuum_statement(statement: StatementPlan, snapshot: CatalogSnapshot) -> tuple[str, list[str]]:
    """(the VACUUM or ANALYZE over store tables, names of views, which cannot be vacuumed)."""
    node = statement.node
    by_node = {id(ref.node): ref for ref in statement.relations}
    command = "VACUUM" if node.is_vacuumcmd else "ANALYZE"
    options = ", ".join(_option(o) for o in node.options or ())
    targets: list[str] = []
    views: list[str] = []
    for item in node.rels or ():
        ref = by_node.get(id(item.relation))
        if ref is None:
            parts = (item.relation.schemaname, item.relation.relname)
            targets.append(".".join(quote_ident(p) for p in parts if p))
        elif ref.resolved.table.kind in ("view", "foreign"):
            views.append(ref.resolved.table.name)
        else:
            targets.append(_vacuum_target(ref, [c.sval for c in item.va_cols or ()]))
    if not node.rels:
        targets = [f"{STORE_SCHEMA}.{quote_ident(name)}" for name in _store_names(snapshot)]
    text = f"{command} ({options})" if options else command
    if any(o.defname == "only_database_stats" for o in node.options or ()):
        return text, views
    return (f"{text} {', '.join(targets)}" if targets else ""), views


def _store_names(snapshot: CatalogSnapshot) -> dict[str, str]:
    """All tables of the store, with the names that the newest versions give them."""
    return {
        table.store: f"{PUBLIC}.{table.name}"
        for number in sorted(snapshot.versions)
        for table in snapshot.versions[number].tables
        if table.store
    }


def _vacuum_target(ref: RelationRef, columns: list[str]) -> str:
    table = ref.resolved.table
    if table.kind == "child":
        parent = ref.resolved.version.table_by_id(table.parent_id)
        assert parent is not None
        return store_name(parent)
    names: dict[str, None] = {}
    for name in columns:
        column = table.column(name)
        if column is None:
            raise UndefinedColumn(f'column "{name}" of relation "{table.name}" does not exist')
        if isinstance(column.source, Stored):
            names[quote_ident(column.source.column)] = None
        elif isinstance(column.source, DocPath):
            names[DOCUMENT] = None
        elif isinstance(column.source, Lensed):
            names[quote_ident(f"c{column.id}")] = None
    listed = f" ({', '.join(names)})" if names else ""
    return store_name(table) + listed


def _option(option: Node) -> str:
    argument = option.arg
    name = str(option.defname).upper()
    if argument is None:
        return name
    if isinstance(argument, ast.Integer):
        return f"{name} {argument.ival or 0}"
    if isinstance(argument, ast.Boolean):
        return f"{name} {'true' if argument.boolval else 'false'}"
    text = argument.fval if isinstance(argument, ast.Float) else quote_literal(argument.sval)
    return f"{name} {text}"


class Maintain:
    """The maintenance operations of one worker."""

    def __init__(self, operations: Operations) -> None:
        self._operations = operations

    async def run(
        self,
        session: Session,
        plan: Plan,
        statement: StatementPlan,
        *,
        portal: Portal | None = None,
        execute: bytes = b"",
    ) -> None:
        """One TRUNCATE, VACUUM or ANALYZE."""
        if isinstance(statement.node, ast.TruncateStmt):
            await self._truncate(session, plan, statement)
        else:
            await self._vacuum(session, plan, statement)

    async def _truncate(self, session: Session, plan: Plan, statement: StatementPlan) -> None:
        stores, others = truncate_statements(statement)
        scripts = self._operations.scripts
        setting = "SELECT pg_catalog.current_setting('transaction_read_only')"
        if (await scripts.fetch(session, setting)).rows()[0][0] == b"on":
            raise ReadOnlyTransaction("cannot execute TRUNCATE TABLE in a read-only transaction")
        try:
            await self._operations.apply(session, stores)
            for text in others:
                await scripts.fetch(session, text)
        except BackendError as error:
            raise restate(session, error, plan) from error
        session.send_to_client(command_complete("TRUNCATE TABLE"))

    async def _vacuum(self, session: Session, plan: Plan, statement: StatementPlan) -> None:
        text, views = vacuum_statement(statement, session.snapshot)
        vacuum = bool(statement.node.is_vacuumcmd)
        block = session.status != ord("I") or len(plan.statements) > 1
        if vacuum and block:
            raise ActiveTransaction("VACUUM cannot run inside a transaction block")
        verb = "vacuum" if vacuum else "analyze"
        for name in views:
            message = f'skipping "{name}" --- cannot {verb} non-tables or special system tables'
            session.send_to_client(notice(session, "WARNING", "01000", message))
        if text and block:
            try:
                await self._operations.apply(session, [text])
            except BackendError as error:
                raise restate(session, error, plan) from error
        elif text:
            await self._run_alone(session, plan, text)
        session.send_to_client(command_complete("VACUUM" if vacuum else "ANALYZE"))

    async def _run_alone(self, session: Session, plan: Plan, text: str) -> None:
        """Run on a connection of its own; a cancel of the session cancels it."""
        socket = Path(self._operations.worker.pool.socket_path)
        connection = await asyncpg.connect(
            host=str(socket.parent),
            user=SUPERUSER,
            database=self._operations.worker.database,
            timeout=CONNECT_TIMEOUT_S,
        )
        connection.add_log_listener(lambda _, report: _forward(session, plan, report))
        work = asyncio.ensure_future(connection.execute(text))
        session.on_cancel = work.cancel
        try:
            await asyncio.wait([work])
            if work.cancelled():
                raise QueryCanceled("canceling statement due to user request")
            work.result()
        except asyncpg.PostgresError as error:
            raise restate(session, BackendError(_fields(error)), plan) from error
        finally:
            session.on_cancel = None
            work.cancel()
            connection.terminate()


def _fields(report: asyncpg.PostgresError | asyncpg.PostgresLogMessage) -> dict[str, str]:
    values = {
        "S": report.severity,
        "V": report.severity,
        "C": report.sqlstate,
        "M": report.message,
        "D": report.detail,
        "H": report.hint,
        "s": report.schema_name,
        "t": report.table_name,
    }
    return {code: value for code, value in values.items() if value}


def _forward(session: Session, plan: Plan, report: asyncpg.PostgresLogMessage) -> None:
    fields = restate(session, BackendError(_fields(report)), plan).fields
    names = _store_names(session.snapshot) | {
        ref.resolved.table.store: f"{ref.resolved.schema}.{ref.resolved.table.name}"
        for statement in plan.statements
        for ref in statement.relations
    }

    def name(match: re.Match[str]) -> str:
        known = names.get(match[1] or match[2])
        if known is None:
            return match[0]
        return known if match[1] else f'"{known.partition(".")[2]}"'

    for code in ("M", "D"):
        if code in fields:
            fields[code] = _STORE_TABLE.sub(name, fields[code])
    session.send_to_client(encode_notice(fields))
