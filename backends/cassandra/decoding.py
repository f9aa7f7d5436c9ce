"""Rows of raw values → Arrow batches in the carriers of the foreign table's own types.

A value that the type cannot hold is NULL and counted as a misfit. A row in which a column is NULL
that a taken condition needs is dropped: for PostgreSQL the condition is not true of it. A row whose
place in a taken order depends on such a value is an error, because the order would be another.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from backends.base import Misfit
from backends.cassandra.pages import Layout
from backends.cassandra.pushdown import NativeScan
from backends.cassandra.shapes import Column, Shape, Unfit, finish
from backends.cassandra.types import TYPES
from core.encoding.family import from_text_carrier, is_text, to_text_carrier
from core.errors import DatatypeMismatch, DatetimeFieldOverflow
from core.types import PgType, type_by_name

Report = Callable[[Misfit], None]

FEW_ROWS: Final = 16
"""Rows that are converted together rather than column by column."""
_NATURAL: Final = {each.name: type_by_name(each.postgres) for each in TYPES}
_JSONB: Final = type_by_name("jsonb")
_BYTEA: Final = type_by_name("bytea")
_INTEGERS: Final = ("smallint", "integer", "bigint", "oid")


def natural_type(shape: Shape) -> PgType:
    """PostgreSQL's type for a shape, as types.py says."""
    if shape.name in _NATURAL:
        return _NATURAL[shape.name]
    if shape.is_array:
        return _NATURAL[shape.args[0].name].array()
    return _BYTEA if shape.name == "custom" else _JSONB


def rows_to_batch(
    native: NativeScan, layout: Layout, rows: Sequence[tuple[Any, ...]], report: Report | None
) -> pa.RecordBatch:
    """One batch of the wanted columns, fields named c<id>."""
    if not native.shown and not native.strict:
        return _without_columns(len(rows))
    if len(rows) <= FEW_ROWS:
        batch = _few_rows(native, layout, rows)
        if batch is not None:
            return batch
    raw = list(zip(*rows, strict=True)) if rows else [()] * len(layout.shapes)
    columns = [_column(native, i, layout, raw[i], report) for i in range(len(layout.shapes))]
    arrays = columns
    for position in native.strict:
        valid = arrays[position].is_valid()
        if arrays[position].null_count:
            arrays = [each.filter(valid) for each in arrays]
    if not native.shown:
        return _without_columns(len(arrays[0]))
    names = [f"c{each}" for each in native.columns] or list(native.selected)
    return pa.RecordBatch.from_arrays(arrays[: native.shown], names=names[: native.shown])


@dataclass(frozen=True, slots=True)
class _Few:
    """How a few rows become a batch at once: (name, position, conversion) of each column."""

    struct: pa.StructType
    columns: tuple[tuple[str, int, Callable[[Any], Any] | None], ...]
    hidden: tuple[tuple[int, Callable[[Any], Any]], ...]
    """Positions that are not shown, whose values must fit all the same."""


@functools.lru_cache(maxsize=1024)
def _few(
    layout: Layout, types: tuple[str, ...], columns: tuple[int, ...], needed: tuple[int, ...]
) -> _Few | None:
    """None where a column needs more than one step."""
    if not columns or len(set(columns)) != len(types):
        return None
    fields, made = [], []
    for position, (sql, column) in enumerate(zip(types, columns, strict=True)):
        shape = layout.shapes[position]
        declared, natural = type_by_name(sql), natural_type(shape)
        if declared.oid != natural.oid or declared.typmod not in (-1, natural.typmod):
            return None
        if shape.scalar is None:
            return None
        fields.append((f"c{column}", declared.arrow))
        made.append((f"c{column}", position, shape.scalar.single))
    hidden = []
    for position in needed:
        scalar = layout.shapes[position].scalar
        if scalar is None:
            return None
        if position >= len(columns) and scalar.single is not None:
            hidden.append((position, scalar.single))
    return _Few(pa.struct(fields), tuple(made), tuple(hidden))


def plain_rows(
    native: NativeScan, layout: Layout, rows: Sequence[tuple[Any, ...]]
) -> list[tuple[Any, ...]] | None:
    """A few rows as plain values (core/encoding/plain_rows.py), of types that have such; None where
    a value needs a closer look.
    """
    few = _few(layout, native.types, native.columns, (*native.strict, *native.ordered))
    if few is None:
        return None
    made = []
    try:
        for row in rows:
            if any(row[position] is None for position in native.strict):
                return None
            for position, convert in few.hidden:
                if row[position] is not None:
                    convert(row[position])
            record = []
            for _, position, single in few.columns:
                value = row[position]
                record.append(value if value is None or single is None else single(value))
            made.append(tuple(record))
    except Unfit:
        return None
    return made


