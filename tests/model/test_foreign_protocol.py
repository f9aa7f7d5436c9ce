"""The model of the protocol over tables of other stores: no order of events breaks it, and every
part of it is needed (R4.2, R4.6; decision 0011, EVOLUTION 7, issue 5 point 8a).

I2 every logged write reaches the shadow; I5 at the flip the shadow is the live layout, and stays
it; I7 no write arrives at the old layout behind the flip; I10 what was deleted does not come back.
"""

from __future__ import annotations

import pytest

from tests.model.foreign_protocol import Model, Rules, Write, explore

PUT, DELETE = Write(0), Write(0, delete=True)


@pytest.mark.parametrize(
    ("writes", "deaths", "takeovers", "states_min"),
    [
        pytest.param((PUT, DELETE), 1, 0, 10_000, id="two writes, one death"),
        pytest.param((DELETE,), 1, 1, 4_000, id="a delete, a death, a takeover"),
        pytest.param((PUT,), 1, 1, 4_000, id="a put, a death, a takeover"),
        pytest.param(
            *((PUT, DELETE), 0, 1, 90_000),
            id="two writes, a takeover",
            marks=[pytest.mark.slow, pytest.mark.timeout(1500)],
        ),
    ],
)
def test_no_order_of_events_breaks_it(
    writes: tuple[Write, ...], deaths: int, takeovers: int, states_min: int
) -> None:
    states, way = explore(Model(Rules(), writes, deaths, takeovers))
    assert way == []
    assert states > states_min, "the model has lost actions"


ABLATIONS = {
    "fresh_positions": ((PUT,), 1, 0, "land 0 late"),
    "remove_collected": ((PUT, PUT), 0, 0, "collect"),
    "intent_first": ((PUT,), 0, 0, "land 0"),
    "fence": ((PUT,), 0, 0, "drained"),
    "open_records_wait": ((PUT,), 1, 0, "land 0 late"),
    "one_counter": ((PUT,), 0, 1, "takeover"),
    "tombstones": ((DELETE,), 0, 1, "takeover"),
    "begin_waits": ((PUT,), 0, 0, "backfill begins"),
    "drain": ((PUT,), 0, 0, "flip"),
}


@pytest.mark.parametrize("part", list(ABLATIONS))
def test_without_a_part_there_is_a_counterexample(part: str) -> None:
    writes, deaths, takeovers, needs = ABLATIONS[part]
    _, way = explore(Model(Rules(**{part: False}), writes, deaths, takeovers))
    assert way, "nothing goes wrong without it"
    assert needs in way
    assert len(way) <= 30, way


def test_every_part_has_its_ablation() -> None:
    assert set(ABLATIONS) == set(Rules.__dataclass_fields__)
