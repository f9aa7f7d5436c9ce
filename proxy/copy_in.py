"""COPY table FROM STDIN into a store table (PostgreSQL manual, "COPY").

PostgreSQL reads the client's data itself: into a temporary table that is called as the target and
has the columns of the list with the version's types, so formats, options, WHERE, error texts and
their CONTEXT are its own. One INSERT … SELECT, rewritten like any other, then moves the rows into
the documents. All of it is part of the client's transaction, so an error anywhere, a cancel or a
lost client leaves nothing.

Invariants: nothing is buffered here (data goes to the backend as it comes, and reading from the
client pauses when the backend is slow); the staging table takes at most `temp_file_limit` bytes of
COPY data; NOT NULL and CHECK of the target are checked while reading, so their errors name the
line, keys are checked by the INSERT.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from catalog.model import Column, Constraint, DocPath, Seed, Table
from catalog.naming import DOC_COLUMN
from catalog.sqltext import quote_ident
from core.errors import (
    ConfigurationLimitExceeded,
    DuplicateColumn,
    FeatureNotSupported,
    InvalidColumnReference,
    ObjectNotInPrerequisiteState,
    ReadOnlyTransaction,
    UndefinedColumn,
    WrongObjectType,
)
from engine.plans import Plan
from proxy.internal_errors import reported, restate
from proxy.prepared import Portal
from proxy.protocol import requests
from proxy.protocol.framing import message
from proxy.protocol.message_types import ClientType
from proxy.protocol.server import command_complete
from proxy.relay import BackendError, Sink
from rewrite.analysis import StatementPlan
from rewrite.edits import Rendered, render, replace_text
from rewrite.scope import RelationRef, is_foreign
from rewrite.tree import Node, Tokens, ast, names_of, walk

if TYPE_CHECKING:
    from proxy.operations import Operations
    from proxy.session import Session

FALLBACK_NAME = "_morph_copy"
_TRUE = ("", "true", "on", "1")


@dataclass(frozen=True, slots=True)
class Request:
    """What a COPY asks for. `columns` are those of the list in its order, `extra` those that only
    WHERE mentions and document fields with a default: they get it while reading, as in PostgreSQL.
    """

    ref: RelationRef
    columns: tuple[Column, ...]
    extra: tuple[Column, ...]
    defaults: bool

    @property
    def table(self) -> Table:
        """The target as the version shows it."""
        return self.ref.resolved.table

    @property
    def staged(self) -> tuple[Column, ...]:
        """The columns of the staging table."""
        return (*self.columns, *self.extra)


def read_request(statement: StatementPlan) -> Request:
    """The request of a COPY FROM; raises what PostgreSQL raises for a bad target or list."""
    node, ref = statement.node, statement.relations[0]
    table = ref.resolved.table
    if table.kind == "view":
        raise WrongObjectType(
            f'cannot copy to view "{table.name}"',
            hint="Copy to the tables that the view reads.",
        )
    if table.kind != "table":
        raise WrongObjectType(
            f'cannot copy to child table "{table.name}"',
            detail="It shows the elements of an array inside the documents of another table.",
            hint="Copy whole documents to the parent's _doc.",
        )
    if _flag(node, "freeze"):
        raise ObjectNotInPrerequisiteState(
            "cannot perform COPY FREEZE because the table was not created or truncated in the "
            "current subtransaction"
        )
    columns = _listed(node, table)
    chosen = {c.name for c in columns}
    mentioned = _where_names(node, table) - chosen
    extra = tuple(
        c
        for c in table.columns
        if c.name in mentioned
        or (isinstance(c.source, DocPath) and c.default is not None and c.name not in chosen)
    )
    defaults = any(o.defname == "default" for o in node.options or ())
    if defaults and any(c.identity for c in columns):
        raise FeatureNotSupported(
            "COPY with DEFAULT into an identity column is not supported",
            hint="Leave the identity column out of the column list.",
        )
    return Request(ref, columns, extra, defaults)


def _flag(node: Node, name: str) -> bool:
    for option in node.options or ():
        if option.defname == name:
            return _text(option.arg).lower() in _TRUE
    return False


def _text(argument: Node) -> str:
    for field in ("sval", "ival", "boolval"):
        value = getattr(argument, field, None)
        if value is not None:
            return str(value)
    return ""


def _listed(node: Node, table: Table) -> tuple[Column, ...]:
    if not node.attlist:
        return tuple(c for c in table.columns if not isinstance(c.source, Seed))
    columns: list[Column] = []
    for item in node.attlist:
        column = table.column(item.sval)
        if column is None and item.sval == DOC_COLUMN and table.has_doc:
            column = Column(0, DOC_COLUMN, "jsonb", Seed(""))
        elif column is None:
            raise UndefinedColumn(f'column "{item.sval}" of relation "{table.name}" does not exist')
        elif isinstance(column.source, Seed):
            raise InvalidColumnReference(
                f'column "{item.sval}" is a generated column',
                detail="Generated columns cannot be used in COPY.",
            )
        if any(c.name == column.name for c in columns):
            raise DuplicateColumn(f'column "{item.sval}" specified more than once')
        columns.append(column)
    return tuple(columns)


def _where_names(node: Node, table: Table) -> set[str]:
    names: set[str] = set()
    for item in walk(node.whereClause) if node.whereClause is not None else ():
        if not isinstance(item, ast.ColumnRef):
            continue
        parts = names_of(item)
        column = table.column(parts[-1]) if parts else None
        if column is not None and isinstance(column.source, Seed):
            raise InvalidColumnReference(
                "generated columns are not supported in COPY FROM WHERE conditions",
                detail=f'Column "{column.name}" is a generated column.',
            )
        names |= {parts[-1]} if parts else {c.name for c in table.columns}
    return names


def staging_statement(request: Request, name: str) -> str:
    """CREATE of the staging table, with the target's checks that its columns can answer."""
    parts = []
    for column in request.staged:
        text = f"{quote_ident(column.name)} {column.type}"
        if column.default is not None and (request.defaults or column in request.extra):
            text += f" DEFAULT {column.default}"
        parts.append(text + (" NOT NULL" if column.not_null else ""))
    ids = {c.id for c in request.staged}
    parts += [
        f"CONSTRAINT {quote_ident(c.name)} {c.definition}"
        for c in request.table.constraints
        if _checkable(c, ids)
    ]
    return f"CREATE TEMPORARY TABLE {quote_ident(name)} ({', '.join(parts)}) ON COMMIT DROP"


