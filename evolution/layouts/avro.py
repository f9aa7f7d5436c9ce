"""The Avro form of the change log: one schema, for records of every store and table.

Values are a union, columns are by id, so a column that is added, renamed or dropped leaves the
schema as it is: readers and writers of any age understand each other (FULL_TRANSITIVE). A column id
is the map's key as decimal text, because Avro's map keys are strings.

A batch is written alone (`encode_batch`: Avro's single-object encoding, with the schema's
fingerprint in front) or many of them into a file (`write_file`: an object container).
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, BinaryIO, Final

import fastavro
from fastavro.schema import fingerprint, to_parsing_canonical_form

from core.errors import InternalError, InvalidText
from evolution.layouts.records import Json, LogBatch, LogRecord, Operation, Value

_NAMESPACE: Final = "morphgres.log"
_JSON: Final = f"{_NAMESPACE}.Json"
_BINARY: Final = f"{_NAMESPACE}.Binary"
_PLAIN: Final = ("null", "boolean", "long", "double", "string")
# A record around bytes: readers may take bytes for a string, and a string for bytes.
_VALUE: Final[list[Any]] = [
    *_PLAIN,
    {"type": "record", "name": "Json", "fields": [{"name": "text", "type": "string"}]},
    {"type": "record", "name": "Binary", "fields": [{"name": "data", "type": "bytes"}]},
]
_RECORD: Final[dict[str, Any]] = {
    "type": "record",
    "name": "Record",
    "fields": [
        {"name": "lsn", "type": "long"},
        {"name": "epoch", "type": "long"},
        {"name": "change_epoch", "type": "long"},
        {"name": "table_id", "type": "int"},
        {"name": "version_id", "type": ["null", "int"], "default": None},
        {"name": "key", "type": {"type": "map", "values": _VALUE}},
        {
            "name": "op",
            "type": {"type": "enum", "name": "Operation", "symbols": ["put", "del", "truncate"]},
        },
        {
            "name": "image",
            "type": ["null", {"type": "map", "values": [*_PLAIN, _JSON, _BINARY]}],
            "default": None,
        },
        {
            "name": "touched",
            "type": ["null", {"type": "array", "items": "int"}],
            "default": None,
        },
        {"name": "stmt_hash", "type": "long"},
        {"name": "session_unit", "type": "string"},
        {"name": "ts_us", "type": "long"},
        {"name": "shadow_ids", "type": {"type": "array", "items": "int"}, "default": []},
    ],
}  # fmt: skip
SCHEMA: Final[dict[str, Any]] = {
    "type": "record",
    "name": "Batch",
    "namespace": _NAMESPACE,
    "fields": [
        {"name": "transaction", "type": "long"},
        {"name": "records", "type": {"type": "array", "items": _RECORD}},
    ],
}
"""The schema that consumers register."""
_PARSED: Final = fastavro.parse_schema(SCHEMA)
FINGERPRINT: Final = bytes.fromhex(fingerprint(to_parsing_canonical_form(SCHEMA), "CRC-64-AVRO"))
"""By which a single object names its schema (Avro specification, "Single-object encoding")."""
_HEAD: Final = b"\xc3\x01" + FINGERPRINT
_BRANCHES: Final[dict[type, str]] = {bool: "boolean", int: "long", float: "double", str: "string"}


def encode_batch(batch: LogBatch) -> bytes:
    """One batch as a single object."""
    sink = io.BytesIO()
    sink.write(_HEAD)
    fastavro.schemaless_writer(sink, _PARSED, _batch_out(batch))
    return sink.getvalue()


def decode_batch(data: bytes) -> LogBatch:
    """The opposite of `encode_batch`.

    Raises InvalidText (22021) for bytes that are no batch of this schema.
    """
    if not data.startswith(_HEAD):
        raise InvalidText("these bytes are no batch of a change log")
    source = io.BytesIO(data[len(_HEAD) :])
    try:
        found = fastavro.schemaless_reader(source, _PARSED, None, return_record_name=True)
    except (EOFError, ValueError, IndexError, OverflowError) as error:
        raise InvalidText(f"a batch of a change log is damaged: {error}") from error
    if source.read(1):
        raise InvalidText("there are bytes after a batch of a change log")
    return _batch_in(found)


def write_file(sink: BinaryIO, batches: Iterable[LogBatch]) -> None:
    """An object container file with the schema in it."""
    fastavro.writer(sink, _PARSED, map(_batch_out, batches), codec="deflate")


def read_file(source: BinaryIO) -> Iterator[LogBatch]:
    """The batches of a container file."""
    for found in fastavro.reader(source, _PARSED, return_record_name=True):
        yield _batch_in(found)


def _batch_out(batch: LogBatch) -> dict[str, Any]:
    return {
        "transaction": batch.transaction,
        "records": [_record_out(record) for record in batch.records],
    }


def _record_out(record: LogRecord) -> dict[str, Any]:
    return {
        "lsn": record.lsn,
        "epoch": record.epoch,
        "change_epoch": record.change_epoch,
        "table_id": record.table_id,
        "version_id": record.version_id,
        "key": _values_out(record.key),
        "op": record.op,
        "image": None if record.image is None else _values_out(record.image),
        "touched": None if record.touched is None else list(record.touched),
        "stmt_hash": record.stmt_hash,
        "session_unit": record.session_unit,
        "ts_us": record.ts_us,
        "shadow_ids": list(record.shadow_ids),
    }


def _values_out(values: Mapping[int, Value]) -> dict[str, Any]:
    return {str(number): _value_out(value) for number, value in values.items()}


def _value_out(value: Value) -> Any:
    """The value with its branch of the union: by its type, never by what would fit, too."""
    if value is None:
        return None
    if isinstance(value, Json):
        return (_JSON, {"text": value.text})
    if isinstance(value, bytes):
        return (_BINARY, {"data": value})
    branch = _BRANCHES.get(type(value))
    if branch is None:
        raise InternalError(f"no value of a change log: {type(value).__name__}")
    return (branch, value)


def _batch_in(found: Any) -> LogBatch:
    return LogBatch(found["transaction"], tuple(_record_in(each) for each in found["records"]))


def _record_in(found: Mapping[str, Any]) -> LogRecord:
    operation: Operation = found["op"]
    return LogRecord(
        lsn=found["lsn"],
        epoch=found["epoch"],
        change_epoch=found["change_epoch"],
        table_id=found["table_id"],
        version_id=found["version_id"],
        key=_values_in(found["key"]),
        op=operation,
        image=None if found["image"] is None else _values_in(found["image"]),
        touched=None if found["touched"] is None else tuple(found["touched"]),
        stmt_hash=found["stmt_hash"],
        session_unit=found["session_unit"],
        ts_us=found["ts_us"],
        shadow_ids=tuple(found["shadow_ids"]),
    )


def _values_in(values: Mapping[str, Any]) -> dict[int, Value]:
    return {int(number): _value_in(value) for number, value in values.items()}


def _value_in(value: Any) -> Value:
    if isinstance(value, tuple):  # a record of the union, with its name
        name, fields = value
        return Json(fields["text"]) if name == _JSON else bytes(fields["data"])
    found: Value = value
    return found
