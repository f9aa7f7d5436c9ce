"""Tables that a change makes in Cassandra: which tables can have a shadow, and the CQL of one.

A shadow has the partition key and the clustering columns of the live table, its options, and the
columns of the new version: those that did not change keep their CQL type, the others get the one
that holds every value of their PostgreSQL type (`cql_type`). Refused is what a copy at write
timestamps cannot carry: counters (no timestamps), static columns (one value of many rows), a
default time to live, keys of which two are one value in PostgreSQL.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from backends.cassandra.facts import ColumnFacts, TableFacts, quote_cql, relation_cql
from backends.cassandra.link import Link
from core.errors import FeatureNotSupported, ObjectNotInPrerequisiteState, WrongObjectType
from core.types import PgType, type_by_name

GRACE_MIN_S: Final = 3_600
"""gc_grace_seconds at least: tombstones must outlive every older put that is still on its way.
Cassandra itself delivers no hint that is older than gc_grace_seconds."""
NAME_MAX: Final = 48
"""Letters of a table's name."""
STRONG: Final = frozenset(("LOCAL_QUORUM", "QUORUM", "EACH_QUORUM", "ALL"))
"""Consistency levels at which a read sees every write made at one of them."""
POSITION: Final = "_l"
"""The column of a shadow with the position of the row's last put."""

_TEXTS: Final = ("ascii", "text", "varchar", "blob")
_NUMBERS: Final = ("boolean", "tinyint", "smallint", "int", "bigint", "varint")
_PLAIN_KEYS: Final = frozenset(
    (*_TEXTS, *_NUMBERS, "timestamp", "date", "time", "uuid", "timeuuid", "inet")
)
_CQL: Final[Mapping[str, str]] = {
    "smallint": "smallint",
    "integer": "int",
    "bigint": "bigint",
    "numeric": "decimal",
    "real": "float",
    "double precision": "double",
    "boolean": "boolean",
    "text": "text",
    "character varying": "text",
    "character": "text",
    "date": "date",
    "time without time zone": "time",
    "timestamp with time zone": "timestamp",
    "uuid": "uuid",
    "inet": "inet",
    "bytea": "blob",
    "interval": "duration",
}
_INSTANT_DIGITS: Final = 3
_TABLES: Final = "system_schema.tables"
_OPTIONS: Final = (
    "bloom_filter_fp_chance",
    "caching",
    "comment",
    "compaction",
    "compression",
    "crc_check_chance",
    "max_index_interval",
    "memtable_flush_period_in_ms",
    "min_index_interval",
    "speculative_retry",
)


@dataclass(frozen=True, slots=True)
class Wanted:
    """A column of the new layout: its stored name, its PostgreSQL type, the live column of which it
    is the unchanged copy ("" for one that is computed), and its CQL type if that is known.
    """

    name: str
    type: str
    copy_of: str = ""
    cql: str = ""


def cql_type(postgres: str) -> str:
    """The CQL type that holds a PostgreSQL type; FeatureNotSupported (0A000) when none does.

    >>> cql_type("numeric(12,2)"), cql_type("integer[]")
    ('decimal', 'list<int>')
    """
    declared = type_by_name(postgres)
    element = declared.element
    if element is not None:
        return f"list<{_scalar(element, postgres)}>"
    return _scalar(declared, postgres)


def _scalar(declared: PgType, shown: str) -> str:
    base = declared.sql.partition("(")[0].strip()
    if base == "timestamp" and declared.sql.endswith("with time zone"):
        base = "timestamp with time zone"
    found = _CQL.get(base)
    coarse = base == "timestamp with time zone" and 0 <= declared.typmod < _INSTANT_DIGITS
    if found is None or coarse or (base == "interval" and declared.typmod != -1):
        raise FeatureNotSupported(
            f"Cassandra has no type that holds {shown}",
            hint=f"Types that it has: {', '.join(sorted(_CQL))}, and arrays of these.",
        )
    return found


def shadow_name(live: str, suffix: str) -> str:
    """A name for another layout of a table, within what Cassandra allows."""
    name = f"{live}_{suffix}"
    if len(name) <= NAME_MAX:
        return name
    digest = zlib.crc32(live.encode())
    return f"{live[: NAME_MAX - len(suffix) - 10]}_{digest:08x}_{suffix}"


def shadow_columns(live: TableFacts, wanted: Sequence[Wanted]) -> tuple[ColumnFacts, ...]:
    """The columns of the shadow, key first. The key columns must be unchanged copies (0A000)."""
    made: dict[str, ColumnFacts] = {}
    for each in wanted:
        source = live.column(each.copy_of) if each.copy_of else None
        if source is not None:
            made[each.copy_of] = ColumnFacts(each.name, source.type, source.role, source.descending)
        else:
            made[f" {each.name}"] = ColumnFacts(each.name, each.cql or cql_type(each.type))
    missing = [each.name for each in live.key if each.name not in made]
    if missing:
        raise FeatureNotSupported(f'key column "{missing[0]}" of a Cassandra table cannot change')
    key = [made.pop(each.name) for each in live.key]
    if any(each.name == POSITION for each in (*key, *made.values())):
        raise FeatureNotSupported(f'"{POSITION}" is a name that a shadow table needs itself')
    return (*key, *made.values(), ColumnFacts(POSITION, "bigint"))


