"""Extended JSON: text and value agree, nothing that is not a wrapper is touched."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from backends.files.json_document import DocumentParser
from backends.files.records import ReadOptions, RejectedRecord
from catalog.inference.kinds import Kind, Typed

OID = "0123456789abcdefABCDEF01"


def parse(wrapper: str) -> tuple[str, Any]:
    text, value = DocumentParser(ReadOptions()).parse(f'{{"v":{wrapper}}}')
    return text[5:-1], value["v"]


# R0.4: what JSON has a form for is plain in text and value.
@pytest.mark.parametrize(
    ("wrapper", "text", "value"),
    [
        (f'{{"$oid":"{OID}"}}', f'"{OID.lower()}"', OID.lower()),
        ('{"$numberInt":"5"}', "5", 5),
        ('{ "$numberLong" : "-9223372036854775808" }', "-9223372036854775808", -(2**63)),
        ('{"$numberDouble":"5"}', "5.0", 5.0),
        ('{"$numberDouble":"1.5e-7"}', "1.5e-7", 1.5e-7),
        ('{"$numberDecimal":"12.30"}', "12.30E+00000", Decimal("12.30")),
        ('{"$numberDecimal":"5"}', "5E+00000", Decimal(5)),
        ('{"$numberDecimal":"1E+3"}', "1000E+00000", Decimal(1000)),
        ('[{"$numberInt":"1"},{"a":{"$numberLong":"2"}}]', '[1,{"a":2}]', [1, {"a": 2}]),
    ],
)
def test_plain_forms(wrapper: str, text: str, value: object) -> None:
    found = parse(wrapper)
    assert found == (text, value)
    assert type(found[1]) is type(value)


# R0.4: other types are carried as PostgreSQL's text and stay extended in jsonb.
@pytest.mark.parametrize(
    ("wrapper", "kind", "pg"),
    [
        ('{"$date":"2024-02-29T12:00:00.120Z"}', Kind.TIMESTAMPTZ, "2024-02-29 12:00:00.120+00"),
        ('{"$date":"2024-01-01T01:00:00+02:00"}', Kind.TIMESTAMPTZ, "2023-12-31 23:00:00+00:00"),
        ('{"$date":{"$numberLong":"0"}}', Kind.TIMESTAMPTZ, "1970-01-01 00:00:00+00"),
        (
            '{"$date":{"$numberLong":"253402300800000"}}',
            Kind.TIMESTAMPTZ,
            "10000-01-01 00:00:00+00",
        ),
        (
            '{"$date":{"$numberLong":"-63549360000000"}}',
            Kind.TIMESTAMPTZ,
            "0045-03-15 00:00:00+00 BC",
        ),
        ('{"$date":{"$numberLong":"9223372036854775807"}}', Kind.EXTENDED, ""),
        ('{"$binary":{"base64":"AAEC","subType":"00"}}', Kind.BYTES, "\\x000102"),
        ('{"$binary":"AAEC","$type":"80"}', Kind.BYTES, "\\x000102"),
        (
            '{"$binary":{"base64":"AAAAAAAAQACAAAAAAAAACg==","subType":"04"}}',
            Kind.UUID,
            "00000000-0000-4000-8000-00000000000a",
        ),
        (
            '{"$uuid":"0F3A1C2E-0000-4000-8000-00000000000A"}',
            Kind.UUID,
            "0f3a1c2e-0000-4000-8000-00000000000a",
        ),
        ('{"$numberDouble":"NaN"}', Kind.FLOAT_SPECIAL, "NaN"),
        ('{"$numberDouble":"-Infinity"}', Kind.FLOAT_SPECIAL, "-Infinity"),
        ('{"$numberDouble":"-0.0"}', Kind.FLOAT_SPECIAL, "-0"),
        ('{"$numberDecimal":"NaN"}', Kind.DECIMAL_SPECIAL, "NaN"),
        ('{"$timestamp":{"t":1,"i":2}}', Kind.EXTENDED, ""),
        ('{"$regularExpression":{"pattern":"a","options":"i"}}', Kind.EXTENDED, ""),
        ('{"$code":"f","$scope":{"a":1}}', Kind.EXTENDED, ""),
        ('{"$minKey":1}', Kind.EXTENDED, ""),
    ],
)
def test_typed_forms(wrapper: str, kind: Kind, pg: str) -> None:
    text, value = parse(wrapper)
    assert text == wrapper
    assert isinstance(value, Typed)
    assert (value.kind, value.pg) == (kind, pg)
    assert value.json == wrapper


def test_legacy_date() -> None:
    text, value = parse('{"$date":1500}')
    assert text == '{"$date":1500}'
    assert value.pg == "1970-01-01 00:00:01.5+00"


# R0.4: `{"$money": 5}` and broken wrappers are ordinary documents; text is never changed alone.
@pytest.mark.parametrize(
    "wrapper",
    [
        '{"$money":5}',
        '{"$oid":"xyz"}',
        '{"$oid":"' + OID + '","a":1}',
        '{"$oid":"' + OID + '","$oid":"' + OID + '"}',
        '{"$numberInt":"007"}',
        '{"$numberInt":5}',
        '{"$numberDouble":"1."}',
        '{"$numberDecimal":"1E+99999"}',
        '{"$date":"soon"}',
        '{"$date":"2024-02-30T00:00:00Z"}',
        '{"$date":"2024-01-01T00:00:00.1234567Z"}',
        '{"$date":"2024-01-01"}',
        '{"$uuid":"1"}',
        '{"$binary":{"base64":"?","subType":"00"}}',
        '{"$binary":1}',
        '{"$ref":"c","$id":1}',
        '{"a":1,"$date":"2024-01-01T00:00:00Z"}',
    ],
)
def test_ordinary_objects(wrapper: str) -> None:
    text, value = parse(wrapper)
    assert text == wrapper
    assert isinstance(value, dict)


# R0.4
def test_strings_and_keys_are_not_touched() -> None:
    text = '{"a":"{\\"$oid\\":\\"' + OID + '\\"}","b":"x{"}'
    assert DocumentParser(ReadOptions()).parse(text)[0] == text
    with pytest.raises(RejectedRecord, match="invalid JSON"):
        parse('{{"$oid":"' + OID + '"}:1}')


def test_unwrapping_can_be_switched_off() -> None:
    text = '{"a":{"$numberInt":"5"}}'
    value = DocumentParser(ReadOptions(extended=False)).parse(text)[1]
    assert value == {"a": {"$numberInt": "5"}}
