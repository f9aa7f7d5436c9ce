"""All schedules of the model as one graph, and walks that together take every edge of it.

What is merged, and why that is sound:

* A self loop changes nothing that anything looks at (`truncate`); it is not taken.
* Writes of one kind to one key are the same but for the number that they put, and nothing looks at
  the numbers: whichever begins first is called the first (`_canonical`). The other order is the
  same schedule with two names exchanged.
* States that no action can tell apart are one state (`Model.reduced`): the order of writes to
  different keys, the absolute value of epochs.
* How many have died already, and which writes a death undid, is known to the model alone: it is
  forgotten. So the walks cover any number of deaths, not only one, and clients who try again.

A schedule is a path from the start. By induction over its length, the real code goes right along
every schedule if it goes right along every edge from a real state that fits the edge's source: what
it does next depends on what the model's state names (rows of both layouts, the log beyond the
checkpoint, the cursor, who is open or stopped, the state of the change), and the driver compares
those after each action (tests/integration/changes/walks). So walks that take every edge cover all
interleavings, although these are many more than edges.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from tests.model.protocol import Model, World

UNKNOWING = "controller is thought dead"
"""What it does is refused by the record of the change, which is not part of the layouts; and until
it ends the locks of the store keep its successor waiting."""
BACK = frozenset({"timeout", "controller dies", "server dies"})
"""Actions that lead back to where the change was before: without them the graph has no loop."""
Edge = tuple[str, int]
"""An action, and the number of the state that it leads to."""
_LOOK_EVERY = 48


@dataclass
class Schedules:
    """The states that can be reached, the first one first, with the edges from each."""

    model: Model
    worlds: list[World] = field(default_factory=list)
    edges: list[list[Edge]] = field(default_factory=list)

    @classmethod
    def of(cls, model: Model, *, forget_deaths: bool = True) -> Schedules:
        """All of a model's."""
        found = cls(model)
        start = model.reduced(World())
        numbers = {start: 0}
        queue = deque([start])
        while queue:
            world = queue.popleft()
            edges = []
            for label, reached in model.successors(world):
                after = model.reduced(reached)
                if forget_deaths:
                    kept = after.open | {*after.order}
                    begun = tuple(n for n in after.begun if n in kept)
                    after = replace(after, crashes=0, begun=begun)
                if label == UNKNOWING or after == world or not _canonical(model, after):
                    continue
                if after not in numbers:
                    numbers[after] = len(numbers)
                    queue.append(after)
                edges.append((label, numbers[after]))
            found.worlds.append(world)
            found.edges.append(edges)
        return found

    @property
    def size(self) -> int:
        """How many edges there are."""
        return sum(len(edges) for edges in self.edges)

    def count(self, *, timeouts: int = 1) -> int:
        """How many different schedules there are to an end, with at most so many cut-overs that run
        into their deadline (without a bound there is no end). Deaths must not be forgotten.
        """
        counts: dict[tuple[int, int], int] = {}
        order = self._leaves_first(frozenset({"timeout"}))
        for left in range(timeouts + 1):
            for state in order:
                ways = [
                    counts[after, left - (label == "timeout")]
                    for label, after in self.edges[state]
                    if label != "timeout" or left
                ]
                counts[state, left] = sum(ways) if ways else 1
        return counts[0, timeouts]

    def _leaves_first(self, loops: frozenset[str]) -> list[int]:
        """The states so that each comes after all that follow it, but for loops."""
        order: list[int] = []
        seen: set[int] = set()
        for root in range(len(self.edges)):
            if root in seen:
                continue
            seen.add(root)
            stack: list[tuple[int, Iterator[Edge]]] = [(root, iter(self.edges[root]))]
            while stack:
                state, edges = stack[-1]
                for label, after in edges:
                    if label not in loops and after not in seen:
                        seen.add(after)
                        stack.append((after, iter(self.edges[after])))
                        break
                else:
                    order.append(state)
                    stack.pop()
        return order

    def covering(self) -> list[list[Edge]]:
        """Walks from the start that together take every edge."""
        order = self._leaves_first(BACK)
        came = self._shortest()
        left = [list(edges) for edges in self.edges]
        walks: list[list[Edge]] = []
        while any(left):
            ahead = self._ahead(order, left)
            for _ in range(_LOOK_EVERY):
                if not ahead[0]:  # what is left lies behind a death
                    there = next(state for state, edges in enumerate(left) if edges)
                    walks.append(self._on(came[there], there, left, ahead))
                    break
                walk = self._on([], 0, left, ahead)
                if walk:
                    walks.append(walk)
        return walks

    def _shortest(self) -> list[list[Edge]]:
        """The shortest way to each state."""
        came: list[list[Edge] | None] = [None] * len(self.edges)
        came[0] = []
        queue = deque([0])
        while queue:
            state = queue.popleft()
            way = came[state]
            assert way is not None
            for edge in self.edges[state]:
                if came[edge[1]] is None:
                    came[edge[1]] = [*way, edge]
                    queue.append(edge[1])
        return [way for way in came if way is not None]

    def _ahead(self, order: list[int], left: list[list[Edge]]) -> list[int]:
        """How many edges that were not taken are on the best way on from each state."""
        ahead = [0] * len(self.edges)
        for state in order:
            new = {*left[state]}
            ahead[state] = max(
                (
                    ((label, after) in new) + (0 if label in BACK else ahead[after])
                    for label, after in self.edges[state]
                ),
                default=0,
            )
        return ahead

    def _on(
        self, way: list[Edge], state: int, left: list[list[Edge]], ahead: list[int]
    ) -> list[Edge]:
        """The walk `way`, which leads to a state, and on along the best; empty when it takes
        nothing new.
        """
        walk, fresh = list(way), False
        while True:
            new = {*left[state]}
            ways = [e for e in self.edges[state] if e in new or (e[0] not in BACK and ahead[e[1]])]
            if not ways:
                return walk if fresh else []
            edge = max(ways, key=lambda e: (e in new) + ahead[e[1]])
            if edge in new:
                left[state].remove(edge)
                fresh = True
            walk.append(edge)
            state = edge[1]


def _canonical(model: Model, world: World) -> bool:
    """Whether, of writes that are the same but for their number, the first ones have begun."""
    for number, write in enumerate(model.writes):
        twins = [n for n in range(number) if model.writes[n] == write]
        if number in world.begun and any(n not in world.begun for n in twins):
            return False
    return True
