"""A row as a value (`o`, `row_to_json(o.*)`, `old`) of a whole view: rebuilt from the version's
columns, because the view shows more than them. The row's type is the shape's, so field names and
`(o).x` are the client's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from catalog.sqltext import quote_ident
from rewrite.context import Context
from rewrite.edits import Edit, replace_text
from rewrite.rules.expand_stars import columns_text, row_names
from rewrite.scope import RelationRef
from rewrite.tree import Node, ast, children, walk


def _row(ref: RelationRef, name: str) -> str:
    """NULL where the row is: the right side of an outer join, `old` of an insertion."""
    resolved = ref.resolved
    kind = f"{quote_ident(resolved.schema)}.{quote_ident(resolved.table.name)}"
    alias = quote_ident(name)
    return f"CASE WHEN NOT ({alias} IS NULL) THEN ROW({columns_text(ref, name)})::{kind} END"


def _references(root: Node) -> Iterator[tuple[Node, bool, bool]]:
    """(column reference, stands as an output column, its star means columns) below a node."""
    for node in walk(root):
        for child in children(node):
            if isinstance(child, ast.ColumnRef):
                output = isinstance(node, ast.ResTarget)
                yield child, output and not node.name, output or isinstance(node, ast.RowExpr)


def rebuild_whole_rows(context: Context) -> Iterable[Edit]:
    """Replace references to rows of whole views."""
    rows: dict[str, RelationRef] = {}
    for ref in context.relations:
        if context.uses_whole(ref):
            rows |= dict.fromkeys(row_names(ref), ref)
    if not rows:
        return
    columns = {c.name for ref in context.relations for c in ref.resolved.table.columns}
    for node, output, star in _references(context.statement):
        name = node.fields[0].sval if isinstance(node.fields[0], ast.String) else ""
        if name not in rows or name in columns:
            continue
        starred = len(node.fields) == 2 and isinstance(node.fields[1], ast.A_Star)
        if len(node.fields) > 1 and not starred:
            continue
        if starred and output:
            continue  # a star of the target list: expand_stars
        chain = context.tokens.name_chain(node.location)
        columns_only = starred and star
        text = columns_text(rows[name], name) if columns_only else f"({_row(rows[name], name)})"
        if output:
            text += f" AS {quote_ident(name)}"
        yield replace_text(chain[0].start, chain[-1].end, text)
