"""Section `changes`: how changes that need data work are carried out beside the clients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, get_args

from config.fields import DAY, HOUR, MINUTE, choice, duration, integer, text

Contraction = Literal["manual", "after_window"]
ValidationMethod = Literal["full", "checksum", "sample"]


@dataclass(frozen=True, slots=True)
class ChangesSettings:
    """How changes that need data work are carried out beside the clients."""

    chunk_time: Annotated[
        float,
        duration("A chunk of the copying takes about so long; its rows adapt.", 0.01, MINUTE),
    ] = 0.2
    rows_per_s: Annotated[
        int,
        integer("Rows copied in a second at most.", 0, 1_000_000_000, unit="rows/s", zero="any"),
    ] = 0
    throttle_latency: Annotated[
        float,
        duration(
            "The copying waits while 95 of 100 statements of clients take longer, in the worker"
            " that drives it.",
            0,
            HOUR,
            zero="off",
        ),
    ] = 0.0
    throttle_lag: Annotated[
        float,
        duration("The copying waits while the shadow is further behind.", 0, DAY, zero="off"),
    ] = 5.0
    throttle_active: Annotated[
        int,
        integer(
            "The copying waits while more statements of clients run at once.",
            0,
            1_000_000,
            unit="statements",
            zero="off",
        ),
    ] = 0
    throttle_probe: Annotated[
        str,
        text(
            "A query, run as an ordinary client: the copying waits while its first value is"
            " something else than NULL, false, 0 or empty, and while it fails."
        ),
    ] = ""
    error_limit: Annotated[
        int,
        integer(
            "Rows that may be left out of a shadow because the new form cannot hold them; one more"
            " fails the review of the change. It is not promoted while one is left out.",
            0,
            1_000_000_000,
            unit="rows",
        ),
    ] = 0
    step_timeout: Annotated[
        float, duration("One step of a change that takes longer is tried again.", 1, HOUR)
    ] = MINUTE
    index_timeout: Annotated[
        float, duration("Longest making of the indexes and constraints of a shadow.", 1, 7 * DAY)
    ] = DAY
    lag_max: Annotated[
        float, duration("A shadow no further behind its live table is validated.", 0.01, HOUR)
    ] = 1.0
    lag_hold: Annotated[
        float,
        duration("A shadow that falls further behind stops copying: it is held.", 1, 7 * DAY),
    ] = 10 * MINUTE
    validation: Annotated[
        ValidationMethod,
        choice("How live and shadow are compared before a promotion.", get_args(ValidationMethod)),
    ] = "checksum"
    fence_lag: Annotated[
        float, duration("A cut-over begins when the shadow is no further behind.", 0.001, MINUTE)
    ] = 0.05
    fence_timeout: Annotated[
        float,
        duration("Writers wait so long at most; then they go on and it is tried later.", 0.05, 60),
    ] = 5.0
    fence_tries: Annotated[
        int, integer("Cut-overs tried for one CALL morph.promote or rollback.", 1, 1000)
    ] = 10
    fault_tries: Annotated[
        int, integer("A step that failed so often in a row holds its change.", 1, 1_000_000)
    ] = 20
    backoff_min: Annotated[
        float, duration("Pause after a first failed try; it doubles.", 0.01, HOUR)
    ] = 0.25
    backoff_max: Annotated[float, duration("Longest pause between two tries.", 0.01, DAY)] = 30.0
    idle_pause: Annotated[
        float,
        duration(
            "Pause between two looks at the log of a shadow that has nothing to do.", 0.01, 60
        ),
    ] = 0.5
    rollback_window: Annotated[
        float,
        duration(
            "How long after a promotion the old layout is kept at least, for a rollback.",
            0,
            365 * DAY,
        ),
    ] = DAY
    contraction: Annotated[
        Contraction,
        choice(
            "What becomes of the old layout then: manual keeps it, and the rollback, until"
            " CALL morph.contract; after_window removes it.",
            get_args(Contraction),
        ),
    ] = "manual"
