"""CREATE VIEW: a view of a client over store tables is part of the model. It is made twice a
version: over the shapes, for the binder and `\\d`, and over the version views, for reading.
"""

from __future__ import annotations

from dataclasses import replace

from catalog.model import Column, Stored, Table, Version
from catalog.sqltext import quote_ident
from core.errors import DuplicateTable, FeatureNotSupported
from evolution.create_table import check_name
from evolution.introspect import SCRATCH, read_scratch
from evolution.publish import (
    Operation,
    drop_table_statements,
    publish_in_place,
    table_statements,
)
from evolution.request import DdlRequest, Outcome
from rewrite.edits import replace_text
from rewrite.tree import OPEN_PAREN


def _query_range(request: DdlRequest) -> tuple[int, int]:
    """Where the query stands: after AS, before WITH CHECK OPTION."""
    tokens = request.tokens
    chain = tokens.name_chain(request.node.view.location)
    index = tokens.index_at(chain[-1].end)
    while tokens.name(index) != "AS":
        index = tokens.matching_close(index) if tokens.name(index) == OPEN_PAREN else index
        index += 1
    start = tokens.items[index + 1].start
    end = request.end
    if request.node.withCheckOption.name != "NO_CHECK_OPTION":
        last = tokens.index_at(end) - 1
        while tokens.name(last) not in ("WITH", "WITH_LA"):
            last -= 1
        end = tokens.items[last].start
    return start, end


async def create_view(request: DdlRequest) -> Outcome:
    """CREATE [OR REPLACE] VIEW, published at once in the versions that serve now."""
    node = request.node
    if node.view.relpersistence != "p" or node.withCheckOption.name != "NO_CHECK_OPTION":
        raise FeatureNotSupported("WITH CHECK OPTION on views over store tables is not supported")
    existing = request.namespaces.resolve(node.view.schemaname, node.view.relname)
    if existing is not None and not (node.replace and existing.table.kind == "view"):
        raise DuplicateTable(f'relation "{node.view.relname}" already exists')
    if existing is None:
        check_name(request, node.view)
    start, end = _query_range(request)
    columns = await _columns(request)
    version = request.namespaces.default_version or request.head
    table_id = existing.table.id if existing else request.snapshot.next_id
    view = Table(
        table_id,
        node.view.relname,
        "view",
        tuple(
            Column(request.snapshot.next_id + 1 + n, name, sql_type, Stored("", sql_type))
            for n, (name, sql_type) in enumerate(columns)
        ),
        definition=request.text[start:end].rstrip().rstrip(";"),
    )
    return await _publish(request, version, view, existing.table if existing else None)


async def _columns(request: DdlRequest) -> list[tuple[str, str]]:
    chain = request.tokens.name_chain(request.node.view.location)
    target = f"{quote_ident(SCRATCH)}.{quote_ident(request.node.view.relname)}"
    text = request.splice([replace_text(chain[0].start, chain[-1].end, target)]).text
    schema = quote_ident(request.namespaces.default_schema)
    path = f"SET LOCAL search_path = {schema}, public, pg_temp"
    await request.tx.apply([f"CREATE SCHEMA {SCRATCH}", path, text])
    found = await read_scratch(request.tx)
    await request.tx.apply([f"DROP SCHEMA {SCRATCH} CASCADE"])
    assert found is not None
    return [(c.name, c.type) for c in found.columns]


async def _publish(
    request: DdlRequest, version: Version, view: Table, old: Table | None
) -> Outcome:
    numbers = dict.fromkeys((version.number, request.snapshot.current, request.snapshot.head))
    versions: dict[int, Version] = {}
    statements: list[str] = []
    for number in numbers:
        target = request.snapshot.versions[number]
        if old is not None and target.table_by_id(old.id) is not None:
            statements += drop_table_statements(request.snapshot, target, [old])
        versions[number] = target.without_table(view.id).with_table(view)
    snapshot = replace(request.snapshot, versions={**request.snapshot.versions, **versions})
    for target in versions.values():
        statements += table_statements(snapshot, target, [view])
    operation = Operation("create view", view.name, request.statement, actor=request.actor)
    next_id = request.snapshot.next_id + len(view.columns) + 2
    fresh = await publish_in_place(
        request.tx, request.snapshot, versions, statements, [operation], next_id=next_id
    )
    return Outcome(fresh, "CREATE VIEW")
