"""Every kind of statement over foreign tables answers as PostgreSQL does over the same rows (R0.4,
R0.5, R1.7), wherever the tables lie and whatever the stores take of it.
"""

from __future__ import annotations

import re
from typing import Any

import psycopg
import pytest

from tests.services.federation.conftest import MODES
from tests.services.federation.judging import Judge, Outcome, outcome
from tests.services.federation.statements import entries

pytestmark = [pytest.mark.services, pytest.mark.timeout(600)]
ENTRIES = entries()
_SORTS = re.compile(r"\bORDER BY\b(?!.*(\)|TIES))|^FETCH|^EXECUTE", re.DOTALL)


@pytest.mark.parametrize("name", list(ENTRIES))
def test_answers_as_postgresql(client: psycopg.Connection[Any], judge: Judge, name: str) -> None:
    script = ENTRIES[name]
    expected = judge.answers(script)
    for mode in MODES:
        outcome(client, f"SET morph.pushdown = {mode}")
        outcome(client, "BEGIN")
        found = [outcome(client, text) for text in script]
        outcome(client, "ROLLBACK")
        for text, ours, theirs in zip(script, found, expected, strict=True):
            assert _comparable(text, ours) == _comparable(text, theirs), (mode, text)


def _comparable(text: str, found: Outcome) -> Outcome:
    return found if _SORTS.search(text) else found.sorted()
