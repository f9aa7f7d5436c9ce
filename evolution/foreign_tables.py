"""CREATE FOREIGN TABLE and IMPORT FOREIGN SCHEMA: tables of the model whose rows lie in another
store. Like a new table they affect nobody and are published at once, in every version.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from backends.base import Description
from catalog.instances import Instance, option_pairs, touch_statement
from catalog.model import Column, Native, ParentKey, Table, Version
from catalog.naming import child_table_name, table_name
from catalog.sqltext import quote_ident
from core.errors import (
    DuplicateTable,
    FeatureNotSupported,
    InvalidOptionName,
    MorphError,
    UndefinedColumn,
)
from evolution.create_table import check_name, make_in_scratch, take_from_scratch
from evolution.foreign_columns import columns_by_path, default_of, foreign_parts, source_of
from evolution.foreign_options import column_path, given_options, kept_options, placement
from evolution.indexes import relation_names
from evolution.introspect import SCRATCH, ScratchTable
from evolution.publish import Operation, publish_in_place, table_statements
from evolution.request import DdlRequest, Note, Outcome
from evolution.servers import find_instance
from rewrite.edits import replace_text
from rewrite.tree import Node, ast

_KEPT_CONSTRAINTS = frozenset(("CONSTR_NULL", "CONSTR_NOTNULL", "CONSTR_DEFAULT"))


class StoreWarning(Note, sqlstate="01000"):
    """A store could not be asked about a table that was made all the same."""


# ------------------------------------------------------------------ CREATE FOREIGN TABLE


async def create_foreign_table(request: DdlRequest) -> Outcome:
    """CREATE FOREIGN TABLE [IF NOT EXISTS] … SERVER … OPTIONS (…)."""
    node = request.node
    base = node.base
    _refuse_forms(node)
    relation = base.relation
    if base.if_not_exists and request.namespaces.resolve(relation.schemaname, relation.relname):
        message = f'relation "{relation.relname}" already exists'
        return request.skipped("CREATE FOREIGN TABLE", message, DuplicateTable)
    check_name(request, relation)
    instance = await find_instance(request.tx, node.servername)
    place = placement(instance, given_options(node.options), relation.relname)
    chain = request.tokens.name_chain(relation.location)
    target = f"{quote_ident(SCRATCH)}.{quote_ident(relation.relname)}"
    edit = replace_text(chain[0].start, chain[-1].end, target)
    await make_in_scratch(request, request.splice([edit]).text)
    found = await take_from_scratch(request)
    seen = request.look.description if request.look else None
    made = Made(request.snapshot.next_id)
    columns = _columns(instance.kind, base, found, seen, made)
    key = key_of(columns, place.key, seen)
    table = Table(
        made.new_id(),
        found.name,
        "foreign",
        columns,
        comment=found.comment,
        instance=instance.name,
        native=place.native,
        key=tuple(c.id for c in key),
        has_doc=seen is not None and seen.has_doc,
    )
    table = replace(table, options=option_pairs(kept_options(instance.kind, place.native)))
    made.tables.append(foreign_parts(table))
    notices = _problems(request, table, seen)
    return await publish_foreign(request, instance, made, "create foreign table", notices)


def _refuse_forms(node: Node) -> None:
    base = node.base
    if base.partbound is not None or base.partspec is not None or base.inhRelations:
        raise FeatureNotSupported("partitions and inheritance of foreign tables are not supported")
    for element in base.tableElts or ():
        constraints = element.constraints or () if isinstance(element, ast.ColumnDef) else ()
        other = [c for c in constraints if c.contype.name not in _KEPT_CONSTRAINTS]
        if isinstance(element, ast.Constraint) or other:
            raise FeatureNotSupported(
                "constraints on foreign tables are not supported",
                detail="Rows come from another store, which may not hold to them.",
                hint="NOT NULL and DEFAULT are; OPTIONS (key 'a,b') says what identifies a row.",
            )


def _columns(
    kind: str, base: Node, found: ScratchTable, seen: Description | None, made: Made
) -> tuple[Column, ...]:
    given = {e.colname: e.fdwoptions for e in base.tableElts or () if isinstance(e, ast.ColumnDef)}
    known = columns_by_path(seen)
    columns = []
    for column in found.columns:
        path = column_path(kind, column.name, given.get(column.name))
        columns.append(
            Column(
                made.new_id(),
                column.name,
                column.type,
                source_of(path, column.type, known),
                not_null=column.not_null,
                default=default_of(path, column, known),
                comment=column.comment,
            )
        )
    return tuple(columns)


def key_of(
    columns: Iterable[Column], names: tuple[str, ...] | None, seen: Description | None
) -> tuple[Column, ...]:
    """The columns that identify a row: those of OPTIONS (key …), else the store's own key when
    the table has all of it.
    """
    by_name = {c.name: c for c in columns}
    if names is not None:
        for name in names:
            if name not in by_name:
                raise UndefinedColumn(f'column "{name}" named in key does not exist')
        return tuple(by_name[name] for name in dict.fromkeys(names))
    if seen is None:
        return ()
    paths = {c.source.path: c for c in by_name.values() if isinstance(c.source, Native)}
    theirs = [c.source for each in seen.key for c in seen.columns if c.id == each]
    mine = [paths.get(s.path) for s in theirs if isinstance(s, Native)]
    return tuple(c for c in mine if c is not None) if None not in mine else ()


def _problems(request: DdlRequest, table: Table, seen: Description | None) -> list[MorphError]:
    problem = request.look.problem if request.look else None
    if seen is not None or problem is None:
        return []
    return [
        StoreWarning(
            f'the store could not be asked about foreign table "{table.name}"',
            detail=f"{problem.primary}.",
            hint="Without its types nothing is compared there; drop and make the table again.",
        )
    ]


# ------------------------------------------------------------------ IMPORT FOREIGN SCHEMA


async def import_foreign_schema(request: DdlRequest) -> Outcome:
    """IMPORT FOREIGN SCHEMA … [LIMIT TO | EXCEPT (…)] FROM SERVER … INTO …."""
    node = request.node
    assert request.look is not None, "an import needs what was looked up"
    prefix = _import_options(node)
    instance = await find_instance(request.tx, node.server_name)
    made = Made(request.snapshot.next_id)
    for native, description in request.look.tables:
        name = table_name(prefix + native.native[-1])
        made.add(instance, name, native.native, description)
    for table in made.tables:
        check_name(request, _relation(node.local_schema, table.name))
    notices: list[MorphError] = [
        Note(f'table "{name}" is not in foreign schema "{node.remote_schema}", skipping')
        for name in request.look.missing
    ]
    return await publish_foreign(request, instance, made, "import foreign schema", notices)


def _import_options(node: Node) -> str:
    options = given_options(node.options)
    for option in options:
        if option != "prefix":
            raise InvalidOptionName(f'invalid option "{option}"', hint="There is prefix.")
    return options.get("prefix", "")


def _relation(schema: str, name: str) -> Node:
    return ast.RangeVar(schemaname=schema, relname=name)


@dataclass(slots=True)
class Made:
    """Tables made from descriptions; ids count on from the catalog's."""

    next_id: int
    tables: list[Table] = field(default_factory=list)

    def new_id(self) -> int:
        """The next id."""
        self.next_id += 1
        return self.next_id - 1

    def add(
        self, instance: Instance, name: str, native: tuple[str, ...], described: Description
    ) -> None:
        """A table and those of its arrays."""
        table, ids = self._table(instance, name, native, described, {})
        self.tables.append(foreign_parts(table))
        for suffix, child, path in described.children:
            self._child(instance, table, ids, suffix, child, path)

    def _child(
        self,
        instance: Instance,
        parent: Table,
        ids: Mapping[int, int],
        suffix: str,
        described: Description,
        path: tuple[str, ...],
    ) -> None:
        taken = {t.name for t in self.tables}
        name = child_table_name(parent.name, path, taken)
        if suffix and table_name(f"{parent.name}_{suffix}") not in taken:
            name = table_name(f"{parent.name}_{suffix}")
        table, own = self._table(instance, name, parent.native, described, ids)
        table = replace(table, parent_id=parent.id, parent_path=path)
        self.tables.append(foreign_parts(table))
        for inner_suffix, child, inner_path in described.children:
            self._child(instance, table, own, inner_suffix, child, inner_path)

    def _table(
        self,
        instance: Instance,
        name: str,
        native: tuple[str, ...],
        described: Description,
        parent_ids: Mapping[int, int],
    ) -> tuple[Table, dict[int, int]]:
        table_id = self.new_id()
        ids = {column.id: self.new_id() for column in described.columns}
        columns = []
        for column in described.columns:
            source = column.source
            if isinstance(source, ParentKey):
                source = ParentKey(parent_ids[source.column_id])
            columns.append(replace(column, id=ids[column.id], source=source))
        key = tuple(ids[each] for each in described.key)
        options = option_pairs(kept_options(instance.kind, native))
        table = Table(
            table_id,
            name,
            "foreign",
            tuple(columns),
            comment=described.comment,
            instance=instance.name,
            native=native,
            key=key,
            options=options,
            has_doc=described.has_doc,
        )
        return table, ids


