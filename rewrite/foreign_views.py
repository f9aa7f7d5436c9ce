"""Views that read foreign tables: their queries are written into the statement (pure).

The rows of a foreign table are staged for a statement, so PostgreSQL cannot run a view over them.
A reference to such a view becomes `(its query) AS v (its columns)`, its tables named through the
version that shows it, before the statement is analysed. Views over embedded tables only stay views.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from pglast.parser import ParseError

from catalog.model import CatalogSnapshot, Table, Version
from catalog.sqltext import quote_ident, shape_schema
from core.errors import StatementTooComplex
from rewrite.edits import Edit, render, replace_text
from rewrite.namespaces import Namespaces
from rewrite.parsing import parse_statements
from rewrite.scope import RelationRef, find_relations
from rewrite.tree import Node, Tokens, ast

DEPTH_MAX: Final = 20
"""Views over views that may be written into each other."""
_RUNS: Final = (
    ast.SelectStmt,
    ast.InsertStmt,
    ast.UpdateStmt,
    ast.DeleteStmt,
    ast.MergeStmt,
    ast.DeclareCursorStmt,
    ast.CopyStmt,
    ast.ExplainStmt,
)


def expand_foreign_views(text: str, namespaces: Namespaces) -> str:
    """The text with references to such views replaced; the text itself when there are none.

    Raises StatementTooComplex (54001) for views nested deeper than DEPTH_MAX.
    """
    if not _has_foreign(namespaces.snapshot):
        return text
    try:
        raw = parse_statements(text)
    except (ParseError, RecursionError):
        return text  # it is reported where the text is analysed
    edits: list[Edit] = []
    tokens: Tokens | None = None
    for item in raw:
        if not isinstance(_query(item.stmt), _RUNS):
            continue
        for ref in find_relations(item.stmt, namespaces):
            if ref.role != "read" or not _reads_foreign(namespaces.snapshot, ref):
                continue
            tokens = tokens or Tokens(text)
            edits.append(_edit(tokens, ref, namespaces.snapshot, item.stmt))
    return render(text, edits).text if edits else text


def _query(node: Node) -> Node:
    """CREATE TABLE AS makes a copy, so its query runs; CREATE VIEW keeps its query as it is."""
    return node.query if isinstance(node, ast.CreateTableAsStmt) else node


def _has_foreign(snapshot: CatalogSnapshot) -> bool:
    return any(t.kind == "foreign" for v in snapshot.versions.values() for t in v.tables)


def _reads_foreign(snapshot: CatalogSnapshot, ref: RelationRef) -> bool:
    resolved = ref.resolved
    return resolved.table.kind == "view" and bool(
        _expanded(snapshot.epoch, resolved.version, resolved.table, 0)
    )


@lru_cache(maxsize=256)
def _expanded(epoch: int, version: Version, view: Table, depth: int) -> str:
    """The view's query with tables named by their version; "" when it reads no foreign table."""
    if depth > DEPTH_MAX:
        raise StatementTooComplex(
            f'view "{view.name}" is nested deeper than {DEPTH_MAX} views over foreign tables'
        )
    names = Namespaces(
        CatalogSnapshot(epoch, version.number, version.number, {version.number: version}),
        (shape_schema(version.number),),
    )
    [item] = parse_statements(view.definition)
    tokens = Tokens(view.definition)
    edits: list[Edit] = []
    found = False
    for ref in find_relations(item.stmt, names):
        table = ref.resolved.table
        if table.kind == "view" and _expanded(epoch, version, table, depth + 1):
            found = True
            inner = _expanded(epoch, version, table, depth + 1)
            edits.append(_splice(tokens, ref, _derived(inner, ref)))
            continue
        found = found or table.kind == "foreign"
        name = f"{quote_ident(shape_schema(version.number))}.{quote_ident(table.name)}"
        alias = "" if ref.node.alias is not None else f" AS {quote_ident(ref.alias)}"
        edits.append(_splice(tokens, ref, name + alias))
    return render(view.definition, edits).text.strip().rstrip(";") if found else ""


def _edit(tokens: Tokens, ref: RelationRef, snapshot: CatalogSnapshot, statement: Node) -> Edit:
    inner = _expanded(snapshot.epoch, ref.resolved.version, ref.resolved.table, 0)
    if isinstance(statement, ast.CopyStmt) and statement.relation is ref.node:
        columns = [item.sval for item in statement.attlist or ()]
        columns = columns or [c.name for c in ref.resolved.table.columns]
        listed = ", ".join(map(quote_ident, columns))
        edit = _splice(tokens, ref, f"(SELECT {listed} FROM {_derived(inner, ref)})")
        after = tokens.index_at(edit.end)
        if statement.attlist:
            return replace_text(
                edit.start, tokens.items[tokens.matching_close(after)].end, str(edit.parts[0])
            )
        return edit
    return _splice(tokens, ref, _derived(inner, ref))


def _derived(query: str, ref: RelationRef) -> str:
    """The query as an item of FROM; an alias of the statement's own follows it."""
    names = ", ".join(quote_ident(c.name) for c in ref.resolved.table.columns)
    named = f"(SELECT * FROM ({query}) AS _v ({names}))"
    return named if ref.node.alias is not None else f"{named} AS {quote_ident(ref.alias)}"


def _splice(tokens: Tokens, ref: RelationRef, text: str) -> Edit:
    chain = tokens.name_chain(ref.node.location)
    return replace_text(chain[0].start, chain[-1].end, text)
