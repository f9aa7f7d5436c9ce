"""What the copying of a change waits for."""

from __future__ import annotations

from dataclasses import dataclass

from config.changes import ChangesSettings
from core.telemetry.metrics import Distribution
from evolution.changes.throttle import SEEN_MIN, WAITS, WINDOW_S, Latency, Throttle
from tests.unit.evolution.changes.conftest import Catalog

BOUNDS = (0.001, 0.01, 0.1, 1.0)


def observed(times: list[float], cell: Distribution | None = None) -> dict[str, Distribution]:
    cell = cell or Distribution(BOUNDS)
    for each in times:
        cell.observe(each)
    return {"1": cell}


@dataclass
class Time:
    """A clock that the test sets."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now


def test_the_latency_is_of_what_ended_since_it_was_looked_at_last() -> None:
    cells, time = observed([0.05] * 100), Time()
    latency = Latency(cells, time)
    assert latency.seconds() == 0.1
    observed([0.005] * 95 + [5.0] * 5, cells["1"])
    assert latency.seconds() == 0.01
    observed([0.005] * 94 + [5.0] * 6, cells["1"])
    assert latency.seconds() == 1.0


def test_what_was_found_holds_for_a_while_and_not_for_ever() -> None:
    cells, time = observed([5.0] * SEEN_MIN), Time()
    latency = Latency(cells, time)
    assert latency.seconds() == 1.0
    time.now = WINDOW_S - 0.1
    assert latency.seconds() == 1.0
    time.now = WINDOW_S
    assert latency.seconds() == 0.0


def test_of_few_statements_nothing_is_said() -> None:
    cells, time = observed([5.0] * (SEEN_MIN - 1)), Time()
    latency = Latency(cells, time)
    assert latency.seconds() == 0.0
    observed([5.0], cells["1"])
    assert latency.seconds() == 1.0


def test_all_tiers_count_and_new_ones_too() -> None:
    cells = observed([0.005] * 19)
    latency = Latency(cells, Time())
    cells["2"] = Distribution(BOUNDS)
    observed([0.05] * 19, cells["2"])
    assert latency.seconds() == 0.1


async def test_each_limit_says_its_name(catalog: Catalog) -> None:
    cells = observed([0.05] * 50)
    time = Time()
    settings = ChangesSettings(throttle_latency=0.01, throttle_lag=2.0)
    throttle = Throttle(settings, Latency(cells, time))
    why = await throttle.why(catalog, 3.0)
    assert why == f"{WAITS}statements of clients take 0.1 s (changes.throttle_latency)"
    time.now = WINDOW_S
    assert (await throttle.why(catalog, 3.0)) == (
        f"{WAITS}its shadow is 3.0 s behind (changes.throttle_lag)"
    )
    assert await throttle.why(catalog, 1.0) == ""
    off = Throttle(ChangesSettings(throttle_lag=0.0), Latency({}, Time()))
    assert await off.why(catalog, 1e6) == ""


async def test_the_probe_is_a_clients_query(catalog: Catalog) -> None:
    async def why(probe: str) -> str:
        settings = ChangesSettings(throttle_probe=probe)
        return await Throttle(settings, Latency({}, Time())).why(catalog, 0.0)

    for calm in ("SELECT false", "SELECT 0", "SELECT NULL", "SELECT ''", "SELECT 1 WHERE false"):
        assert await why(calm) == ""
    assert await why("SELECT 'replica lags'") == (
        f"{WAITS}the probe says replica lags (changes.throttle_probe)"
    )
    assert "permission denied" in await why("SELECT count(*) FROM morph_catalog.ddl_key")
    assert "read-only transaction" in await why("CREATE TEMP TABLE x (a int)")
    assert "statement timeout" in await why("SELECT pg_sleep(60)")
    assert "syntax error" in await why("no query")
    assert await why("SELECT 0") == ""
