"""CREATE INDEX: made in the store at once, over what each column is there, shown in every version
that has the table. An expression over document fields becomes the same expression that the version
views use, so PostgreSQL's planner finds it.
"""

from __future__ import annotations

from dataclasses import replace

from catalog.model import Column, Index, Seed, Table, Version
from catalog.readers import ROW, read_column
from catalog.sqltext import PUBLIC, STORE_SCHEMA, quote_ident, shape_schema
from core.errors import DuplicateObject, FeatureNotSupported, MorphError, UndefinedColumn
from evolution.constraints import IDENTIFIER_MAX
from evolution.publish import Operation, publish_in_place
from evolution.request import DdlRequest, Outcome
from evolution.seeds.expand import seed_sql
from rewrite.edits import Edit, Span, render, replace_text
from rewrite.tree import Node, ast, names_of, walk


def _store_sql(version: Version, table: Table, column: Column) -> str:
    if isinstance(column.source, Seed):
        text = f"({seed_sql(version, table, column)})::{column.type}"
    else:
        text = read_column(table, column)
    return text.replace(f"{ROW}.", "")


def _name(request: DdlRequest, table: Table) -> str:
    node = request.node
    if node.idxname:
        return str(node.idxname)
    words = [p.name or "expr" for p in node.indexParams]
    base = "_".join([table.name, *words, "idx"])[:IDENTIFIER_MAX]
    taken = {i.name for t in request.head.tables for i in t.indexes}
    name, number = base, 0
    while name in taken:
        number += 1
        name = f"{base}{number}"
    return name


def _replacement(version: Version, table: Table, name: str) -> str:
    column = table.column(name)
    if column is None:
        raise UndefinedColumn(f'column "{name}" does not exist')
    return f"({_store_sql(version, table, column)})"


class _Definition:
    """The parts of the statement after ON table, for the shape and for the store."""

    def __init__(self, request: DdlRequest, version: Version, table: Table) -> None:
        self._request = request
        self._version = version
        self._table = table
        tokens = request.tokens
        chain = tokens.name_chain(request.node.relation.location)
        index = tokens.index_at(chain[-1].end)
        if tokens.name(index) == "USING":
            index += 2
        self.start = tokens.items[index].start
        self.end = request.end

    @property
    def shape(self) -> str:
        """As the client wrote it."""
        return self._request.text[self.start : self.end]

    @property
    def store(self) -> str:
        """With columns replaced by what they are in the store."""
        edits = [*self._plain_columns(), *self._expressions()]
        whole = Edit(0, len(self._request.text), (Span(self.start, self.end),))
        return render(self._request.text, [whole, *dict.fromkeys(edits)]).text

    def _plain_columns(self) -> list[Edit]:
        edits = []
        node, tokens = self._request.node, self._request.tokens
        index = tokens.index_at(self.start) + 1
        groups = [node.indexParams, node.indexIncludingParams or ()]
        for group in groups:
            items, after = tokens.list_items(index, frozenset())
            for param, (start, _) in zip(group, items, strict=False):
                if param.name:
                    end = tokens.items[tokens.index_at(start)].end
                    text = _replacement(self._version, self._table, param.name)
                    edits.append(replace_text(start, end, text))
            index = after + 3  # ) INCLUDE (
        return edits

    def _expressions(self) -> list[Edit]:
        node, tokens = self._request.node, self._request.tokens
        roots: list[Node] = [p.expr for p in node.indexParams if p.expr is not None]
        if node.whereClause is not None:
            roots.append(node.whereClause)
        edits = []
        for root in roots:
            for item in walk(root):
                if isinstance(item, ast.ColumnRef):
                    names = names_of(item)
                    if names:
                        chain = tokens.name_chain(item.location)
                        text = _replacement(self._version, self._table, names[-1])
                        edits.append(replace_text(chain[0].start, chain[-1].end, text))
        return edits


async def create_index(request: DdlRequest) -> Outcome:
    """CREATE [UNIQUE] INDEX [CONCURRENTLY] [IF NOT EXISTS] … ON a store table."""
    node = request.node
    table = request.on_head(request.resolve(node.relation.schemaname, node.relation.relname))
    if table.kind != "table":
        raise FeatureNotSupported(f'cannot create an index on "{table.name}"')
    name = _name(request, table)
    if any(i.name == name for t in request.head.tables for i in t.indexes):
        error = DuplicateObject(f'relation "{name}" already exists')
        if not node.if_not_exists:
            raise error
        skipped: MorphError = DuplicateObject(f"{error.primary}, skipping")
        return Outcome(request.snapshot, "CREATE INDEX", (skipped,))
    definition = _Definition(request, request.head, table)
    number = request.snapshot.next_id
    store_name = f"i{number}_{name}"[:IDENTIFIER_MAX]
    unique = "UNIQUE " if node.unique else ""
    method = node.accessMethod or "btree"
    statements = [
        f"CREATE {unique}INDEX {quote_ident(store_name)} ON "
        f"{STORE_SCHEMA}.{quote_ident(table.store)} USING {method} {definition.store}",
        f"ANALYZE {STORE_SCHEMA}.{quote_ident(table.store)}",
    ]
    index = Index(name, bool(node.unique), method, definition.shape, store_name)
    versions = dict(request.snapshot.versions)
    for version_number, version in request.snapshot.versions.items():
        seen = version.table_by_id(table.id)
        if seen is None or not _has_columns(seen, table, definition):
            continue
        versions[version_number] = version.with_table(replace(seen, indexes=(*seen.indexes, index)))
        statements += _shape_indexes(request, version_number, seen, index)
    operation = Operation("create index", table.name, request.statement, actor=request.actor)
    fresh = await publish_in_place(
        request.tx, request.snapshot, versions, statements, [operation], next_id=number + 1
    )
    return Outcome(fresh, "CREATE INDEX")


def _has_columns(seen: Table, table: Table, definition: _Definition) -> bool:
    """A version whose names differ does not show the index; the store's serves it all the same."""
    del definition
    return {c.name for c in table.columns} <= {c.name for c in seen.columns} or seen == table


def _shape_indexes(request: DdlRequest, number: int, table: Table, index: Index) -> list[str]:
    schemas = [shape_schema(number)]
    if number == request.snapshot.current:
        schemas.append(PUBLIC)
    unique = "UNIQUE " if index.unique else ""
    return [
        f"CREATE {unique}INDEX {quote_ident(index.name)} ON {s}.{quote_ident(table.name)} "
        f"USING {index.method} {index.definition}"
        for s in schemas
    ]
