"""R4.5: canonical bytes are equal exactly where PostgreSQL says that values are."""

from __future__ import annotations

import struct
from typing import get_args

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from config.validation import KINDS, SEVERITIES, Category, Severity
from core.errors import InvalidParameterValue
from evolution.validation.canonical import canonical, hash_of, same_value, tagged
from evolution.validation.categories import SeverityPolicy, classify, policy_of
from evolution.validation.embedded.select import SETTINGS
from evolution.validation.lines import cut_lines, cut_row, escape, key_bytes, key_values, unescape

VALUES = {
    "integer": ["0", "-1", "2147483647"],
    "numeric": ["0", "0.0", "1", "1.0", "1.00", "-1", "100", "1e2", "0.10", "NaN", "Infinity"],
    "numeric(10,2)": ["1", "1.00", "1.01"],
    "real": ["0.1", "0.10000001", "NaN", "Infinity", "1e10", "3.4e38"],
    "double precision": ["0.1", "0.1e0", "NaN", "-Infinity", "1e300", "0.30000000000000004", "0.3"],
    "text": ["", " ", "a", "A", "é", "é", "NULL", "\\N", "a\tb"],
    "character(4)": ["a", "a ", "ab"],
    "timestamp without time zone": ["2024-02-29 23:59:59.999999", "0044-03-15 BC", "infinity",
                                    "294276-12-31 23:59:59", "1969-12-31 23:59:59.5", "0001-01-01"],
    "timestamp with time zone": ["2024-03-31 02:30:00+02", "2024-03-31 00:30:00+00", "-infinity",
                                 "2024-03-31 00:30:00.000001+00", "1890-01-01 00:00:00+00"],
    "date": ["2024-02-29", "infinity", "0001-01-01 BC"],
    "boolean": ["t", "f"],
    "jsonb": ['{"a": 1, "b": 2}', '{"b": 2.0, "a": 1.00}', "null", '"null"', "[]", "[1, 2]", "100",
              "[2, 1]", "1e2", "100.0", '{"a": {"b": [1.50]}}', '{"a": {"b": [1.5]}}', "0", "-0.0"],
    "numeric[]": ["{}", "{1,2}", "{1.0,2.00}", "{NULL}", "{1,NULL}", "{{1},{2}}", "[0:1]={1,2}"],
    "text[]": ["{}", "{NULL}", '{"NULL"}', '{""}', "{a,b}", '{"a,b"}', "{{a},{b}}"],
    "jsonb[]": ['{"{\\"a\\": 1.0}"}', '{"{\\"a\\": 1}"}', "{NULL}", '{"null"}'],
    "double precision[]": ["{0.1,NaN}", "{0.1}", "{1e-1,NaN}"],
    "bytea": ["\\x", "\\x00", "\\x0000"],
    "uuid": ["a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A12"],
}  # fmt: skip


@pytest.mark.parametrize("sql_type", VALUES)
async def test_equal_bytes_mean_equal_values(root: asyncpg.Connection, sql_type: str) -> None:
    async with root.transaction():
        await root.execute("; ".join(SETTINGS))
        for one in VALUES[sql_type]:
            for other in VALUES[sql_type]:
                row = await root.fetchrow(
                    f"SELECT $1::text::{sql_type}::text, $2::text::{sql_type}::text, "
                    f"$1::text::{sql_type} = $2::text::{sql_type}",
                    one,
                    other,
                )
                assert row is not None
                same = same_value(sql_type, row[0].encode(), row[1].encode())
                assert same == row[2], (one, other)


def test_the_bytes_are_those_of_the_table() -> None:
    assert canonical("integer", b"-12") == b"-12"
    assert canonical("numeric(9,3)", b"120.500") == b"120.5"
    assert canonical("numeric", b"100") == b"100"
    assert canonical("double precision", b"-0") == struct.pack(">d", -0.0)
    assert canonical("double precision", b"-0") != canonical("double precision", b"0")
    assert canonical("real", b"0.1") == struct.pack(">f", 0.1)
    assert canonical("timestamp with time zone", b"1970-01-02 00:00:00.5+00") == b"86400500000"
    assert canonical("timestamp without time zone", b"2000-01-01 00:00:00") == b"946684800000000"
    assert canonical("json", b'{"b":1.0,"a":1,"a":[2e1]}') == b'{"a":[2e1,],"b":1,}'
    assert canonical("text", "é".encode()) == "é".encode()
    assert tagged(None) != tagged(b"")
    assert hash_of("text", None) != hash_of("text", b"")
    assert len(hash_of("numeric", b"1.0")) == 16
    assert hash_of("numeric", b"1.0") == hash_of("numeric", b"1")


