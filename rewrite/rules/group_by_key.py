"""GROUP BY a primary key lets the other columns of the row through (SQL:1999 functional
dependency, PostgreSQL manual "GROUP BY Clause"). A view has no primary key, so the columns that the
statement uses are added to the list: grouping by (key, more columns of the same row) is grouping by
the key.
"""

from __future__ import annotations

from collections.abc import Iterable

from catalog.sqltext import quote_ident
from rewrite.context import Context
from rewrite.edits import Edit, insert_text
from rewrite.scope import RelationRef
from rewrite.tree import Node, Tokens, ast, names_of, walk

_STOP = frozenset(
    {"HAVING", "WINDOW", "UNION", "INTERSECT", "EXCEPT", "ORDER", "LIMIT", "OFFSET", "FETCH", "FOR"}
)


def _key_names(ref: RelationRef) -> set[str]:
    table = ref.resolved.table
    key = table.primary_key
    if key is None:
        return set()
    return {c.name for c in table.columns if c.id in key.columns}


def _grouped(owner: Node) -> set[tuple[str | None, str]]:
    grouped = set()
    for item in owner.groupClause:
        names = names_of(item) if isinstance(item, ast.ColumnRef) else None
        if names and len(names) <= 2:
            grouped.add((names[0] if len(names) == 2 else None, names[-1]))
    return grouped


def _used(owner: Node, ref: RelationRef, alone: bool) -> list[str]:
    table = ref.resolved.table
    used: list[str] = []
    for part in (owner.targetList, owner.havingClause, owner.sortClause):
        for root in part if isinstance(part, tuple) else (part,):
            if root is None:
                continue
            for node in walk(root):
                if not isinstance(node, ast.ColumnRef):
                    continue
                used += _names_of_table(node, ref, table.columns, alone)
    return list(dict.fromkeys(used))


def _names_of_table(
    node: Node, ref: RelationRef, columns: Iterable[object], alone: bool
) -> list[str]:
    table = ref.resolved.table
    names = names_of(node)
    if names is None:
        qualifier = node.fields[0].sval if len(node.fields) > 1 else None
        if qualifier in (None, ref.alias) and (alone or qualifier):
            return [c.name for c in table.columns]
        return []
    if len(names) == 2 and names[0] == ref.alias and table.column(names[1]):
        return [names[1]]
    if len(names) == 1 and table.column(names[0]):
        return [names[0]]
    return []


def _insertion_point(tokens: Tokens, owner: Node) -> int:
    first = owner.groupClause[0]
    index = tokens.index_at(first.location)
    _, after = tokens.list_items(index, _STOP)
    return tokens.items[after - 1].end


def complete_group_by(context: Context) -> Iterable[Edit]:
    """Add the used columns of every table whose whole primary key is grouped by."""
    owners = {id(r.owner): r.owner for r in context.relations}
    for owner in owners.values():
        if not isinstance(owner, ast.SelectStmt) or not owner.groupClause:
            continue
        if not all(isinstance(g, ast.ColumnRef) for g in owner.groupClause):
            continue
        refs = [r for r in context.relations if r.owner is owner and r.role == "read"]
        grouped = _grouped(owner)
        extra = _extra_columns(owner, refs, grouped)
        if extra:
            yield insert_text(_insertion_point(context.tokens, owner), ", " + ", ".join(extra))


def _extra_columns(
    owner: Node, refs: list[RelationRef], grouped: set[tuple[str | None, str]]
) -> list[str]:
    extra = []
    for ref in refs:
        keys = _key_names(ref)
        mine = {
            name
            for qualifier, name in grouped
            if qualifier == ref.alias or (qualifier is None and _owner_of(name, refs) is ref)
        }
        if not keys or not keys <= mine:
            continue
        for name in _used(owner, ref, alone=len(refs) == 1):
            column = ref.resolved.table.column(name)
            if name in mine or column is None or column.type in ("json", "xml"):
                continue
            if _owner_of(name, refs) is ref or _qualified_use(owner, ref, name):
                extra.append(f"{quote_ident(ref.alias)}.{quote_ident(name)}")
    return extra


def _owner_of(name: str, refs: list[RelationRef]) -> RelationRef | None:
    owners = [r for r in refs if r.resolved.table.column(name)]
    return owners[0] if len(owners) == 1 else None


def _qualified_use(owner: Node, ref: RelationRef, name: str) -> bool:
    for node in walk(owner):
        if isinstance(node, ast.ColumnRef):
            names = names_of(node)
            if names == [ref.alias, name]:
                return True
            if names is None and len(node.fields) == 2 and node.fields[0].sval == ref.alias:
                return True
    return False
