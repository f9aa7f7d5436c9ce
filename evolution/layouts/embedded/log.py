"""The change log of a table: rows in the store, written in the client's own transaction (decision
0009; EVOLUTION 3).

`morph_log."t<table id>"` has a record for each row written: its position, the transaction, what
happened to which key, the row's image. It is there only while something needs it. The order in
which it is read is that of snapshots: a record is new for a reader whose checkpoint is the snapshot
C when its transaction was not visible in C and is visible now. So a transaction that commits late
is neither missed nor waited for.

One row of the log is a *run*: up to `RUN_ROWS` records of one statement, with the keys as arrays, a
column each, and images by column (`{"c7": [1, 2], "c8": ["a", "b"]}`). What is the same for all of
them is written once, and a COPY pays for one index entry in some hundred rows.

Positions come from a sequence that starts at the clock (µs since 1970). Record i of a run has the
run's position + 2 i, and the sequence steps over a whole run: even, unique, growing for each key,
below 2^53 for some 10^13 statements.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import asyncpg

from catalog.sqltext import quote_ident, quote_literal
from evolution.layouts.embedded.tables import PhysicalColumn, StoreTable

LOG_SCHEMA: Final = "morph_log"
PUT: Final = "p"
DELETE: Final = "d"
TRUNCATE: Final = "t"
RUN_ROWS: Final = 256
"""The most records of a run."""
STEP: Final = 2 * RUN_ROWS
"""How far the positions of two runs are apart."""
RECORDS_KEPT: Final = 100
"""So many of the newest records stay, with the rest of their run, though every reader has them."""
ADVISORY_CLASS: Final = 0x6D6C6F67
"""The first key of the advisory locks under which logs are made and removed."""


def log_name(table_id: int) -> str:
    """The log of a table, for SQL."""
    return f"{LOG_SCHEMA}.{quote_ident(f't{table_id}')}"


def clock_name(table_id: int) -> str:
    """The sequence of the log's positions, for SQL."""
    return f"{LOG_SCHEMA}.{quote_ident(f't{table_id}_lsn')}"


def key_type(column: PhysicalColumn) -> str:
    """Of what type the log keeps values of a column of the key: arrays have no arrays of their own
    and are kept as texts.
    """
    return "text" if column.base.endswith("[]") else column.base


def lock_statement(table_id: int) -> str:
    """One at a time makes, changes or removes the log of a table."""
    return f"SELECT pg_advisory_xact_lock({ADVISORY_CLASS}, {table_id})"


def create_statements(table_id: int, key: Sequence[PhysicalColumn]) -> list[str]:
    """Make the log of a table, if there is none; only morph_owner reads or writes it."""
    name, clock = log_name(table_id), clock_name(table_id)
    keys = ", ".join(f"{c.quoted} {key_type(c)}[]" for c in key)
    return [
        f"CREATE SEQUENCE IF NOT EXISTS {clock} AS bigint INCREMENT BY {STEP} CACHE 1",
        f"CREATE TABLE IF NOT EXISTS {name} (lsn bigint NOT NULL, xid xid8 NOT NULL, "
        f'op "char" NOT NULL, rows int NOT NULL, {keys}, image json, touched json, '
        "ts_us bigint NOT NULL, epoch bigint NOT NULL, stmt_hash bigint NOT NULL, "
        "session_unit text NOT NULL)",
        # By transaction, for those who read it; at the right end of the tree for those who write.
        f"CREATE INDEX IF NOT EXISTS {quote_ident(f't{table_id}_xid')} ON {name} (xid)",
        f"ALTER TABLE {name} SET (autovacuum_vacuum_scale_factor = 0.0, "
        "autovacuum_vacuum_threshold = 50000, autovacuum_analyze_threshold = 1000000000)",
    ]


def drop_statements(table_id: int) -> list[str]:
    """Remove the log of a table, if there is one."""
    return [
        f"DROP TABLE IF EXISTS {log_name(table_id)}",
        f"DROP SEQUENCE IF EXISTS {clock_name(table_id)}",
    ]


