"""The protocol of a change over a table of another store, explored state by state (decision 0011).

Clients log an intent, write, answer, say that it is done; each of them may die, and then the write
that it sent may still land until its time is over. The owner of the change collects what is in the
log, draws a position, reads, puts, removes; in between it copies the table. It may be taken for
dead and go on all the same beside its successor. Every command of everybody arrives when it likes.

What must hold at the flip and behind it: the new layout has what the old one has, and nothing
arrives at the old one any more. `Rules` switches parts of the protocol off: each is needed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Literal, TypeVar

T = TypeVar("T")
GONE = -1
OLD = -2
_AHEAD = 1_000
"""The row from before the change."""

Stage = Literal["new", "plain", "sent", "landed", "done", "over"]
"""Of a write: not begun; begun before there was a log; its intent is logged and the write is on its
way; landed and answered; marked as done; over: it cannot land any more (the record of a dead writer
counts as settled then)."""


@dataclass(frozen=True)
class Rules:
    """Parts of the protocol; all on is what is built."""

    fresh_positions: bool = True
    """A row is put at a position drawn for this read, not at the record's own."""
    remove_collected: bool = True
    """Only what was settled when it was collected is removed, not what is by now."""
    intent_first: bool = True
    fence: bool = True
    open_records_wait: bool = True
    """A record whose writer died is kept until its write cannot land any more."""
    one_counter: bool = True
    """Owners draw from one counter under their epoch, not each by its own clock."""
    tombstones: bool = True
    """A row that is gone keeps its position in the shadow."""
    begin_waits: bool = True
    """The first row is copied when no write from before the log is on its way."""
    drain: bool = True


@dataclass(frozen=True)
class Write:
    """One statement of a client."""

    key: int
    delete: bool = False


WRITES = (Write(0), Write(0, delete=True))


@dataclass(frozen=True)
class Step:
    """What an owner is about: `collected` records (None for a chunk of the copy), the keys, the
    position (None: not drawn yet), what was read (None: not yet), whether it was put.
    """

    collected: frozenset[int] | None
    keys: frozenset[int]
    position: int | None = None
    read: tuple[tuple[int, int], ...] | None = None
    was_put: bool = False


@dataclass(frozen=True)
class Owner:
    """A process that believes to own the change."""

    epoch: int
    step: Step | None = None


@dataclass(frozen=True)
class World:
    """One state. `dead` are the writers that are no more; `shadow` has (position, value)."""

    stages: tuple[Stage, ...]
    dead: frozenset[int] = frozenset()
    log: frozenset[int] = frozenset()
    logging: bool = False
    begun: bool = False
    live: tuple[int, ...] = ()
    shadow: tuple[tuple[int, int], ...] = ()
    counter: int = 0
    records: tuple[tuple[int, int], ...] = ()
    """(write, position drawn for its record)"""
    unlogged: frozenset[int] = frozenset()
    """Writes whose intent comes after them (an ablation)."""
    cursor: int = 0
    epoch: int = 1
    owners: tuple[Owner, ...] = (Owner(1),)
    fenced: bool = False
    brought: frozenset[int] = frozenset()
    """Records that are brought in inside of this fence, and are still in the log."""
    drained: bool = False
    flipped: bool = False
    late: bool = False
    """A write has landed in the old layout behind the flip."""

    @property
    def holding(self) -> bool:
        """A living writer holds the table: from before its intent until the store has answered."""
        busy = ("plain", "sent")
        return any(s in busy and n not in self.dead for n, s in enumerate(self.stages))


Successor = tuple[str, World]


def wrong(world: World) -> str:
    """Which invariant is broken, "" for none."""
    if world.late:
        return "a write landed in the layout that does not serve"
    if world.flipped and tuple(value for _, value in world.shadow) != world.live:
        return "the layouts differ behind the flip"
    return ""


