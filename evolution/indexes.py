"""CREATE INDEX: made in the store at once, over what each column is there, shown in every version
that has its columns. An expression over document fields becomes the same expression that the
version views use, so PostgreSQL's planner finds it.

PostgreSQL makes the index on the scratch copy first: its name, its errors, its text.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from catalog.model import Column, Index, Seed, Table, Version
from catalog.readers import ROW, read_column
from catalog.shapes import shows_index
from catalog.sqltext import PUBLIC, STORE_SCHEMA, quote_ident, shape_schema
from core.errors import DuplicateTable, FeatureNotSupported, UndefinedObject, WrongObjectType
from evolution.constraints import clip
from evolution.introspect import ScratchIndex
from evolution.publish import Operation, publish_in_place
from evolution.request import DdlRequest, Outcome
from evolution.scratch import ScratchCopy, relation_edit
from evolution.seeds.expand import seed_sql
from rewrite.edits import Edit, render, replace_text
from rewrite.parsing import parse_statements
from rewrite.tree import Tokens, ast, names_of, walk

_HEAD = "CREATE INDEX ON t "


def relation_names(version: Version) -> set[str]:
    """The names of all relations that a version shows."""
    names = {t.name for t in version.tables}
    for table in version.tables:
        names |= {i.name for i in table.indexes}
        names |= {c.name for c in table.constraints if c.kind in ("p", "u")}
    return names


def _store_sql(version: Version, table: Table, column: Column) -> str:
    if isinstance(column.source, Seed):
        text = f"({seed_sql(version, table, column)})::{column.type}"
    else:
        return f"({read_column(table, column, row='')})"
    return f"({text.replace(f'{ROW}.', '')})"


def _plain_edits(text: str, node: ast.Node, put: Callable[[str], str]) -> list[Edit]:
    """Index columns that are plain names: the grammar keeps no location of them."""
    edits = []
    tokens = Tokens(text)
    index = tokens.index_at(len(_HEAD)) + 1
    for group in (node.indexParams, node.indexIncludingParams or ()):
        items, after = tokens.list_items(index, frozenset())
        for param, (start, _) in zip(group, items, strict=False):
            if param.name:
                end = tokens.items[tokens.index_at(start)].end
                edits.append(replace_text(start, end, put(param.name)))
        index = after + 3  # ) INCLUDE (
    return edits


def translate(definition: str, put: Callable[[str], str]) -> str:
    """The parts of an index after USING method, with columns replaced by put(name)."""
    text = _HEAD + definition
    node = parse_statements(text)[0].stmt
    tokens = Tokens(text)
    edits = _plain_edits(text, node, put)
    roots = [p.expr for p in node.indexParams if p.expr is not None]
    if node.whereClause is not None:
        roots.append(node.whereClause)
    for item in (i for root in roots for i in walk(root)):
        if isinstance(item, ast.ColumnRef):
            names = names_of(item)
            if names:
                chain = tokens.name_chain(item.location)
                edits.append(replace_text(chain[0].start, chain[-1].end, put(names[-1])))
    return render(text, tuple(dict.fromkeys(edits))).text[len(_HEAD) :]


async def create_index(request: DdlRequest) -> Outcome:
    """CREATE [UNIQUE] INDEX [CONCURRENTLY] [IF NOT EXISTS] … ON a store table."""
    node = request.node
    table = request.on_head(request.resolve(node.relation.schemaname, node.relation.relname))
    if table.kind == "view":
        raise WrongObjectType(f'cannot create index on relation "{table.name}"')
    if table.kind == "child":
        raise FeatureNotSupported(
            f'cannot create an index on "{table.name}": it shows an array of documents',
            hint="An index on the table of the documents can cover them.",
        )
    if table.part is not None and node.unique:
        raise FeatureNotSupported(
            f'cannot create a unique index on "{table.name}": its rows are some of the rows of a '
            "table that was split, and it would hold for all of them",
            hint="Make it before the split.",
        )
    if node.idxname and node.idxname in relation_names(request.head):
        if node.if_not_exists:
            taken = f'relation "{node.idxname}" already exists'
            return request.skipped("CREATE INDEX", taken, DuplicateTable)
        raise DuplicateTable(f'relation "{node.idxname}" already exists')
    found = await _on_copy(request, table)
    name = node.idxname or _free_name(found.name, relation_names(request.head))
    index = Index(
        name, found.unique, found.method, found.definition,
        clip(f"i{request.snapshot.next_id}_{name}"), found.predicate,
    )  # fmt: skip
    return await _publish(request, table, index)


def _free_name(base: str, taken: set[str]) -> str:
    name, number = base, 0
    while name in taken:
        number += 1
        name = f"{base}{number}"
    return name


async def _on_copy(request: DdlRequest, table: Table) -> ScratchIndex:
    node, tokens = request.node, request.tokens
    edits = [relation_edit(request, node.relation, table.name)]
    if node.concurrent:
        at = next(t for t in tokens.items if t.start >= request.start and t.name == "CONCURRENTLY")
        edits.append(replace_text(at.start, at.end, ""))
    copy = ScratchCopy(request, {table.id})
    await copy.open()
    await copy.run([request.splice(edits).text])
    oid = next(o for o, t in copy.tables.items() if t.id == table.id)
    known = {i.oid for i in copy.before[oid].indexes}
    return next(i for i in copy.after[oid].indexes if i.oid not in known)


def store_statement(version: Version, table: Table, index: Index, store: str) -> str:
    """CREATE INDEX over what the columns are in the store."""

    def stored(name: str) -> str:
        column = table.column(name)
        assert column is not None, name
        return _store_sql(version, table, column)

    unique = "UNIQUE " if index.unique else ""
    definition = translate(index.definition + index.predicate, stored)
    return (
        f"CREATE {unique}INDEX {quote_ident(index.store_name)} ON {store} "
        f"USING {index.method} {definition}"
    )


async def _publish(request: DdlRequest, table: Table, index: Index) -> Outcome:
    store = f"{STORE_SCHEMA}.{quote_ident(table.store)}"

    statements = [store_statement(request.head, table, index, store), f"ANALYZE {store}"]
    versions = dict(request.snapshot.versions)
    for number, version in request.snapshot.versions.items():
        seen = version.table_by_id(table.id)
        shown = _shown(seen, table, index) if seen is not None else None
        if seen is None or shown is None or index.name in relation_names(version):
            continue
        versions[number] = version.with_table(replace(seen, indexes=(*seen.indexes, shown)))
        statements += _on_shapes(request, number, seen, shown)
    operation = Operation("create index", table.name, request.statement, actor=request.actor)
    fresh = await publish_in_place(
        request.tx,
        request.snapshot,
        versions,
        statements,
        [operation],
        next_id=request.snapshot.next_id + 1,
    )
    return Outcome(fresh, "CREATE INDEX")


def _shown(seen: Table, table: Table, index: Index) -> Index | None:
    """The index in the names of another version; None when it has not all of its columns."""
    missing = []

    def renamed(name: str) -> str:
        column = table.column(name)
        now = seen.column_by_id(column.id) if column else None
        if now is None:
            missing.append(name)
            return quote_ident(name)
        return quote_ident(now.name)

    if seen == table:
        return index
    definition = translate(index.definition, renamed)
    predicate = ""
    if index.predicate:
        whole = translate(index.definition + index.predicate, renamed)
        predicate = whole[len(definition) :]
    return None if missing else replace(index, definition=definition, predicate=predicate)


def _schemas(request: DdlRequest, number: int) -> list[str]:
    current = number == request.snapshot.current
    return [shape_schema(number), PUBLIC] if current else [shape_schema(number)]


def _on_shapes(request: DdlRequest, number: int, table: Table, index: Index) -> list[str]:
    if not shows_index(table, index):
        return []
    unique = "UNIQUE " if index.unique else ""
    return [
        f"CREATE {unique}INDEX {quote_ident(index.name)} ON {s}.{quote_ident(table.name)} "
        f"USING {index.method} {index.definition}{index.predicate}"
        for s in _schemas(request, number)
    ]


async def rename_index(request: DdlRequest) -> Outcome:
    """ALTER INDEX … RENAME TO: at once, in every version that shows it."""
    node = request.node
    old, new = str(node.relation.relname), str(node.newname)
    owner = next((t for t in request.head.tables if any(i.name == old for i in t.indexes)), None)
    if owner is None:
        refuse_key_rename(request, old, new)
        raise UndefinedObject(f'relation "{old}" does not exist')
    if new in relation_names(request.head):
        raise DuplicateTable(f'relation "{new}" already exists')
    store_name = next(i.store_name for i in owner.indexes if i.name == old)
    versions = dict(request.snapshot.versions)
    statements = []
    for number, version in request.snapshot.versions.items():
        seen = version.table_by_id(owner.id)
        if seen is None or all(i.store_name != store_name for i in seen.indexes):
            continue
        was = next(i.name for i in seen.indexes if i.store_name == store_name)
        renamed = tuple(
            replace(i, name=new) if i.store_name == store_name else i for i in seen.indexes
        )
        versions[number] = version.with_table(replace(seen, indexes=renamed))
        statements += [
            f"ALTER INDEX IF EXISTS {s}.{quote_ident(was)} RENAME TO {quote_ident(new)}"
            for s in _schemas(request, number)
        ]
    operation = Operation("rename index", owner.name, request.statement, actor=request.actor)
    fresh = await publish_in_place(
        request.tx, request.snapshot, versions, statements, [operation],
        next_id=request.snapshot.next_id,
    )  # fmt: skip
    return Outcome(fresh, "ALTER INDEX")


def refuse_key_rename(request: DdlRequest, old: str, new: str) -> None:
    """FeatureNotSupported (0A000) when the index `old` belongs to a key or unique."""
    for table in request.head.tables:
        if table.key_constraint(old) is not None:
            raise FeatureNotSupported(
                f'index "{old}" has the name of its constraint',
                hint=f"ALTER TABLE {quote_ident(table.name)} RENAME CONSTRAINT "
                f"{quote_ident(old)} TO {quote_ident(new)} renames both.",
            )
