"""Stars over a whole view are written out, because it shows more than the version's columns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from catalog.sqltext import quote_ident
from core.errors import FeatureNotSupported
from rewrite.context import Context
from rewrite.edits import Edit, replace_text
from rewrite.scope import RelationRef
from rewrite.tree import Node, ast


def columns_text(ref: RelationRef, qualifier: str) -> str:
    """The version's columns of a whole view, qualified."""
    return ", ".join(
        f"{quote_ident(qualifier)}.{quote_ident(c.name)}" for c in ref.resolved.table.columns
    )


def row_names(ref: RelationRef) -> list[str]:
    """The names by which a statement refers to the relation's rows: alias, old and new."""
    names = [ref.alias]
    if ref.role == "target":
        clause = getattr(ref.owner, "returningClause", None)
        options = [o.value for o in (clause.options or ())] if clause is not None else []
        names += ["old", "new", *options]
    return names


def _from_items(owner: Node) -> list[Node]:
    if isinstance(owner, ast.SelectStmt):
        return list(owner.fromClause or ())
    if isinstance(owner, ast.InsertStmt):
        return [owner.relation]
    if isinstance(owner, ast.UpdateStmt):
        return [owner.relation, *(owner.fromClause or ())]
    if isinstance(owner, ast.DeleteStmt):
        return [owner.relation, *(owner.usingClause or ())]
    # MERGE ... RETURNING * shows the source before the target (manual, MERGE).
    return [owner.sourceRelation, owner.relation]


def _leaves(item: Node) -> Iterator[Node]:
    if isinstance(item, ast.JoinExpr):
        if item.isNatural or item.usingClause:
            raise FeatureNotSupported(
                '"*" over a join with USING together with "_doc" is not supported',
                hint="Name the columns.",
            )
        yield from _leaves(item.larg)
        yield from _leaves(item.rarg)
    else:
        yield item


def _leaf_name(item: Node) -> str | None:
    alias = getattr(item, "alias", None)
    if alias is not None:
        return str(alias.aliasname)
    return item.relname if isinstance(item, ast.RangeVar) else None


def _target_lists(owner: Node) -> tuple[Node, ...]:
    if isinstance(owner, ast.SelectStmt):
        return owner.targetList or ()
    clause = owner.returningClause
    return clause.exprs if clause is not None else ()


def expand_stars(context: Context) -> Iterable[Edit]:
    """Replace `*`, `o.*`, `old.*` and `new.*` where they reach a whole view."""
    whole = [ref for ref in context.relations if context.uses_whole(ref)]
    if not whole:
        return
    by_node = {id(ref.node): ref for ref in whole}
    for owner in {id(ref.owner): ref.owner for ref in whole}.values():
        for target in _target_lists(owner):
            value = target.val
            if not isinstance(value, ast.ColumnRef) or not isinstance(value.fields[-1], ast.A_Star):
                continue
            text = _expansion(value, owner, by_node)
            if text is not None:
                chain = context.tokens.name_chain(value.location)
                yield replace_text(chain[0].start, chain[-1].end, text)


def _expansion(star: Node, owner: Node, by_node: dict[int, RelationRef]) -> str | None:
    leaves = [leaf for item in _from_items(owner) for leaf in _leaves(item)]
    if len(star.fields) > 1:
        name = star.fields[-2].sval
        for leaf in leaves:
            ref = by_node.get(id(leaf))
            if ref is not None and name in row_names(ref):
                return columns_text(ref, name)
        return None
    parts = []
    for leaf in leaves:
        ref = by_node.get(id(leaf))
        name = _leaf_name(leaf)
        if name is None:
            raise FeatureNotSupported(
                '"*" over an unnamed FROM item together with "_doc" is not supported',
                hint="Give the item an alias or name the columns.",
            )
        parts.append(columns_text(ref, name) if ref else f"{quote_ident(name)}.*")
    return ", ".join(parts)