def _checkable(constraint: Constraint, ids: set[int]) -> bool:
    return (
        constraint.kind == "c"
        and bool(constraint.columns)
        and set(constraint.columns) <= ids
        and "NOT VALID" not in constraint.definition
    )


def copy_statement(plan: Plan, statement: StatementPlan, name: str) -> Rendered:
    """The client's COPY with the staging table in place of the target."""
    text = " " * statement.start + plan.text[statement.start : statement.end]
    chain = Tokens(text).name_chain(statement.node.relation.location)
    target = f"pg_temp.{quote_ident(name)}"
    return render(text, (replace_text(chain[0].start, chain[-1].end, target),))


def insert_statement(request: Request, name: str) -> str:
    """The INSERT that moves the staged rows, in the client's names: to be rewritten."""
    resolved = request.ref.resolved
    names = ", ".join(quote_ident(c.name) for c in request.staged)
    override = " OVERRIDING SYSTEM VALUE" if any(c.identity for c in request.staged) else ""
    return (
        f"INSERT INTO {quote_ident(resolved.schema)}.{quote_ident(resolved.table.name)} "
        f"({names}){override} SELECT {names} FROM pg_temp.{quote_ident(name)}"
    )


class _Feed:
    """Takes the client's COPY messages to the backend."""

    def __init__(self, session: Session, bytes_max: int) -> None:
        self._session = session
        self._left = bytes_max
        self._bytes_max = bytes_max
        self.fault: ConfigurationLimitExceeded | None = None

    def __call__(self, kind: int, body: bytes) -> None:
        session = self._session
        if kind == ClientType.TERMINATE:
            session.client.close()
            return
        if kind == ClientType.COPY_DATA:
            self._left -= len(body)
            if self._left < 0:
                self.fault = ConfigurationLimitExceeded(
                    f"COPY data is larger than temp_file_limit ({self._bytes_max >> 10}kB)",
                    hint="Raise private_pg.temp_file_limit, or copy in several parts.",
                )
                kind, body = ClientType.COPY_FAIL, b"too large\0"
        session.send(message(kind, body))
        if kind != ClientType.COPY_DATA:
            # What follows is no part of the COPY any more.
            session.copy_sink = None
            session.send(requests.FLUSH)