# ------------------------------------------------------------------ publishing


async def publish_foreign(
    request: DdlRequest, instance: Instance, made: Made, kind: str, notices: list[MorphError]
) -> Outcome:
    """Show new foreign tables in every version where their names are free."""
    snapshot = request.snapshot
    versions: dict[int, Version] = {}
    shown: dict[int, list[Table]] = {}
    for number, version in snapshot.versions.items():
        fresh, tables = _with_tables(version, made.tables)
        if tables:
            versions[number], shown[number] = fresh, tables
    snapshot = replace(snapshot, versions={**snapshot.versions, **versions})
    statements = [touch_statement(instance.name)]
    for number, version in versions.items():
        statements += table_statements(snapshot, version, shown[number])
    operations = [
        Operation(kind, table.name, request.statement, actor=request.actor) for table in made.tables
    ]
    done = await publish_in_place(
        request.tx, request.snapshot, versions, statements, operations, next_id=made.next_id
    )
    return Outcome(done, kind.upper(), tuple(notices))


def _with_tables(version: Version, tables: Iterable[Table]) -> tuple[Version, list[Table]]:
    """The version with those whose names are free there; a child comes with its parent only."""
    taken = relation_names(version)
    shown: list[Table] = []
    for table in tables:
        parent_there = not table.parent_id or version.table_by_id(table.parent_id) is not None
        if table.name not in taken and parent_there:
            version = version.with_table(table)
            shown.append(table)
    return version, shown
