"""Records of a change log keep every value through Avro (EVOLUTION 3)."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.errors import InvalidText
from evolution.layouts.avro import SCHEMA, decode_batch, encode_batch, read_file, write_file
from evolution.layouts.records import Json, LogBatch, LogRecord, Value

LONGS = st.integers(-(2**63), 2**63 - 1)
IDS = st.integers(0, 2**31 - 1)
VALUES: st.SearchStrategy[Value] = st.one_of(
    st.none(),
    st.booleans(),
    LONGS,
    st.floats(),
    st.binary(max_size=12),
    st.text(max_size=12),
    st.builds(Json, st.text(max_size=12)),
)
ROWS = st.dictionaries(IDS, VALUES, max_size=3)
RECORDS = st.builds(
    LogRecord,
    lsn=st.integers(0, 2**53 - 1),
    epoch=LONGS,
    change_epoch=LONGS,
    table_id=IDS,
    version_id=st.none() | IDS,
    key=ROWS,
    op=st.sampled_from(["put", "del", "truncate"]),
    image=st.none() | ROWS,
    touched=st.none() | st.lists(IDS, max_size=5).map(tuple),
    stmt_hash=LONGS,
    session_unit=st.text(max_size=20),
    ts_us=LONGS,
    shadow_ids=st.lists(IDS, max_size=3).map(tuple),
)
LIMITS = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
BATCHES = st.builds(LogBatch, LONGS, st.lists(RECORDS, max_size=2).map(tuple))


def _seen(values: Mapping[int, Value] | None) -> list[tuple[int, str, str]] | None:
    """A form in which NaN is itself, -0.0 is not 0.0, and True is not 1."""
    if values is None:
        return None
    return sorted((k, type(v).__name__, _text(v)) for k, v in values.items())


def _text(value: Value) -> str:
    if isinstance(value, float):
        return "nan" if math.isnan(value) else value.hex()
    return repr(value)


def _comparable(batch: LogBatch) -> tuple[object, ...]:
    return (
        batch.transaction,
        [
            (
                r.lsn, r.epoch, r.change_epoch, r.table_id, r.version_id, _seen(r.key), r.op,
                _seen(r.image), r.touched, r.stmt_hash, r.session_unit, r.ts_us, r.shadow_ids,
            )
            for r in batch.records
        ],
    )  # fmt: skip


@LIMITS
@given(BATCHES)
def test_a_batch_comes_back_as_it_was(batch: LogBatch) -> None:
    assert _comparable(decode_batch(encode_batch(batch))) == _comparable(batch)


@settings(LIMITS, max_examples=20)
@given(st.lists(BATCHES, max_size=2))
def test_a_file_of_batches_comes_back_as_it_was(batches: list[LogBatch]) -> None:
    sink = io.BytesIO()
    write_file(sink, batches)
    sink.seek(0)
    assert [_comparable(b) for b in read_file(sink)] == [_comparable(b) for b in batches]


@LIMITS
@given(BATCHES, st.data())
def test_what_is_cut_off_is_refused(batch: LogBatch, data: st.DataObject) -> None:
    encoded = encode_batch(batch)
    length = data.draw(st.integers(0, len(encoded) - 1))
    with pytest.raises(InvalidText):
        decode_batch(encoded[:length])
    with pytest.raises(InvalidText):
        decode_batch(encoded + b"\0")


def test_the_schema_names_every_field_of_a_record() -> None:
    record = SCHEMA["fields"][1]["type"]["items"]
    assert [f["name"] for f in record["fields"]] == list(LogRecord.__slots__)
