"""COPY table TO reads the version view; COPY FROM is the session's work."""

from __future__ import annotations

from collections.abc import Iterable

from catalog.naming import DOC_COLUMN
from catalog.sqltext import quote_ident
from rewrite.context import Context
from rewrite.edits import Edit, replace_text
from rewrite.rules.qualification import target_schema
from rewrite.tree import OPEN_PAREN


def copy_columns(context: Context) -> list[str]:
    """The columns that COPY reads or writes: the list, or all that the version shows."""
    node = context.statement
    if node.attlist:
        return [a.sval for a in node.attlist]
    return [c.name for c in context.relations[0].resolved.table.columns]


def copy_edits(context: Context) -> Iterable[Edit]:
    """COPY orders (a, b) TO … becomes COPY (SELECT a, b FROM version view) TO …"""
    node = context.statement
    if node.is_from or not context.relations:
        return
    ref = context.relations[0]
    tokens = context.tokens
    chain = tokens.name_chain(node.relation.location)
    end = chain[-1].end
    index = tokens.index_at(end)
    if node.attlist and tokens.name(index) == OPEN_PAREN:
        end = tokens.items[tokens.matching_close(index)].end
    columns = copy_columns(context)
    schema = target_schema(context, ref)
    if DOC_COLUMN in columns:
        schema = schema.replace("morph_v", "morph_w", 1)
    names = ", ".join(quote_ident(c) for c in columns)
    query = f"(SELECT {names} FROM {quote_ident(schema)}.{quote_ident(node.relation.relname)})"
    yield replace_text(chain[0].start, end, query)
