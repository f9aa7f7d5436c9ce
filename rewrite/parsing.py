"""Parsing that no text can crash.

pglast turns PostgreSQL's tree into Python objects by C recursion without a depth check: an
expression of tens of thousands of operands overruns an 8 MB stack. Long texts are therefore checked
first by the JSON form (which has PostgreSQL's own depth check) and converted on a large stack.
"""

from __future__ import annotations

from typing import Any

from pglast import parse_sql
from pglast.parser import parse_sql_json

from core.deep_stack import run_on_deep_stack

LONG_TEXT = 8_000


def parse_statements(text: str) -> Any:
    """The raw statements of a text; raises pglast's ParseError."""
    if len(text) < LONG_TEXT:
        return parse_sql(text)
    parse_sql_json(text)
    return run_on_deep_stack(lambda: parse_sql(text))