class CopyIn:
    """The COPY FROM operation of one worker."""

    def __init__(self, operations: Operations) -> None:
        self._operations = operations
        self._scripts = operations.scripts
        self._bytes_max = operations.worker.settings.private_pg.temp_file_limit

    async def run(
        self,
        session: Session,
        plan: Plan,
        statement: StatementPlan,
        *,
        portal: Portal | None = None,
        execute: bytes = b"",
    ) -> None:
        """COPY … FROM STDIN; COPY FROM a file or program is refused by PostgreSQL itself."""
        if statement.node.filename is not None:
            await self._scripts.fetch(session, plan.text[statement.start : statement.end])
            raise FeatureNotSupported("COPY FROM a file is not supported")
        if is_foreign(statement.relations[0]):
            federation = self._operations.federation
            await federation.copy_in(session, plan, statement, portal)
            return
        request = read_request(statement)
        name = await self._prepare(session, request)
        rendered = copy_statement(plan, statement, name)
        await self._fetch(session, staging_statement(request, name), plan)
        await self._receive(session, request, rendered, name)
        insert = session.plan(insert_statement(request, name)).wire_text
        moved = await self._fetch(session, insert, plan)
        await self._scripts.fetch(session, f"DROP TABLE pg_temp.{quote_ident(name)}")
        count = moved.tag.rpartition(" ")[2]
        session.send_to_client(command_complete(f"COPY {count}"))

    async def _prepare(self, session: Session, request: Request) -> str:
        """The name of the staging table; raises when the transaction may not write."""
        name = request.table.name
        query = (
            "SELECT pg_catalog.current_setting('transaction_read_only'), pg_catalog.to_regclass($1)"
        )
        sink = await self._scripts.fetch(session, query, [f"pg_temp.{quote_ident(name)}"])
        read_only, taken = sink.rows()[0]
        if read_only == b"on":
            raise ReadOnlyTransaction("cannot execute COPY FROM in a read-only transaction")
        return name if taken is None else FALLBACK_NAME

    async def _fetch(self, session: Session, sql: str, plan: Plan) -> Sink:
        try:
            return await self._scripts.fetch(session, sql)
        except BackendError as error:
            raise restate(session, error, plan) from error

    async def _receive(
        self, session: Session, request: Request, rendered: Rendered, name: str
    ) -> None:
        feed = _Feed(session, self._bytes_max)
        session.copy_waiting = feed
        try:
            await self._scripts.fetch(session, rendered.text)
        except BackendError as error:
            if feed.fault is not None:
                raise reported(feed.fault) from error
            report = _client_report(error.fields, request, rendered, name)
            raise BackendError(report, answered=error.answered) from error
        finally:
            session.copy_waiting = session.copy_sink = None


def _client_report(
    fields: dict[str, str], request: Request, rendered: Rendered, name: str
) -> dict[str, str]:
    """The report of the staging table's COPY as if it had been the target's."""
    report = dict(fields)
    if "P" in report:
        report["P"] = str(rendered.source_offset(int(report["P"]) - 1) + 1)
    if report.get("s", "").startswith("pg_temp"):
        report["s"] = request.ref.resolved.schema
        report["t"] = request.table.name
    if name == FALLBACK_NAME:
        for code in ("M", "W"):
            if code in report:
                report[code] = report[code].replace(FALLBACK_NAME, request.table.name)
    return report
