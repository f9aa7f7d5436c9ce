"""CREATE TABLE [AS]: declared columns are physical columns of a new store table; published at once
in every version, because it affects nobody.

PostgreSQL runs the client's own statement in a scratch schema, so every form it accepts (LIKE,
IDENTITY, serial, constraints, collations) is judged by PostgreSQL and read back from its catalog.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from catalog.model import Column, Constraint, Index, Seed, Table, Version
from catalog.sqltext import PUBLIC, STORE_SCHEMA, quote_ident, quote_literal
from core.errors import DuplicateTable, FeatureNotSupported, InvalidTableDefinition, ReservedName
from evolution.changed import shape_columns
from evolution.columns import definition, stored_column
from evolution.constraints import clip, fit_foreign_keys, read_constraint
from evolution.generated import GeneratedColumns, stored_definition
from evolution.indexes import relation_names, store_statement
from evolution.introspect import (
    SCRATCH,
    ScratchColumn,
    ScratchConstraint,
    ScratchTable,
    read_scratch,
    scratch_path,
)
from evolution.publish import Operation, publish_in_place, table_statements
from evolution.request import DdlRequest, Outcome
from evolution.seeds.validate import dependencies
from rewrite.edits import Edit, replace_text
from rewrite.tree import Node, ast

_SERIAL = re.compile(rf"nextval\('{SCRATCH}\.(?P<name>(?:[^']|'')+)'::regclass\)")


def check_name(request: DdlRequest, relation: Node) -> None:
    """Where a new table may be made, and that its name is free in the versions that serve."""
    schema = relation.schemaname
    if schema is not None and request.namespaces.version_of(schema) is None:
        raise FeatureNotSupported(
            f'tables can only be made in a version, not in schema "{schema}"',
            hint="Leave the schema out.",
        )
    if relation.relname.startswith("pg_"):
        raise ReservedName(f'table name "{relation.relname}" is reserved')
    snapshot = request.snapshot
    own = request.namespaces.default_version
    for number in dict.fromkeys((own.number if own else 0, snapshot.current, snapshot.head)):
        version = snapshot.versions.get(number)
        if version is not None and relation.relname in relation_names(version):
            raise DuplicateTable(
                f'relation "{relation.relname}" already exists',
                detail="" if own is version else f"It is in version {number}.",
            )


async def create_table(request: DdlRequest) -> Outcome:
    """CREATE TABLE."""
    node = request.node
    if node.inhRelations:
        raise FeatureNotSupported(
            "inheritance is not supported on store tables",
            hint="Make an ordinary table; LIKE copies the columns of another one.",
        )
    if node.ofTypename is not None:
        raise FeatureNotSupported("typed tables are not supported in the store")
    if node.relation.relpersistence == "u":
        raise FeatureNotSupported("unlogged tables are not supported in the store")
    if node.if_not_exists and request.namespaces.resolve(
        node.relation.schemaname, node.relation.relname
    ):
        name = node.relation.relname
        return request.skipped("CREATE TABLE", f'relation "{name}" already exists', DuplicateTable)
    check_name(request, node.relation)
    chain = request.tokens.name_chain(node.relation.location)
    target = f"{quote_ident(SCRATCH)}.{quote_ident(node.relation.relname)}"
    edits: list[Edit] = [replace_text(chain[0].start, chain[-1].end, target)]
    generated = _generated(request, edits)
    await make_in_scratch(request, request.splice(edits).text)
    found = await take_from_scratch(request)
    return await publish_table(request, found, "CREATE TABLE", generated)


def _generated(request: DdlRequest, edits: list[Edit]) -> GeneratedColumns | None:
    """The statement's generated columns: the others are made first, to know them."""
    columns = [c for c in request.node.tableElts or () if isinstance(c, ast.ColumnDef)]
    virtual = [
        c for c in columns if any(k.contype.name == "CONSTR_GENERATED" for k in c.constraints or ())
    ]
    if not virtual:
        return None
    names = {c.colname for c in virtual}
    plain = tuple(
        stored_column(-2 - n, ScratchColumn(n, c.colname, "text", False, "", "", None, None))
        for n, c in enumerate(columns)
        if c.colname not in names
    )
    table = Table(-1, request.node.relation.relname, "table", plain)
    generated = GeneratedColumns(request, request.head.with_table(table), table)
    for column in virtual:
        generated.definition(column)
    edits += generated.edits
    return generated


async def make_in_scratch(request: DdlRequest, text: str) -> None:
    """Let PostgreSQL run the statement with the scratch table as its target."""
    path = scratch_path(request.namespaces.default_schema)
    await request.tx.apply([f"CREATE SCHEMA {SCRATCH}", path, text])


async def take_from_scratch(request: DdlRequest) -> ScratchTable:
    """The only table of the scratch schema, which is removed."""
    found = await read_scratch(request.tx, request.namespaces.default_schema)
    await request.tx.apply([f"DROP SCHEMA {SCRATCH} CASCADE"])
    if not found:
        raise InvalidTableDefinition("the statement made no table")
    return list(found.values())[-1]


