"""Partitioned tables over several stores, in PostgreSQL's own words:

    CREATE TABLE events (id bigint, region text, …) PARTITION BY LIST (region);
    CREATE FOREIGN TABLE events_eu PARTITION OF events FOR VALUES IN ('eu') SERVER frankfurt;

The partitioned table has no rows of its own. The bound of a partition is what its store is trusted
to hold (as PostgreSQL trusts foreign partitions); a statement whose conditions contradict it does
not ask that store (engine/partitions.py). Bounds are judged by PostgreSQL, on a copy of the table
with its partitions, and kept in its own words.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from pglast.stream import RawStream

from catalog.instances import option_pairs
from catalog.model import Column, Native, Partition, Table, Version
from catalog.shapes import scratch_statements
from catalog.sqltext import quote_ident, quote_literal
from core.errors import (
    DuplicateTable,
    FeatureNotSupported,
    UndefinedTable,
    WrongObjectType,
)
from engine.partitions import places_of
from evolution.create_table import check_name, make_in_scratch, take_from_scratch
from evolution.foreign_columns import columns_by_path, foreign_parts, source_of
from evolution.foreign_options import column_path, given_options, kept_options, placement
from evolution.foreign_tables import Made, key_of
from evolution.indexes import relation_names
from evolution.introspect import SCRATCH, scratch_path
from evolution.publish import Operation, publish_in_place, table_statements
from evolution.request import DdlRequest, Outcome
from evolution.servers import find_instance
from rewrite.edits import replace_text
from rewrite.parsing import parse_statements
from rewrite.tree import Node, ast

_STRATEGIES: Final = {"l": "LIST", "r": "RANGE", "h": "HASH"}
_HASH: Final = "h"


async def create_partitioned(request: DdlRequest) -> Outcome:
    """CREATE TABLE … PARTITION BY LIST | RANGE | HASH (column)."""
    node = request.node
    relation = node.relation
    if node.if_not_exists and request.namespaces.resolve(relation.schemaname, relation.relname):
        message = f'relation "{relation.relname}" already exists'
        return request.skipped("CREATE TABLE", message, DuplicateTable)
    column = _partition_column(node)
    if node.inhRelations or any(isinstance(e, ast.Constraint) for e in node.tableElts or ()):
        raise FeatureNotSupported(
            "constraints and inheritance of partitioned tables are not supported",
            hint="Rows come from other stores, which may not hold to them.",
        )
    check_name(request, relation)
    chain = request.tokens.name_chain(relation.location)
    target = f"{quote_ident(SCRATCH)}.{quote_ident(relation.relname)}"
    edits = [
        replace_text(chain[0].start, chain[-1].end, target),
        replace_text(node.partspec.location, request.end, ""),
    ]
    await make_in_scratch(request, request.splice(edits).text)
    found = await take_from_scratch(request)
    made = Made(request.snapshot.next_id)
    columns = tuple(
        Column(
            made.new_id(),
            each.name,
            each.type,
            Native((each.name,)),
            not_null=each.not_null,
            default=each.default,
            comment=each.comment,
        )
        for each in found.columns
    )
    definition = f"{_STRATEGIES[node.partspec.strategy.value]} ({quote_ident(column)})"
    await _judged(request, f"CREATE TABLE {_scratch('p')} ({_listed(columns)})", definition)
    table = Table(made.new_id(), found.name, "foreign", columns, definition=definition)
    return await _publish(request, made, [table], {}, "create table")


def _partition_column(node: Node) -> str:
    spec = node.partspec
    if len(spec.partParams) != 1 or spec.partParams[0].name is None:
        raise FeatureNotSupported("tables are partitioned by one column")
    return str(spec.partParams[0].name)


async def create_partition(request: DdlRequest) -> Outcome:
    """CREATE FOREIGN TABLE … PARTITION OF … FOR VALUES … SERVER …"""
    node, base = request.node, request.node.base
    check_name(request, base.relation)
    above = base.inhRelations[0]
    parent = request.resolve(above.schemaname, above.relname).table
    if not parent.partitioned:
        raise WrongObjectType(f'"{parent.name}" is not partitioned')
    if base.tableElts:
        raise FeatureNotSupported("a partition has the columns of its table")
    instance = await find_instance(request.tx, node.servername)
    place = placement(instance, given_options(node.options), base.relation.relname)
    seen = request.look.description if request.look else None
    known = columns_by_path(seen)
    bound = await _bound(request, parent, base.relation.relname)
    made = Made(request.snapshot.next_id)
    columns = tuple(
        replace(
            column,
            id=made.new_id(),
            source=source_of(column_path(instance.kind, column.name, None), column.type, known),
        )
        for column in parent.columns
    )
    key = key_of(columns, place.key, seen)
    table = foreign_parts(
        Table(
            made.new_id(),
            base.relation.relname,
            "foreign",
            columns,
            instance=instance.name,
            native=place.native,
            key=tuple(column.id for column in key),
            options=option_pairs(kept_options(instance.kind, place.native)),
        )
    )
    partition = Partition(table.id, bound_condition(parent.definition, bound), bound)
    return await _publish(request, made, [table], {parent.id: partition}, "create foreign table")


def _scratch(name: str) -> str:
    return f"{quote_ident(SCRATCH)}.{quote_ident(name)}"


def _listed(columns: Sequence[Column]) -> str:
    return ", ".join(f"{quote_ident(c.name)} {c.type}" for c in columns)


async def _judged(request: DdlRequest, create: str, definition: str) -> None:
    """PostgreSQL says whether a table can be partitioned so."""
    await make_in_scratch(request, f"{create} PARTITION BY {definition}")
    await request.tx.apply([_DROP_SCRATCH])


_DROP_SCRATCH: Final = f"DROP SCHEMA {SCRATCH} CASCADE"


def _copy_statements(parent: Table, version: Version) -> list[str]:
    """The partitioned table with its partitions, in the scratch schema."""
    target = _scratch(parent.name)
    columns = ", ".join(
        f"{quote_ident(c.name)} {c.type}{' NOT NULL' if c.not_null else ''}" for c in parent.columns
    )
    return [
        f"CREATE TABLE {target} ({columns}) PARTITION BY {parent.definition}",
        *(
            f"CREATE TABLE {_scratch(place.name)} PARTITION OF {target} {place.bound}"
            for place in places_of(parent, version)
        ),
    ]


async def _bound(request: DdlRequest, parent: Table, name: str) -> str:
    """The bound of a new partition in PostgreSQL's words, if the others leave room for it."""
    tokens = request.tokens
    above = request.node.base.inhRelations[0]
    start = tokens.name_chain(above.location)[-1].end
    at = tokens.find_top(tokens.index_at(start), frozenset({"SERVER"}), request.end)
    given = request.text[start : tokens.items[at].start]
    create = f"CREATE TABLE {_scratch(name)} PARTITION OF {_scratch(parent.name)} {given}"
    return await _judge_bound(request, parent, name, [create])