def _few_rows(
    native: NativeScan, layout: Layout, rows: Sequence[tuple[Any, ...]]
) -> pa.RecordBatch | None:
    """A few rows by one call of pyarrow; None where a value does not fit.

    Column by column would give up the interpreter's lock a dozen times, and each time the driver's
    thread may take it.
    """
    few = _few(layout, native.types, native.columns, (*native.strict, *native.ordered))
    made = plain_rows(native, layout, rows)
    if few is None or made is None:
        return None
    return pa.RecordBatch.from_struct_array(pa.array(made, few.struct))


def _without_columns(count: int) -> pa.RecordBatch:
    """Rows that have no columns."""
    return pa.table({"n": pa.nulls(count)}).select([]).to_batches()[0] if count else _NO_ROWS


_NO_ROWS: Final = pa.RecordBatch.from_arrays([], names=[])


def _column(
    native: NativeScan, position: int, layout: Layout, raw: Sequence[Any], report: Report | None
) -> pa.Array:
    shape = layout.shapes[position]
    column = finish(shape, raw)
    wanted = position < native.shown and position < len(native.types)
    if wanted:
        declared = type_by_name(native.types[position])
        column = declare(column, natural_type(shape), declared)
    if column.lost:
        if position in native.ordered:
            raise DatetimeFieldOverflow(
                f'a value of column "{layout.names[position]}" is out of range: {column.example}',
                detail="Its place in the order cannot be told.",
            )
        if report is not None and wanted and native.columns:
            report(Misfit(native.columns[position], shape.name, column.lost, column.example))
    return column.values


def declare(column: Column, natural: PgType, declared: PgType) -> Column:
    """The column as the foreign table declares it; DatatypeMismatch (42804) for what has no way."""
    if natural.oid == declared.oid and declared.typmod in (-1, natural.typmod):
        return column
    if natural.oid == declared.oid or declared.typname in ("varchar", "bpchar"):
        return _with_modifier(column, natural, declared)
    if natural.name in _INTEGERS and declared.name in _INTEGERS:
        return _resized(column, declared)
    if declared.name == "text" or (declared.name == "json" and natural.name == "jsonb"):
        return Column(to_text_carrier(column.values, natural), column.lost, column.example)
    if natural.name in _INTEGERS and declared.name == "numeric" and declared.typmod == -1:
        return Column(to_text_carrier(column.values, natural), column.lost, column.example)
    raise DatatypeMismatch(
        f"a value of type {natural.sql} in Cassandra cannot be shown as {declared.sql}"
    )


def _resized(column: Column, declared: PgType) -> Column:
    """Another width of integer; what is too large is a misfit."""
    try:
        return Column(column.values.cast(declared.arrow), column.lost, column.example)
    except pa.ArrowInvalid:
        bits = declared.arrow.bit_width - 1
        wide = column.values.cast(pa.int64())
        fit = pc.and_(pc.greater_equal(wide, -(2**bits)), pc.less(wide, 2**bits))
        return _without(Column(wide, column.lost, column.example), fit, declared.arrow)


def _without(column: Column, fit: pa.Array, kind: pa.DataType) -> Column:
    wrong = column.values.filter(pc.invert(fit)).drop_null()
    kept = pc.if_else(fit, column.values, pa.scalar(None, column.values.type)).cast(kind)
    example = column.example or (str(wrong[0].as_py()) if len(wrong) else "")
    return Column(kept, column.lost + len(wrong), example)


def _with_modifier(column: Column, natural: PgType, declared: PgType) -> Column:
    """numeric(p,s), varchar(n), char(n), timestamptz(n): what does not fit is a misfit."""
    texts = to_text_carrier(column.values, natural)
    if declared.typname in ("varchar", "bpchar"):
        if declared.typmod == -1:
            return Column(texts, column.lost, column.example)
        length = declared.typmod - 4
        fit = pc.less_equal(pc.utf8_length(texts), length)
        shown = pc.utf8_rpad(texts, length, " ") if declared.typname == "bpchar" else texts
        return _without(Column(shown, column.lost, column.example), fit, pa.string())
    if declared.typname == "numeric":
        return _declared_numeric(Column(texts, column.lost, column.example), declared)
    if declared.typname == "timestamptz" and declared.typmod >= 3:
        return column
    raise DatatypeMismatch(
        f"a value of type {natural.sql} in Cassandra cannot be shown as {declared.sql}"
    )


def _declared_numeric(column: Column, declared: PgType) -> Column:
    carried = from_text_carrier(column.values, declared)
    if not is_text(carried.type):
        return Column(carried, column.lost, column.example)
    fits = []
    for text in column.values.to_pylist():
        one = from_text_carrier(pa.array([text], pa.string()), declared)
        fits.append(text is None or not is_text(one.type))
    kept = _without(column, pa.array(fits, pa.bool_()), pa.string())
    return Column(from_text_carrier(kept.values, declared), kept.lost, kept.example)
