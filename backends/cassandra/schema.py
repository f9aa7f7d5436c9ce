"""system_schema read as exact metadata: tables of a keyspace, a table's facts, its description.

Cassandra keeps declared schemas, so nothing is guessed from samples. Indexes count only when they
can answer: a secondary index that is in system."IndexInfo", an SAI that says it is queryable. (SASI
answers no rows while it is built, and is never used.)
"""

from __future__ import annotations

from typing import Any, Final

from backends.base import Description, NativeTable
from backends.cassandra.facts import ColumnFacts, IndexFacts, TableFacts
from backends.cassandra.link import Link
from catalog.model import Column, Native
from core.errors import MorphError, UndefinedSchema, UndefinedTable

_SAI: Final = ("StorageAttachedIndex", "sai")
_PLAIN_SAI: Final = frozenset(("class_name", "target"))
"""Options of an SAI that compares values as they are; others fold case or split words."""
_TABLES: Final = "SELECT table_name FROM system_schema.tables WHERE keyspace_name = ?"
_VIEWS: Final = "SELECT view_name FROM system_schema.views WHERE keyspace_name = ?"
_KEYSPACE: Final = "SELECT keyspace_name FROM system_schema.keyspaces WHERE keyspace_name = ?"
_COLUMNS: Final = (
    "SELECT column_name, type, kind, position, clustering_order FROM system_schema.columns "
    "WHERE keyspace_name = ? AND table_name = ?"
)
_INDEXES: Final = (
    "SELECT index_name, kind, options FROM system_schema.indexes "
    "WHERE keyspace_name = ? AND table_name = ?"
)
_BUILT: Final = 'SELECT index_name FROM system."IndexInfo" WHERE table_name = ?'
_QUERYABLE: Final = (
    "SELECT index_name, is_queryable FROM system_views.sai_column_indexes WHERE keyspace_name = ?"
)
_COMMENT: Final = (
    "SELECT comment FROM system_schema.tables WHERE keyspace_name = ? AND table_name = ?"
)
_VIEW: Final = "SELECT comment FROM system_schema.views WHERE keyspace_name = ? AND view_name = ?"


def _text(raw: bytes | None) -> str:
    return "" if raw is None else raw.decode()


async def list_tables(link: Link, keyspace: str, deadline: float | None) -> tuple[NativeTable, ...]:
    """Tables and materialized views, by name; UndefinedSchema when the keyspace is not there."""
    if not await link.query(_KEYSPACE, (keyspace,), deadline):
        raise UndefinedSchema(f'keyspace "{keyspace}" does not exist in instance "{link.instance}"')
    tables = await link.query(_TABLES, (keyspace,), deadline)
    views = await link.query(_VIEWS, (keyspace,), deadline)
    found = [NativeTable((keyspace, _text(name)), "table") for (name,) in tables]
    found += [NativeTable((keyspace, _text(name)), "materialized view") for (name,) in views]
    return tuple(sorted(found, key=lambda each: each.native))


async def read_facts(link: Link, native: tuple[str, ...], deadline: float | None) -> TableFacts:
    """What a table is; UndefinedTable (42P01) when it is not there."""
    keyspace, table = native_name(native, link.options.keyspace)
    rows = await link.query(_COLUMNS, (keyspace, table), deadline)
    if not rows:
        raise UndefinedTable(
            f'table "{keyspace}.{table}" does not exist in instance "{link.instance}"'
        )
    positions: dict[str, int] = {}
    columns = []
    for name, cql, kind, position, order in rows:
        role: Any = _text(kind)
        columns.append(ColumnFacts(_text(name), _text(cql), role, _text(order) == "desc"))
        positions[_text(name)] = position
    columns.sort(key=lambda each: (_RANK[each.role], positions[each.name], each.name))
    shown = await link.query(_COMMENT, (keyspace, table), deadline)
    view = [] if shown else await link.query(_VIEW, (keyspace, table), deadline)
    indexes = await _indexes(link, keyspace, table, deadline)
    return TableFacts(
        keyspace,
        table,
        tuple(columns),
        tuple(each for each in columns if each.role == "partition_key"),
        tuple(each for each in columns if each.role == "clustering"),
        tuple(each for each in indexes if any(c.name == each.column for c in columns)),
        bool(view),
        _text((shown or view or [(b"",)])[0][0]),
    )


_RANK: Final = {"partition_key": 0, "clustering": 1, "static": 2, "regular": 3}


def native_name(native: tuple[str, ...], keyspace: str) -> tuple[str, str]:
    """(keyspace, table) of a native name; a bare table is in the instance's keyspace."""
    if len(native) == 1:
        return keyspace, native[0]
    if len(native) != 2:
        raise UndefinedTable(f"{'.'.join(native)} does not name a keyspace and a table")
    return native[0], native[1]


async def _indexes(
    link: Link, keyspace: str, table: str, deadline: float | None
) -> list[IndexFacts]:
    rows = await link.query(_INDEXES, (keyspace, table), deadline)
    if not rows:
        return []
    built = {_text(name) for (name,) in await link.query(_BUILT, (keyspace,), deadline)}
    queryable: set[str] | None = None
    found = []
    for raw_name, raw_kind, raw_options in rows:
        name, kind = _text(raw_name), _text(raw_kind)
        options = {_text(key): _text(value) for key, value in raw_options.items()}
        column = _unquoted(options.get("target", ""))
        if kind == "COMPOSITES" and name in built:
            found.append(IndexFacts(name, column, "secondary"))
        elif kind == "CUSTOM" and _is_plain_sai(options):
            if queryable is None:
                queryable = await _queryable(link, keyspace, deadline)
            if name in queryable:
                found.append(IndexFacts(name, column, "sai"))
    return found


async def _queryable(link: Link, keyspace: str, deadline: float | None) -> set[str]:
    """SAI indexes that say they can answer; none where the server has no such view."""
    try:
        rows = await link.query(_QUERYABLE, (keyspace,), deadline)
    except MorphError:
        return set()
    return {_text(name) for name, queryable in rows if queryable}


async def answering(link: Link, keyspace: str, deadline: float | None) -> set[str]:
    """Names of the indexes of a keyspace, of both kinds, that are built and say so."""
    built = {_text(name) for (name,) in await link.query(_BUILT, (keyspace,), deadline)}
    rows = await link.query(_QUERYABLE, (keyspace,), deadline)
    sai = {_text(name): queryable for name, queryable in rows}
    return {name for name in built | set(sai) if sai.get(name, True)}


def _is_plain_sai(options: dict[str, str]) -> bool:
    name = options.get("class_name", "").rpartition(".")[2]
    return name in _SAI and set(options) <= _PLAIN_SAI


def _unquoted(target: str) -> str:
    """The column of an index's target; targets such as values(c) name no column."""
    if target.startswith('"') and target.endswith('"'):
        return target[1:-1].replace('""', '"')
    return target


def describe(facts: TableFacts) -> Description:
    """The table as IMPORT FOREIGN SCHEMA makes it: key columns first, in their order."""
    columns = []
    for number, each in enumerate(facts.columns, 1):
        # A partition that has static values only is a row without clustering values.
        always = each.role == "partition_key" or (
            each.role == "clustering" and not facts.has_static
        )
        scalar = each.cql.scalar
        clean = each.cql.postgres != "jsonb" and (scalar is None or scalar.fits)
        source = Native((each.name,), each.type, clean)
        columns.append(Column(number, each.name, each.cql.postgres, source, not_null=always))
    return Description(tuple(columns), tuple(range(1, len(facts.key) + 1)), facts.comment or None)
