"""The log for those who read it: as records, in the order in which transactions became visible.

A reader keeps a checkpoint, the snapshot up to which it has everything, and asks for what is new
since. The log itself is kept only for shadows: a reader gets what is there.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
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
    # Values of a client's types by their output functions: to_json would call a client's cast.
    keys = ", ".join(c.quoted if c.builtin else f"{c.quoted}::text[]" for c in table.key)
    since = f"{quote_literal(checkpoint)}::pg_snapshot"
    changes = await db.fetch(
        "SELECT change_id FROM morph_log.shadows WHERE table_id = $1 ORDER BY 1", table_id
    )
    rows = await db.fetch(
        f"SELECT lsn, xid::text::bigint AS xid, op::text AS op, rows, image::text AS image, "
        "touched::text AS touched, ts_us, epoch, stmt_hash, session_unit, "
        f"json_build_array({keys})::text AS keys FROM {log_name(table_id)} l "
        f"WHERE {new_records(since, '')} ORDER BY xid, lsn"
    )
    feeds = tuple(row["change_id"] for row in changes)
    batches: dict[int, list[LogRecord]] = {}
    for row in rows:
        batches.setdefault(row["xid"], []).extend(_records(row, table_id, table, feeds))
    return [LogBatch(xid, tuple(records)) for xid, records in batches.items()], now


def _records(
    row: asyncpg.Record, table_id: int, table: StoreTable, feeds: tuple[int, ...]
) -> Iterator[LogRecord]:
    """The records of one run."""
    keys, touched = _parse(row["keys"]), json.loads(row["touched"] or "null")
    images = None if row["image"] is None else _images(row["image"])
    for n in range(row["rows"]):
        key = {
            c.id: value_of(c, values[n])
            for c, values in zip(table.key, keys, strict=True)
            if values is not None
        }
        changed = None if touched is None else touched[n]
        yield LogRecord(
            lsn=row["lsn"] + 2 * n,
            epoch=row["epoch"],
            change_epoch=row["epoch"],
            table_id=table_id,
            version_id=None,
            key=key,
            op=_OPERATIONS[row["op"]],
            image=None if images is None else image_of(table.columns, images, n),
            touched=None if changed is None else tuple(changed),
            stmt_hash=row["stmt_hash"],
            session_unit=row["session_unit"],
            ts_us=row["ts_us"],
            shadow_ids=feeds,
        )


def _images(text: str) -> dict[str, list[Any]]:
    """The values of a run's rows by column; those of a wide table are in several objects."""
    parts = _parse(text)
    found: dict[str, list[Any]] = {}
    for part in parts if isinstance(parts, list) else [parts]:
        found |= part
    return found


class Number(str):
    """A number of JSON as it is written: no digit is lost."""

    __slots__ = ()


def _parse(text: str) -> Any:
    return json.loads(text, parse_float=Number, parse_int=Number)


def image_of(
    columns: Sequence[PhysicalColumn], images: Mapping[str, Sequence[Any]], place: int
) -> dict[int, Value]:
    """The image of one row of a run by column id. What lenses keep beside the columns is not part
    of it.
    """
    return {
        c.id: value_of(c, images[c.name][place])
        for c in columns
        if c.name in images and (c.id or c.name == "_doc")
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
