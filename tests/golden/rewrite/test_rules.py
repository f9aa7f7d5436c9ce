"""One file a rule: a statement and what the rule alone makes of it.

`MORPHGRES_UPDATE_GOLDEN=1 pytest tests/golden/rewrite` writes the second halves anew.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from pglast import parse_sql

from rewrite.bodies import body_edits
from rewrite.context import make_context
from rewrite.copying import copy_edits
from rewrite.edits import render
from rewrite.rules import RULES, Rule
from rewrite.tree import Tokens
from tests.unit.rewrite.shop_model import namespaces

DIRECTORY = Path(__file__).parent
UPDATE = os.environ.get("MORPHGRES_UPDATE_GOLDEN") == "1"
_BY_NAME: dict[str, Rule] = {r.__name__: r for r in (*RULES, copy_edits, body_edits)}
_REFUSES = {"refuse_child_writes", "refuse_updates_of_others"}


def pairs(path: Path) -> list[tuple[str, str]]:
    """The statements of a file with what is expected of them."""
    found = []
    for block in path.read_text("utf-8").split("\n\n"):
        if block.strip():
            text, _, expected = block.strip().partition(";\n")
            found.append((text, expected.removesuffix(";")))
    return found


def apply(rule: Rule, text: str) -> str:
    """The text with one rule's edits."""
    raw: Any = parse_sql(text)
    context = make_context(
        text, 0, len(text), Tokens(text), raw[0].stmt, namespaces("v2", "v1"), {}
    )
    edits = tuple(dict.fromkeys(rule(context)))
    assert edits == tuple(dict.fromkeys(rule(context))), "a rule is pure"
    return render(text, edits).text


def test_every_rule_has_a_file() -> None:
    # R0.3
    assert {p.stem for p in DIRECTORY.glob("*.sql")} == set(_BY_NAME) - _REFUSES


@pytest.mark.parametrize("path", sorted(DIRECTORY.glob("*.sql")), ids=lambda p: p.stem)
def test_a_rule_rewrites_as_written_down(path: Path) -> None:
    # R0.3
    rule = _BY_NAME[path.stem]
    actual = [(text, apply(rule, text)) for text, _ in pairs(path)]
    if UPDATE:
        path.write_text("\n\n".join(f"{a};\n{b};" for a, b in actual) + "\n", "utf-8")
    assert actual == pairs(path)