@dataclass
class Model:
    """The protocol under `rules`."""

    rules: Rules = field(default_factory=Rules)
    writes: tuple[Write, ...] = WRITES
    deaths_max: int = 1
    takeovers_max: int = 1

    def first(self) -> World:
        """Before anything."""
        keys = 1 + max(each.key for each in self.writes)
        new: Stage = "new"
        return World((new,) * len(self.writes), live=(OLD,) * keys, shadow=((0, GONE),) * keys)

    # ------------------------------------------------------------ clients

    def clients(self, world: World) -> Iterator[Successor]:
        """What writers do next, and what becomes of the writes of dead ones."""
        for number, stage in enumerate(world.stages):
            if number in world.dead:
                yield from self._orphan(world, number, stage)
                continue
            if stage == "new" and not world.flipped and not (world.fenced and self.rules.fence):
                yield f"begin {number}", self._begin(world, number)
            elif stage in ("plain", "sent"):
                yield f"land {number}", self._land(world, number, "landed")
            elif stage == "landed":
                yield f"done {number}", self._done(world, number)
            if stage in ("plain", "sent", "landed") and len(world.dead) < self.deaths_max:
                yield f"kill {number}", replace(world, dead=world.dead | {number})

    def _begin(self, world: World, number: int) -> World:
        if not world.logging:
            return self._staged(world, number, "plain")
        world = self._staged(world, number, "sent")
        if self.rules.intent_first:
            return self._logged(world, number)
        return replace(world, unlogged=world.unlogged | {number})

    def _logged(self, world: World, number: int) -> World:
        position = world.counter + 1
        records = (*world.records, (number, position))
        return replace(world, log=world.log | {number}, counter=position, records=records)

    def _done(self, world: World, number: int) -> World:
        if number in world.unlogged:
            world = self._logged(replace(world, unlogged=world.unlogged - {number}), number)
        return self._staged(world, number, "done")

    def _orphan(self, world: World, number: int, stage: Stage) -> Iterator[Successor]:
        if stage in ("plain", "sent"):
            yield f"land {number} late", self._land(world, number, "over")
            yield f"{number} is over", self._staged(world, number, "over")
        elif stage == "landed":
            yield f"{number} is over", self._staged(world, number, "over")

    def _land(self, world: World, number: int, stage: Stage) -> World:
        write = self.writes[number]
        live = _put(world.live, write.key, GONE if write.delete else number)
        landed = replace(world, live=live, late=world.late or world.flipped)
        return self._staged(landed, number, stage)

    @staticmethod
    def _staged(world: World, number: int, stage: Stage) -> World:
        return replace(world, stages=_put(world.stages, number, stage))

    # ------------------------------------------------------------ owners

    def control(self, world: World) -> Iterator[Successor]:
        """Begin, steps of every owner, the fence and the flip, a takeover."""
        if not world.logging:
            yield "log is made", replace(world, logging=True)
        elif not world.begun and not (self.rules.begin_waits and "plain" in world.stages):
            yield "backfill begins", replace(world, begun=True)
        for place, owner in enumerate(world.owners):
            yield from self._works(world, place, owner)
        if world.begun and not world.flipped:
            yield from self._cut_over(world)
        if world.begun and len(world.owners) <= self.takeovers_max and not world.flipped:
            epoch = world.epoch + 1
            owners = (*world.owners, Owner(epoch))
            yield (
                "takeover",
                replace(
                    world,
                    epoch=epoch,
                    owners=owners,
                    fenced=False,
                    brought=frozenset(),
                    drained=False,
                ),
            )

    def _works(self, world: World, place: int, owner: Owner) -> Iterator[Successor]:
        step = owner.step
        if step is None:
            works = world.begun and not world.flipped and not world.drained
            if owner.epoch == world.epoch and works:
                yield from self._starts(world, place)
            return
        who = f"owner {owner.epoch}"
        if step.position is None:
            yield from self._draws(world, place, owner, step)
        elif step.read is None:
            rows = tuple((key, world.live[key]) for key in sorted(step.keys))
            yield f"{who} reads", self._at(world, place, replace(step, read=rows))
        elif not step.was_put:
            yield f"{who} puts", self._puts(world, place, step)
        else:
            yield f"{who} ends", self._ends(world, place, owner, step)
            if step.collected is not None and world.fenced and owner.epoch == world.epoch:
                brought = replace(world, brought=world.brought | step.collected)
                yield f"{who} keeps the records", self._at(brought, place, None)

    def _starts(self, world: World, place: int) -> Iterator[Successor]:
        left = world.log - world.brought
        settled = frozenset(n for n in left if self._settled(world, n))
        if settled:
            keys = frozenset(self.writes[n].key for n in settled)
            yield "collect", self._at(world, place, Step(settled, keys))
        if world.cursor < len(world.live):
            yield "chunk", self._at(world, place, Step(None, frozenset((world.cursor,))))

    def _settled(self, world: World, number: int) -> bool:
        stage = world.stages[number]
        if number in world.dead and not self.rules.open_records_wait:
            return True
        return stage in ("done", "over")

    def _draws(self, world: World, place: int, owner: Owner, step: Step) -> Iterator[Successor]:
        who = f"owner {owner.epoch}"
        if self.rules.one_counter and owner.epoch < world.epoch:
            yield f"{who} learns of its successor", self._at(world, place, None)
            return
        if not self.rules.one_counter:
            # The clock of the first one is ahead of its successor's.
            counter = world.counter + 1
            position = counter + _AHEAD if owner.epoch == 1 else counter
        elif self.rules.fresh_positions or step.collected is None:
            position, counter = world.counter + 1, world.counter + 1
        else:
            position = max(p for n, p in world.records if n in step.collected)
            counter = world.counter
        drawn = replace(world, counter=counter)
        yield f"{who} draws", self._at(drawn, place, replace(step, position=position))

    def _puts(self, world: World, place: int, step: Step) -> World:
        shadow = world.shadow
        assert step.read is not None
        assert step.position is not None
        for key, value in step.read:
            if step.position > shadow[key][0]:
                gone = value == GONE and not self.rules.tombstones
                shadow = _put(shadow, key, (0 if gone else step.position, value))
        return self._at(replace(world, shadow=shadow), place, replace(step, was_put=True))

    def _ends(self, world: World, place: int, owner: Owner, step: Step) -> World:
        if step.collected is None:
            cursor = world.cursor
            if owner.epoch == world.epoch:  # saved by compare-and-set
                cursor = max(cursor, *(key + 1 for key in step.keys))
            world = replace(world, cursor=cursor)
        else:
            removed = step.collected
            if not self.rules.remove_collected:
                removed = frozenset(
                    n
                    for n in world.log
                    if self.writes[n].key in step.keys and self._settled(world, n)
                )
            world = replace(world, log=world.log - removed)
        return self._at(world, place, None)

    @staticmethod
    def _at(world: World, place: int, step: Step | None) -> World:
        return replace(
            world, owners=_put(world.owners, place, replace(world.owners[place], step=step))
        )

    # ------------------------------------------------------------ the cut-over

    def _cut_over(self, world: World) -> Iterator[Successor]:
        owner = world.owners[-1]
        if not world.fenced:
            if not (self.rules.fence and world.holding):
                yield "fence", replace(world, fenced=True)
            return
        yield "unfence", replace(world, fenced=False, brought=frozenset(), drained=False)
        empty = world.log <= world.brought or not self.rules.drain
        if world.drained:
            yield "flip", replace(world, flipped=True)
        elif owner.step is None and world.cursor == len(world.live) and empty:
            yield "drained", replace(world, drained=True)

    # ------------------------------------------------------------ exploring

    def successors(self, world: World) -> Iterator[Successor]:
        """All that can happen next."""
        yield from self.clients(world)
        yield from self.control(world)