_BOUND: Final = (
    "SELECT pg_catalog.pg_get_expr(c.relpartbound, c.oid) FROM pg_catalog.pg_class c "
    "JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace "
    f"WHERE n.nspname OPERATOR(pg_catalog.=) '{SCRATCH}' "
    "AND c.relname OPERATOR(pg_catalog.=) {}"
)


async def _judge_bound(
    request: DdlRequest, parent: Table, name: str, statements: Sequence[str]
) -> str:
    """Runs the statements, which make the partition, beside the others; its bound."""
    version = request.head if request.head.table_by_id(parent.id) else _with(request, parent)
    [(style,)] = await request.tx.fetch("SELECT pg_catalog.current_setting('DateStyle')")
    await request.tx.apply(
        [
            f"CREATE SCHEMA {SCRATCH}",
            scratch_path(request.namespaces.default_schema),
            *_copy_statements(parent, version),
            *statements,
            "SET LOCAL DateStyle = 'ISO, MDY'",
        ]
    )
    [(bound,)] = await request.tx.fetch(_BOUND.format(quote_literal(name)))
    restore = f"SET LOCAL DateStyle = {quote_literal(style or '')}"
    await request.tx.apply([restore, _DROP_SCRATCH])
    assert bound is not None
    return bound


def _with(request: DdlRequest, table: Table) -> Version:
    """A version that shows the table: the head has dropped it."""
    versions = request.snapshot.versions.values()
    return next(version for version in versions if version.table_by_id(table.id) is not None)


def changes_partitions(node: Node) -> bool:
    """Whether ALTER TABLE attaches or detaches a partition."""
    return any(command.subtype.name in _PARTITION_COMMANDS for command in node.cmds or ())


_PARTITION_COMMANDS: Final = frozenset(
    ("AT_AttachPartition", "AT_DetachPartition", "AT_DetachPartitionFinalize")
)


async def alter_partitions(request: DdlRequest) -> Outcome:
    """ALTER TABLE … ATTACH PARTITION … FOR VALUES … and DETACH PARTITION …, in every version."""
    node = request.node
    tag = "ALTER TABLE"
    found = request.find(node.relation, missing_ok=bool(node.missing_ok))
    if found is None:
        return request.skipped(tag, f'relation "{node.relation.relname}" does not exist')
    parent = found.table
    if not parent.partitioned:
        raise WrongObjectType(
            f'"{parent.name}" is not partitioned',
            hint="Partitions are foreign tables of a table that was made with PARTITION BY.",
        )
    [command] = node.cmds
    name = command.def_.name
    child = request.resolve(name.schemaname, name.relname).table
    if command.subtype.name != "AT_AttachPartition":
        return await _detach(request, parent, child)
    above = [t.name for t in found.version.tables for p in t.partitions if p.table_id == child.id]
    if above:
        raise WrongObjectType(f'"{child.name}" is already a partition')
    if child.kind != "foreign" or child.partitioned or child.parent_path:
        raise FeatureNotSupported(
            f'"{child.name}" cannot be a partition', hint="Partitions are foreign tables."
        )
    bound = await _attached_bound(request, found.version, parent, child, name)
    partition = Partition(child.id, bound_condition(parent.definition, bound), bound)
    return await _republish(
        request,
        parent,
        lambda table, version: (
            (*table.partitions, partition) if version.table_by_id(child.id) else table.partitions
        ),
        "attach partition",
    )


