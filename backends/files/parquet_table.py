"""Parquet through pyarrow: rows become documents, nested types nested values, all exact.

Values are converted from Arrow arrays, not from Python's datetime, which ends at year 9999. What
has no PostgreSQL form (a timestamp with nanoseconds, one outside of the range) stays as ISO text or
a number in the document, and inference tells about the mixture. Null is null in the document; a
field of a struct too.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from backends.files.instants import DAY_US, date_text, time_text, timestamp_text
from backends.files.json_document import depth
from backends.files.json_text import to_json
from backends.files.records import Batches, Collector, ReadOptions, RejectedRecord
from backends.files.source import ByteSource
from catalog.inference.kinds import Kind, Typed
from core.errors import BadCopyFormat

_UNIT_NS: Final = {"s": 1_000_000_000, "ms": 1_000_000, "us": 1_000, "ns": 1}
_NOT_FINITE: Final = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity", "-0.0": "-0"}


def read_parquet(source: ByteSource, options: ReadOptions) -> Batches:
    """The batches of a Parquet file; `line_number` is the row, from 1."""
    if source.path is None:
        raise BadCopyFormat(
            f'Parquet from "{source.name}" needs a plain file',
            detail="The footer of a Parquet file is at its end, a stream cannot go back to it.",
            hint="Save the data as an uncompressed file and name that.",
        )
    collector = Collector(options)
    row = 0
    try:
        with pq.ParquetFile(source.path) as file:
            names = _unique_names(file.schema_arrow, source.name)
            total = max(file.metadata.num_rows, 1)
            for batch in file.iter_batches(batch_size=options.batch_rows_max):
                columns = [column_values(column) for column in batch.columns]
                for values in zip(*columns, strict=True) if columns else [()] * batch.num_rows:
                    row += 1
                    _add(collector, row, dict(zip(names, values, strict=True)), options)
                    if collector.full:
                        yield collector.take((source.size or 0) * row // total)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise BadCopyFormat(f'"{source.name}" is not a readable Parquet file: {error}') from error
    yield collector.take(source.size or 0)


def _unique_names(schema: Any, name: str) -> list[str]:
    names = list(schema.names)
    if len(set(names)) != len(names):
        raise BadCopyFormat(f'two columns of "{name}" have the same name')
    return names


def _add(collector: Collector, row: int, value: dict[str, Any], options: ReadOptions) -> None:
    text = to_json(value)
    try:
        if "\\u0000" in text and _has_nul(value):
            raise RejectedRecord("the character U+0000 cannot be stored in jsonb")
        if len(text) > options.line_bytes_max:
            raise RejectedRecord(f"longer than {options.line_bytes_max} bytes")
        if depth(value) > options.depth_max:
            raise RejectedRecord(f"nested deeper than {options.depth_max} levels")
    except RejectedRecord as error:
        collector.reject(row, str(error), text)
    else:
        collector.add(row, text, value)


def _has_nul(value: Any) -> bool:
    if isinstance(value, str):
        return "\0" in value
    if type(value) is dict:
        return any("\0" in key or _has_nul(inner) for key, inner in value.items())
    return type(value) is list and any(map(_has_nul, value))


def column_values(array: Any) -> list[Any]:
    """The values of an Arrow array as documents have them."""
    kind = array.type
    if isinstance(kind, pa.BaseExtensionType):
        uuids = kind.extension_name == "arrow.uuid"
        return _uuids(array.storage) if uuids else column_values(array.storage)
    if pa.types.is_dictionary(kind):
        return column_values(array.dictionary_decode())
    if pa.types.is_struct(kind):
        return _structs(array)
    if pa.types.is_map(kind):
        return _maps(array)
    if pa.types.is_fixed_size_list(kind):
        return column_values(array.cast(pa.list_(kind.value_type)))
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return _slices(array, column_values(array.values))
    for matches, convert in _LEAVES:
        if matches(kind):
            return convert(array)
    return list(array.to_pylist())


def _structs(array: Any) -> list[Any]:
    names = [field.name for field in array.type]
    if len(set(names)) != len(names):
        raise BadCopyFormat("two fields of a struct have the same name")
    columns = [column_values(column) for column in array.flatten()]
    rows: Iterator[Any] = zip(*columns, strict=True) if columns else iter([()] * len(array))
    valid = array.is_valid().to_pylist()
    return [
        dict(zip(names, row, strict=True)) if present else None
        for row, present in zip(rows, valid, strict=True)
    ]


def _slices(array: Any, values: list[Any]) -> list[Any]:
    offsets = array.offsets.to_pylist()
    valid = array.is_valid().to_pylist()
    return [
        values[offsets[index] : offsets[index + 1]] if present else None
        for index, present in enumerate(valid)
    ]


def _maps(array: Any) -> list[Any]:
    """Maps with unique text keys become objects, others arrays of {key, value}."""
    pairs = list(zip(column_values(array.keys), column_values(array.items), strict=True))
    result: list[Any] = []
    for entries in _slices(array, pairs):
        keys = [key for key, _ in entries or ()]
        if entries is None:
            result.append(None)
        elif all(isinstance(key, str) for key in keys) and len(set(keys)) == len(keys):
            result.append(dict(entries))
        else:
            result.append([{"key": key, "value": value} for key, value in entries])
    return result


def _timestamps(array: Any) -> list[Any]:
    unit = _UNIT_NS[array.type.unit]
    zone = "+00" if array.type.tz else ""
    kind = Kind.TIMESTAMPTZ if zone else Kind.TIMESTAMP
    return [
        None if value is None else _instant(value * unit, kind, zone)
        for value in array.cast(pa.int64()).to_pylist()
    ]


def _instant(ns: int, kind: Kind, zone: str) -> Any:
    us, rest = divmod(ns, 1_000)
    text = timestamp_text(us, zone)
    if text is None:
        return ns if rest else us  # beyond PostgreSQL's years: the number itself
    if rest:  # finer than PostgreSQL: kept as text with all nine digits
        whole = timestamp_text(us - us % 1_000_000, "") or ""
        return f"{whole}.{ns % 1_000_000_000:09d}{zone}"
    if zone:
        iso = text.replace(" ", "T", 1).removesuffix(zone)
        json = f'{{"$date":"{iso}Z"}}' if "BC" not in text else _date_number(us)
        return Typed(kind, text, json)
    return Typed(kind, text, f'"{text.replace(" ", "T", 1)}"')


def _date_number(us: int) -> str:
    return f'{{"$date":{{"$numberLong":"{us // 1_000}"}}}}'


def _dates(array: Any) -> list[Any]:
    days = array.cast(pa.int64() if array.type == pa.date64() else pa.int32()).to_pylist()
    per_day = DAY_US // 1_000 if array.type == pa.date64() else 1
    return [None if day is None else _date(day // per_day) for day in days]


def _date(days: int) -> Any:
    text = date_text(days)
    return days if text is None else Typed(Kind.DATE, text, f'"{text}"')


def _times(array: Any) -> list[Any]:
    unit = _UNIT_NS[array.type.unit]
    storage = pa.int32() if pa.types.is_time32(array.type) else pa.int64()
    return [
        None if value is None else _time(value * unit) for value in array.cast(storage).to_pylist()
    ]


def _time(ns: int) -> Any:
    us, rest = divmod(ns, 1_000)
    if rest:
        return f"{time_text(us - us % 1_000_000)}.{ns % 1_000_000_000:09d}"
    text = time_text(us)
    return Typed(Kind.TIME, text, f'"{text}"')


def _durations(array: Any) -> list[Any]:
    unit = _UNIT_NS[array.type.unit]
    return [
        None if value is None else _duration(value * unit)
        for value in array.cast(pa.int64()).to_pylist()
    ]


def _duration(ns: int) -> Any:
    us, rest = divmod(ns, 1_000)
    if rest:
        return f"{ns} nanoseconds"
    return Typed(Kind.INTERVAL, f"{us} microseconds", f'"{us} microseconds"')


def _bytes(array: Any) -> list[Any]:
    return [
        None if value is None else Typed(Kind.BYTES, "\\x" + value.hex(), f'"\\\\x{value.hex()}"')
        for value in array.to_pylist()
    ]


def _uuids(storage: Any) -> list[Any]:
    texts = [None if raw is None else str(uuid.UUID(bytes=raw)) for raw in storage.to_pylist()]
    return [None if text is None else Typed(Kind.UUID, text, f'"{text}"') for text in texts]


def _floats(array: Any) -> list[Any]:
    return [_float(value) for value in array.cast(pa.float64()).to_pylist()]


def _float(value: float | None) -> Any:
    """A double, or a carrier for those that JSON has no number for."""
    if value is None:
        return None
    special = _NOT_FINITE.get(repr(value))
    if special is None:
        return value
    name = "-0.0" if special == "-0" else special
    return Typed(Kind.FLOAT_SPECIAL, special, f'{{"$numberDouble":"{name}"}}')


Leaf = tuple[Callable[[Any], bool], Callable[[Any], list[Any]]]
_LEAVES: Final[tuple[Leaf, ...]] = (
    (pa.types.is_timestamp, _timestamps),
    (pa.types.is_date, _dates),
    (pa.types.is_time, _times),
    (pa.types.is_duration, _durations),
    (pa.types.is_binary, _bytes),
    (pa.types.is_large_binary, _bytes),
    (pa.types.is_fixed_size_binary, _bytes),
    (pa.types.is_floating, _floats),
)
