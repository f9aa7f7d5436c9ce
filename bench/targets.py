"""The targets (PERFORMANCE, of the spine and of the stores), by case and figure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Target:
    """`must` is a requirement, `aim` a wish; `sign` says on which side of them is good."""

    sign: Literal["≤", "≥"]
    must: float | None
    aim: float | None = None

    def allows(self, value: float, limit: float | None) -> bool:
        """True when the value is on the good side of a limit, or there is none."""
        if limit is None:
            return True
        return value <= limit if self.sign == "≤" else value >= limit


RELAY = "relay"
POINT = "point"
LITERALS = "literals"
SCAN = "scan"
PUSHDOWN = "pushdown"
MERGE = "merge"
WRITE = "write"
VIRTUAL = "virtual"
START = "start"
WORKERS = "workers"

STORE = "store {}"
"""A case of `python -m bench.stores`, by the name of the store."""

CHANGE = "change: {}"
"""A case of `python -m bench.changes`."""

QUERIES = ("group by", "top-N", "IN", "LIKE prefix", "nested field", "count")

TARGETS: dict[tuple[str, str], Target] = {
    (RELAY, "SELECT 1, proxy CPU"): Target("≤", 25),
    (RELAY, "catalog query, proxy CPU"): Target("≤", 25),
    (RELAY, "proxy CPU ÷ PgBouncer's"): Target("≤", None, 1),
    (POINT, "proxy CPU"): Target("≤", 150, 60),
    (POINT, "QPS ÷ native jsonb"): Target("≥", 0.35, 0.6),
    (POINT, "QPS ÷ native columns"): Target("≥", 0.35, 0.6),
    (LITERALS, "proxy CPU ÷ prepared"): Target("≤", 1.5, 1.2),
    (SCAN, "rows/s ÷ native columns"): Target("≥", 0.3, 0.6),
    (SCAN, "first row after the store's"): Target("≤", 50, 20),
    (SCAN, "memory growth, slow client"): Target("≤", 64, 32),
    # wall ÷ (1.3 × native + 2 ms): 1 is the limit. The aim, 1.1 ×, is a figure of its own.
    **{(PUSHDOWN, f"{q}, wall ÷ (1.3 native + 2 ms)"): Target("≤", 1) for q in QUERIES},
    **{(PUSHDOWN, f"{q}, wall ÷ native"): Target("≤", None, 1.1) for q in QUERIES},
    (MERGE, "100 rows, overhead over tier 1"): Target("≤", 2, 0.5),
    (MERGE, "join 200,000 × 20,000 ÷ native columns"): Target("≤", 3, 1.7),
    (WRITE, "INSERT one row, time ÷ native jsonb"): Target("≤", 1.5, 1.2),
    (WRITE, "COPY in, rows/s ÷ native jsonb"): Target("≥", 0.3, 0.6),
    (VIRTUAL, "hash_int ÷ stored"): Target("≤", 1.3, 1.1),
    (VIRTUAL, "arithmetic ÷ stored"): Target("≤", 1.3, 1.1),
    (START, "start with existing data"): Target("≤", 1.5, 0.7),
    (START, "idle memory, PSS"): Target("≤", 250, 150),
    (WORKERS, "QPS of 2 ÷ 1"): Target("≥", 1.6),
}

STORE_QUERIES = ("aggregate", "top-N", "IN", "LIKE prefix", "IS NULL", "nested field")


def _store_targets() -> dict[tuple[str, str], Target]:
    """PERFORMANCE, "Targets of the stores"."""
    found: dict[tuple[str, str], Target] = {}
    for name in ("mongodb", "mongojava"):
        case = STORE.format(name)
        found[case, "point, many clients, proxy CPU"] = Target("≤", 250, 25)
        found[case, "point, many clients, QPS ÷ driver"] = Target("≥", 0.6, 4)
        found[case, "scan of 5 columns, proxy CPU a row"] = Target("≤", 2.5, 0.4)
        found[case, "scan of 13 columns, proxy CPU a row"] = Target("≤", 4.5, 1.0)
        for query in STORE_QUERIES:
            found[case, f"{query}, wall ÷ (1.3 driver + 2 ms)"] = Target("≤", 1)
            found[case, f"{query}, wall ÷ driver"] = Target("≤", None, 1.1)
        found[case, "join of 10,000 keys, wall ÷ by hand"] = Target("≤", 1.5, 1.1)
    case = STORE.format("cassandra")
    found[case, "point, many clients, QPS ÷ driver"] = Target("≥", 0.4, 0.7)
    found[case, "scan of 5 columns, rows/s ÷ driver"] = Target("≥", 0.6, 1.0)
    found[case, "scan of 13 columns, rows/s ÷ driver"] = Target("≥", 0.6, 1.0)
    found[case, "join of 10,000 keys, wall ÷ by hand"] = Target("≤", 1.5, 1.1)
    return found


TARGETS.update(_store_targets())
TARGETS[CHANGE.format("validation"), "checksum of read batches"] = Target("≥", 1_000_000)
TARGETS.update(
    {
        (CHANGE.format("large"), f"{change}, from DDL to an answer"): Target("≤", 1_000)
        for change in ("int to numeric", "text to varchar(20)", "int to text")
    }
)
for _rate in (100, 1_000):
    TARGETS[CHANGE.format("fence"), f"{_rate}/s, held, p99"] = Target("≤", 250)
    TARGETS[CHANGE.format("fence"), f"{_rate}/s, client errors"] = Target("≤", 0)
for _kind in ("mongodb", "cassandra"):
    for _rate in (10, 100):
        _case = CHANGE.format(f"fence-{_kind}")
        TARGETS[_case, f"{_rate}/s, held, p99"] = Target("≤", 250)
        TARGETS[_case, f"{_rate}/s, client errors"] = Target("≤", 0)
