"""Parsing that no text can crash.

pglast turns PostgreSQL's tree into Python objects by C recursion without a depth check: an
expression of tens of thousands of operands overruns an 8 MB stack. Long texts are therefore checked
first by the JSON form (which has PostgreSQL's own depth check) and converted on a large stack.
"""

from __future__ import annotations

import threading
from typing import Any

from pglast import parse_sql
from pglast.parser import parse_sql_json

LONG_TEXT = 8_000
STACK_BYTES = 512 << 20


def parse_statements(text: str) -> Any:
    """The raw statements of a text; raises pglast's ParseError."""
    if len(text) < LONG_TEXT:
        return parse_sql(text)
    parse_sql_json(text)
    outcome: list[Any] = []
    fault: list[Exception] = []

    def work() -> None:
        try:
            outcome.append(parse_sql(text))
        except Exception as error:  # noqa: BLE001 (handed to the caller's thread)
            fault.append(error)

    before = threading.stack_size(STACK_BYTES)
    try:
        thread = threading.Thread(target=work, name="parse-long-text")
        thread.start()
    finally:
        threading.stack_size(before)
    thread.join()
    if fault:
        raise fault[0]
    return outcome[0]
