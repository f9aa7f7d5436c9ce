"""One JSON text: what jsonb would refuse is found before it is sent."""

from __future__ import annotations

from decimal import Decimal

import pytest

from backends.files.json_document import DocumentParser, depth
from backends.files.records import ReadOptions, RejectedRecord

PARSER = DocumentParser(ReadOptions(depth_max=5))


# R0.4: each of these was refused by PostgreSQL 18's jsonb (or is no document).
@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"a":', "invalid JSON"),
        ('{"a":1}}', "invalid JSON"),
        ('{"a":01}', "invalid JSON"),
        ("{'a':1}", "invalid JSON"),
        ('{"a":"\t"}', "invalid JSON"),
        ("[1]", "not a JSON object but an array"),
        ('"x"', "a string"),
        ("1", "a number"),
        ("true", "a boolean"),
        ("null", "null"),
        ('{"a":NaN}', "NaN is not JSON"),
        ('{"a":-Infinity}', "-Infinity is not JSON"),
        ('{"a":1e131072}', "range of type numeric"),
        ('{"a":' + "9" * 131_073 + "}", "range of type numeric"),
        ('{"a":"\\u0000"}', "U+0000"),
        ('{"\\u0000":1}', "U+0000"),
        ('{"a":"\\u0000","a":1}', "U+0000"),
        ('{"a":"\\ud83d"}', "surrogate"),
        ('{"a":"\\ude00"}', "surrogate"),
        ('{"a":"\\ud83dx\\ude00"}', "surrogate"),
        ('{"a":"\\ud83d\\ud83d\\ude00"}', "surrogate"),
        ('{"a":[[[[[1]]]]]}', "nested deeper than 5 levels"),
        ('{"a":' * 50_000, "nested too deeply"),
    ],
)
def test_refused(text: str, reason: str) -> None:
    with pytest.raises(RejectedRecord) as refused:
        PARSER.parse(text)
    assert reason in str(refused.value)


# R0.4
@pytest.mark.parametrize(
    "text",
    [
        '{"a":"\\\\u0000"}',
        '{"a":"\\ud83d\\ude00"}',
        '{"a":"\\uD83D\\uDE00 \\u00e9"}',
        '{"a":"[[[[[[[[[[{{{{"}',
        '{"a":1,"a":2}',
        '{"":{}}',
        "{}",
    ],
)
def test_accepted_as_it_is(text: str) -> None:
    assert PARSER.parse(text)[0] == text


# R0.4
def test_very_long_integers_are_exact() -> None:
    _, value = PARSER.parse('{"a":' + "7" * 5_000 + "}")
    assert value == {"a": Decimal("7" * 5_000)}


def test_depth() -> None:
    assert depth({}) == 1
    assert depth({"a": [1, {"b": []}], "c": {}}) == 4
