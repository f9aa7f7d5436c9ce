"""CREATE TABLE: declared columns are physical columns of a new store table; published at once in
every version, because it affects nobody.

PostgreSQL runs the client's own statement in a scratch schema, so every form it accepts (LIKE,
IDENTITY, serial, constraints, collations) is judged by PostgreSQL and read back from its catalog.
"""

from __future__ import annotations

import re
from dataclasses import replace

from catalog.model import Column, Constraint, Stored, Table, Version
from catalog.sqltext import PUBLIC, STORE_SCHEMA, quote_ident, quote_literal
from core.errors import (
    DuplicateTable,
    FeatureNotSupported,
    InvalidTableDefinition,
    ReservedName,
)
from evolution.columns import definition
from evolution.constraints import read_constraint
from evolution.introspect import SCRATCH, ScratchColumn, ScratchTable, read_scratch
from evolution.publish import Operation, publish_in_place, table_statements
from evolution.request import DdlRequest, Outcome
from rewrite.edits import replace_text
from rewrite.tree import Node

_SERIAL = re.compile(rf"nextval\('{SCRATCH}\.(?P<name>[^']+)'::regclass\)")


def check_name(request: DdlRequest, relation: Node) -> None:
    """Where a new table may be made, and that its name is free in every version."""
    schema = relation.schemaname
    if schema is not None and request.namespaces.version_of(schema) is None:
        raise FeatureNotSupported(
            f'tables can only be made in a version, not in schema "{schema}"',
            hint="Leave the schema out.",
        )
    if relation.relname.startswith("pg_"):
        raise ReservedName(f'table name "{relation.relname}" is reserved')
    for version in request.snapshot.versions.values():
        if version.table(relation.relname) is not None:
            raise DuplicateTable(
                f'relation "{relation.relname}" already exists',
                detail=""
                if version.number == request.snapshot.current
                else f"It is in version {version.number}.",
            )


async def create_table(request: DdlRequest) -> Outcome:
    """CREATE TABLE."""
    node = request.node
    if node.partspec is not None or node.inhRelations:
        raise FeatureNotSupported("partitions and inheritance are not supported on store tables")
    if node.ofTypename is not None:
        raise FeatureNotSupported("typed tables are not supported in the store")
    if node.if_not_exists and request.namespaces.resolve(
        node.relation.schemaname, node.relation.relname
    ):
        notice = DuplicateTable(f'relation "{node.relation.relname}" already exists, skipping')
        return Outcome(request.snapshot, "CREATE TABLE", (notice,))
    check_name(request, node.relation)
    chain = request.tokens.name_chain(node.relation.location)
    target = f"{quote_ident(SCRATCH)}.{quote_ident(node.relation.relname)}"
    text = request.splice([replace_text(chain[0].start, chain[-1].end, target)]).text
    schema = quote_ident(request.namespaces.default_schema)
    path = f"SET LOCAL search_path = {schema}, public, pg_temp"
    await request.tx.apply([f"CREATE SCHEMA {SCRATCH}", path, text])
    found = await read_scratch(request.tx)
    await request.tx.apply([f"DROP SCHEMA {SCRATCH} CASCADE"])
    if found is None:
        raise InvalidTableDefinition("the statement made no table")
    return await publish_table(request, found, "CREATE TABLE")


async def publish_table(request: DdlRequest, found: ScratchTable, tag: str) -> Outcome:
    """Make the store table and show it in every version."""
    table, statements, next_id = _store_table(request, found)
    snapshot = request.snapshot
    versions: dict[int, Version] = {
        number: version.with_table(table) for number, version in snapshot.versions.items()
    }
    snapshot = replace(snapshot, versions=versions)
    for version in versions.values():
        statements += table_statements(snapshot, version, [table])
    operation = Operation("create table", table.name, request.statement, actor=request.actor)
    fresh = await publish_in_place(
        request.tx, request.snapshot, versions, statements, [operation], next_id=next_id
    )
    return Outcome(fresh, tag)


def _store_table(request: DdlRequest, found: ScratchTable) -> tuple[Table, list[str], int]:
    next_id = request.snapshot.next_id
    table_id, next_id = next_id, next_id + 1
    columns: list[Column] = []
    definitions: list[str] = []
    statements: list[str] = []
    for column in found.columns:
        if column.generated:
            raise FeatureNotSupported(
                f'generated column "{column.name}" in CREATE TABLE is not supported',
                hint="Add it afterwards: ALTER TABLE … ADD COLUMN … GENERATED ALWAYS AS (…).",
            )
        column = _own_sequence(column, statements)
        name = f"c{next_id}"
        columns.append(
            Column(
                next_id,
                column.name,
                column.type,
                Stored(name, column.type),
                not_null=column.not_null,
                default=column.default,
                comment=column.comment,
                identity=column.identity,  # type: ignore[arg-type]
            )
        )
        definitions.append(definition(name, column))
        next_id += 1
    table = Table(
        table_id, found.name, "table", tuple(columns), f"t{table_id}", comment=found.comment
    )
    constraints: list[Constraint] = []
    clauses = []
    numbers = {f.number: c for f, c in zip(found.columns, columns, strict=True)}
    version = request.head.with_table(table)
    for item in found.constraints:
        constraint, clause = read_constraint(version, table, numbers, item, next_id)
        next_id += 1
        constraints.append(constraint)
        clauses.append(clause)
    store = f"{STORE_SCHEMA}.{quote_ident(table.store)}"
    statements.append(f"CREATE TABLE {store} ({', '.join(definitions)})")
    statements += [f"ALTER TABLE {store} {clause}" for clause in clauses]
    # Without USAGE on the schema nobody can name the table; with SELECT on it PostgreSQL shows
    # the key in the details of constraint violations.
    statements.append(f"GRANT SELECT ON {store} TO morph_client")
    return replace(table, constraints=tuple(constraints)), statements, next_id


def _own_sequence(column: ScratchColumn, statements: list[str]) -> ScratchColumn:
    """A serial column's sequence lives in `public`, where clients find it."""
    match = _SERIAL.search(column.default or "")
    if match is None:
        return column
    name = f"{PUBLIC}.{match['name']}"
    kind = {"smallint": "smallint", "integer": "integer"}.get(column.type, "bigint")
    statements.append(f"CREATE SEQUENCE {name} AS {kind}")
    statements.append(f"GRANT USAGE, SELECT, UPDATE ON SEQUENCE {name} TO morph_client")
    default = f"nextval({quote_literal(name)}::regclass)"
    return replace(column, default=default)
