"""Encoding of Arrow batches: ns/row in text and binary, against a loop over Python values.

`python -m bench.encoding` encodes 100,000 rows of 5 and of 13 columns: one batch of 10,000 rows,
ten times, so the input is warm in the cache (the loop encodes it once). It alternates the
contenders, checks that their bytes are equal and prints median and minimum of the CPU times.
Targets (PERFORMANCE 5): 300/300 ns for 5 columns, 750/650 ns for 13.
The columns are our own choice, not those that PERFORMANCE measured.
"""

from __future__ import annotations

import argparse
import decimal
import random
import statistics
import struct
import time
import uuid
from collections.abc import Callable, Sequence

import pyarrow as pa

from core.encoding import encode_copy_rows, encode_data_rows
from core.types import PgType, type_by_name

ROWS = 100_000
BATCH_ROWS = 10_000
TARGETS = {(5, 0): 300, (5, 1): 300, (13, 0): 750, (13, 1): 650}
FIVE = ("bigint", "text", "double precision", "integer", "timestamptz")
THIRTEEN = (*FIVE, "numeric(12,2)", "boolean", "date", "uuid", "jsonb", "text", "smallint", "text")


def column(sql_type: str, place: int, rows: int) -> list[object]:
    """Python values of one column; the last two of the thirteen have NULLs."""
    source = random.Random(place)
    makers: dict[str, Callable[[], object]] = {
        "bigint": lambda: source.randrange(10**12),
        "integer": lambda: source.randrange(10**6),
        "smallint": lambda: source.randrange(1000),
        "text": lambda: source.randbytes(source.randrange(4, 12)).hex(),
        "double precision": lambda: round(source.random() * 1000, 2),
        "timestamptz": lambda: source.randrange(1_600_000_000_000_000, 1_750_000_000_000_000),
        "numeric(12,2)": lambda: decimal.Decimal(source.randrange(10**7)).scaleb(-2),
        "boolean": lambda: source.random() < 0.5,
        "date": lambda: source.randrange(10_000, 20_000),
        "uuid": lambda: source.randbytes(16),
        "jsonb": lambda: f'{{"a": {source.randrange(100)}, "b": "{source.randbytes(8).hex()}"}}',
    }
    make = makers[sql_type]
    if place >= 11:
        return [None if source.random() < 0.2 else make() for _ in range(rows)]
    return [make() for _ in range(rows)]


def batch_of(types: Sequence[str], rows: int) -> pa.RecordBatch:
    """A batch in the types' Arrow carriers."""
    arrays = [pa.array(column(t, k, rows), type_by_name(t).arrow) for k, t in enumerate(types)]
    return pa.RecordBatch.from_arrays(arrays, names=[f"c{k}" for k in range(len(types))])


def text_value(value: object, pg: PgType) -> bytes:
    """One value in text format."""
    match pg.typname:
        case "bool":
            return b"t" if value else b"f"
        case "uuid":
            return str(uuid.UUID(bytes=value)).encode()  # type: ignore[arg-type]
        case "timestamptz":
            text = value.strftime("%Y-%m-%d %H:%M:%S.%f")  # type: ignore[attr-defined]
            return text.rstrip("0").rstrip(".").encode() + b"+00"
        case "float8":
            return str(value).removesuffix(".0").encode()
        case _:
            return str(value).encode()


_EPOCH_DATE = 730_120


def binary_value(value: object, pg: PgType) -> bytes:
    """One value in binary format."""
    match pg.typname:
        case "bool":
            return b"\1" if value else b"\0"
        case "int2" | "int4" | "int8":
            return value.to_bytes(pg.typlen, "big", signed=True)  # type: ignore[attr-defined]
        case "float8":
            return struct.pack(">d", value)
        case "uuid":
            return value  # type: ignore[return-value]
        case "date":
            return struct.pack(">i", value.toordinal() - _EPOCH_DATE)  # type: ignore[attr-defined]
        case "timestamptz":
            days = value.toordinal() - _EPOCH_DATE  # type: ignore[attr-defined]
            seconds = value.hour * 3600 + value.minute * 60 + value.second  # type: ignore[attr-defined]
            micros = (days * 86400 + seconds) * 1_000_000 + value.microsecond  # type: ignore[attr-defined]
            return struct.pack(">q", micros)
        case "numeric":
            return numeric_value(value)  # type: ignore[arg-type]
        case "jsonb":
            return b"\1" + str(value).encode()
        case _:
            return str(value).encode()


