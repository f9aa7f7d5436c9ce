"""COMMENT ON TABLE, VIEW and COLUMN: kept in the model of the version and of its successors."""

from __future__ import annotations

from dataclasses import replace

from catalog.model import Table, Version
from catalog.shapes import relation_kind
from catalog.sqltext import PUBLIC, quote_ident, quote_literal, shape_schema
from core.errors import UndefinedColumn
from evolution.publish import Operation, publish_in_place
from evolution.request import DdlRequest, Outcome


def _commented(table: Table, column_id: int, text: str | None) -> Table:
    if not column_id:
        return replace(table, comment=text)
    column = table.column_by_id(column_id)
    return table if column is None else table.with_column(replace(column, comment=text))


async def comment_on(request: DdlRequest) -> Outcome:
    """COMMENT ON."""
    node = request.node
    names = [n.sval for n in node.object]
    column_name = names.pop() if node.objtype.name == "OBJECT_COLUMN" else ""
    schema = names[-2] if len(names) > 1 else None
    found = request.resolve(schema, names[-1])
    column = found.table.column(column_name) if column_name else None
    if column_name and column is None:
        raise UndefinedColumn(
            f'column "{column_name}" of relation "{found.table.name}" does not exist'
        )
    column_id = column.id if column else 0
    versions: dict[int, Version] = {}
    statements = []
    for number, version in request.snapshot.versions.items():
        table = version.table_by_id(found.table.id)
        if table is None or number < found.version.number:
            continue
        versions[number] = version.with_table(_commented(table, column_id, node.comment))
        shown = table.column_by_id(column_id) if column_id else None
        if column_id and shown is None:
            continue
        schemas = [shape_schema(number)]
        if number == request.snapshot.current:
            schemas.append(PUBLIC)
        text = "NULL" if node.comment is None else quote_literal(node.comment)
        for name in schemas:
            target = f"{name}.{quote_ident(table.name)}"
            if shown is not None:
                statements.append(f"COMMENT ON COLUMN {target}.{quote_ident(shown.name)} IS {text}")
            else:
                kind = relation_kind(table)
                statements.append(f"COMMENT ON {kind} {target} IS {text}")
    operation = Operation("comment", found.table.name, request.statement, actor=request.actor)
    fresh = await publish_in_place(
        request.tx,
        request.snapshot,
        versions,
        statements,
        [operation],
        next_id=request.snapshot.next_id,
    )
    return Outcome(fresh, "COMMENT")
