"""CREATE TABLE … AS and SELECT … INTO: PostgreSQL describes the query into a scratch table, the
store gets the table, and the client's query fills it through the version views.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from catalog.sqltext import quote_ident
from core.errors import DuplicateTable, FeatureNotSupported
from evolution.create_table import (
    check_name,
    make_in_scratch,
    publish_table,
    take_from_scratch,
)
from evolution.introspect import SCRATCH
from evolution.request import DdlRequest, Outcome
from rewrite.edits import Edit, replace_text
from rewrite.tree import OPEN_PAREN, Node, ast


@dataclass(frozen=True, slots=True)
class _Query:
    """The text of the query, and the edits that make the statement fill the scratch table."""

    text: str
    edits: list[Edit]
    data: bool


async def create_table_as(request: DdlRequest) -> Outcome:
    """CREATE TABLE [IF NOT EXISTS] … AS query [WITH NO DATA]."""
    node = request.node
    if node.objtype.name != "OBJECT_TABLE":
        raise FeatureNotSupported(
            "materialized views are not supported over store tables",
            hint="CREATE TABLE … AS keeps the rows of a query.",
        )
    if not isinstance(node.query, ast.SelectStmt):
        raise FeatureNotSupported("CREATE TABLE AS EXECUTE is not supported")
    relation = node.into.rel
    if node.if_not_exists and request.namespaces.resolve(relation.schemaname, relation.relname):
        return request.skipped(
            "CREATE TABLE AS", f'relation "{relation.relname}" already exists', DuplicateTable
        )
    return await _make(request, relation, _split(request, relation))


async def select_into(request: DdlRequest) -> Outcome:
    """SELECT … INTO table: the same with the name inside the query."""
    relation = request.node.intoClause.rel
    tokens = request.tokens
    chain = tokens.name_chain(relation.location)
    first = tokens.index_at(relation.location) - 1
    while tokens.name(first) != "INTO":
        first -= 1
    start, end = tokens.items[first].start, chain[-1].end
    name = f"CREATE TABLE {SCRATCH}.{quote_ident(relation.relname)} AS "
    edits = [
        replace_text(request.start, request.start, name),
        replace_text(start, end, ""),
        replace_text(request.end, request.end, " WITH NO DATA"),
    ]
    text = request.text[request.start : start] + request.text[end : request.end]
    return await _make(request, relation, _Query(text, edits, True))


def _split(request: DdlRequest, relation: Node) -> _Query:
    tokens = request.tokens
    chain = tokens.name_chain(relation.location)
    index = tokens.index_at(chain[-1].end)
    while tokens.name(index) != "AS":
        index = tokens.matching_close(index) if tokens.name(index) == OPEN_PAREN else index
        index += 1
    start = tokens.items[index].end
    last = max(i for i, t in enumerate(tokens.items) if t.end <= request.end)
    end, data = request.end, True
    if tokens.name(last) == "DATA_P" and tokens.name(last - 1) in ("NO", "WITH"):
        data = tokens.name(last - 1) == "WITH"
        end = tokens.items[last - (1 if data else 2)].start
    target = f"CREATE TABLE {SCRATCH}.{quote_ident(relation.relname)}"
    edits = [
        replace_text(request.start, chain[-1].end, target),
        replace_text(end, request.end, " WITH NO DATA"),
    ]
    return _Query(request.text[start:end], edits, data)


async def _make(request: DdlRequest, relation: Node, query: _Query) -> Outcome:
    check_name(request, relation)
    if relation.relpersistence == "u":
        raise FeatureNotSupported("unlogged tables are not supported in the store")
    await make_in_scratch(request, request.splice(query.edits).text)
    found = await take_from_scratch(request)
    outcome = await publish_table(request, found, "SELECT" if query.data else "CREATE TABLE AS")
    if not query.data:
        return outcome
    schema = quote_ident(request.namespaces.default_schema)
    target = f"{schema}.{quote_ident(relation.relname)}"
    return replace(outcome, fill=f"INSERT INTO {target} {query.text.strip()}")