def test_json_that_is_too_deep_is_compared_as_text() -> None:
    deep = b"[" * 100_000 + b"]" * 100_000
    assert canonical("json", deep) == deep


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.none() | st.binary(max_size=8), min_size=3, max_size=5))
def test_fields_survive_their_line(values: list[bytes | None]) -> None:
    line = b"\t".join(escape(value) for value in values)
    assert b"\n" not in line
    assert [unescape(field) for field in line.split(b"\t")] == values


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.text(max_size=6), min_size=1, max_size=3), st.integers(0, 2**53), st.text())
def test_rows_survive_their_line(key: list[str], lsn: int, value: str) -> None:
    made = key_bytes(key)
    assert key_values(made) == key
    data = made + b"\t%d\t" % lsn + escape(value.encode()) + b"\n"
    (line,) = cut_lines(data)
    row = cut_row(line, len(key))
    assert (row.key, row.lsn, unescape(row.data)) == (made, lsn, value.encode())


@pytest.mark.parametrize(
    ("sql_type", "live", "shadow", "category", "message"),
    [
        ("numeric", b"1.255", b"1.26", "PRECISION_LOSS", "2 digits"),
        ("numeric", b"1.255", b"1.25", "PRECISION_LOSS", "2 digits"),
        ("numeric", b"1.255", b"1.27", "VALUE_MISMATCH", "numbers"),
        ("numeric", b"1.25", b"1.255", "VALUE_MISMATCH", "numbers"),
        ("numeric", b"NaN", b"1", "VALUE_MISMATCH", "numbers"),
        ("bigint", b"16777217", b"16777216", "VALUE_MISMATCH", "numbers"),
        ("double precision", b"0.1", b"0.10000000149011612", "PRECISION_LOSS", "single"),
        ("double precision", b"1e+300", b"2e+300", "VALUE_MISMATCH", "numbers"),
        ("numeric", b"9" * 3_000, b"1", "VALUE_MISMATCH", "numbers"),
        ("timestamp without time zone", b"2024-01-01 10:11:12.5", b"2024-01-01 10:11:12",
         "PRECISION_LOSS", "whole seconds"),
        ("timestamp without time zone", b"2024-01-01 10:11:12", b"2024-01-01 04:41:12",
         "VALUE_MISMATCH", "-330 minutes"),
        ("timestamp without time zone", b"infinity", b"2024-01-01 00:00:00",
         "VALUE_MISMATCH", "times"),
        ("text", b"abcdef", b"abc", "VALUE_MISMATCH", "cut after 3"),
        ("text", b"abc", b"ABC", "VALUE_MISMATCH", "case"),
        ("text", b"abc ", b" abc", "VALUE_MISMATCH", "white space"),
        ("text", None, b"", "VALUE_MISMATCH", "NULL in the live"),
        ("uuid", b"a", b"b", "VALUE_MISMATCH", "differ"),
    ],
)  # fmt: skip
def test_differences_have_a_category(
    sql_type: str, live: bytes | None, shadow: bytes | None, category: str, message: str
) -> None:
    found = classify(sql_type, live, shadow)
    assert found[0] == category
    assert message in found[1]


def test_severities_follow_the_policy() -> None:
    policy = SeverityPolicy({"STALE": "critical", "PRECISION_LOSS": "info"})
    assert policy.of("STALE") == "critical"
    assert policy.of("PRECISION_LOSS") == "info"
    assert policy.of("MISSING_IN_SHADOW") == "critical"
    assert policy_of("stale = critical,DECODE_ERROR=Info").levels == {
        "STALE": "critical",
        "DECODE_ERROR": "info",
    }
    assert policy_of("").levels == {}
    for wrong in ("STALE", "STALE=bad", "OTHER=info", "=info"):
        with pytest.raises(InvalidParameterValue):
            policy_of(wrong)
    assert set(KINDS) == set(get_args(Category))
    assert set(SEVERITIES) == set(get_args(Severity))
    assert SeverityPolicy().of("STALE") == "warning"
    assert SeverityPolicy().of("NONDETERMINISTIC") == "info"
