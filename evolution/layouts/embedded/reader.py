"""The log for those who read it: as records, in the order in which transactions became visible.

A reader keeps a checkpoint, the snapshot up to which it has everything, and asks for what is new
since. The log itself is kept only for shadows: a reader gets what is there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

import asyncpg

from catalog.sqltext import quote_literal
from evolution.layouts.embedded.log import DELETE, PUT, TRUNCATE, log_name, new_records
from evolution.layouts.embedded.tables import PhysicalColumn, StoreTable
from evolution.layouts.records import Json, LogBatch, LogRecord, Operation, Value

START: Final = "3:3:"
"""The checkpoint of a reader that has nothing: no transaction is older."""
_OPERATIONS: Final[dict[str, Operation]] = {PUT: "put", DELETE: "del", TRUNCATE: "truncate"}
_INTEGERS: Final = ("smallint", "integer", "bigint", "oid")
_FLOATS: Final = ("real", "double precision")


async def read_batches(
    db: asyncpg.Connection, table_id: int, table: StoreTable, checkpoint: str
) -> tuple[list[LogBatch], str]:
    """What is new in the log of a table since `checkpoint`, and the checkpoint afterwards. The
    connection is in a REPEATABLE READ transaction; `table` is the layout that serves.
    """
    now: str = await db.fetchval("SELECT pg_current_snapshot()::text")
    keys = ", ".join(f"to_jsonb({c.quoted}) AS k{n}" for n, c in enumerate(table.key))
    since = f"{quote_literal(checkpoint)}::pg_snapshot"
    changes = await db.fetch(
        "SELECT change_id FROM morph_log.shadows WHERE table_id = $1 ORDER BY 1", table_id
    )
    rows = await db.fetch(
        f"SELECT lsn, xid::text::bigint AS xid, op::text AS op, image::text AS image, touched, "
        f"ts_us, epoch, stmt_hash, session_unit, row_to_json((SELECT k FROM (SELECT {keys}) k))"
        f"::text AS keys FROM {log_name(table_id)} l WHERE {new_records(since, '')} "
        "ORDER BY xid, lsn"
    )
    feeds = tuple(row["change_id"] for row in changes)
    batches: dict[int, list[LogRecord]] = {}
    for row in rows:
        batches.setdefault(row["xid"], []).append(_record(row, table_id, table, feeds))
    return [LogBatch(xid, tuple(records)) for xid, records in batches.items()], now


def _record(
    row: asyncpg.Record, table_id: int, table: StoreTable, feeds: tuple[int, ...]
) -> LogRecord:
    operation = _OPERATIONS[row["op"]]
    keys = _parse(row["keys"])
    key = (
        {c.id: value_of(c, keys[f"k{n}"]) for n, c in enumerate(table.key)}
        if operation != "truncate"
        else {}
    )
    return LogRecord(
        lsn=row["lsn"],
        epoch=row["epoch"],
        change_epoch=row["epoch"],
        table_id=table_id,
        version_id=None,
        key=key,
        op=operation,
        image=None if row["image"] is None else image_of(table.columns, _parse(row["image"])),
        touched=None if row["touched"] is None else tuple(row["touched"]),
        stmt_hash=row["stmt_hash"],
        session_unit=row["session_unit"],
        ts_us=row["ts_us"],
        shadow_ids=feeds,
    )


class Number(str):
    """A number of JSON as it is written: no digit is lost."""

    __slots__ = ()


def _parse(text: str) -> Any:
    return json.loads(text, parse_float=Number, parse_int=Number)


def image_of(columns: Sequence[PhysicalColumn], image: Mapping[str, Any]) -> dict[int, Value]:
    """The image by column id. What lenses keep beside the columns is not part of it."""
    return {
        c.id: value_of(c, image[c.name])
        for c in columns
        if c.name in image and (c.id or c.name == "_doc")
    }


def value_of(column: PhysicalColumn, value: Any) -> Value:
    """A value of the log by its column's type."""
    if value is None:
        return None
    if not column.builtin:
        return str(value)
    if isinstance(value, bool):
        return value
    if column.base in _INTEGERS:
        return int(value)
    if column.base in _FLOATS:
        return float(value)
    if column.base == "bytea":
        return bytes.fromhex(str(value)[2:])
    if column.base in ("json", "jsonb") or column.base.endswith("[]"):
        return Json(json_text(value))
    return str(value) if isinstance(value, str) else Json(json_text(value))


def json_text(value: Any) -> str:
    """JSON text with numbers as they were."""
    if isinstance(value, Number):
        return str(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(k)}: {json_text(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(json_text(v) for v in value) + "]"
    return json.dumps(value)
