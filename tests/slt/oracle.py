"""The oracle's tables of documents: plain PostgreSQL columns, filled by a loader of its own.

`data/<table>.sql` says which columns docs/types.md promises for `data/<table>.ndjson`, child tables
too; this module only finds the value of each column in each document. It shares no code with
Morphgres: numbers keep their text, Extended JSON is unwrapped by hand.
"""

from __future__ import annotations

import base64
import datetime as dt
import json
import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

DATA = Path(__file__).parent / "data"
_CREATE = re.compile(r'CREATE TABLE ("(?:[^"]|"")+"|\w+)')
# Stands before a child table: the path of its array, and the column of the parent's key.
_CHILD = re.compile(r"-- each (\S+) in (\S+)")
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


class Number(str):
    """A JSON number, as it was written."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Column:
    """A column as the oracle's database has it."""

    name: str
    type: str


def _unwrap(value: dict[str, Any]) -> Any:
    """What has a form in JSON: numbers and ObjectIds."""
    if len(value) == 1:
        (key, inner), *_ = value.items()
        if key in ("$numberInt", "$numberLong", "$numberDecimal", "$numberDouble") and re.fullmatch(
            r"-?[0-9.]+(?:[eE][+-]?[0-9]+)?", str(inner)
        ):
            text = str(inner)
            if key == "$numberDouble" and text in ("-0", "-0.0"):
                return value  # the one double that JSON numbers cannot be
            return Number(text + ".0" if key == "$numberDouble" and text.isdigit() else text)
        if key == "$oid":
            return str(inner).lower()
    return value


def parse(line: str) -> dict[str, Any]:
    """A document; numbers as `Number`, wrappers without a form in JSON as they are."""
    document = json.loads(line, parse_int=Number, parse_float=Number, object_hook=_unwrap)
    assert isinstance(document, dict)
    return document


def to_json(value: Any) -> str:
    """JSON text with every number as it was written."""
    if isinstance(value, Number):
        return str(value)
    if isinstance(value, dict):
        pairs = (f"{json.dumps(k)}:{to_json(v)}" for k, v in value.items())
        return "{" + ",".join(pairs) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(to_json, value)) + "]"
    return json.dumps(value)


def _keys(column: str) -> list[str]:
    """The keys that a column's name stands for (docs/types.md, Names)."""
    keys = column.removesuffix("~3").split(".")
    return ["" if k == "~2" else k.replace("~1", ".").replace("~0", "~") for k in keys]


def value_at(document: Any, column: str) -> Any:
    """The value of a column's path, None when it is missing."""
    for key in _keys(column):
        if not isinstance(document, dict) or key not in document:
            return None
        document = document[key]
    return document


def _instant(value: Any) -> str:
    inner = value["$date"]
    if not isinstance(inner, Number):
        return str(inner)
    return (_EPOCH + dt.timedelta(milliseconds=int(inner))).isoformat()


def _binary(value: Any) -> bytes:
    return base64.b64decode(value["$binary"]["base64"])


def _special(value: Any) -> str:
    """A number or a wrapped NaN or infinity; the negative zero of numbers is 0."""
    if isinstance(value, dict):
        return str(next(iter(value.values())))
    text = str(value)
    return "0" if re.fullmatch(r"-0+(?:\.0*)?", text) else text


def to_sql(value: Any, sql_type: str) -> Any:
    """The value for a column of a type."""
    if value is None:
        return None
    if sql_type == "jsonb":
        return to_json(value)
    if sql_type.endswith("[]"):
        return [to_sql(item, sql_type[:-2]) for item in value]
    if sql_type == "timestamp with time zone":
        return _instant(value)
    if sql_type == "uuid":
        if "$uuid" in value:
            return value["$uuid"]
        return str(uuid.UUID(bytes=_binary(value)))
    if sql_type == "bytea":
        return _binary(value)
    if sql_type == "boolean":
        return value
    return _special(value) if sql_type != "text" else str(value)


def _columns(connection: psycopg.Connection[Any], table: str) -> list[Column]:
    rows = connection.execute(
        "SELECT attname::text, format_type(atttypid, atttypmod) FROM pg_attribute "
        "WHERE attrelid = %s::regclass AND attnum > 0 ORDER BY attnum",
        (table,),
    )
    return [Column(*row) for row in rows]


def _insert(
    connection: psycopg.Connection[Any], table: str, columns: list[Column], rows: Iterator[Any]
) -> None:
    with connection.cursor() as cursor, cursor.copy(f"COPY {table} FROM STDIN") as copy:
        for row in rows:
            copy.write_row([to_sql(v, c.type) for v, c in zip(row, columns, strict=True)])


def _child_rows(
    documents: list[dict[str, Any]], key: str, path: str, columns: list[Column]
) -> Iterator[Any]:
    for document in documents:
        items = value_at(document, path)
        if isinstance(items, list):
            for place, item in enumerate(items, 1):
                fields = [value_at(item, c.name) for c in columns[2:]]
                yield [value_at(document, key), str(place), *fields]


def load_table(connection: psycopg.Connection[Any], definition: Path) -> None:
    """Create and fill the tables of one data file; all belong to the role morph.

    The first table has the documents. A later one follows a line `-- each <path> in <key>`.
    """
    text = definition.read_text(encoding="utf-8")
    connection.execute(text)  # type: ignore[call-overload]
    lines = definition.with_suffix(".ndjson").read_text(encoding="utf-8").splitlines()
    documents = [parse(line) for line in lines if line.strip()]
    tables = _CREATE.findall(text)
    paths = _CHILD.findall(text)
    assert len(tables) == len(paths) + 1, f"{definition.name}: a child table without its path"
    columns = _columns(connection, tables[0])
    if "-- generated key" in text:
        for number, document in enumerate(documents, 1):
            document[columns[0].name] = Number(number)
    rows = [[value_at(d, c.name) for c in columns] for d in documents]
    _insert(connection, tables[0], columns, iter(rows))
    if "-- generated key" in text:
        sequence = f"pg_get_serial_sequence('{tables[0]}', '{columns[0].name}')"
        connection.execute(f"SELECT setval({sequence}, {len(rows)})")  # type: ignore[call-overload]
    for table, (path, key) in zip(tables[1:], paths, strict=True):
        columns = _columns(connection, table)
        _insert(connection, table, columns, _child_rows(documents, key, path, columns))
    for table in tables:
        connection.execute(f"ALTER TABLE {table} OWNER TO morph")  # type: ignore[call-overload]


def definitions() -> list[Path]:
    """The definitions of all document tables."""
    return sorted(DATA.glob("*.sql"))