def numeric_value(value: decimal.Decimal) -> bytes:
    """A numeric(_,2) in binary format."""
    digits: list[int] = []
    left = int(abs(value).scaleb(4))
    while left:
        left, group = divmod(left, 10_000)
        digits.insert(0, group)
    weight = len(digits) - 2 if digits else 0
    while digits and digits[-1] == 0:
        digits.pop()
    sign = 0x4000 if value < 0 else 0
    return struct.pack(f">hhHh{len(digits)}h", len(digits), weight, sign, 2, *digits)


def loop(batch: pa.RecordBatch, fields: Sequence[PgType], formats: Sequence[int]) -> bytes:
    """The rows by a loop over Python values."""
    columns = [c.to_pylist() for c in batch.columns]
    send = [binary_value if code else text_value for code in formats]
    out = []
    for row in zip(*columns, strict=True):
        parts = [struct.pack(">h", len(row))]
        for value, pg, encode in zip(row, fields, send, strict=True):
            if value is None:
                parts.append(b"\xff\xff\xff\xff")
            else:
                data = encode(value, pg)
                parts += (len(data).to_bytes(4, "big"), data)
        body = b"".join(parts)
        out.append(b"D" + (len(body) + 4).to_bytes(4, "big") + body)
    return b"".join(out)


def cpu_ns(work: Callable[[], object], rows: int) -> float:
    """CPU time of one run per row."""
    before = time.process_time_ns()
    work()
    return (time.process_time_ns() - before) / rows


def measure(
    batch: pa.RecordBatch, fields: Sequence[PgType], code: int, repeats: int
) -> tuple[list[float], list[float]]:
    """CPU ns/row of the column-wise encoder and of the loop, in turns."""
    formats = [code] * len(fields)
    assert bytes(encode_data_rows(batch, fields, formats)) == loop(batch, fields, formats)
    batches = [batch] * (ROWS // BATCH_ROWS)
    fast, slow = [], []
    for _ in range(repeats):
        fast.append(cpu_ns(lambda: [encode_data_rows(b, fields, formats) for b in batches], ROWS))
        slow.append(cpu_ns(lambda: loop(batch, fields, formats), BATCH_ROWS))
    return fast, slow


def measure_copy(batch: pa.RecordBatch, fields: Sequence[PgType], repeats: int) -> list[float]:
    """CPU ns/row of COPY BINARY."""
    return [cpu_ns(lambda: encode_copy_rows(batch, fields), BATCH_ROWS) for _ in range(repeats)]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=9)
    repeats = parser.parse_args().repeats
    print("columns  format  ns/row     min    loop  ratio  target")
    for types in (FIVE, THIRTEEN):
        fields = [type_by_name(t) for t in types]
        batch = batch_of(types, BATCH_ROWS)
        for code, name in enumerate(("text", "binary")):
            fast, slow = measure(batch, fields, code, repeats)
            median, loop_median = statistics.median(fast), statistics.median(slow)
            print(
                f"{len(types):>7} {name:>7} {median:>7.0f} {min(fast):>7.0f} {loop_median:>7.0f} "
                f"{loop_median / median:>6.1f} {TARGETS[len(types), code]:>7}"
            )
        copied = measure_copy(batch, fields, repeats)
        print(f"{len(types):>7} {'copy':>7} {statistics.median(copied):>7.0f} {min(copied):>7.0f}")


if __name__ == "__main__":
    main()
