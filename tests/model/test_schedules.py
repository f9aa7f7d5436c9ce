"""The walks take every edge of the graph of all schedules (issue 5, point 8b)."""

from __future__ import annotations

from tests.model.protocol import Model, Write
from tests.model.schedules import UNKNOWING, Schedules

TWINS = (Write(0), Write(0))
SMALL = Schedules.of(Model(writes=(Write(0), Write(0, delete=True))))


def test_the_walks_take_every_edge_from_the_start_on() -> None:
    taken = set()
    for walk in SMALL.covering():
        state = 0
        for label, after in walk:
            assert (label, after) in SMALL.edges[state]
            taken.add((state, label, after))
            state = after
    every = {(s, *edge) for s, edges in enumerate(SMALL.edges) for edge in edges}
    assert taken == every


def test_every_action_of_the_model_but_two_is_an_edge() -> None:
    labels = {label for edges in SMALL.edges for label, _ in edges}
    world_labels = {label for world in SMALL.worlds for label, _ in SMALL.model.successors(world)}
    assert world_labels - labels == {"truncate", UNKNOWING, "flip refused"} & world_labels


def test_writes_that_are_the_same_have_one_order() -> None:
    begun = {world.begun for world in Schedules.of(Model(writes=TWINS)).worlds}
    assert (1,) not in begun
    assert (0, 1) in begun


def test_schedules_are_counted() -> None:
    """Without writes and deaths there are five: discarded when none, one or both rows are copied or
    when it is ready, or promoted and rolled back.
    """
    alone = Schedules.of(Model(writes=(), crashes_max=0), forget_deaths=False)
    assert alone.count(timeouts=0) == 5
    assert alone.count(timeouts=1) > 5
