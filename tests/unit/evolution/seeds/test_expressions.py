"""Splices into expressions: only what is meant to change changes (R3.1)."""

from __future__ import annotations

import pytest

from core.errors import ProgramLimitExceeded, SyntaxErrorAt
from evolution.seeds.expressions import parse_expression, substitute


@pytest.mark.parametrize(
    ("expression", "replacements", "result"),
    [
        ("a + b", {"a": "t.c1"}, "((t.c1) + b)"),
        ("a+customers.a", {"a": "x + 1"}, "((x + 1)+(x + 1))"),
        ('"Größe" * 2', {"Größe": "t.c1"}, "((t.c1) * 2)"),
        ("'a' || a /* a */", {"a": "b"}, "('a' || (b) /* a */)"),
        ("(addr).a || x[a]", {"a": "i", "addr": "t.c1"}, "(((t.c1)).a || x[(i)])"),
        ("a(a)", {"a": "c"}, "(a((c)))"),
        ("a -- b", {"a": "c", "b": "d"}, "((c) -- b\n)"),
        ("CASE WHEN a THEN a::text END", {"a": "b"}, "(CASE WHEN (b) THEN (b)::text END)"),
        ("interval '1 day' * a", {"a": "b"}, "(interval '1 day' * (b))"),
        ("'é😀' || a", {"a": "b"}, "('é😀' || (b))"),
        ("a", {}, "(a)"),
    ],
)
def test_substitute(expression: str, replacements: dict[str, str], result: str) -> None:  # R3.1
    assert substitute(expression, replacements) == result


@pytest.mark.parametrize(
    ("text", "message", "position"),
    [
        ("a +", 'syntax error at or near ")"', 4),
        ("é é +", 'syntax error at or near "é"', 3),
        ("a, b", "generation expression must be one expression", 1),
        ("a) + (b", "generation expression must be one expression", 1),
        ("a); DROP TABLE x; SELECT (1", "generation expression must be one expression", 1),
        ("a AS b", 'syntax error at or near "AS"', 3),
        ("", 'syntax error at or near ")"', 1),
    ],
)
def test_what_is_no_expression(text: str, message: str, position: int) -> None:
    with pytest.raises(SyntaxErrorAt) as caught:
        parse_expression(text, at=10)
    assert (caught.value.primary, caught.value.position) == (message, position + 10)


def test_expansion_is_limited() -> None:
    with pytest.raises(ProgramLimitExceeded):
        substitute("a || a", {"a": "x" * 600_000})
