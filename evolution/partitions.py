"""Partitioned tables over several stores, in PostgreSQL's own words:

    CREATE TABLE events (id bigint, region text, …) PARTITION BY LIST (region);
    CREATE FOREIGN TABLE events_eu PARTITION OF events FOR VALUES IN ('eu') SERVER frankfurt;

The partitioned table has no rows of its own. The bound of a partition is what its store is trusted
to hold (as PostgreSQL trusts foreign partitions); a statement whose conditions contradict it does
not ask that store (engine/partitions.py).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from pglast.stream import RawStream

from catalog.instances import option_pairs
from catalog.model import Column, Native, Partition, Table, Version
from catalog.sqltext import quote_ident
from core.errors import (
    DuplicateTable,
    FeatureNotSupported,
    InvalidObjectDefinition,
    WrongObjectType,
)
from evolution.create_table import check_name, make_in_scratch, take_from_scratch
from evolution.foreign_columns import columns_by_path, foreign_parts, source_of
from evolution.foreign_options import column_path, given_options, kept_options, placement
from evolution.foreign_tables import Made, key_of
from evolution.indexes import relation_names
from evolution.introspect import SCRATCH
from evolution.publish import Operation, publish_in_place, table_statements
from evolution.request import DdlRequest, Outcome
from evolution.servers import find_instance
from rewrite.edits import replace_text
from rewrite.tree import Node, ast

_STRATEGIES: Final = {"l": "LIST", "r": "RANGE"}


async def create_partitioned(request: DdlRequest) -> Outcome:
    """CREATE TABLE … PARTITION BY LIST | RANGE (column)."""
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
    table = Table(made.new_id(), found.name, "foreign", columns, definition=definition)
    return await _publish(request, made, [table], {}, "create table")


def _partition_column(node: Node) -> str:
    spec = node.partspec
    if spec.strategy.value not in _STRATEGIES:
        raise FeatureNotSupported("partitioning by hash is not supported over stores")
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
    condition = bound_condition(parent.definition, base.partbound)
    partition = Partition(table.id, condition)
    return await _publish(request, made, [table], {parent.id: partition}, "create foreign table")


def bound_condition(definition: str, bound: Node) -> str:
    """What FOR VALUES says of the rows, as a condition; `definition` is LIST or RANGE (column)."""
    strategy, _, rest = definition.partition(" ")
    column = rest[1:-1]
    if bound.is_default:
        raise FeatureNotSupported("a default partition is not supported over stores")
    if _STRATEGIES.get(bound.strategy) != strategy:
        raise InvalidObjectDefinition(
            f"invalid bound specification for a {strategy.lower()} partition"
        )
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
