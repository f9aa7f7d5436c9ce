"""Version views: `orders` becomes `"morph_v2".orders`, the name and alias stay as written."""

from __future__ import annotations

from collections.abc import Iterable

from catalog.sqltext import quote_ident, view_schema, whole_schema
from rewrite.context import Context
from rewrite.edits import Edit, insert_text, replace_text
from rewrite.scope import RelationRef
from rewrite.tree import ast, names_of, walk


def target_schema(context: Context, ref: RelationRef) -> str:
    """The reserved schema that a reference is spliced to."""
    number = ref.resolved.version.number
    return whole_schema(number) if context.uses_whole(ref) else view_schema(number)


def qualify_relations(context: Context) -> Iterable[Edit]:
    """Put every reference to a store table into its version's view schema."""
    for ref in context.relations:
        schema = quote_ident(target_schema(context, ref))
        if ref.node.schemaname is None:
            yield insert_text(ref.node.location, f"{schema}.")
            continue
        chain = context.tokens.name_chain(ref.node.location)
        qualifier = chain[-2]
        # A catalog name in front (morph.public.orders) goes too: the database is the same.
        yield replace_text(chain[0].start, qualifier.end, schema)


def qualify_columns(context: Context) -> Iterable[Edit]:
    """`public.orders.id` names the relation by schema: it must name the view's schema."""
    schemas = {
        (ref.node.schemaname, ref.node.relname): target_schema(context, ref)
        for ref in context.relations
        if ref.node.schemaname is not None and ref.node.alias is None
    }
    by_path = {
        (ref.resolved.schema, ref.node.relname): target_schema(context, ref)
        for ref in context.relations
        if ref.node.alias is None
    }
    for node in walk(context.statement):
        if not isinstance(node, ast.ColumnRef) or len(node.fields) < 3:
            continue
        first, second = node.fields[0], node.fields[1]
        if not (isinstance(first, ast.String) and isinstance(second, ast.String)):
            continue
        key = (first.sval, second.sval)
        schema = schemas.get(key) or by_path.get(key)
        if (schema is not None and names_of(node) is not None) or schema is not None:
            token = context.tokens.name_chain(node.location)[0]
            yield replace_text(token.start, token.end, quote_ident(schema))
