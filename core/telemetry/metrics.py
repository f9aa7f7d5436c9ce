"""All metrics of Morphgres, declared in one place, each with unit and help.

Counting must cost nothing on the hot path (`prometheus_client` takes 1 µs for one labelled
increment), so a count is a plain int in a cell: `cell.value += 1`. Cells of labelled metrics are
looked up once and kept by the caller. core/telemetry/exposition.py reads them at a scrape. One
process has one `Metrics`; all of it belongs to the event loop's thread.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field
from typing import Literal

PREFIX = "morphgres"
OVERFLOW = "other"
CELLS_MAX = 500
LATENCY_BUCKETS = (
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05,
    0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
)  # fmt: skip

MetricKind = Literal["counter", "gauge"]


class Cell:
    """One number: `cell.value += n`."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0


@dataclass(slots=True)
class Metric:
    """A counter or gauge without labels; itself a cell."""

    kind: MetricKind
    name: str
    help: str
    value: int = 0


@dataclass(slots=True)
class LabelledMetric:
    """A counter or gauge with labels. Beyond CELLS_MAX combinations all count as "other"."""

    kind: MetricKind
    name: str
    help: str
    labels: tuple[str, ...]
    cells: dict[tuple[str, ...], Cell] = field(default_factory=dict)

    def cell(self, *values: str) -> Cell:
        """The cell of these label values; keep it where it is counted often."""
        found = self.cells.get(values)
        if found is not None:
            return found
        assert len(values) == len(self.labels), f"{self.name} has labels {self.labels}"
        if len(self.cells) >= CELLS_MAX:
            # clients can raise any SQLSTATE; they must not grow our memory
            values = (OVERFLOW,) * len(self.labels)
        return self.cells.setdefault(values, Cell())


class Distribution:
    """Observations of one combination of labels, counted by bucket."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, amount: float) -> None:
        """Count one observation."""
        self.counts[bisect_left(self.bounds, amount)] += 1
        self.total += amount


@dataclass(slots=True)
class Histogram:
    """A histogram with one label."""

    name: str
    help: str
    label: str
    bounds: tuple[float, ...]
    cells: dict[str, Distribution] = field(default_factory=dict)

    def cell(self, value: str) -> Distribution:
        """The distribution of this label value; keep it where it is counted often."""
        found = self.cells.get(value)
        if found is None:
            key = value if len(self.cells) < CELLS_MAX else OVERFLOW
            found = self.cells.setdefault(key, Distribution(self.bounds))
        return found


AnyMetric = Metric | LabelledMetric | Histogram


def _counter(name: str, about: str) -> Metric:
    return Metric("counter", f"{PREFIX}_{name}_total", about)


def _counters(name: str, about: str, *labels: str) -> LabelledMetric:
    return LabelledMetric("counter", f"{PREFIX}_{name}_total", about, labels)


def _gauge(name: str, about: str) -> Metric:
    return Metric("gauge", f"{PREFIX}_{name}", about)


class Metrics:
    """Every metric; attributes are added here and nowhere else."""

    def __init__(self) -> None:
        self.connections = _gauge("connections", "Client connections open now.")
        self.connections_opened = _counter("connections_opened", "Client connections accepted.")
        self.connections_rejected = _counters(
            "connections_rejected", "Client connections refused, by SQLSTATE.", "sqlstate"
        )
        self.received_bytes = _counter("received_bytes", "Bytes received from clients.")
        self.sent_bytes = _counter("sent_bytes", "Bytes sent to clients.")
        self.statements = _counters(
            "statements", "Statements ended without error, by kind and tier.", "kind", "tier"
        )
        self.statement_seconds = Histogram(
            f"{PREFIX}_statement_duration_seconds",
            "Time from a statement's arrival to its last byte, by tier.",
            "tier",
            LATENCY_BUCKETS,
        )
        self.errors = _counters("errors", "Errors of statements, by SQLSTATE.", "sqlstate")
        self.inline_reads = _counters(
            "inline_reads",
            "Reads answered from a shadow, too: equal, different, moved (written meanwhile), "
            "nondeterministic, too large, dropped or failed.",
            "outcome",
        )
        self.warnings = _counters("warnings", "Warnings of Morphgres, by SQLSTATE.", "sqlstate")
        self.plan_cache_hits = _counter("plan_cache_hits", "Statements whose plan was cached.")
        self.plan_cache_misses = _counter("plan_cache_misses", "Statements planned anew.")
        self.plan_cache_entries = _gauge("plan_cache_entries", "Plans cached now.")
        self.backends_attached = _gauge(
            "backends_attached", "Backends of the private PostgreSQL held by sessions now."
        )
        self.backends_waiting = _gauge(
            "backends_waiting", "Sessions that wait for a backend of the private PostgreSQL now."
        )
        self.private_pg_restarts = _counter(
            "private_pg_restarts", "Restarts of the private PostgreSQL after it ended unasked."
        )
        self.merge_rows = _counter("merge_rows", "Rows from stores brought to the merge.")
        self.merge_bytes = _counter("merge_bytes", "Bytes from stores brought to the merge.")
        self.misfits = _counters(
            "misfits", "Values of stores that did not fit their column's type, by table.", "table"
        )

    def all(self) -> list[AnyMetric]:
        """Every metric in order of declaration."""
        kinds = Metric | LabelledMetric | Histogram
        return [metric for metric in vars(self).values() if isinstance(metric, kinds)]
