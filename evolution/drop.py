"""DROP TABLE and DROP VIEW make a version without them; DROP INDEX is done at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from catalog.model import Table, Version
from catalog.shapes import relation_kind
from catalog.sqltext import PUBLIC, STORE_SCHEMA, quote_ident, shape_schema
from core.errors import (
    DependentObjectsStillExist,
    FeatureNotSupported,
    MorphError,
    UndefinedObject,
    UndefinedTable,
    WrongObjectType,
)
from evolution.alter_table import run_on_copy
from evolution.changed import Command
from evolution.introspect import SCRATCH
from evolution.publish import Operation, publish_in_place
from evolution.request import DdlRequest, Note, Outcome
from rewrite.tree import Node

_KINDS = {
    "OBJECT_TABLE": "table",
    "OBJECT_VIEW": "view",
    "OBJECT_MATVIEW": "materialized view",
    "OBJECT_FOREIGN_TABLE": "foreign table",
}


def _names(item: Node) -> tuple[str | None, str]:
    names = [n.sval for n in item]
    return (names[-2] if len(names) > 1 else None), names[-1]


async def drop_tables(request: DdlRequest) -> Outcome:
    """DROP TABLE / DROP VIEW [IF EXISTS] … [CASCADE]."""
    node = request.node
    kind = _KINDS[node.removeType.name]
    tag = f"DROP {kind.upper()}"
    notices: list[MorphError] = []
    tables: dict[int, Table] = {}
    for item in node.objects:
        schema, name = _names(item)
        found = request.namespaces.resolve(schema, name)
        gone = found is not None and request.head.table_by_id(found.table.id) is None
        if found is None or (gone and node.missing_ok):
            missing = f'{kind} "{name}" does not exist'
            if not node.missing_ok:
                raise _missing(kind)(missing)
            notices.append(Note(f"{missing}, skipping"))
            continue
        table = request.on_head(found)
        _check_kind(table, kind)
        tables[table.id] = table
        for partition in table.partitions:  # they go with it, as in PostgreSQL
            child = request.head.table_by_id(partition.table_id)
            if child is not None:
                tables[child.id] = child
    if not tables:
        return Outcome(request.snapshot, tag, tuple(notices))
    _check_parts(request.head, tables)
    cascade = node.behavior.name == "DROP_CASCADE"
    text = "; ".join(_drop_texts(tables.values(), cascade=cascade))
    command = Command({}, cascade=cascade)
    outcome = await run_on_copy(request, set(tables), text, command, tag)
    return replace(outcome, notices=(*notices, *outcome.notices))


def _check_parts(head: Version, gone: Mapping[int, Table]) -> None:
    """A table that shows columns of rows of another one does not outlive it."""
    for table in head.tables:
        if table.part and table.part.keyed and table.part.of in gone and table.id not in gone:
            name = gone[table.part.of].name
            raise DependentObjectsStillExist(
                f"cannot drop table {name} because other objects depend on it",
                detail=f"table {table.name} shows columns of its rows",
                hint="Drop both in one statement.",
            )


def _drop_texts(tables: Iterable[Table], *, cascade: bool) -> Iterator[str]:
    """A statement for each kind of what is dropped."""
    kinds: dict[str, list[str]] = {}
    for table in tables:
        name = f"{SCRATCH}.{quote_ident(table.name)}"
        kinds.setdefault(relation_kind(table), []).append(name)
    for kind, names in kinds.items():
        yield f"DROP {kind} {', '.join(names)}{' CASCADE' if cascade else ''}"


def _missing(kind: str) -> type[MorphError]:
    return UndefinedObject if kind == "foreign table" else UndefinedTable


def _check_kind(table: Table, kind: str) -> None:
    own = relation_kind(table).lower()
    if own != kind:
        raise WrongObjectType(
            f'"{table.name}" is not a {kind}',
            hint=f"Use DROP {own.upper()} to remove a {own}.",
        )
    if table.kind == "foreign" and table.parent_id:
        raise FeatureNotSupported(
            f'"{table.name}" shows an array inside the rows of another table and goes with it',
            hint="Drop that table.",
        )
    if table.kind == "child":
        raise FeatureNotSupported(
            f'"{table.name}" shows an array of the documents of another table and goes with it',
            hint="Drop that table, or remove the field from its documents.",
        )


async def drop_indexes(request: DdlRequest) -> Outcome:
    """DROP INDEX [CONCURRENTLY] [IF EXISTS] …: at once, in every version."""
    node = request.node
    statements: list[str] = []
    versions: dict[int, Version] = dict(request.snapshot.versions)
    operations = []
    notices: list[MorphError] = []
    for item in node.objects:
        _, name = _names(item)
        owner = _owner(request, name)
        if owner is None:
            refuse_constraint_index(request, name)
            if not node.missing_ok:
                raise UndefinedObject(f'index "{name}" does not exist')
            notices.append(Note(f'index "{name}" does not exist, skipping'))
            continue
        index = next(i for i in owner.indexes if i.name == name)
        statements.append(f"DROP INDEX {STORE_SCHEMA}.{quote_ident(index.store_name)}")
        for number, version in versions.items():
            for table in version.tables:
                gone = [i for i in table.indexes if i.store_name == index.store_name]
                if not gone or (table.id == owner.id and gone[0].name != name):
                    continue
                kept = tuple(i for i in table.indexes if i not in gone)
                versions[number] = versions[number].with_table(replace(table, indexes=kept))
                statements += _drop_shape_indexes(request, number, gone[0].name)
        operations.append(
            Operation("drop index", owner.name, request.statement, actor=request.actor)
        )
    if not operations:
        return Outcome(request.snapshot, "DROP INDEX", tuple(notices))
    fresh = await publish_in_place(
        request.tx,
        request.snapshot,
        versions,
        statements,
        operations,
        next_id=request.snapshot.next_id,
    )
    return Outcome(fresh, "DROP INDEX", tuple(notices))


def refuse_constraint_index(request: DdlRequest, name: str) -> None:
    """DependentObjectsStillExist (2BP01) when the index `name` belongs to a key or unique."""
    for table in request.head.tables:
        if table.key_constraint(name) is not None:
            raise DependentObjectsStillExist(
                f"cannot drop index {name} because constraint {name} on table {table.name} "
                "requires it",
                hint=f"You can drop constraint {name} on table {table.name} instead.",
            )


def _drop_shape_indexes(request: DdlRequest, number: int, name: str) -> list[str]:
    schemas = [shape_schema(number)]
    if number == request.snapshot.current:
        schemas.append(PUBLIC)
    return [f"DROP INDEX IF EXISTS {s}.{quote_ident(name)}" for s in schemas]


def _owner(request: DdlRequest, name: str) -> Table | None:
    version = request.namespaces.default_version or request.head
    return next((t for t in version.tables if any(i.name == name for i in t.indexes)), None)
