"""Section `validation`: how the layouts of a change are compared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final, Literal, get_args

from config.fields import HOUR, MB, MINUTE, duration, integer, size, text
from core.errors import InvalidParameterValue

Category = Literal[
    "MISSING_IN_SHADOW",
    "EXTRA_IN_SHADOW",
    "VALUE_MISMATCH",
    "TYPE_MISMATCH",
    "PRECISION_LOSS",
    "CONSTRAINT_VIOLATION",
    "COERCION_ERROR",
    "ORDER_MISMATCH",
    "ERROR_MISMATCH",
    "ROWDESC_MISMATCH",
    "STALE",
    "NONDETERMINISTIC",
    "DECODE_ERROR",
]
KINDS: Final = get_args(Category)
"""Kinds of discrepancies."""
Severity = Literal["critical", "warning", "info"]
SEVERITIES: Final = get_args(Severity)


def parse_severities(words: str) -> dict[str, str]:
    """Kind → severity of "STALE=critical, DECODE_ERROR=info".

    Raises InvalidParameterValue (22023).
    """
    levels = {}
    for word in filter(None, (part.strip() for part in words.split(","))):
        kind, _, severity = (part.strip() for part in word.partition("="))
        if kind.upper() not in KINDS or severity.lower() not in SEVERITIES:
            raise InvalidParameterValue(
                f'"{word}" gives no kind of discrepancy a severity',
                hint=f"Write KIND=severity; kinds are {', '.join(KINDS)}, severities are "
                f"{', '.join(SEVERITIES)}.",
            )
        levels[kind.upper()] = severity.lower()
    return levels


@dataclass(frozen=True, slots=True)
class ValidationSettings:
    """How the layouts of a change are compared."""

    chunk_time: Annotated[
        float,
        duration(
            "Reading and comparing a chunk takes about so long; its rows adapt.", 0.01, MINUTE
        ),
    ] = 0.5
    chunk_bytes: Annotated[
        int, size("A chunk has about so many bytes of each layout at most.", 64 << 10, 1 << 30)
    ] = 8 * MB
    rows_per_s: Annotated[
        int,
        integer("Rows compared in a second at most.", 0, 1_000_000_000, unit="rows/s", zero="any"),
    ] = 0
    sample_rows: Annotated[int, integer("Rows of a sample.", 100, 10_000_000, unit="rows")] = 50_000
    sample_seed: Annotated[
        int, integer("Which rows a sample has: the same seed, the same rows.", 0, (1 << 63) - 1)
    ] = 0
    details: Annotated[
        int,
        integer("Discrepancies that a report has details of; it counts all.", 1, 1_000_000),
    ] = 10_000
    reports: Annotated[int, integer("Reports kept of each table of a change.", 1, 1_000_000)] = 20
    severities: Annotated[
        str,
        text(
            'How bad kinds of discrepancies are, as in "STALE=critical, PRECISION_LOSS=warning";'
            " critical ones stop a change. Without an entry all are critical but STALE and"
            " ORDER_MISMATCH (warning) and NONDETERMINISTIC (info)."
        ),
    ] = ""
    query_timeout: Annotated[
        float, duration("A statement that is replayed on a layout is ended then.", 0.01, HOUR)
    ] = 60.0
    inline_share_bp: Annotated[
        int,
        integer(
            "Share of the SELECTs on a table with a shadow that are answered from the shadow, too,"
            " to compare the answers; the client never waits for it.",
            0,
            10_000,
            unit="basis points",
            zero="off",
        ),
    ] = 0
    inline_waiting: Annotated[
        int,
        integer(
            "Reads that wait to be compared at most; more are dropped, and counted.", 1, 10_000
        ),
    ] = 64
    inline_bytes: Annotated[
        int, size("Answers that are larger are not compared.", 1 << 10, 64 << 20)
    ] = 256 << 10
    inline_timeout: Annotated[
        float, duration("A read of the shadow is given up then.", 0.01, MINUTE)
    ] = 5.0
