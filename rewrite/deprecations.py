"""WARNINGs for what a newer, promoted version has dropped or renamed (DESIGN 9)."""

from __future__ import annotations

from dataclasses import dataclass

from catalog.model import CatalogSnapshot, Column, Table, Version
from rewrite.context import Context
from rewrite.rules.expand_stars import row_names
from rewrite.scope import RelationRef
from rewrite.tree import Node, ast, children, names_of


@dataclass(frozen=True, slots=True)
class Notice:
    """A WARNING to be sent before the statement's answer."""

    message: str
    hint: str = ""
    detail: str = ""


def _descends(snapshot: CatalogSnapshot, newer: int, older: int) -> bool:
    number = newer
    while number > older:
        version = snapshot.versions.get(number)
        number = version.parent if version else 0
    return number == older


class _Uses:
    """Which columns of a relation a statement names, by PostgreSQL's scoping.

    Where a name could also be another relation's (a function's, a CTE's), it is not counted: a
    warning is given only for what certainly is the deprecated column.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._refs: dict[int, list[RelationRef]] = {}
        for ref in context.relations:
            self._refs.setdefault(id(ref.owner), []).append(ref)
        self.names: dict[int, set[str]] = {id(r.node): set() for r in context.relations}
        stack: list[tuple[Node, tuple[Node, ...]]] = [(context.statement, ())]
        while stack:
            stack += self._visit(*stack.pop())
        for ref in context.relations:
            if ref.role == "target":
                self.names[id(ref.node)] |= _assigned(ref.owner)

    def _visit(self, node: Node, owners: tuple[Node, ...]) -> list[tuple[Node, tuple[Node, ...]]]:
        """Look at one node; what is to be looked at next."""
        if isinstance(node, _OWNERS):
            owners = (node, *owners)
        elif isinstance(node, ast.ColumnRef):
            names = names_of(node)
            if names:
                self._column(names, owners)
        elif isinstance(node, ast.JoinExpr) and node.usingClause and owners:
            for name in node.usingClause:
                for ref in self._refs.get(id(owners[0]), ()):
                    self._use(ref, name.sval)
        return [(child, owners) for child in children(node)]

    def _column(self, names: list[str], owners: tuple[Node, ...]) -> None:
        for owner in owners:
            refs = self._refs.get(id(owner), [])
            if len(names) > 1:
                found = [r for r in refs if names[-2] in (*row_names(r), "excluded")]
            else:
                found = [r for r in refs if names[0] in _shown(r)]
            for ref in found:
                self._use(ref, names[-1])
            if found or _may_mean_another(names, _from_leaves(owner), refs):
                return

    def _use(self, ref: RelationRef, name: str) -> None:
        real = _shown(ref).get(name)
        if real is not None:
            self.names[id(ref.node)].add(real)


def _may_mean_another(names: list[str], leaves: list[Node], refs: list[RelationRef]) -> bool:
    if len(names) == 1:
        return len(leaves) > len(refs)
    aliases = {leaf.alias.aliasname for leaf in leaves if getattr(leaf, "alias", None)}
    return names[-2] in aliases | {getattr(leaf, "relname", None) for leaf in leaves}


_OWNERS = (ast.SelectStmt, ast.InsertStmt, ast.UpdateStmt, ast.DeleteStmt, ast.MergeStmt)


def _shown(ref: RelationRef) -> dict[str, str]:
    """The names under which the statement sees the columns, and the columns' own."""
    own = [c.name for c in ref.resolved.table.columns]
    alias = ref.node.alias
    given = [c.sval for c in (alias.colnames or ())] if alias is not None else []
    return dict(zip(given + own[len(given) :], own, strict=False))


def _from_leaves(owner: Node) -> list[Node]:
    items = [
        *(getattr(owner, "fromClause", None) or ()),
        *(getattr(owner, "usingClause", None) or ()),
        *(i for a in ("relation", "sourceRelation") if (i := getattr(owner, a, None)) is not None),
    ]
    leaves = []
    while items:
        item = items.pop()
        if isinstance(item, ast.JoinExpr):
            items += [item.larg, item.rarg]
        else:
            leaves.append(item)
    return leaves


def _assigned(owner: Node) -> set[str]:
    """The columns that a data-modifying statement names as its targets."""
    lists = [getattr(owner, "cols", None)]
    if isinstance(owner, ast.UpdateStmt):
        lists.append(owner.targetList)
    elif isinstance(owner, ast.InsertStmt) and owner.onConflictClause is not None:
        lists.append(owner.onConflictClause.targetList)
    elif isinstance(owner, ast.MergeStmt):
        lists += [when.targetList for when in owner.mergeWhenClauses]
    return {target.name for targets in lists for target in targets or ()}


def _converted(column: Column, old: Table, successor: Table) -> list[Column]:
    """What the successor shows instead of a column whose values it has in another form."""
    wanted, found = [column.id], list[Column]()
    seen: set[int] = set()
    lenses = (*old.lenses, *successor.lenses)
    while wanted:
        column_id = wanted.pop()
        if column_id in seen:
            continue
        seen.add(column_id)
        shown = successor.column_by_id(column_id)
        if shown is not None:
            found.append(shown)
            continue
        for lens in lenses:
            sides = ([c.id for c in lens.under], [c.id for c in lens.over])
            for here, there in (sides, sides[::-1]):
                wanted += there if column_id in here else []
    return sorted(found, key=lambda c: c.id)


def _column_notices(
    used: set[str], ref: RelationRef, current: Version, successor: Table
) -> list[Notice]:
    notices = []
    old = ref.resolved.table
    for column in old.columns:
        if column.name not in used:
            continue
        new = successor.column_by_id(column.id)
        where = f'column "{column.name}" of table "{old.name}" is deprecated'
        converted = _converted(column, old, successor) if new is None else []
        if converted:
            shown = " and ".join(f'"{c.name}" of type {c.type}' for c in converted)
            notices.append(Notice(where, f"Use {shown} in version {current.number}."))
        elif new is None:
            detail = f"Version {current.number}, the current one, does not have it."
            notices.append(Notice(where, "It will go when this version is retired.", detail))
        elif new.name != column.name:
            hint = f'Use "{new.name}", its name in version {current.number}.'
            notices.append(Notice(where, hint))
    return notices


def deprecation_notices(context: Context) -> tuple[Notice, ...]:
    """The warnings for one statement, each once."""
    snapshot = context.namespaces.snapshot
    current = snapshot.versions.get(snapshot.current)
    notices: list[Notice] = []
    uses: _Uses | None = None
    for ref in context.relations:
        version = ref.resolved.version
        if current is None or version.number == current.number:
            continue
        if not _descends(snapshot, current.number, version.number):
            continue
        successor = current.table_by_id(ref.resolved.table.id)
        if successor is None:
            name = ref.resolved.table.name
            parts = [t for t in current.tables if t.part and t.part.of == ref.resolved.table.id]
            listed = " and ".join(f'"{t.name}"' for t in parts)
            notices.append(
                Notice(
                    f'table "{name}" is deprecated',
                    f"Use {listed} in version {current.number}."
                    if parts
                    else "It will go when this version is retired.",
                    f"Version {current.number}, the current one, does not have it.",
                )
            )
        else:
            uses = uses or _Uses(context)
            used = uses.names[id(ref.node)]
            notices += _column_notices(used, ref, current, successor)
    return tuple(dict.fromkeys(notices))