def _put(values: tuple[T, ...], place: int, value: T) -> tuple[T, ...]:
    return (*values[:place], value, *values[place + 1 :])


def reduced(world: World) -> World:
    """The same state with positions by their rank: only their order tells."""
    used = {0, world.counter, *(p for p, _ in world.shadow), *(p for _, p in world.records)}
    for owner in world.owners:
        if owner.step is not None and owner.step.position is not None:
            used.add(owner.step.position)
    kept = set(world.log)
    for owner in world.owners:
        if owner.step is not None and owner.step.position is None:
            kept |= owner.step.collected or frozenset()
    rank = {position: number for number, position in enumerate(sorted(used))}
    owners = tuple(
        owner
        if owner.step is None or owner.step.position is None
        else replace(owner, step=replace(owner.step, position=rank[owner.step.position]))
        for owner in world.owners
    )
    return replace(
        world,
        counter=rank[world.counter],
        shadow=tuple((rank[p], value) for p, value in world.shadow),
        records=tuple((n, rank[p]) for n, p in world.records if n in kept),
        owners=owners,
    )


def explore(model: Model, states_max: int = 2_000_000) -> tuple[int, list[str]]:
    """How many states there are, and the shortest way to a wrong one, [] for none."""
    first = reduced(model.first())
    came: dict[World, tuple[World, str] | None] = {first: None}
    waiting = deque([first])
    while waiting:
        world = waiting.popleft()
        for label, successor in model.successors(world):
            fresh = reduced(successor)
            if fresh in came:
                continue
            came[fresh] = (world, label)
            if wrong(fresh):
                return len(came), _way(came, fresh)
            waiting.append(fresh)
        assert len(came) < states_max, "the model is too large"
    return len(came), []


def _way(came: dict[World, tuple[World, str] | None], world: World) -> list[str]:
    labels = [wrong(world)]
    step = came[world]
    while step is not None:
        labels.append(step[1])
        step = came[step[0]]
    return labels[::-1]