async def _attached_bound(
    request: DdlRequest, version: Version, parent: Table, child: Table, name: Node
) -> str:
    """PostgreSQL compares the columns, too."""
    given = request.text[request.tokens.name_chain(name.location)[-1].end : request.end]
    attach = f"ALTER TABLE {_scratch(parent.name)} ATTACH PARTITION {_scratch(child.name)} {given}"
    statements = [*scratch_statements(SCRATCH, version, replace(child, constraints=())), attach]
    return await _judge_bound(request, parent, child.name, statements)


async def _detach(request: DdlRequest, parent: Table, child: Table) -> Outcome:
    if all(each.table_id != child.id for each in parent.partitions):
        raise UndefinedTable(
            f'relation "{child.name}" is not a partition of relation "{parent.name}"'
        )
    return await _republish(
        request,
        parent,
        lambda table, _: tuple(p for p in table.partitions if p.table_id != child.id),
        "detach partition",
    )


async def _republish(
    request: DdlRequest,
    parent: Table,
    partitions: Callable[[Table, Version], tuple[Partition, ...]],
    kind: str,
) -> Outcome:
    versions = {}
    for number, version in request.snapshot.versions.items():
        table = version.table_by_id(parent.id)
        if table is not None:
            changed = replace(table, partitions=partitions(table, version))
            versions[number] = version.with_table(changed)
    operation = Operation(kind, parent.name, request.statement, actor=request.actor)
    done = await publish_in_place(
        request.tx,
        request.snapshot,
        versions,
        [],
        [operation],
        next_id=request.snapshot.next_id,
    )
    return Outcome(done, "ALTER TABLE")


def bound_condition(definition: str, text: str) -> str:
    """What a bound in PostgreSQL's words says of the rows, as a condition; "" for HASH and DEFAULT.
    `definition` is LIST, RANGE or HASH (column).
    """
    [statement] = parse_statements(f"CREATE TABLE p PARTITION OF t {text}")
    bound = statement.stmt.partbound
    strategy, _, rest = definition.partition(" ")
    column = rest[1:-1]
    if bound.is_default or bound.strategy == _HASH:
        return ""
    if strategy == "LIST":
        texts = [RawStream()(each) for each in bound.listdatums]
        values = ", ".join(text for text in texts if text != "NULL")
        parts = [f"{column} IN ({values})"] if values else []
        parts += [f"{column} IS NULL"] if "NULL" in texts else []
        return " OR ".join(parts)
    low, high = (RawStream()(each[0]) for each in (bound.lowerdatums, bound.upperdatums))
    parts = [] if low == "minvalue" else [f"{column} >= {low}"]
    parts += [] if high == "maxvalue" else [f"{column} < {high}"]
    return " AND ".join([*parts, f"{column} IS NOT NULL"])


async def _publish(
    request: DdlRequest,
    made: Made,
    tables: list[Table],
    partitions: dict[int, Partition],
    kind: str,
) -> Outcome:
    """Show the new tables in every version where their names are free, partitions included."""
    versions: dict[int, Version] = {}
    statements: list[str] = []
    snapshot = request.snapshot
    shown: dict[int, list[Table]] = {}
    for number, version in snapshot.versions.items():
        fresh = [table for table in tables if table.name not in relation_names(version)]
        changed = version
        for table in fresh:
            changed = changed.with_table(table)
        for table_id, partition in partitions.items():
            above = changed.table_by_id(table_id)
            if above is not None and changed.table_by_id(partition.table_id) is not None:
                more = (*above.partitions, partition)
                changed = changed.with_table(replace(above, partitions=more))
        if fresh:
            versions[number], shown[number] = changed, fresh
    snapshot = replace(snapshot, versions={**snapshot.versions, **versions})
    for number, version in versions.items():
        statements += table_statements(snapshot, version, shown[number])
    operations = [
        Operation(kind, table.name, request.statement, actor=request.actor) for table in tables
    ]
    done = await publish_in_place(
        request.tx, request.snapshot, versions, statements, operations, next_id=made.next_id
    )
    return Outcome(done, kind.upper())
