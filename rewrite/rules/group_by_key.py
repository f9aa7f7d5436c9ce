"""GROUP BY a primary key lets the other columns of the row through (SQL:1999 functional
dependency, PostgreSQL manual "GROUP BY Clause"). A view has no primary key, so the columns that the
statement uses are added to the list: grouping by (key, more columns of the same row) is grouping by
the key. Behind grouping sets an added column is in every set (the list is a cross product), which
is right, because only a key that is in every set determines the row.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from catalog.sqltext import quote_ident
from rewrite.context import Context
from rewrite.edits import Edit, insert_text
from rewrite.scope import RelationRef
from rewrite.tree import Node, Tokens, ast, names_of, walk

_STOP = frozenset(
    {
        "HAVING", "WINDOW", "UNION", "INTERSECT", "EXCEPT", "ORDER", "LIMIT", "OFFSET", "FETCH",
        "FOR", "ON", "RETURNING", "WITH",
    }
)  # fmt: skip
_NO_EQUALITY = ("json", "xml")
Name = tuple[str | None, str]


class _Source:
    """A table of the FROM clause with the names that its alias gives to its columns."""

    def __init__(self, ref: RelationRef) -> None:
        self.alias = ref.alias
        self.node = ref.node
        table = ref.resolved.table
        given = [c.sval for c in (ref.node.alias.colnames or ())] if ref.node.alias else []
        names = given + [c.name for c in table.columns[len(given) :]]
        self.columns = dict(zip(names, table.columns, strict=True))
        key = table.primary_key
        self.key = {n for n, c in self.columns.items() if key is not None and c.id in key.columns}


def _merged(item: Node, sources: dict[int, _Source]) -> Iterator[tuple[str, _Source]]:
    """The names that JOIN USING merges, with the table whose column stands for both."""
    if not isinstance(item, ast.JoinExpr):
        return
    yield from _merged(item.larg, sources)
    yield from _merged(item.rarg, sources)
    side = {"JOIN_INNER": item.larg, "JOIN_LEFT": item.larg, "JOIN_RIGHT": item.rarg}.get(
        item.jointype.name
    )
    for name in item.usingClause or ():
        found = [s for s in _leaves(side, sources) if name.sval in s.columns]
        if len(found) == 1:
            yield name.sval, found[0]


def _leaves(item: Node, sources: dict[int, _Source]) -> Iterator[_Source]:
    if isinstance(item, ast.JoinExpr):
        yield from _leaves(item.larg, sources)
        yield from _leaves(item.rarg, sources)
    elif id(item) in sources:
        yield sources[id(item)]


class _Grouping:
    """One SELECT with a GROUP BY clause."""

    def __init__(self, owner: Node, sources: list[_Source]) -> None:
        self._owner = owner
        self._sources = sources
        by_node = {id(s.node): s for s in sources}
        self._skip: set[tuple[int, str]] = set()
        self._merged = {n: s for i in owner.fromClause or () for n, s in _merged(i, by_node)}

    def _of(self, name: Name) -> _Source | None:
        qualifier, column = name
        if qualifier is not None:
            found = [s for s in self._sources if s.alias == qualifier and column in s.columns]
        else:
            found = [s for s in self._sources if column in s.columns]
        if len(found) > 1 and qualifier is None:
            return self._merged.get(column)
        return found[0] if len(found) == 1 else None

    def _output(self, name: str) -> Node | None:
        found = [t.val for t in self._owner.targetList or () if t.name == name]
        return found[0] if len(found) == 1 else None

    def _common(self, item: Node) -> set[Name]:
        """The columns that are in every grouping set of an item."""
        if isinstance(item, ast.RowExpr):
            return set().union(*(self._common(a) for a in item.args or ()))
        if isinstance(item, ast.GroupingSet):
            if item.kind.name != "GROUPING_SET_SETS":
                return set()
            sets = [self._common(c) for c in item.content or ()]
            return set.intersection(*sets) if sets else set()
        if isinstance(item, ast.A_Const) and isinstance(item.val, ast.Integer):
            targets = self._owner.targetList or ()
            position = item.val.ival or 0
            inside = 0 < position <= len(targets)
            return self._name(targets[position - 1].val) if inside else set()
        names = self._name(item)
        for qualifier, name in names:
            if qualifier is None and not any(name in s.columns for s in self._sources):
                return self._name(self._output(name))
        return names

    def _name(self, node: Node) -> set[Name]:
        names = names_of(node) if isinstance(node, ast.ColumnRef) else None
        return {self._read(names)} if names else set()

    def _read(self, names: list[str]) -> Name:
        """What a path names: a column, or by a dotted path without quotes a nested field."""
        plain = (names[-2] if len(names) > 1 else None, names[-1])
        if len(names) == 1 or self._of(plain) is not None:
            return plain
        for qualifier, rest in ((None, names), (names[0], names[1:])):
            dotted = (qualifier, ".".join(rest))
            if len(rest) > 1 and self._of(dotted) is not None:
                return dotted
        return plain

    def _keyed(self) -> list[_Source]:
        grouped = set().union(*(self._common(g) for g in self._owner.groupClause))
        keys: dict[int, set[str]] = {}
        for name in grouped:
            source = self._of(name)
            if source is not None:
                keys.setdefault(id(source), set()).add(name[1])
        return [s for s in self._sources if s.key and s.key <= keys.get(id(s), set())]

    def _roots(self) -> Iterator[Node]:
        owner = self._owner
        for part in ("targetList", "havingClause", "sortClause", "windowClause", "distinctClause"):
            value = getattr(owner, part)
            yield from (v for v in (value if isinstance(value, tuple) else (value,)) if v)

    def _listed(self) -> set[tuple[int, str]]:
        """Columns that stand in some grouping set: in every set they would lose their NULLs."""
        found = set()
        for item in self._owner.groupClause:
            for node in walk(item):
                for name in self._common(node):
                    source = self._of(name)
                    if source is not None:
                        found.add((id(source), name[1]))
        return found

    def extra(self) -> list[str]:
        """The columns to be added, as SQL."""
        keyed = self._keyed()
        found: dict[str, None] = {}
        self._skip = self._listed() if keyed else set()
        for root in self._roots() if keyed else ():
            for node in walk(root):
                if isinstance(node, ast.ColumnRef):
                    found |= dict.fromkeys(self._used(node, keyed))
        return list(found)

    def _columns(self, source: _Source, names: Iterable[str]) -> Iterator[str]:
        for name in names:
            comparable = source.columns[name].type not in _NO_EQUALITY
            if comparable and (id(source), name) not in self._skip:
                yield f"{quote_ident(source.alias)}.{quote_ident(name)}"

    def _used(self, node: Node, keyed: list[_Source]) -> Iterator[str]:
        names = names_of(node)
        if names is None:
            qualifier = node.fields[-2].sval if len(node.fields) > 1 else None
            for source in keyed:
                if qualifier in (None, source.alias):
                    yield from self._columns(source, source.columns)
            return
        name = self._read(names)
        owner = self._of(name)
        if owner is not None and owner in keyed:
            yield from self._columns(owner, [name[1]])
        elif len(names) == 1:
            yield from (quote_ident(s.alias) for s in keyed if s.alias == names[0])


def _insertion_point(tokens: Tokens, inside_from: int) -> int:
    index = tokens.group_by(inside_from)
    _, after = tokens.list_items(index, _STOP)
    return tokens.items[after - 1].end


def complete_group_by(context: Context) -> Iterable[Edit]:
    """Add the used columns of every table whose whole primary key is grouped by."""
    owners = {id(r.owner): r.owner for r in context.relations}
    for owner in owners.values():
        if not isinstance(owner, ast.SelectStmt) or not owner.groupClause:
            continue
        refs = [r for r in context.relations if r.owner is owner and r.role == "read"]
        extra = _Grouping(owner, [_Source(r) for r in refs]).extra()
        if extra:
            at = _insertion_point(context.tokens, refs[0].node.location)
            yield insert_text(at, ", " + ", ".join(extra))
