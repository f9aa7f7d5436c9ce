"""Dotted paths without quotes: `address.city` and `o.address.city` mean the column "address.city".

Only where the plain reading is impossible: the first name is neither an alias nor a table of the
statement, and the joined name is a column of a table in the statement.
"""

from __future__ import annotations

from collections.abc import Iterable

from catalog.sqltext import quote_ident
from rewrite.context import Context
from rewrite.edits import Edit, replace_text
from rewrite.tree import Node, ast, names_of, walk


def _known_qualifiers(statement: Node) -> set[str]:
    names: set[str] = {"excluded", "old", "new"}
    for node in walk(statement):
        if isinstance(node, ast.RangeVar):
            names.add(node.alias.aliasname if node.alias else node.relname)
            if node.schemaname:
                names.add(node.schemaname)
        elif isinstance(node, ast.Alias):
            names.add(node.aliasname)
        elif isinstance(node, ast.CommonTableExpr):
            names.add(node.ctename)
    return names


def quote_dotted_paths(context: Context) -> Iterable[Edit]:
    """Join the names of a path into one quoted column name."""
    columns = {c.name for r in context.relations for c in r.resolved.table.columns if "." in c.name}
    if not columns:
        return
    qualifiers = _known_qualifiers(context.statement)
    for node in walk(context.statement):
        if not isinstance(node, ast.ColumnRef):
            continue
        names = names_of(node)
        if names is None or len(names) < 2:
            continue
        skip = 1 if names[0] in qualifiers else 0
        joined = ".".join(names[skip:])
        if len(names) - skip < 2 or joined not in columns:
            continue
        chain = context.tokens.name_chain(node.location)
        yield replace_text(chain[skip].start, chain[-1].end, quote_ident(joined))


def quote_dotted_targets(context: Context) -> Iterable[Edit]:
    """The same for assigned columns, for the text that is described against the shapes: there
    `SET address.city = …` would mean a field of a composite column.
    """
    columns = {c.name for r in context.relations for c in r.resolved.table.columns if "." in c.name}
    for node in walk(context.statement):
        if not isinstance(node, ast.ResTarget) or not node.name or not node.indirection:
            continue
        names = [node.name]
        for part in node.indirection:
            if not isinstance(part, ast.String):
                break
            names.append(part.sval)
        joined = ".".join(names)
        if len(names) > 1 and joined in columns:
            chain = context.tokens.name_chain(node.location)[: len(names)]
            yield replace_text(chain[0].start, chain[-1].end, quote_ident(joined))