async def wind_clock(db: asyncpg.Connection, table_id: int) -> int:
    """Set the positions forward to the clock, never back; the next one. Nobody may write to the
    log: a position drawn meanwhile could come twice.
    """
    clock = quote_literal(clock_name(table_id))
    value: int = await db.fetchval(
        f"SELECT setval({clock}::regclass, greatest("
        f"coalesce(pg_sequence_last_value({clock}::regclass), 0) + {STEP}, "
        f"(SELECT coalesce(max(last_lsn), 0) + {STEP} FROM morph_log.positions "
        "WHERE table_id = $1), "
        "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint / 2 * 2), false)",
        table_id,
    )
    return value


async def remember_clock(db: asyncpg.Connection, table_id: int) -> None:
    """Keep the position of the last run of a log that goes: a later one begins above it."""
    clock = quote_literal(clock_name(table_id))
    await db.execute(
        "INSERT INTO morph_log.positions AS p "
        f"SELECT {table_id}, coalesce(pg_sequence_last_value({clock}::regclass), 0) "
        "ON CONFLICT (table_id) DO UPDATE SET last_lsn = greatest(p.last_lsn, excluded.last_lsn)"
    )


def new_records(checkpoint: str, source: str, *, alias: str = "l") -> str:
    """The condition that a record of the log is new: not in the snapshot `checkpoint`, and in
    `source` ("" for the snapshot of the reading transaction itself). Both are SQL of pg_snapshot.
    """
    condition = (
        f"{alias}.xid >= pg_snapshot_xmin({checkpoint}) "
        f"AND NOT pg_visible_in_snapshot({alias}.xid, {checkpoint})"
    )
    if source:
        condition += f" AND pg_visible_in_snapshot({alias}.xid, {source})"
    return condition


def _records(table: StoreTable, runs: str) -> tuple[str, str]:
    """The records one by one, for SQL: their keys, by the names of the table's columns, and what
    stands after FROM. The run is `l`, `k.place` counts its records from 1.
    """
    names = table.key_list()
    keys = ", ".join(
        f"k.{c.quoted}" if key_type(c) == c.base else f"k.{c.quoted}::{c.base} AS {c.quoted}"
        for c in table.key
    )
    records = f"unnest({table.key_list('l')}) WITH ORDINALITY k ({names}, place)"
    return keys, f"{runs} l, {records}"


def new_keys(table: StoreTable, table_id: int, checkpoint: str, source: str) -> str:
    """A query of the distinct keys of new records."""
    keys, records = _records(table, log_name(table_id))
    return (
        f"SELECT DISTINCT {keys} FROM {records} "
        f"WHERE l.op <> '{TRUNCATE}' AND {new_records(checkpoint, source)}"
    )


def last_keys(table: StoreTable, table_id: int) -> str:
    """A query of the keys written last, of up to RECORDS_KEPT records."""
    newest = (
        f"(SELECT * FROM {log_name(table_id)} WHERE op <> '{TRUNCATE}' "
        f"ORDER BY xid DESC, lsn DESC LIMIT {RECORDS_KEPT})"
    )
    keys, records = _records(table, newest)
    return (
        f"SELECT {keys} FROM {records} ORDER BY l.xid DESC, l.lsn DESC, k.place DESC "
        f"LIMIT {RECORDS_KEPT}"
    )


def truncate_statement(table_id: int) -> str:
    """Remove what every reader has: it is older than the oldest transaction that any of their
    checkpoints still waited for. What was written since rows were compared stays for the last look
    of a cut-over, and the newest records in any case.
    """
    name = log_name(table_id)
    return (
        f"DELETE FROM {name} WHERE xid < "
        "(SELECT min(least(pg_snapshot_xmin(checkpoint), pg_snapshot_xmin(looked))) "
        f"FROM morph_log.shadows WHERE table_id = {table_id} AND checkpoint IS NOT NULL) "
        "AND (xid, lsn) < (SELECT xid, lsn FROM (SELECT xid, lsn, sum(rows) OVER "
        f"(ORDER BY xid DESC, lsn DESC) AS newest FROM {name}) r "
        f"WHERE newest >= {RECORDS_KEPT} ORDER BY xid DESC, lsn DESC LIMIT 1)"
    )
