"""Encoded rows are byte for byte what PostgreSQL sends, for every type, carrier and format."""

from __future__ import annotations

import psycopg
import pyarrow as pa
import pytest

from core.encoding import (
    COPY_HEADER,
    COPY_TRAILER,
    copy_text_rows,
    decode_copy_csv,
    encode_copy_rows,
    encode_data_rows,
    from_text_carrier,
    to_text_carrier,
)
from core.types import type_by_name
from tests.unit.core.encoding.cases import CASES, Case
from tests.unit.core.encoding.oracle import Values, copy_rows, data_rows, raw, sent

Connection = psycopg.Connection[tuple[object, ...]]
WIDE = [case for case in CASES if case.wide]


def rows(column: pa.Array, sql_type: str, code: int) -> bytes:
    batch = pa.record_batch([column], names=["x"])
    return bytes(encode_data_rows(batch, [type_by_name(sql_type)], [code]))


def difference(column: pa.Array, sql_type: str, code: int, expected: Values) -> list[object]:
    """The values that differ, one row at a time (for a readable failure)."""
    return [
        (column[k].as_py(), rows(column[k : k + 1], sql_type, code), value)
        for k, value in enumerate(expected)
        if rows(column[k : k + 1], sql_type, code) != data_rows([[value]])
    ]


def assert_same(column: pa.Array, sql_type: str, text: Values, binary: Values) -> None:
    assert len(column) == len(text) == len(binary) > 1
    assert rows(column, sql_type, 0) == data_rows([text]), difference(column, sql_type, 0, text)
    assert rows(column, sql_type, 1) == data_rows([binary]), difference(column, sql_type, 1, binary)
    copied = encode_copy_rows(pa.record_batch([column], names=["x"]), [type_by_name(sql_type)])
    assert bytes(copied) == copy_rows([binary])


@pytest.mark.parametrize("case", CASES, ids=str)
def test_text_carrier(connection: Connection, case: Case) -> None:
    values = sent(connection, case.type, [*case.fitting, None, *case.wide])
    assert_same(values.text_column(), case.type, values.text, values.binary)
    assert_same(values.text_column()[1:], case.type, values.text[1:], values.binary[1:])


@pytest.mark.parametrize("case", CASES, ids=str)
def test_arrow_carrier(connection: Connection, case: Case) -> None:
    pg = type_by_name(case.type)
    values = sent(connection, case.type, [*case.fitting, None])
    column = from_text_carrier(values.text_column(), pg)
    assert column.type.equals(pg.arrow)
    assert_same(column, case.type, values.text, values.binary)
    assert_same(column.slice(1), case.type, values.text[1:], values.binary[1:])
    present = sent(connection, case.type, case.fitting)
    assert_same(
        pa.concat_arrays([column[:-1], column[:-1]]),
        case.type,
        present.text * 2,
        present.binary * 2,
    )
    assert to_text_carrier(column, pg).equals(values.text_column())


@pytest.mark.parametrize("case", WIDE, ids=str)
def test_wide_values_stay_text(connection: Connection, case: Case) -> None:
    pg = type_by_name(case.type)
    for literal in case.wide:
        values = sent(connection, case.type, [case.fitting[0], literal]).text_column()
        assert from_text_carrier(values, pg).equals(values)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_nulls_only_and_no_rows(case: Case) -> None:
    pg = type_by_name(case.type)
    for kind in (pa.string(), pg.arrow):
        for code in (0, 1):
            assert rows(pa.nulls(3, kind), case.type, code) == data_rows([[None] * 3])
            assert rows(pa.nulls(0, kind), case.type, code) == b""
        assert from_text_carrier(pa.nulls(3, pa.string()), pg).null_count == 3


@pytest.mark.parametrize("case", CASES, ids=str)
def test_postgresql_takes_the_copy(connection: Connection, case: Case) -> None:
    pg = type_by_name(case.type)
    values = sent(connection, case.type, [*case.fitting, None, *case.wide])
    fitting = values.text_column()[: len(case.fitting) + 1]
    connection.execute(f"CREATE TEMP TABLE t (n int, x {case.type})")
    for carrier in (values.text_column(), from_text_carrier(fitting, pg)):
        batch = pa.record_batch(
            [pa.array(range(len(carrier)), pa.int32()), carrier], names=["n", "x"]
        )
        connection.execute("TRUNCATE t")
        with connection.cursor().copy("COPY t FROM STDIN (FORMAT binary)") as copy:
            copy.write(COPY_HEADER + encode_copy_rows(batch, [type_by_name("int4"), pg]))
            copy.write(COPY_TRAILER)
        stored = raw(connection.execute("SELECT x::text FROM t ORDER BY n"))
        assert len(stored) == len(carrier)
        sql_texts = raw(
            connection.execute(
                f"SELECT (x::{case.type})::text FROM unnest(%s::text[]) WITH ORDINALITY u(x, n)"
                " ORDER BY n",
                [[None if v is None else v.decode() for v in values.text[: len(carrier)]]],
            )
        )
        assert stored == sql_texts


@pytest.mark.parametrize("case", CASES, ids=str)
def test_copy_text_and_csv(connection: Connection, case: Case) -> None:
    pg = type_by_name(case.type)
    literals = [*case.fitting, None, *case.wide]
    values = sent(connection, case.type, literals)
    connection.execute(f"CREATE TEMP TABLE t (n serial, x {case.type})")
    connection.execute(
        f"INSERT INTO t (x) SELECT x::{case.type} FROM unnest(%s::text[])"
        " WITH ORDINALITY u(x, n) ORDER BY n",
        [literals],
    )
    texts = {}
    for form in ("text", "csv"):
        query = f"COPY (SELECT x FROM t ORDER BY n) TO STDOUT (FORMAT {form})"
        with connection.cursor().copy(query) as copy:
            texts[form] = b"".join(bytes(data) for data in copy)
    batch = pa.record_batch([values.text_column()], names=["x"])
    assert bytes(copy_text_rows(batch, [pg])) == texts["text"]
    for step in (7, len(texts["csv"])):
        decoder = decode_copy_csv([pg], block_bytes=1 if step == 7 else 1 << 20)
        batches = []
        for at in range(0, len(texts["csv"]), step):
            batches += decoder.feed(texts["csv"][at : at + step])
        batches += decoder.finish()
        assert sum(b.num_rows for b in batches) == len(literals)
        for code, expected in enumerate((values.text, values.binary)):
            encoded = b"".join(bytes(encode_data_rows(b, [pg], [code])) for b in batches)
            assert encoded == data_rows([expected])
