"""Version views: `orders` becomes `"morph_v2".orders`, the name and alias stay as written."""

from __future__ import annotations

from collections.abc import Iterable

from catalog.sqltext import quote_ident, view_schema, whole_schema
from rewrite.context import Context
from rewrite.edits import Edit, insert_text, replace_text
from rewrite.scope import RelationRef
from rewrite.tree import ast, walk


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
    schemas: dict[tuple[str | None, str], str] = {}
    for ref in context.relations:
        if ref.node.alias is None:
            schema = target_schema(context, ref)
            schemas[ref.resolved.schema, ref.node.relname] = schema
            schemas[ref.node.schemaname, ref.node.relname] = schema
    for node in walk(context.statement):
        if not isinstance(node, ast.ColumnRef) or len(node.fields) < 3:
            continue
        names = [f.sval if isinstance(f, ast.String) else "" for f in node.fields]
        # morph.public.orders.id: the catalog goes, the database is the same.
        at = 1 if len(names) == 4 else 0
        schema_name = schemas.get((names[at], names[at + 1]))
        if schema_name is not None:
            chain = context.tokens.name_chain(node.location)
            yield replace_text(chain[0].start, chain[at].end, quote_ident(schema_name))
