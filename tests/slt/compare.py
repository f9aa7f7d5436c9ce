"""What must be equal between two executions, and how results look in a file."""

from __future__ import annotations

import hashlib

from tests.slt.engines import Outcome, Row
from tests.slt.records import Record

_LETTERS = {
    **dict.fromkeys(("20", "21", "23", "26"), "I"),
    **dict.fromkeys(("700", "701", "1700"), "R"),
    "16": "B",
}
SHOWN_ROWS = 6


def type_letters(outcome: Outcome) -> str:
    """The types of a query's head: I, R, B, and T for all others."""
    return "".join(_LETTERS.get(f.type, "T") for f in outcome.fields) or "T"


def shown(value: str | None) -> str:
    """One value as a file has it: one line, never empty."""
    if value is None:
        return "NULL"
    if not value:
        return "(empty)"
    return value.replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t")


def result_lines(record: Record, outcome: Outcome) -> list[str]:
    """The results of a query in its sort mode, hashed when they are many."""
    rows = [[shown(v) for v in row] or ["()"] for row in outcome.text_rows]
    count = sum(len(row) for row in rows)
    if record.sort == "valuesort":
        lines = sorted(value for row in rows for value in row)
    else:
        lines = ["\t".join(row) for row in rows]
        if record.sort == "rowsort":
            lines.sort()
    if record.hash_threshold and count > record.hash_threshold:
        values = lines
        if record.sort != "valuesort":
            values = [value for line in lines for value in line.split("\t")]
        digest = hashlib.md5("".join(v + "\n" for v in values).encode()).hexdigest()
        return [f"{count} values hashing to {digest}"]
    return lines


def _sort_key(row: Row) -> tuple[tuple[bool, bytes], ...]:
    return tuple((value is None, value or b"") for value in row)


def _rows(record: Record, outcome: Outcome) -> list[Row]:
    rows = outcome.rows
    return rows if record.sort == "nosort" else sorted(rows, key=_sort_key)


def _row_difference(ours: list[Row], theirs: list[Row]) -> str:
    if len(ours) != len(theirs):
        return f"{len(ours)} rows instead of {len(theirs)}: {ours[:SHOWN_ROWS]}"
    pairs = [(a, b) for a, b in zip(ours, theirs, strict=True) if a != b]
    return "; ".join(f"{a} instead of {b}" for a, b in pairs[:SHOWN_ROWS])


def differences(record: Record, ours: Outcome, theirs: Outcome) -> list[str]:
    """How Morphgres's outcome differs from the oracle's; [] when it does not."""
    found = []
    ignored = set()
    if record.sql != record.oracle_sql:
        ignored = {"position", "context"}
    mine, other = ours.error, theirs.error
    found += [
        f"error {name}: {mine.get(name)!r} instead of {other.get(name)!r}"
        for name in sorted((mine.keys() | other.keys()) - ignored)
        if mine.get(name) != other.get(name)
    ]
    if ours.error or theirs.error:
        return found
    if ours.fields != theirs.fields:
        pairs = [(a, b) for a, b in zip(ours.fields, theirs.fields, strict=False) if a != b]
        found += [f"column {a} instead of {b}" for a, b in pairs]
        if len(ours.fields) != len(theirs.fields):
            found.append(f"{len(ours.fields)} columns instead of {len(theirs.fields)}")
    for name in ("tag", "parameters", "notices"):
        if getattr(ours, name) != getattr(theirs, name):
            found.append(f"{name}: {getattr(ours, name)!r} instead of {getattr(theirs, name)!r}")
    if ours.copied != theirs.copied and sorted(ours.copied.splitlines()) != sorted(
        theirs.copied.splitlines()
    ):
        found.append(f"copied {ours.copied!r} instead of {theirs.copied!r}")
    rows = _row_difference(_rows(record, ours), _rows(record, theirs))
    return [*found, rows] if rows else found
