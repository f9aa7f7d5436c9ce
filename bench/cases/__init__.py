"""The cases, in the order in which they run."""

from __future__ import annotations

from collections.abc import Callable

from bench import targets
from bench.bed import Bed
from bench.cases import (
    literals,
    merge,
    point,
    pushdown,
    relay,
    scan,
    start,
    virtual,
    workers,
    write,
)
from bench.results import Figures

CASES: dict[str, Callable[[Bed, Figures], None]] = {
    targets.RELAY: relay.run,
    targets.POINT: point.run,
    targets.LITERALS: literals.run,
    targets.SCAN: scan.run,
    targets.PUSHDOWN: pushdown.run,
    targets.MERGE: merge.run,
    targets.WRITE: write.run,
    targets.VIRTUAL: virtual.run,
    targets.START: start.run,
    targets.WORKERS: workers.run,
}
