"""CREATE VIEW: a view of a client over store tables is part of the model. It is made twice a
version: over the shapes, for the binder and `\\d`, and over the version views, for reading.

It is published at once in every version that has what it reads under the same names. Its query is
kept as PostgreSQL prints it: `*` is spelled out, so later columns do not come in.
"""

from __future__ import annotations

from dataclasses import replace

from catalog.model import Column, Stored, Table, Version
from catalog.sqltext import quote_ident
from core.errors import DuplicateTable, FeatureNotSupported, WrongObjectType
from evolution.create_table import check_name
from evolution.dependents import dependent_views
from evolution.indexes import relation_names
from evolution.introspect import SCRATCH, ScratchTable, read_scratch
from evolution.publish import (
    Operation,
    drop_table_statements,
    publish_in_place,
    table_statements,
)
from evolution.request import DdlRequest, Note, Outcome
from rewrite.edits import replace_text


async def create_view(request: DdlRequest) -> Outcome:
    """CREATE [OR REPLACE] VIEW."""
    node = request.node
    if node.withCheckOption.name != "NO_CHECK_OPTION":
        raise FeatureNotSupported(
            "WITH CHECK OPTION on views over store tables is not supported",
            hint="Leave it out; a CHECK constraint on the table holds for every write.",
        )
    if node.options:
        raise FeatureNotSupported("options of views over store tables are not supported")
    existing = request.namespaces.resolve(node.view.schemaname, node.view.relname)
    old = existing.table if existing is not None else None
    if old is None:
        check_name(request, node.view)
    elif not node.replace:
        raise DuplicateTable(f'relation "{node.view.relname}" already exists')
    elif old.kind != "view":
        raise WrongObjectType(f'"{node.view.relname}" is not a view')
    found = await _in_scratch(request, old)
    return await _publish(request, _view(request, found, old), found, old)


async def _in_scratch(request: DdlRequest, old: Table | None) -> ScratchTable:
    chain = request.tokens.name_chain(request.node.view.location)
    target = f"{SCRATCH}.{quote_ident(request.node.view.relname)}"
    text = request.splice([replace_text(chain[0].start, chain[-1].end, target)]).text
    schema = request.namespaces.default_schema
    before = []
    if old is not None:
        names = ", ".join(quote_ident(c.name) for c in old.columns)
        before = [f"CREATE VIEW {target} ({names}) AS {old.definition}"]
    path = f"SET LOCAL search_path = {quote_ident(schema)}, public, pg_temp"
    await request.tx.apply([f"CREATE SCHEMA {SCRATCH}", path, *before, text])
    found = await read_scratch(request.tx, schema)
    await request.tx.apply([f"DROP SCHEMA {SCRATCH} CASCADE"])
    return next(iter(found.values()))


def _view(request: DdlRequest, found: ScratchTable, old: Table | None) -> Table:
    next_id = request.snapshot.next_id
    columns = []
    for number, column in enumerate(found.columns, 1):
        was = old.columns[number - 1] if old and number <= len(old.columns) else None
        columns.append(
            Column(
                was.id if was else next_id + number,
                column.name,
                column.type,
                Stored("", column.type),
                comment=was.comment if was else None,
            )
        )
    return Table(
        old.id if old else next_id,
        found.name,
        "view",
        tuple(columns),
        definition=found.definition,
        comment=old.comment if old else None,
    )


def _fits(request: DdlRequest, found: ScratchTable, version: Version) -> bool:
    """True when the version has all that the view reads under the same names."""
    own = request.namespaces.default_version
    for schema, relation, column in found.reads:
        if own is None or schema != request.namespaces.default_schema:
            continue
        read = own.table(relation)
        if read is None:
            continue
        now = version.table_by_id(read.id)
        if now is None or now.name != relation:
            return False
        read_column = read.column(column)
        if read_column is None:
            continue
        shown = now.column_by_id(read_column.id)
        if shown is None or (shown.name, shown.type) != (read_column.name, read_column.type):
            return False
    return True


async def _publish(
    request: DdlRequest, view: Table, found: ScratchTable, old: Table | None
) -> Outcome:
    snapshot = request.snapshot
    versions: dict[int, Version] = {}
    statements: list[str] = []
    remade: dict[int, list[Table]] = {}
    skipped = []
    for number, target in snapshot.versions.items():
        taken = old is None and view.name in relation_names(target)
        if taken or not _fits(request, found, target):
            skipped.append(number)
            continue
        again: list[Table] = []
        if target.table_by_id(view.id) is not None:
            again = dependent_views(snapshot, target, {view.id})
            statements += drop_table_statements(snapshot, target, [view, *again])
        for item in (view, *again):  # in an order in which they can be made
            target = target.without_table(item.id).with_table(item)
        versions[number], remade[number] = target, [view, *again]
    fresh = replace(snapshot, versions={**snapshot.versions, **versions})
    for number, target in versions.items():
        statements += table_statements(fresh, target, remade[number])
    operation = Operation("create view", view.name, request.statement, actor=request.actor)
    next_id = snapshot.next_id + len(view.columns) + 2
    made = await publish_in_place(
        request.tx, snapshot, versions, statements, [operation], next_id=next_id
    )
    notices = [
        Note(
            f'view "{view.name}" is not shown in version {n}',
            detail="That version has not all that it reads under the same names.",
        )
        for n in skipped
        if n in (snapshot.current, snapshot.head)
    ]
    return Outcome(made, "CREATE VIEW", tuple(notices))