async def publish_table(
    request: DdlRequest,
    found: ScratchTable,
    tag: str,
    generated: GeneratedColumns | None = None,
) -> Outcome:
    """Make the store table and show it in every version where its name is free."""
    made = _NewTable(request, found, generated)
    snapshot = request.snapshot
    versions: dict[int, Version] = {
        number: fit_foreign_keys(version.with_table(made.table), [made.table])
        for number, version in snapshot.versions.items()
        if made.table.name not in relation_names(version)
    }
    snapshot = replace(snapshot, versions={**snapshot.versions, **versions})
    statements = made.statements
    for version in versions.values():
        shown = version.table_by_id(made.table.id)
        assert shown is not None
        statements += table_statements(snapshot, version, [shown])
    operation = Operation("create table", made.table.name, request.statement, actor=request.actor)
    fresh = await publish_in_place(
        request.tx, request.snapshot, versions, statements, [operation], next_id=made.next_id
    )
    return Outcome(fresh, tag)


@dataclass(slots=True)
class _NewTable:
    """The model and the store's statements of a table that PostgreSQL made in the scratch."""

    request: DdlRequest
    found: ScratchTable
    generated: GeneratedColumns | None
    next_id: int = 0
    table: Table = field(init=False)
    statements: list[str] = field(default_factory=list)
    columns_made: list[ScratchColumn] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.next_id = self.request.snapshot.next_id
        table_id = self._id()
        columns = tuple(self._column(c) for c in self.found.columns)
        self.table = Table(
            table_id, self.found.name, "table", columns, f"t{table_id}", comment=self.found.comment
        )
        self.table = self._with_dependencies()
        store = f"{STORE_SCHEMA}.{quote_ident(self.table.store)}"
        stored = [
            definition(f"c{made.id}", column)
            for made, column in zip(columns, self.columns_made, strict=True)
            if not isinstance(made.source, Seed)
        ] + [
            stored_definition(self.table, made)
            for made in self.table.columns
            if isinstance(made.source, Seed) and made.source.column
        ]
        self.statements.append(f"CREATE TABLE {store} ({', '.join(stored)})")
        constraints = self._constraints(store)
        indexes = self._indexes(store)
        self.table = replace(self.table, constraints=constraints, indexes=indexes)
        # Without USAGE on the schema nobody can name the table; with SELECT on it PostgreSQL
        # shows the key in the details of constraint violations.
        self.statements.append(f"GRANT SELECT ON {store} TO morph_client")

    def _id(self) -> int:
        self.next_id += 1
        return self.next_id - 1

    def _column(self, column: ScratchColumn) -> Column:
        column = self._own_sequence(column)
        self.columns_made.append(column)
        if not column.generated:
            return stored_column(self._id(), column)
        generated = self.generated
        if generated is None or column.name not in generated.expressions:
            raise FeatureNotSupported(
                f'generated column "{column.name}" cannot be copied',
                hint="Leave INCLUDING GENERATED out, and add the column afterwards.",
            )
        number = self._id()
        kept = f"c{number}" if column.name in generated.stored else ""
        seed = Seed(generated.expressions[column.name], column=kept)
        return Column(number, column.name, column.type, seed, comment=column.comment)

    def _with_dependencies(self) -> Table:
        columns = []
        version = self.request.head.with_table(self.table)
        for column in self.table.columns:
            if isinstance(column.source, Seed):
                reads = dependencies(column.source.expression, version, self.table)
                column = replace(column, source=replace(column.source, depends=reads.columns))
            columns.append(column)
        return replace(self.table, columns=tuple(columns))

    def _own_sequence(self, column: ScratchColumn) -> ScratchColumn:
        """A serial column's sequence lives in `public`, where clients find it."""
        match = _SERIAL.search(column.default or "")
        if match is None:
            return column
        name = f"{PUBLIC}.{match['name']}".replace("''", "'")
        if any(v.table(self.found.name) for v in self.request.snapshot.versions.values()):
            # An older version has a table of this name, with a sequence of this name.
            name = f"{PUBLIC}.{quote_ident(f'{self.found.name}_{column.name}_seq{self.next_id}')}"
        kind = {"smallint": "smallint", "integer": "integer"}.get(column.type, "bigint")
        self.statements.append(f"CREATE SEQUENCE {name} AS {kind}")
        self.statements.append(f"GRANT USAGE, SELECT, UPDATE ON SEQUENCE {name} TO morph_client")
        return replace(column, default=f"nextval({quote_literal(name)}::regclass)")

    def _constraints(self, store: str) -> tuple[Constraint, ...]:
        numbers = {f.number: c for f, c in zip(self.found.columns, self.table.columns, strict=True)}
        constraints = []
        for item in self.found.constraints:
            other = self._referenced(item, numbers) if item.kind == "f" else None
            constraint, clause = read_constraint(self.table, numbers, item, other, self._id())
            constraints.append(constraint)
            self.statements.append(f"ALTER TABLE {store} {clause}")
        return tuple(constraints)

    def _referenced(
        self, item: ScratchConstraint, numbers: Mapping[int, Column]
    ) -> tuple[Table, Mapping[int, Column]] | None:
        if item.references == self.found.oid:
            return self.table, numbers
        return shape_columns(self.request, item)

    def _indexes(self, store: str) -> tuple[Index, ...]:
        """Indexes that LIKE … INCLUDING INDEXES copied."""
        taken = relation_names(self.request.head)
        version = self.request.head.with_table(self.table)
        indexes = []
        for found in self.found.indexes:
            name = found.name if found.name not in taken else f"{self.found.name}_{found.name}"
            store_name = clip(f"i{self._id()}_{name}")
            index = Index(
                name, found.unique, found.method, found.definition, store_name, found.predicate
            )
            self.statements.append(store_statement(version, self.table, index, store))
            indexes.append(index)
        return tuple(indexes)