async def check(link: Link, live: TableFacts, deadline: float | None) -> None:
    """Whether a change can do its work on this table; FeatureNotSupported (0A000),
    WrongObjectType (42809) or ObjectNotInPrerequisiteState (55000) says why not.
    """
    name = f'Cassandra table "{live.keyspace}.{live.name}"'
    if live.is_view:
        raise WrongObjectType(f'materialized view "{live.name}" cannot be changed')
    if live.has_counter:
        raise FeatureNotSupported(
            f"{name} counts", detail="Counters have no write timestamps, so no copy can follow one."
        )
    if live.has_static:
        raise FeatureNotSupported(
            f"{name} has static columns",
            detail="One value belongs to many rows; a copy that is made row by row mixes them.",
        )
    wrong = next((each for each in live.key if each.type not in _PLAIN_KEYS), None)
    if wrong is not None:
        raise FeatureNotSupported(
            f'{name} has a key column "{wrong.name}" of type {wrong.type}',
            detail="Values of it that are one in PostgreSQL are several keys in Cassandra.",
        )
    options = await table_options(link, live, deadline)
    if options["default_time_to_live"]:
        raise FeatureNotSupported(
            f"{name} has a default time to live", detail="A copy would not expire with its row."
        )
    if options["gc_grace_seconds"] < GRACE_MIN_S:
        raise ObjectNotInPrerequisiteState(
            f"{name} drops tombstones after {options['gc_grace_seconds']} s",
            hint=f"Set gc_grace_seconds to {GRACE_MIN_S} at least.",
        )
    await _check_views(link, live, deadline)
    await _check_consistency(link, live, deadline)


async def _check_views(link: Link, live: TableFacts, deadline: float | None) -> None:
    text = "SELECT view_name, base_table_name FROM system_schema.views WHERE keyspace_name = ?"
    for view, base in await link.query(text, (live.keyspace,), deadline):
        if base.decode() == live.name:
            raise FeatureNotSupported(
                f'Cassandra table "{live.keyspace}.{live.name}" has a materialized view',
                detail=f'"{view.decode()}" would go on showing the old layout.',
            )


async def _check_consistency(link: Link, live: TableFacts, deadline: float | None) -> None:
    if link.options.consistency in STRONG:
        return
    text = "SELECT replication FROM system_schema.keyspaces WHERE keyspace_name = ?"
    [(replication,)] = await link.query(text, (live.keyspace,), deadline)
    factors = [v.decode() for k, v in replication.items() if k.decode() != "class"]
    if any(factor != "1" for factor in factors):
        raise ObjectNotInPrerequisiteState(
            f'instance "{link.instance}" reads and writes at {link.options.consistency}',
            detail="A change reads rows that were just written, so a quorum must have them.",
            hint="Set the option consistency to LOCAL_QUORUM.",
        )


async def table_options(link: Link, table: TableFacts, deadline: float | None) -> dict[str, Any]:
    """The options of a table that a shadow takes over, with its gc_grace_seconds and default time
    to live.
    """
    names = (*_OPTIONS, "gc_grace_seconds", "default_time_to_live")
    text = f"SELECT {', '.join(names)} FROM {_TABLES} WHERE keyspace_name = ? AND table_name = ?"
    [row] = await link.query(text, (table.keyspace, table.name), deadline)
    return {name: _plain(value) for name, value in zip(names, row, strict=True)}


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode()
    if hasattr(value, "items"):
        return {_plain(k): _plain(v) for k, v in value.items()}
    return value


async def create(
    link: Link,
    live: TableFacts,
    name: str,
    columns: Sequence[ColumnFacts],
    deadline: float | None,
) -> None:
    """Make the shadow beside the live table; harmless when it is there."""
    options = await table_options(link, live, deadline)
    await link.execute(create_statement(live, name, columns, options), deadline)


def create_statement(
    live: TableFacts, name: str, columns: Sequence[ColumnFacts], options: Mapping[str, Any]
) -> str:
    """CREATE TABLE of a shadow of `live`."""
    shown = [f"{quote_cql(each.name)} {each.type}" for each in columns]
    partition = [quote_cql(each.name) for each in columns if each.role == "partition_key"]
    clustering = [each for each in columns if each.role == "clustering"]
    key = ", ".join((f"({', '.join(partition)})", *(quote_cql(c.name) for c in clustering)))
    settings = [f"{each} = {_literal(options[each])}" for each in _OPTIONS]
    settings.append(f"gc_grace_seconds = {options['gc_grace_seconds']}")
    if clustering:
        order = (f"{quote_cql(c.name)} {'DESC' if c.descending else 'ASC'}" for c in clustering)
        settings.insert(0, f"CLUSTERING ORDER BY ({', '.join(order)})")
    return (
        f"CREATE TABLE IF NOT EXISTS {relation_cql(live.keyspace, name)} "
        f"({', '.join(shown)}, PRIMARY KEY ({key})) WITH {' AND '.join(settings)}"
    )


def _literal(value: Any) -> str:
    if isinstance(value, dict):
        inside = ", ".join(f"{_literal(k)}: {_literal(v)}" for k, v in value.items())
        return "{" + inside + "}"
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return repr(value)


async def drop(link: Link, keyspace: str, name: str, deadline: float | None) -> None:
    """Drop a table that a change made; harmless when it is gone."""
    await link.execute(f"DROP TABLE IF EXISTS {relation_cql(keyspace, name)}", deadline)
